/* The STREAM kernels (McCalpin), plus pure reading and pure writing, with 16-byte accesses.
 *
 *   read    sink ^= a         16 bytes moved per vector      write   a = value         16
 *   copy    c = a             32                             scale   b = s * c         32
 *   add     c = a + b         48                             triad   a = b + s * c     48
 *
 * No more than one operation per 8 bytes: device memory bandwidth should be the only limit, and arrays several times larger than the
 * L2 make it so. Each block takes tiles of consecutive vectors; a thread issues all loads of its tile before it uses the first, so that
 * enough bytes are in flight to cover the memory's latency (Little's law: bandwidth times latency). Any grid is right; one that fills
 * every multiprocessor is fast. Read and write mix costs the memory turnarounds, which is why copy is slower than read.
 *
 * stream_read's answer can be checked: sink[0..4] ^= the xor of the first, second, third and fourth words of all vectors.
 */
#include "prelude.h"

/* Vectors per thread and tile. */
#define READ_DEPTH 8
#define DEPTH 4

#define FOR_EACH_TILE(base, depth, vectors)                                                                                             \
    for (unsigned long long base = (unsigned long long)blockIdx.x * blockDim.x * (depth); base < (vectors);                             \
         base += (unsigned long long)gridDim.x * blockDim.x * (depth))

/* Whether the tile that starts at base is complete; only the last one of an array may not be. */
DEVICE int is_full(unsigned long long base, unsigned int depth, unsigned long long vectors)
{
    return base + (unsigned long long)blockDim.x * depth <= vectors;
}

DEVICE void fold(uint4* sum, float4 value)
{
    sum->x ^= float_bits(value.x);
    sum->y ^= float_bits(value.y);
    sum->z ^= float_bits(value.z);
    sum->w ^= float_bits(value.w);
}

DEVICE float4 scaled(float4 c, float s)
{
    c.x *= s;
    c.y *= s;
    c.z *= s;
    c.w *= s;
    return c;
}

DEVICE float4 added(float4 a, float4 b)
{
    a.x += b.x;
    a.y += b.y;
    a.z += b.z;
    a.w += b.w;
    return a;
}

/* b + s * c with one rounding. */
DEVICE float4 fused(float4 b, float4 c, float s)
{
    b.x = fmaf(s, c.x, b.x);
    b.y = fmaf(s, c.y, b.y);
    b.z = fmaf(s, c.z, b.z);
    b.w = fmaf(s, c.w, b.w);
    return b;
}

KERNEL stream_read(const float4* a, unsigned long long vectors, unsigned int* sink)
{
    uint4 sum;
    sum.x = sum.y = sum.z = sum.w = 0;
    FOR_EACH_TILE (base, READ_DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, READ_DEPTH, vectors)) {
            float4 held[READ_DEPTH];
            UNROLL for (int j = 0; j < READ_DEPTH; ++j) held[j] = a[i + j * blockDim.x];
            UNROLL for (int j = 0; j < READ_DEPTH; ++j) fold(&sum, held[j]);
        } else {
            for (; i < vectors; i += blockDim.x) fold(&sum, a[i]);
        }
    }
    block_xor(sink, sum);
}

KERNEL stream_write(float4* a, unsigned long long vectors, float value)
{
    float4 held;
    held.x = held.y = held.z = held.w = value;
    FOR_EACH_TILE (base, DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, DEPTH, vectors)) {
            UNROLL for (int j = 0; j < DEPTH; ++j) a[i + j * blockDim.x] = held;
        } else {
            for (; i < vectors; i += blockDim.x) a[i] = held;
        }
    }
}

KERNEL stream_copy(const float4* a, float4* c, unsigned long long vectors)
{
    FOR_EACH_TILE (base, DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, DEPTH, vectors)) {
            float4 held[DEPTH];
            UNROLL for (int j = 0; j < DEPTH; ++j) held[j] = a[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) c[i + j * blockDim.x] = held[j];
        } else {
            for (; i < vectors; i += blockDim.x) c[i] = a[i];
        }
    }
}

KERNEL stream_scale(const float4* c, float4* b, unsigned long long vectors, float s)
{
    FOR_EACH_TILE (base, DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, DEPTH, vectors)) {
            float4 held[DEPTH];
            UNROLL for (int j = 0; j < DEPTH; ++j) held[j] = c[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) b[i + j * blockDim.x] = scaled(held[j], s);
        } else {
            for (; i < vectors; i += blockDim.x) b[i] = scaled(c[i], s);
        }
    }
}

KERNEL stream_add(const float4* a, const float4* b, float4* c, unsigned long long vectors)
{
    FOR_EACH_TILE (base, DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, DEPTH, vectors)) {
            float4 left[DEPTH], right[DEPTH];
            UNROLL for (int j = 0; j < DEPTH; ++j) left[j] = a[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) right[j] = b[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) c[i + j * blockDim.x] = added(left[j], right[j]);
        } else {
            for (; i < vectors; i += blockDim.x) c[i] = added(a[i], b[i]);
        }
    }
}

KERNEL stream_triad(const float4* b, const float4* c, float4* a, unsigned long long vectors, float s)
{
    FOR_EACH_TILE (base, DEPTH, vectors) {
        unsigned long long i = base + threadIdx.x;
        if (is_full(base, DEPTH, vectors)) {
            float4 left[DEPTH], right[DEPTH];
            UNROLL for (int j = 0; j < DEPTH; ++j) left[j] = b[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) right[j] = c[i + j * blockDim.x];
            UNROLL for (int j = 0; j < DEPTH; ++j) a[i + j * blockDim.x] = fused(left[j], right[j], s);
        } else {
            for (; i < vectors; i += blockDim.x) a[i] = fused(b[i], c[i], s);
        }
    }
}
