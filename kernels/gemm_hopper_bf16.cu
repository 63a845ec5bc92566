/* C[m, n] = A[m, k] * B[n, k]^T in BF16 with FP32 sums, C in BF16; all row-major. sm_90a only.
 *
 * 2 m n k operations; at least 2 (m k + n k + m n) bytes from and to device memory. From a few thousand in every direction the tensor cores
 * should be the limit, at the rate of wgmma: all of the chip. See hopper_gemm.h for how, hopper_index.h for where.
 *
 * One kernel per tile: the large ones for large products, with two blocks in a cluster where there is more than one row of tiles; the small
 * ones where large tiles would leave multiprocessors idle. `a`, `b` and `c` describe the matrices, with boxes of one line (64 elements) and
 * ROWS, COLUMNS / CLUSTER and 64 rows. `given_up` has to be 0 before; what is in it afterwards is 0 if all went well.
 *
 * k and n are multiples of 8, m is free. Grid: as many blocks as there are multiprocessors, or fewer; a multiple of the cluster.
 */
#include "hopper_gemm.h"

struct Bf16 {
    enum : unsigned int { ELEMENT = 2, WIDEST = 256, PROMOTES = 0 };
    WGMMAS("k16.f32.bf16.bf16", ", 0, 0")
};

#define CLUSTERED __cluster_dims__(2, 1, 1)
KERNEL gemm_hopper_bf16_128x256_c2(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                   unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<Bf16, t128x256_c2>(a, b, c, m, n, k, given_up);
}

KERNEL gemm_hopper_bf16_256x128_c2(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                   unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<Bf16, t256x128_c2>(a, b, c, m, n, k, given_up);
}

#undef CLUSTERED
#define CLUSTERED
KERNEL gemm_hopper_bf16_128x128(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                                unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<Bf16, t128x128>(a, b, c, m, n, k, given_up);
}

KERNEL gemm_hopper_bf16_64x128(const __grid_constant__ tensor_map a, const __grid_constant__ tensor_map b, const __grid_constant__ tensor_map c,
                               unsigned int m, unsigned int n, unsigned int k, unsigned int* given_up)
{
    hopper_gemm<Bf16, t64x128>(a, b, c, m, n, k, given_up);
}
