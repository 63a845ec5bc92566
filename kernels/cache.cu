/* Reads one working set again and again from the L2 cache.
 *
 *   16 * vectors * repeats * blocks bytes moved; per 16 bytes four integer additions.
 *
 * Every block sweeps the whole working set, so a set that fits the L2 is served by it after the first sweep; L1 is bypassed (ld.global.cg).
 * Blocks start at different places to spread over the slices of the cache. L2 bandwidth should be the limit; with a working set beyond
 * the L2 it falls to that of device memory.
 *
 * The answer can be checked: sink[0..4] += blocks * repeats * (sum of the first, second, third and fourth words of all vectors), modulo
 * 2^32. A sum and not an xor, because an even number of sweeps would cancel in an xor.
 */
#include "prelude.h"

#define DEPTH 8

DEVICE void accumulate(uint4* sum, uint4 value)
{
    sum->x += value.x;
    sum->y += value.y;
    sum->z += value.z;
    sum->w += value.w;
}

KERNEL cache_read(const float4* a, unsigned long long vectors, unsigned int repeats, unsigned int* sink)
{
    const unsigned long long tile = (unsigned long long)blockDim.x * DEPTH;
    const unsigned long long full = vectors / tile; /* complete tiles; the rest is read after them */
    const unsigned long long first = full * blockIdx.x / gridDim.x;
    uint4 sum;
    sum.x = sum.y = sum.z = sum.w = 0;
    for (unsigned int repeat = 0; repeat < repeats; ++repeat) {
        unsigned long long t = first;
        for (unsigned long long done = 0; done < full; ++done) {
            const float4* start = a + t * tile + threadIdx.x;
            uint4 held[DEPTH];
            UNROLL for (int j = 0; j < DEPTH; ++j) held[j] = load_l2_16(start + j * blockDim.x);
            UNROLL for (int j = 0; j < DEPTH; ++j) accumulate(&sum, held[j]);
            t = t + 1 == full ? 0 : t + 1;
        }
        for (unsigned long long i = full * tile + threadIdx.x; i < vectors; i += blockDim.x) accumulate(&sum, load_l2_16(a + i));
    }
    block_add(sink, sum);
}
