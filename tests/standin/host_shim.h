/* What a plain C compiler lacks to compile the simple kernels: the position of a thread in a launch, and the short vectors.
 *
 * The position is thread-local, so that several host threads can each play a part of one launch. It is set by shim.c. */
#ifndef GPU_ASSAY_HOST_SHIM_H
#define GPU_ASSAY_HOST_SHIM_H

typedef struct {
    unsigned int x, y, z;
} shim_position;

extern _Thread_local shim_position threadIdx;
extern _Thread_local shim_position blockIdx;
extern _Thread_local shim_position blockDim;
extern _Thread_local shim_position gridDim;

typedef struct {
    _Alignas(16) unsigned int x;
    unsigned int y, z, w;
} uint4;

typedef struct {
    _Alignas(16) float x;
    float y, z, w;
} float4;

#endif
