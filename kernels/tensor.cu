/* The issue rate of the tensor cores alone, operands in registers: mma.sync from sm_80 on. CUDA only.
 *
 *   D = A * B + D, CHAINS accumulators per warp, STEPS * rounds times over (STEPS is 1 in FP64 and 4 elsewhere)
 *
 * 2 m n k operations per mma.sync (shapes below); nothing is read, and 4 bytes per thread are written at the end (of `threads`). The tensor cores' pipe should be
 * the limit: eight independent accumulators per warp and many warps hide its latency. Hopper and the large Blackwell chips reach their full rate
 * by other instructions (wgmma, tcgen05) only.
 *
 *   bf16, f16  m16n8k16, FP32 sums   tf32  m16n8k8, FP32 sums   int8  m16n8k32, INT32 sums   f64  m8n8k4
 *
 * One factor is random, the other constant (FACTOR): A is random in the even chains and B in the odd ones. So the sum of all elements of D is
 * known whatever element of a matrix a register holds: n * FACTOR * (sum of A) or m * FACTOR * (sum of B) for every mma.sync. The numbers are whole
 * and small (tensor_element.h), so that all sums are exact in any order: at most 128 * 16 * FACTOR a step, below 2^24 for 2048 steps.
 *
 *   out[thread] = sum of the thread's elements of all D, as a 32-bit whole number, modulo 2^32
 */
#include "tensor_element.h"

#define FACTOR 3

DEVICE unsigned int half_bits(int value)
{
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"((float)value));
    return bits;
}

/* How `count` elements of a format become a register, the first in its low end. */
struct Bf16 {
    typedef unsigned int Register;
    typedef float Sum;
    static constexpr int M = 16, N = 8, PER_REGISTER = 2, A = 4, B = 2, D = 4, STEPS = 4;
    static __device__ __forceinline__ unsigned int one(int value) { return float_bits((float)value) >> 16; }
    static __device__ __forceinline__ void mma(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

struct F16 : Bf16 {
    static __device__ __forceinline__ unsigned int one(int value) { return half_bits(value); }
    static __device__ __forceinline__ void mma(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

struct Tf32 : Bf16 {
    static constexpr int PER_REGISTER = 1;
    static __device__ __forceinline__ unsigned int one(int value) { return float_bits((float)value); }
    static __device__ __forceinline__ void mma(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

struct Int8 : Bf16 {
    typedef int Sum;
    static constexpr int PER_REGISTER = 4;
    static __device__ __forceinline__ unsigned int one(int value) { return (unsigned int)value & 0xffu; }
    static __device__ __forceinline__ void mma(int (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

struct F64 {
    typedef double Register;
    typedef double Sum;
    static constexpr int M = 8, N = 8, PER_REGISTER = 1, A = 1, B = 1, D = 2, STEPS = 1;
    static __device__ __forceinline__ void mma(double (&d)[2], const double (&a)[1], const double (&b)[1])
    {
        asm("mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%0, %1}, {%2}, {%3}, {%0, %1};"
            : "+d"(d[0]), "+d"(d[1])
            : "d"(a[0]), "d"(b[0]));
    }
};

/* Register number r of the random or of the constant factor. */
template<class T>
__device__ __forceinline__ unsigned int factor(T, unsigned int, int r, bool random)
{
    unsigned int held = 0;
    UNROLL for (int i = 0; i < T::PER_REGISTER; ++i) {
        held |= T::one(random ? element(r * T::PER_REGISTER + i) : FACTOR) << (32 / T::PER_REGISTER * i % 32);
    }
    return held;
}

__device__ __forceinline__ double factor(F64, double, int r, bool random)
{
    return random ? element(r) : FACTOR;
}

template<class T>
__device__ __forceinline__ void issue(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    typedef typename T::Register Register;
    typename T::Sum d[CHAINS][T::D];
    Register a[2][T::A], b[2][T::B];
    UNROLL for (int kind = 0; kind < 2; ++kind) {
        UNROLL for (int r = 0; r < T::A; ++r) a[kind][r] = factor(T(), Register(), r, kind == 0);
        UNROLL for (int r = 0; r < T::B; ++r) b[kind][r] = factor(T(), Register(), r, kind == 1);
    }
    UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
        UNROLL for (int i = 0; i < T::D; ++i) d[chain][i] = 0;
    }
    ROLLED for (unsigned int round = 0; round < rounds; ++round) {
        UNROLL for (int step = 0; step < T::STEPS; ++step) {
            UNROLL for (int chain = 0; chain < CHAINS; ++chain) T::mma(d[chain], a[chain % 2], b[chain % 2]);
        }
    }
    unsigned int sum = 0;
    UNROLL for (int chain = 0; chain < CHAINS; ++chain) {
        UNROLL for (int i = 0; i < T::D; ++i) sum += (unsigned int)(int)d[chain][i];
    }
    if (thread_index() < threads) out[thread_index()] = sum;
}

KERNEL tensor_bf16(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Bf16>(rounds, threads, out);
}

KERNEL tensor_f16(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<F16>(rounds, threads, out);
}

KERNEL tensor_tf32(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Tf32>(rounds, threads, out);
}

KERNEL tensor_int8(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Int8>(rounds, threads, out);
}

KERNEL tensor_f64(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<F64>(rounds, threads, out);
}
