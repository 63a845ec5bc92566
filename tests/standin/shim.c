/* The position of the thread that a host thread plays, and the calls that set it. */
#include "host_shim.h"

_Thread_local shim_position threadIdx;
_Thread_local shim_position blockIdx;
_Thread_local shim_position blockDim;
_Thread_local shim_position gridDim;

void standin_shape(unsigned int blocks, unsigned int threads)
{
    gridDim = (shim_position){blocks, 1, 1};
    blockDim = (shim_position){threads, 1, 1};
}

void standin_position(unsigned int block, unsigned int thread)
{
    blockIdx = (shim_position){block, 0, 0};
    threadIdx = (shim_position){thread, 0, 0};
}
