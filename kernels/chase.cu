/* Follows a ring of indices: every load needs the answer of the one before.
 *
 * The host builds one ring through the working set with one element per 128-byte line, in random order so that nothing can be fetched
 * ahead; `next` counts in units of 4 bytes. One thread, one load in flight: time per step is the latency of the level that holds the
 * working set, plus one address computation (about 5 cycles). cycles = clock cycles of the multiprocessor for all steps.
 *
 *   chase      loads through L1       chase_l2   loads that bypass L1
 *
 * Launched with one thread. *end is where the walk stopped, so that the host can check it.
 */
#include "prelude.h"

/* The store needs the last load's answer, and the second clock is read after the store: the last load is inside the measured time. */
DEVICE void finish(unsigned int index, unsigned long long start, unsigned int* end, unsigned long long* cycles)
{
    *(volatile unsigned int*)end = index;
    *cycles = cycles_now() - start;
}

KERNEL chase(const unsigned int* next, unsigned int start, unsigned long long steps, unsigned int* end, unsigned long long* cycles)
{
    unsigned int index = start;
    unsigned long long step = 0;
    const unsigned long long begin = cycles_now();
    for (; step + 8 <= steps; step += 8) {
        UNROLL for (int j = 0; j < 8; ++j) index = load_l1_4(next + index);
    }
    for (; step < steps; ++step) index = load_l1_4(next + index);
    finish(index, begin, end, cycles);
}

KERNEL chase_l2(const unsigned int* next, unsigned int start, unsigned long long steps, unsigned int* end, unsigned long long* cycles)
{
    unsigned int index = start;
    unsigned long long step = 0;
    const unsigned long long begin = cycles_now();
    for (; step + 8 <= steps; step += 8) {
        UNROLL for (int j = 0; j < 8; ++j) index = load_l2_4(next + index);
    }
    for (; step < steps; ++step) index = load_l2_4(next + index);
    finish(index, begin, end, cycles);
}
