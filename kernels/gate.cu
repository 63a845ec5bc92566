/* Holds the stream until the host opens the gate.
 *
 * Work that is enqueued behind the gate is on the device before the first of it starts, so the cost of enqueueing never enters a
 * measurement. Launched with one thread; it reads one word of mapped host memory over and over, so opening it takes about one round trip
 * over the host link. The time limit turns a forgotten gate into an error message: *timed_out becomes 1 and the stream goes on.
 * The host sets *open and *timed_out to 0 before the launch.
 */
#include "prelude.h"

KERNEL gate(const volatile unsigned int* open, unsigned long long timeout_ns, unsigned int* timed_out)
{
    const unsigned long long start = global_nanoseconds();
    while (*open == 0) {
        if (global_nanoseconds() - start > timeout_ns) {
            *timed_out = 1;
            return;
        }
    }
}
