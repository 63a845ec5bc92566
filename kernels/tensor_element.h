/* The random factor of the kernels that measure the tensor cores alone. CUDA only.
 *
 *   element(lane, i) = byte i % 4 of mix64(lane * 64 + i / 4), less 128       i counts the elements that a lane holds of the random factor
 */
#ifndef GPU_ASSAY_TENSOR_ELEMENT_H
#define GPU_ASSAY_TENSOR_ELEMENT_H
#include "prelude.h"
#include "random.h"

/* Accumulators of a warp that do not wait for each other. */
#define CHAINS 8

/* Element i of the random factor that this lane holds. */
DEVICE int element(int i)
{
    return (int)(mix64((threadIdx.x % 32) * 64ull + (unsigned long long)(i / 4)) >> (8 * (i % 4)) & 0xff) - 128;
}

#endif
