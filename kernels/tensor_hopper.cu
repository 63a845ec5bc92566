/* The issue rate of Hopper's tensor cores by wgmma, operands in shared memory: all of the chip's rate, of which mma.sync reaches a part. sm_90a only.
 *
 *   D = A * B^T + D, 64 x 256 per group of four warps, STEPS times a round; k is 32 bytes: 16 in BF16 and FP16, 8 in TF32, 32 in FP8 and INT8
 *
 * 2 * 64 * 256 k operations per wgmma. Nothing is read from device memory and 4 bytes per thread are written at the end. The tensor cores should
 * be the limit: 64 x 256 is the largest shape, of which each takes 10 KiB from shared memory, less than it gives in that time; the sums of one
 * group take half of a thread's registers, so two groups share a multiprocessor and one computes while the other drains.
 *
 * Launched in blocks of two groups, one per multiprocessor. All operands are random whole numbers whose products are known, see wgmma_operands.h:
 * every element of D grows by 2 a step. The tensor cores keep some 14 bits of FP8's sums, so after SEGMENT rounds, of at most 2^11, they are
 * added up in registers and D begins anew. The groups do that in turns: every second one's first segment is half as long.
 *
 *   out[thread] = sum of the thread's 128 elements of D over all segments, as a 32-bit whole number, modulo 2^32
 */
#include "prelude.h"

#include "hopper_async.h"
#include "hopper_index.h"
#include "wgmma_operands.h"

#define ELEMENTS 128

#define WHOLE_8(d, i)                                                                                                        \
    "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7])
#define WHOLE_32(d, i) WHOLE_8(d, i), WHOLE_8(d, i + 8), WHOLE_8(d, i + 16), WHOLE_8(d, i + 24)
#define WHOLE_128(d, i) WHOLE_32(d, i), WHOLE_32(d, i + 32), WHOLE_32(d, i + 64), WHOLE_32(d, i + 96)

/* A format: how its elements are written, and its wgmma of 256 columns. */
#define FORMAT_LAYOUT(name, width, fraction, bias, bits) \
    struct name##_layout {                               \
        enum : unsigned int { WIDTH = width, FRACTION = fraction, BIAS = bias, BITS = bits }; \
    };
WGMMA_FORMATS(FORMAT_LAYOUT)

struct Bf16 : bf16_layout {
    typedef float Sum;
    WGMMA(128, "128", "129", "130", "n256", "k16.f32.bf16.bf16", ", 0, 0")
};

struct F16 : f16_layout {
    typedef float Sum;
    WGMMA(128, "128", "129", "130", "n256", "k16.f32.f16.f16", ", 0, 0")
};

struct Tf32 : tf32_layout {
    typedef float Sum;
    WGMMA(128, "128", "129", "130", "n256", "k8.f32.tf32.tf32", "")
};

struct E4m3 : e4m3_layout {
    typedef float Sum;
    WGMMA(128, "128", "129", "130", "n256", "k32.f32.e4m3.e4m3", "")
};

struct E5m2 : e5m2_layout {
    typedef float Sum;
    WGMMA(128, "128", "129", "130", "n256", "k32.f32.e5m2.e5m2", "")
};

struct Int8 : int8_layout {
    typedef int Sum;
    static __device__ __forceinline__ void run(int (&d)[ELEMENTS], unsigned long long a, unsigned long long b, unsigned int add)
    {
        asm volatile("{\n.reg .pred add;\nsetp.ne.u32 add, %130, 0;\nwgmma.mma_async.sync.aligned.m64n256k32.s32.s8.s8 {" NAMES_128
                     "}, %128, %129, add;\n}"
                     : WHOLE_128(d, 0)
                     : "l"(a), "l"(b), "r"(add));
    }
};

DEVICE void pin(int (&sums)[ELEMENTS])
{
    UNROLL for (int i = 0; i < ELEMENTS; ++i) asm volatile("" : "+r"(sums[i])::"memory");
}

template <class Format>
DEVICE void issue(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    __shared__ __align__(ATOM_BYTES) uint4 operands[OPERAND_CHUNKS];
    ROLLED for (unsigned int chunk = threadIdx.x; chunk < OPERAND_CHUNKS; chunk += blockDim.x) {
        unsigned int words[4];
        UNROLL for (unsigned int w = 0; w < 4; ++w) words[w] = operand_word(chunk, w, Format::WIDTH, Format::FRACTION, Format::BIAS, Format::BITS);
        operands[chunk] = make_uint4(words[0], words[1], words[2], words[3]);
    }
    fence_for_copies();
    __syncthreads();

    const unsigned int shared = (unsigned int)__cvta_generic_to_shared(operands);
    /* The same in all threads of a warp, and known to be to the compiler. */
    const unsigned int group = __shfl_sync(0xffffffffu, threadIdx.x / WARPGROUP, 0);
    unsigned int left = rounds, length = group % 2u == 0u ? SEGMENT : SEGMENT / 2u, total = 0;
    typename Format::Sum sums[ELEMENTS];
    ROLLED while (left != 0u) {
        length = length < left ? length : left;
        left -= length;
        ROLLED for (unsigned int round = 0; round < length; ++round) {
            wgmma_fence();
            UNROLL for (unsigned int step = 0; step < ROUND_STEPS; ++step)
                Format::run(sums, matrix_descriptor(shared + a_step(step)), matrix_descriptor(shared + b_step(step)), round | step);
            wgmma_close();
            /* The round before is done when only this one is open. */
            wgmma_wait<1>();
        }
        wgmma_wait<0>();
        pin(sums);
        typename Format::Sum few[4] = {0, 0, 0, 0};
        UNROLL for (int i = 0; i < ELEMENTS; ++i) few[i % 4] += sums[i];
        UNROLL for (int i = 0; i < 4; ++i) total += (unsigned int)(int)few[i];
        length = SEGMENT;
    }
    if (thread_index() < threads) out[thread_index()] = total;
}

KERNEL tensor_hopper_bf16(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Bf16>(rounds, threads, out);
}

KERNEL tensor_hopper_f16(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<F16>(rounds, threads, out);
}

KERNEL tensor_hopper_tf32(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Tf32>(rounds, threads, out);
}

KERNEL tensor_hopper_e4m3(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<E4m3>(rounds, threads, out);
}

KERNEL tensor_hopper_e5m2(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<E5m2>(rounds, threads, out);
}

KERNEL tensor_hopper_int8(unsigned int rounds, unsigned int threads, unsigned int* out)
{
    issue<Int8>(rounds, threads, out);
}
