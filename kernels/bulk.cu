/* Streams through device memory by bulk copies: the chip's own copier between global and shared memory, asked by one thread per block.
 *
 *   bulk_read    checksum ^= a[i]      1 array of 16 * vectors bytes read
 *   bulk_write   a[i] = value          1 array written
 *   bulk_copy    c[i] = a[i]           1 read, 1 written
 *
 * The loads and stores of stream.cu go through registers, 16 bytes per thread and instruction. Here one instruction moves a whole tile of
 * 8 KiB (cp.async.bulk, from compute capability 9.0 on) and needs neither registers nor threads while it is under way. Limited by device
 * memory; five tiles of 8 KiB in each of five blocks are 200 KiB in flight per multiprocessor.
 *
 * Tile number k of a block is tile blockIdx.x + k * gridDim.x of the array and lies in place k % STAGES of its shared memory. A place is
 * loaded again only when the threads have read it (bulk_read) or the copier has (bulk_copy). A barrier per place tells when a load is
 * complete: the n-th load into it ends its n-th phase. Waiting for one has a limit of two seconds, after which the block gives up and
 * leaves a wrong result for the check to find: no mistake in here can hang the device.
 *
 * On the host a load is a copy that ends its barrier's phase at once, and every thread of a block that works together does the copier's
 * part too. A wait for a phase that nothing ended gives up at once.
 *
 * Any block that is a multiple of 32 and any grid are right; the shared memory is 40 KiB and some words.
 */
#include "prelude.h"

/* 16-byte vectors of a tile, and tiles that a block has room for. */
#define TILE 512
#define STAGES 5

/* Stores that bulk_copy lets run before it loads into the place of the oldest. */
#define LAG 2

/* Stores that bulk_write lets run. */
#define MOST_STORES 16

#define PATIENCE_NS 2000000000ull

#if ON_DEVICE
#define SHARED __shared__ __align__(128)
#define WORKERS blockDim.x
#define ROLLED _Pragma("unroll 1")
#define WORKER threadIdx.x
#else
#define SHARED
#define WORKERS 1u
#define ROLLED
#define WORKER 0u
#endif

typedef unsigned long long barrier;

#if ON_DEVICE
DEVICE unsigned int shared_address(const void* pointer)
{
    return (unsigned int)__cvta_generic_to_shared(pointer);
}
#endif

/* A barrier that one arrival and the bytes it announces complete. */
DEVICE void begin(barrier* full)
{
#if ON_DEVICE
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(shared_address(full)) : "memory");
#else
    *full = 0;
#endif
}

/* Makes what this thread wrote to shared memory, barriers included, visible to the copier. */
DEVICE void publish(void)
{
#if ON_DEVICE
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

DEVICE void together(void)
{
#if ON_DEVICE
    __syncthreads();
#endif
}

/* Whether all threads of the block say so. */
DEVICE int all_say(int yes)
{
#if ON_DEVICE
    return __syncthreads_and(yes);
#else
    return yes;
#endif
}

DEVICE void load_tile(float4* place, const float4* from, unsigned int vectors, barrier* full)
{
#if ON_DEVICE
    const unsigned int bytes = vectors * 16u, at = shared_address(full);
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(at), "r"(bytes) : "memory");
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(place)),
                 "l"(__cvta_generic_to_global(from)), "r"(bytes), "r"(at)
                 : "memory");
#else
    for (unsigned int i = 0; i < vectors; ++i) place[i] = from[i];
    *full += 1;
#endif
}

DEVICE void store_tile(float4* to, const float4* place, unsigned int vectors)
{
#if ON_DEVICE
    asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(__cvta_generic_to_global(to)), "r"(shared_address(place)),
                 "r"(vectors * 16u)
                 : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
#else
    for (unsigned int i = 0; i < vectors; ++i) to[i] = place[i];
#endif
}

/* Waits until all stores but the last few have read their places, or are done altogether. */
#if ON_DEVICE
#define STORES_HAVE_READ(few) asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(few) : "memory")
#define STORES_ARE_DONE() asm volatile("cp.async.bulk.wait_group 0;" ::: "memory")
#else
#define STORES_HAVE_READ(few)
#define STORES_ARE_DONE()
#endif

/* Waits for the end of a phase of this parity; no after the limit. */
DEVICE int is_full(barrier* full, unsigned int parity)
{
#if ON_DEVICE
    unsigned int done;
    unsigned long long since = 0;
    for (;;) {
        asm volatile(
            "{\n"
            ".reg .pred p;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
            "selp.u32 %0, 1, 0, p;\n"
            "}\n"
            : "=r"(done)
            : "r"(shared_address(full)), "r"(parity)
            : "memory");
        if (done) return 1;
        if (since == 0) since = global_nanoseconds();
        else if (global_nanoseconds() - since > PATIENCE_NS) return 0;
    }
#else
    return (*full & 1) != parity;
#endif
}

/* Vectors of tile number `tile`: fewer in the last one, none beyond. */
DEVICE unsigned int vectors_of(unsigned long long tile, unsigned long long vectors)
{
    const unsigned long long first = tile * TILE;
    if (first >= vectors) return 0;
    return vectors - first < TILE ? (unsigned int)(vectors - first) : TILE;
}

/* Asks for tile number k of this block, if there is one. */
DEVICE void ask(float4* places, barrier* full, const float4* a, unsigned long long k, unsigned long long vectors)
{
    const unsigned long long tile = blockIdx.x + k * gridDim.x;
    const unsigned int count = vectors_of(tile, vectors);
    if (count != 0) load_tile(places + k % STAGES * TILE, a + tile * TILE, count, full + k % STAGES);
}

KERNEL bulk_read(const float4* a, unsigned long long vectors, unsigned int* sink)
{
    SHARED float4 places[STAGES * TILE];
    SHARED barrier full[STAGES];
    uint4 sum;
    sum.x = sum.y = sum.z = sum.w = 0;
    if (WORKER == 0) {
        ROLLED for (int i = 0; i < STAGES; ++i) begin(full + i);
        publish();
    }
    together();
    if (WORKER == 0) {
        ROLLED for (unsigned int k = 0; k < STAGES; ++k) ask(places, full, a, k, vectors);
    }
    ROLLED for (unsigned long long k = 0;; ++k) {
        const unsigned int count = vectors_of(blockIdx.x + k * gridDim.x, vectors);
        const float4* const place = places + k % STAGES * TILE;
        if (count == 0) break;
        if (!all_say(is_full(full + k % STAGES, k / STAGES & 1))) break;
        ROLLED for (unsigned int i = threadIdx.x; i < count; i += blockDim.x) {
            const float4 held = place[i];
            sum.x ^= float_bits(held.x);
            sum.y ^= float_bits(held.y);
            sum.z ^= float_bits(held.z);
            sum.w ^= float_bits(held.w);
        }
        together();
        if (WORKER == 0) ask(places, full, a, k + STAGES, vectors);
    }
    block_xor(sink, sum);
}

KERNEL bulk_write(float4* a, unsigned long long vectors, float value)
{
    SHARED float4 place[TILE];
    ROLLED for (unsigned int i = WORKER; i < TILE; i += WORKERS) place[i].x = place[i].y = place[i].z = place[i].w = value;
    publish();
    together();
    if (threadIdx.x == 0) {
        ROLLED for (unsigned long long tile = blockIdx.x; tile * TILE < vectors; tile += gridDim.x) {
            store_tile(a + tile * TILE, place, vectors_of(tile, vectors));
            STORES_HAVE_READ(MOST_STORES);
        }
        STORES_ARE_DONE();
    }
}

KERNEL bulk_copy(const float4* a, float4* c, unsigned long long vectors)
{
    SHARED float4 places[STAGES * TILE];
    SHARED barrier full[STAGES];
    if (threadIdx.x == 0) {
        ROLLED for (int i = 0; i < STAGES; ++i) begin(full + i);
        publish();
        ROLLED for (unsigned int k = 0; k < STAGES; ++k) ask(places, full, a, k, vectors);
        ROLLED for (unsigned long long k = 0;; ++k) {
            const unsigned long long tile = blockIdx.x + k * gridDim.x;
            const unsigned int count = vectors_of(tile, vectors);
            if (count == 0) break;
            if (!is_full(full + k % STAGES, k / STAGES & 1)) break;
            store_tile(c + tile * TILE, places + k % STAGES * TILE, count);
            if (k >= LAG) {
                STORES_HAVE_READ(LAG);
                ask(places, full, a, k - LAG + STAGES, vectors);
            }
        }
        STORES_ARE_DONE();
    }
}
