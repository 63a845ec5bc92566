/* The issue rate of the tensor cores in FP8 (E4M3), operands in registers: mma.sync m16n8k32 on sm_89 and sm_120, which have it. CUDA only.
 *
 * As tensor.cu, with two differences. Tensor cores may keep only some 14 bits of an FP8 product's sum, so what is added up within them stays
 * below 2^12: the random factor is element / 32, rounded down, which is -4 to 3, the other is 1, and after a round of
 * UNROLLED * STEPS = 32 steps the sums are added to others in FP32 and begin again at 0. At most 128 * 32 are added to a sum in a round, so that
 * it stays below 2^24 for 4096 rounds.
 *
 *   out[thread] = sum of the thread's elements of all D, as a 32-bit whole number, modulo 2^32
 */
#include "numbers.h"
#include "tensor_element.h"

#define UNROLLED 8
#define STEPS 4

DEVICE unsigned int fp8_register(int r, int random)
{
    unsigned int held = 0;
    UNROLL for (int i = 0; i < 4; ++i) held |= e4m3_encode(random ? (float)(element(4 * r + i) >> 5) : 1.0f) << (8 * i);
    return held;
}

KERNEL tensor_e4m3(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    float total[CHAINS][4];
    unsigned int a[2][4], b[2][2];
    unsigned int sum = 0;
    UNROLL for (int kind = 0; kind < 2; ++kind) {
        UNROLL for (int r = 0; r < 4; ++r) a[kind][r] = fp8_register(r, kind == 0);
        UNROLL for (int r = 0; r < 2; ++r) b[kind][r] = fp8_register(r, kind == 1);
    }
    UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
        UNROLL for (int i = 0; i < 4; ++i) total[chain][i] = 0;
    }
    ROLLED for (unsigned int round = 0; round < rounds; ++round) {
        float d[CHAINS][4];
        UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
            UNROLL for (int i = 0; i < 4; ++i) d[chain][i] = 0;
        }
        ROLLED for (int step = 0; step < STEPS; ++step) {
            UNROLL for (int i = 0; i < UNROLLED * CHAINS; ++i) {
                const int chain = i % CHAINS;
                asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
                    : "+f"(d[chain][0]), "+f"(d[chain][1]), "+f"(d[chain][2]), "+f"(d[chain][3])
                    : "r"(a[chain % 2][0]), "r"(a[chain % 2][1]), "r"(a[chain % 2][2]), "r"(a[chain % 2][3]), "r"(b[chain % 2][0]),
                      "r"(b[chain % 2][1]));
            }
        }
        UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
            UNROLL for (int i = 0; i < 4; ++i) total[chain][i] += d[chain][i];
        }
    }
    UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
        UNROLL for (int i = 0; i < 4; ++i) sum += (unsigned int)(int)total[chain][i];
    }
    if (thread_index() < threads) out[thread_index()] = sum;
}
