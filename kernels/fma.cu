/* The rate of the plain cores' multiply-adds, operands in registers.
 *
 *   x = x * x + c with c = -1.9, CHAINS numbers per thread, STEPS * rounds times over
 *
 * 2 operations per step and number, in FP16 two numbers at once; nothing is read, and 4 or 8 bytes per thread are written at the end. The issue
 * of FFMA, DFMA or HFMA2 should be the limit: the chains of a thread and the threads of a multiprocessor hide its latency.
 *
 * The map is chaotic on [-1.9, 1.71], into which it leads all of [-1, 1]: bits of the fraction change in every step, and one wrong bit grows until
 * nothing is right. A fused multiply-add rounds once, by IEEE 754, so the answer is known bit for bit: out[thread] is the exclusive or of the
 * thread's numbers. They start at mix64(lane * CHAINS + chain), its upper 24 bits as a number in [-1, 1); all warps do the same.
 */
#include "numbers.h"
#include "prelude.h"
#include "random.h"

#define CHAINS 8
#define STEPS 16

DEVICE float start_of(int chain)
{
    const unsigned long long word = mix64((threadIdx.x % 32) * (unsigned long long)CHAINS + (unsigned long long)chain);
    return (float)((int)(word >> 40) - 0x800000) * 0x1p-23f;
}

DEVICE float fused_f32(float a, float b, float c)
{
#if ON_DEVICE
    return __fmaf_rn(a, b, c);
#else
    return fmaf(a, b, c);
#endif
}

DEVICE double fused_f64(double a, double b, double c)
{
#if ON_DEVICE
    return __fma_rn(a, b, c);
#else
    return fma(a, b, c);
#endif
}

DEVICE unsigned long long double_bits(double value)
{
#if ON_DEVICE
    return (unsigned long long)__double_as_longlong(value);
#else
    union {
        double f;
        unsigned long long u;
    } both;
    both.f = value;
    return both.u;
#endif
}

/* The square of each of two FP16 numbers, and c. On the host by way of FP32, in which the square is exact; the sum is made in FP64, where it is
   exact too, and rounded once: to odd in FP32, which has bits to spare, and then to FP16. */
DEVICE unsigned int step_f16(unsigned int x, unsigned int c)
{
#if ON_DEVICE
    unsigned int d;
    asm("fma.rn.f16x2 %0, %1, %1, %2;" : "=r"(d) : "r"(x), "r"(c));
    return d;
#else
    unsigned int both = 0;
    for (int half = 0; half < 2; ++half) {
        const double value = f16_decode(x >> (16 * half) & 0xffffu);
        const double exact = value * value + (double)f16_decode(c >> (16 * half) & 0xffffu);
        float rounded = (float)exact;
        if ((double)rounded != exact) {
            const unsigned int up = (double)bits_float(float_bits(rounded) & 0x7fffffffu) > (exact < 0 ? -exact : exact);
            rounded = bits_float((float_bits(rounded) - up) | 1u);
        }
        both |= f16_encode(rounded) << (16 * half);
    }
    return both;
#endif
}

KERNEL fma_f32(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    float x[CHAINS];
    unsigned int bits = 0;
    UNROLL for (int i = 0; i < CHAINS; ++i) x[i] = start_of(i);
    ROLLED for (unsigned int round = 0; round < rounds; ++round) {
        UNROLL for (int step = 0; step < STEPS; ++step) {
            UNROLL for (int i = 0; i < CHAINS; ++i) x[i] = fused_f32(x[i], x[i], -1.9f);
        }
    }
    UNROLL for (int i = 0; i < CHAINS; ++i) bits ^= float_bits(x[i]);
    if (thread_index() < threads) out[thread_index()] = bits;
}

KERNEL fma_f64(unsigned int rounds, unsigned int threads, unsigned long long* out)
{
    double x[CHAINS];
    unsigned long long bits = 0;
    UNROLL for (int i = 0; i < CHAINS; ++i) x[i] = start_of(i);
    ROLLED for (unsigned int round = 0; round < rounds; ++round) {
        UNROLL for (int step = 0; step < STEPS; ++step) {
            UNROLL for (int i = 0; i < CHAINS; ++i) x[i] = fused_f64(x[i], x[i], -1.9);
        }
    }
    UNROLL for (int i = 0; i < CHAINS; ++i) bits ^= double_bits(x[i]);
    if (thread_index() < threads) out[thread_index()] = bits;
}

KERNEL fma_f16(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    const unsigned int c = f16_encode(-1.9f) * 0x10001u;
    unsigned int x[CHAINS];
    unsigned int bits = 0;
    UNROLL for (int i = 0; i < CHAINS; ++i) {
        const unsigned int start = f16_encode(start_of(i));
        x[i] = start | (start ^ 0x8001u) << 16; /* the other half begins a little beside, on the other side of 0 */
    }
    ROLLED for (unsigned int round = 0; round < rounds; ++round) {
        UNROLL for (int step = 0; step < STEPS; ++step) {
            UNROLL for (int i = 0; i < CHAINS; ++i) x[i] = step_f16(x[i], c);
        }
    }
    UNROLL for (int i = 0; i < CHAINS; ++i) bits ^= x[i];
    if (thread_index() < threads) out[thread_index()] = bits;
}
