/* C[m, n] = A[m, k] * B[n, k]^T in FP8 (e4m3 or e5m2) with FP32 sums, C in BF16; all row-major. From sm_89 on.
 *
 * 2 m n k operations; at least m k + n k + 2 m n bytes from and to device memory. From a few thousand in every direction the tensor cores
 * should be the limit, at the rate of mma.sync. On sm_89 and sm_120a that is the FP8 rate (QMMA). Hopper and the large Blackwell chips
 * (sm_90a, sm_100a, sm_103a) have no FP8 in mma.sync: there the compiler converts the operands to FP16, which is exact, and multiplies at
 * the FP16 rate (HMMA). Their FP8 rate needs wgmma and tcgen05; what this kernel measures on them is not the chip's FP8 speed.
 *
 * k is a multiple of 16, n of 8, m is free. Grid: ceil(m / tile_m) * ceil(n / tile_n) blocks, in one dimension.
 *
 * launch: block=256 tile_m=128 tile_n=256 stages=4 shared=98304
 */
#include "gemm_tile.h"

#if defined(__CUDA_ARCH__) && (__CUDA_ARCH__ / 100 == 9 || __CUDA_ARCH__ / 100 == 10)
#define CONVERTED 1 /* the converted operands need the registers of the second set of fragments */
#else
#define CONVERTED 0
#endif

struct MmaE4m3 {
    static constexpr bool PREFETCH = !CONVERTED;
    static __device__ __forceinline__ void run(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

struct MmaE5m2 {
    static constexpr bool PREFETCH = !CONVERTED;
    static __device__ __forceinline__ void run(float (&d)[4], const unsigned int (&a)[4], const unsigned int (&b)[2])
    {
        asm("mma.sync.aligned.m16n8k32.row.col.f32.e5m2.e5m2.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
            : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
            : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
    }
};

KERNEL gemm_e4m3(const unsigned char* a, const unsigned char* b, unsigned short* c, unsigned int m, unsigned int n, unsigned int k)
{
    gemm_tile<MmaE4m3>(a, b, c, m, n, k / 16);
}

KERNEL gemm_e5m2(const unsigned char* a, const unsigned char* b, unsigned short* c, unsigned int m, unsigned int n, unsigned int k)
{
    gemm_tile<MmaE5m2>(a, b, c, m, n, k / 16);
}
