/* C[m, n] = A[m, k] * B[n, k]^T in FP8 (e4m3 or e5m2) with FP32 sums, C in BF16; all row-major. sm_90a only.
 *
 * 2 m n k operations; at least m k + n k + 2 m n bytes from and to device memory. From a few thousand in every direction the tensor cores
 * should be the limit, at the rate of wgmma: all of the chip. See hopper_gemm.h for how, hopper_index.h for where.
 *
 * The tensor cores keep about 14 bits of the sums of FP8 products. So every 128 products their sum is added to one in FP32, which takes
 * registers and turns of the other units: while one consumer adds, the other multiplies.
 *
 * One kernel per tile, as in gemm_hopper_bf16.cu; of e5m2, which no probe times, only the largest. `a`, `b` and `c` describe the matrices, with boxes of one line (128 elements; 64 of C) and
 * ROWS, COLUMNS / CLUSTER and 64 rows. `given_up` has to be 0 before; what is in it afterwards is 0 if all went well.
 *
 * k is a multiple of 16, n of 8, m is free. Grid: as many blocks as there are multiprocessors, or fewer; a multiple of the cluster.
 */
#include "hopper_gemm.h"

struct E4m3 {
    enum : unsigned int { ELEMENT = 1, WIDEST = 128, PROMOTES = 1 };
    WGMMAS("k32.f32.e4m3.e4m3", "")
};

struct E5m2 {
    enum : unsigned int { ELEMENT = 1, WIDEST = 128, PROMOTES = 1 };
    WGMMAS("k32.f32.e5m2.e5m2", "")
};

#define CLUSTERED __cluster_dims__(2, 1, 1)
KERNEL gemm_hopper_e4m3_128x256_c2(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                   unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<E4m3, t128x256_c2>(a, b, c, m, n, k, given_up);
}

KERNEL gemm_hopper_e5m2_128x256_c2(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                   unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<E5m2, t128x256_c2>(a, b, c, m, n, k, given_up);
}

#undef CLUSTERED
#define CLUSTERED
KERNEL gemm_hopper_e4m3_128x128(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<E4m3, t128x128>(a, b, c, m, n, k, given_up);
}

KERNEL gemm_hopper_e4m3_64x128(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                               unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<E4m3, t64x128>(a, b, c, m, n, k, given_up);
}
