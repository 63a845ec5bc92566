/* C[m, n] = A[m, k] * B[n, k]^T in BF16 with FP32 sums, C in BF16; all row-major. From sm_80 on.
 *
 * 2 m n k operations; at least 2 (m k + n k + m n) bytes from and to device memory. From a few thousand in every direction the tensor cores
 * should be the limit, at the rate of mma.sync: all of an Ampere or Ada chip, about two thirds of Hopper, whose full rate needs wgmma.
 *
 * k and n are multiples of 8, m is free. Grid: ceil(m / tile_m) * ceil(n / tile_n) blocks, in one dimension.
 *
 * launch: block=256 tile_m=128 tile_n=256 stages=4 shared=98304
 */
#include "gemm_tile.h"

struct MmaBf16 {
    static constexpr bool PREFETCH = true;
    static __device__ __forceinline__ void run(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

KERNEL gemm_bf16(const unsigned short* a, const unsigned short* b, unsigned short* c, unsigned int m, unsigned int n, unsigned int k)
{
    gemm_tile<MmaBf16>((const unsigned char*)a, (const unsigned char*)b, c, m, n, k / 8);
}
