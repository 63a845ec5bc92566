/* What every kernel starts from: the few words in which CUDA C++ and C11 differ.
 *
 * The simple kernels (fill, stream, cache, chase, check, gate, empty) are written in the subset that both languages share, so that a
 * test can compile the very same file with a plain C compiler and run it without a GPU. Under a CUDA compiler this header maps its
 * names to device code. Under a C compiler it includes `host_shim.h`, found on the include path, which has to give threadIdx,
 * blockIdx, blockDim, gridDim (with unsigned members x, y, z), uint4 and float4; a launch is then a loop over blocks and threads.
 * All the rest, atomics and clocks included, is defined here for both sides.
 *
 * A kernel is declared `KERNEL name(ARGUMENTS)`, its arguments are pointers, unsigned int, unsigned long long, float or double, all
 * spelled out: a test reads these declarations and compares them with the argument lists on the host side.
 *
 * Cooperation between threads is only found in block_xor, block_add and warp_add: on the device they reduce through registers and
 * shared memory so that one atomic is enough for a block, on the host every thread adds its own part. The result is the same.
 */
#ifndef GPU_ASSAY_PRELUDE_H
#define GPU_ASSAY_PRELUDE_H

#if defined(__CUDACC__) || defined(__CUDACC_RTC__)
#define ON_DEVICE 1
#define KERNEL extern "C" __global__ void
#define DEVICE static __device__ __forceinline__
#define UNROLL _Pragma("unroll")
/* For loops that are to stay loops: code that is not timed should be short. */
#define ROLLED _Pragma("unroll 1")
typedef ulonglong2 words2;
#else
#define ON_DEVICE 0
#include "host_shim.h"
#include <math.h>
#include <time.h>
#define KERNEL void
#define DEVICE static inline
#define UNROLL
#define ROLLED
/* Two 64-bit words that are read and written with one 16-byte access. */
typedef struct {
    _Alignas(16) unsigned long long x;
    unsigned long long y;
} words2;
#endif

/* --- position ------------------------------------------------------------------------------------------------------------- */

/* Number of this thread in the whole launch (one-dimensional launches only). */
DEVICE unsigned long long thread_index(void)
{
    return (unsigned long long)blockIdx.x * blockDim.x + threadIdx.x;
}

/* Number of threads in the whole launch. */
DEVICE unsigned long long thread_count(void)
{
    return (unsigned long long)gridDim.x * blockDim.x;
}

/* --- bits ------------------------------------------------------------------------------------------------------------------ */

DEVICE unsigned int float_bits(float value)
{
#if ON_DEVICE
    return __float_as_uint(value);
#else
    union {
        float f;
        unsigned int u;
    } both;
    both.f = value;
    return both.u;
#endif
}

DEVICE float bits_float(unsigned int bits)
{
#if ON_DEVICE
    return __uint_as_float(bits);
#else
    union {
        unsigned int u;
        float f;
    } both;
    both.u = bits;
    return both.f;
#endif
}

/* --- loads with a chosen path ------------------------------------------------------------------------------------------------ */

/* Reads 16 bytes from L2 without keeping them in L1. Volatile, so that a repeated sweep is really repeated. */
DEVICE uint4 load_l2_16(const float4* address)
{
    uint4 value;
#if ON_DEVICE
    asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                 : "l"(address));
#else
    value.x = float_bits(address->x);
    value.y = float_bits(address->y);
    value.z = float_bits(address->z);
    value.w = float_bits(address->w);
#endif
    return value;
}

/* Reads 4 bytes from L2 without keeping them in L1. */
DEVICE unsigned int load_l2_4(const unsigned int* address)
{
#if ON_DEVICE
    unsigned int value;
    asm volatile("ld.global.cg.u32 %0, [%1];" : "=r"(value) : "l"(address));
    return value;
#else
    return *address;
#endif
}

/* Reads 4 bytes the normal way, through L1. */
DEVICE unsigned int load_l1_4(const unsigned int* address)
{
#if ON_DEVICE
    unsigned int value;
    asm volatile("ld.global.u32 %0, [%1];" : "=r"(value) : "l"(address));
    return value;
#else
    return *address;
#endif
}

/* --- atomics, relaxed -------------------------------------------------------------------------------------------------------- */

DEVICE void atomic_xor_u32(unsigned int* target, unsigned int value)
{
#if ON_DEVICE
    atomicXor(target, value);
#else
    __atomic_fetch_xor(target, value, __ATOMIC_RELAXED);
#endif
}

DEVICE void atomic_add_u32(unsigned int* target, unsigned int value)
{
#if ON_DEVICE
    atomicAdd(target, value);
#else
    __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
#endif
}

DEVICE void atomic_add_u64(unsigned long long* target, unsigned long long value)
{
#if ON_DEVICE
    atomicAdd(target, value);
#else
    __atomic_fetch_add(target, value, __ATOMIC_RELAXED);
#endif
}

DEVICE void atomic_min_u64(unsigned long long* target, unsigned long long value)
{
#if ON_DEVICE
    atomicMin(target, value);
#else
    unsigned long long seen = __atomic_load_n(target, __ATOMIC_RELAXED);
    while (value < seen && !__atomic_compare_exchange_n(target, &seen, value, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {
    }
#endif
}

DEVICE void atomic_add_f64(double* target, double value)
{
#if ON_DEVICE
    atomicAdd(target, value);
#else
    double seen, wanted;
    __atomic_load(target, &seen, __ATOMIC_RELAXED);
    do {
        wanted = seen + value;
    } while (!__atomic_compare_exchange(target, &seen, &wanted, 1, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
#endif
}

/* --- sums over a block or a warp --------------------------------------------------------------------------------------------- */

#if ON_DEVICE
DEVICE unsigned int warp_xor(unsigned int value)
{
    UNROLL for (int distance = 16; distance > 0; distance /= 2) value ^= __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}

DEVICE unsigned int warp_sum(unsigned int value)
{
    UNROLL for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    return value;
}
#endif

/* sink[0..4] ^= the four words of every thread of the block. Every thread calls it once, at its end; the block is a multiple of 32. */
DEVICE void block_xor(unsigned int* sink, uint4 value)
{
#if ON_DEVICE
    __shared__ unsigned int partial[4];
    if (threadIdx.x < 4) partial[threadIdx.x] = 0;
    value.x = warp_xor(value.x);
    value.y = warp_xor(value.y);
    value.z = warp_xor(value.z);
    value.w = warp_xor(value.w);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        atomicXor(&partial[0], value.x);
        atomicXor(&partial[1], value.y);
        atomicXor(&partial[2], value.z);
        atomicXor(&partial[3], value.w);
    }
    __syncthreads();
    if (threadIdx.x < 4) atomic_xor_u32(sink + threadIdx.x, partial[threadIdx.x]);
#else
    atomic_xor_u32(sink + 0, value.x);
    atomic_xor_u32(sink + 1, value.y);
    atomic_xor_u32(sink + 2, value.z);
    atomic_xor_u32(sink + 3, value.w);
#endif
}

/* sink[0..4] += the four words of every thread of the block, modulo 2^32. Same conditions as block_xor. */
DEVICE void block_add(unsigned int* sink, uint4 value)
{
#if ON_DEVICE
    __shared__ unsigned int partial[4];
    if (threadIdx.x < 4) partial[threadIdx.x] = 0;
    value.x = warp_sum(value.x);
    value.y = warp_sum(value.y);
    value.z = warp_sum(value.z);
    value.w = warp_sum(value.w);
    __syncthreads();
    if (threadIdx.x % 32 == 0) {
        atomicAdd(&partial[0], value.x);
        atomicAdd(&partial[1], value.y);
        atomicAdd(&partial[2], value.z);
        atomicAdd(&partial[3], value.w);
    }
    __syncthreads();
    if (threadIdx.x < 4) atomic_add_u32(sink + threadIdx.x, partial[threadIdx.x]);
#else
    atomic_add_u32(sink + 0, value.x);
    atomic_add_u32(sink + 1, value.y);
    atomic_add_u32(sink + 2, value.z);
    atomic_add_u32(sink + 3, value.w);
#endif
}

/* *target += the values of the 32 threads of a warp, which all name the same target. The block is a multiple of 32. */
DEVICE void warp_add(double* target, double value)
{
#if ON_DEVICE
    UNROLL for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
    if (threadIdx.x % 32 == 0) atomic_add_f64(target, value);
#else
    atomic_add_f64(target, value);
#endif
}

/* --- clocks ------------------------------------------------------------------------------------------------------------------ */

#if !ON_DEVICE
DEVICE unsigned long long host_nanoseconds(void)
{
    struct timespec now;
    timespec_get(&now, TIME_UTC);
    return (unsigned long long)now.tv_sec * 1000000000ull + (unsigned long long)now.tv_nsec;
}
#endif

/* Nanoseconds of a clock that all processors of the GPU share. */
DEVICE unsigned long long global_nanoseconds(void)
{
#if ON_DEVICE
    unsigned long long now;
    asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now)::"memory");
    return now;
#else
    return host_nanoseconds();
#endif
}

/* Clock cycles of this multiprocessor; on the host nanoseconds, as if it ran at 1 GHz. */
DEVICE unsigned long long cycles_now(void)
{
#if ON_DEVICE
    unsigned long long now;
    asm volatile("mov.u64 %0, %%clock64;" : "=l"(now)::"memory");
    return now;
#else
    return host_nanoseconds();
#endif
}

#endif
