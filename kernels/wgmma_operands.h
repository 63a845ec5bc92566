/* What the kernels that measure wgmma alone multiply: the contents of shared memory, and where in it they are.
 *
 * Pure functions in the common subset of CUDA C++ and C11; a test multiplies on the host what they say (tests/kernels/wgmma_emulation.c).
 *
 * A has 64 rows and B 256, each of one line: 128 bytes of k, four steps of 32. Both are filled in **chunks** of 16 bytes, the unit in which every
 * layout that wgmma knows moves things about. Both are random, and yet of any chunk of A and any chunk of B the product is 1. So every
 * element of A * B^T is 2 per step, whichever chunk the hardware takes for which row: the answer does not hang on the layout.
 *
 * A's elements in fours, (r, r, t - r, t - r) with random r, t = 1 in the first four of a chunk and 0 in the others; B's in twos, (z, 1 - z) with
 * random z. Each four gives r (z + 1 - z) + (t - r) (w + 1 - w) = t. All are whole numbers of at most 2^(bits - 1) and exact in their format.
 *
 *   random number f of chunk c = bits of byte f of mix64(c + 1), less 2^(bits - 1) - 1
 */
#ifndef GPU_ASSAY_WGMMA_OPERANDS_H
#define GPU_ASSAY_WGMMA_OPERANDS_H
#include "prelude.h"
#include "random.h"

/* Name, bits of an element, of its fraction (none: whole numbers), exponent bias, bits of the random numbers. Products are below 2^14, and of
 * FP8, whose sums the tensor cores keep with some 14 bits, at most 2^6. */
#define WGMMA_FORMATS(FORMAT)      \
    FORMAT(bf16, 16u, 7u, 127u, 8u)  \
    FORMAT(f16, 16u, 10u, 15u, 8u)   \
    FORMAT(tf32, 32u, 23u, 127u, 8u) \
    FORMAT(e4m3, 8u, 3u, 7u, 4u)     \
    FORMAT(e5m2, 8u, 2u, 15u, 4u)    \
    FORMAT(int8, 8u, 0u, 0u, 7u)

/* Steps of a round, and rounds after which a sum begins anew. */
#define ROUND_STEPS 16u
#define SEGMENT 64u

#define OPERAND_CHUNK 16u
#define A_CHUNKS (64u * 8u)
#define B_CHUNKS (256u * 8u)
#define OPERAND_CHUNKS (A_CHUNKS + B_CHUNKS)

/* Where A's and B's step number `step` begins. B lies behind A, both are whole periods of the swizzle. */
DEVICE unsigned int a_step(unsigned int step)
{
    return step % 4u * 32u;
}

DEVICE unsigned int b_step(unsigned int step)
{
    return A_CHUNKS * OPERAND_CHUNK + step % 4u * 32u;
}

/* Element i of a chunk whose random bits are `word`. */
DEVICE int operand_element(unsigned int chunk, unsigned long long word, unsigned int i, unsigned int bits)
{
    const unsigned int field = chunk < A_CHUNKS ? i / 4u : i / 2u;
    const int value = (int)((unsigned int)(word >> (8u * field)) & ((1u << bits) - 1u)) - (int)((1u << (bits - 1u)) - 1u);
    if (chunk < A_CHUNKS) return i % 4u < 2u ? value : (i < 4u) - value;
    return i % 2u == 0u ? value : 1 - value;
}

/* The code of a whole number that a format holds exactly and as a normal number. */
DEVICE unsigned int operand_code(int value, unsigned int width, unsigned int fraction, unsigned int bias)
{
    const unsigned int all = float_bits((float)value), magnitude = all & 0x7fffffffu;
    if (fraction == 0u) return (unsigned int)value & ((1u << width) - 1u);
    if (value == 0) return 0u;
    return all >> 31 << (width - 1u) | ((magnitude >> (23u - fraction)) - ((127u - bias) << fraction));
}

/* The w-th four bytes of a chunk. */
DEVICE unsigned int operand_word(unsigned int chunk, unsigned int w, unsigned int width, unsigned int fraction, unsigned int bias, unsigned int bits)
{
    const unsigned long long word = mix64(chunk + 1ull);
    const unsigned int count = 32u / width;
    unsigned int held = 0;
    UNROLL for (unsigned int j = 0; j < 4u; ++j) /* so that it is unrolled */
        if (j < count) held |= operand_code(operand_element(chunk, word, w * count + j, bits), width, fraction, bias) << (width * j % 32u);
    return held;
}

#endif
