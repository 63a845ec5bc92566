/* Counter-based random numbers: the value at an index depends on the index and the seed alone.
 *
 * So any launch shape gives the same data, any element can be checked without the others, and the host can repeat it.
 *
 *   word(i, seed)  = mix64(i + seed * 0x9e3779b97f4a7c15)            mod 2^64
 *   mix64          = finaliser of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014), a bijection
 *
 * Floating-point elements 2p and 2p + 1 share word p; hi and lo are its halves, each cut to its upper 24 bits (h and l):
 *
 *   uniform        (h - 2^23) / 2^23 and (l - 2^23) / 2^23           in [-1, 1), exact, then times scale (one FP32 rounding)
 *   normal         r cos t and r sin t with r = sqrt(-2 ln u), t = 2 pi v, u = (h + 1) / 2^24, v = l / 2^24   (Box and Muller, 1958),
 *                  then times scale; |r| <= 5.77. Differs between chips and host by a few units in the last place of FP32.
 */
#ifndef GPU_ASSAY_RANDOM_H
#define GPU_ASSAY_RANDOM_H
#include "prelude.h"

DEVICE unsigned long long mix64(unsigned long long x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

DEVICE unsigned long long random_word(unsigned long long index, unsigned long long seed)
{
    return mix64(index + seed * 0x9e3779b97f4a7c15ull);
}

DEVICE float cos_turns(float turns)
{
#if ON_DEVICE
    return cospif(2.0f * turns); /* no slow path through local memory, unlike cosf */
#else
    return (float)cos(6.283185307179586 * (double)turns);
#endif
}

DEVICE float sin_turns(float turns)
{
#if ON_DEVICE
    return sinpif(2.0f * turns);
#else
    return (float)sin(6.283185307179586 * (double)turns);
#endif
}

/* Elements 2 * pair and 2 * pair + 1 of the chosen distribution. */
DEVICE void random_pair(int normal, unsigned long long pair, unsigned long long seed, float scale, float* even, float* odd)
{
    const unsigned long long word = random_word(pair, seed);
    const int high = (int)(word >> 40);
    const int low = (int)((word >> 8) & 0xffffffu);
    if (normal) {
        const float radius = sqrtf(-2.0f * logf((float)(high + 1) * 0x1p-24f));
        const float turns = (float)low * 0x1p-24f;
        *even = radius * cos_turns(turns) * scale;
        *odd = radius * sin_turns(turns) * scale;
    } else {
        *even = (float)(high - 0x800000) * 0x1p-23f * scale;
        *odd = (float)(low - 0x800000) * 0x1p-23f * scale;
    }
}

#endif
