/* What prelude.h asks of the host: positions, set before every call of a kernel, and the two vector types. */
#ifndef HOST_SHIM_H
#define HOST_SHIM_H

typedef struct {
    unsigned int x, y, z;
} position;

extern _Thread_local position threadIdx, blockIdx, blockDim, gridDim;

typedef struct {
    _Alignas(16) unsigned int x;
    unsigned int y, z, w;
} uint4;

typedef struct {
    _Alignas(16) float x;
    float y, z, w;
} float4;

#endif
