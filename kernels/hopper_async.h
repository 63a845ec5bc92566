/* What Hopper does asynchronously: barriers in shared memory, copies by the tensor memory accelerator (TMA), and wgmma. CUDA only, sm_90a.
 *
 * Every wait on a barrier is bounded: after PATIENCE_NS it gives up, notes that in device memory, and from then on its warp waits for
 * nothing more. So a mistake in the order of events ends a launch with a note, not with a device that hangs.
 */
#ifndef GPU_ASSAY_HOPPER_ASYNC_H
#define GPU_ASSAY_HOPPER_ASYNC_H
#include "prelude.h"

/* What cuTensorMapEncodeTiled writes: shape and layout of a matrix and of the boxes that are copied. Opaque. */
struct __align__(64) tensor_map {
    unsigned long long opaque[16];
};

#define PATIENCE_NS 1000000000ull
#define LINGER_NS 1000000ull
#define TRIES 64u

/* --- barriers in shared memory ------------------------------------------------------------------------------------------------------- */

DEVICE void barrier_init(unsigned int barrier, unsigned int arrivals)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals) : "memory");
}

/* Makes fresh barriers known to the other blocks of the cluster and to copies. */
DEVICE void fence_barrier_init()
{
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, and says how many bytes the phase has to see before it ends. */
DEVICE void barrier_expect(unsigned int barrier, unsigned int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

/* Arrives at the same barrier of block `rank` of the cluster. */
DEVICE void barrier_arrive(unsigned int barrier, unsigned int rank)
{
    asm volatile(
        "{\n"
        ".reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %0, %1;\n"
        "mbarrier.arrive.shared::cluster.b64 _, [remote];\n"
        "}" ::"r"(barrier),
        "r"(rank)
        : "memory");
}

/* Arrives at a barrier of this block. */
DEVICE void barrier_arrive(unsigned int barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

/* Whether the phase of this parity is over; the hardware lets the thread sleep for a while before it says no. */
DEVICE bool barrier_try(unsigned int barrier, unsigned int parity)
{
    unsigned int over;
    asm volatile(
        "{\n"
        ".reg .pred over;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 over, [%1], %2;\n"
        "selp.u32 %0, 1, 0, over;\n"
        "}"
        : "=r"(over)
        : "r"(barrier), "r"(parity)
        : "memory");
    return over != 0;
}

/* Whether somebody has given up. */
DEVICE bool has_given_up(const unsigned int* given_up)
{
    return *(const volatile unsigned int*)given_up != 0;
}

/* Waits for the end of a phase. False when it took too long or somebody else gave up: then nothing more is waited for. */
DEVICE bool barrier_wait(unsigned int barrier, unsigned int parity, unsigned int* given_up)
{
    if (barrier_try(barrier, parity)) return true;
    const unsigned long long since = global_nanoseconds();
    for (;;) {
#pragma unroll 1
        for (unsigned int i = 0; i < TRIES; ++i)
            if (barrier_try(barrier, parity)) return true;
        if (global_nanoseconds() - since > PATIENCE_NS || has_given_up(given_up)) {
            *(volatile unsigned int*)given_up = 1;
            return false;
        }
    }
}

/* --- clusters -------------------------------------------------------------------------------------------------------------------------- */

DEVICE unsigned int rank_in_cluster()
{
    unsigned int rank;
    asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
    return rank;
}

/* All threads of all blocks of the cluster meet; threads that have ended count as there. */
DEVICE void cluster_sync()
{
    asm volatile("barrier.cluster.arrive.release;\nbarrier.cluster.wait.acquire;" ::: "memory");
}

/* A word of block `rank`'s shared memory. */
DEVICE unsigned int load_from_block(unsigned int address, unsigned int rank)
{
    unsigned int value;
    asm volatile(
        "{\n"
        ".reg .b32 remote;\n"
        "mapa.shared::cluster.u32 remote, %1, %2;\n"
        "ld.shared::cluster.u32 %0, [remote];\n"
        "}"
        : "=r"(value)
        : "r"(address), "r"(rank)
        : "memory");
    return value;
}

/* --- copies of boxes --------------------------------------------------------------------------------------------------------------------- */

DEVICE void prefetch_map(const tensor_map* map)
{
    asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

/* A box from device to shared memory; `barrier` sees its bytes when they have come. */
DEVICE void load_box(unsigned int target, const tensor_map* map, unsigned int column, unsigned int row, unsigned int barrier)
{
    asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(target),
                 "l"(map), "r"(column), "r"(row), "r"(barrier)
                 : "memory");
}

/* A box to the same place in every block of `blocks` (one bit each); the barrier at the same place in each of them sees its bytes. */
DEVICE void load_box_to_all(unsigned int target, const tensor_map* map, unsigned int column, unsigned int row, unsigned int barrier,
                            unsigned short blocks)
{
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%2, %3}], [%4], %5;" ::"r"(
            target),
        "l"(map), "r"(column), "r"(row), "r"(barrier), "h"(blocks)
        : "memory");
}

/* A box from shared to device memory; what lies beyond the matrix is left out. */
DEVICE void store_box(const tensor_map* map, unsigned int column, unsigned int row, unsigned int source)
{
    asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%0, {%1, %2}], [%3];" ::"l"(map), "r"(column), "r"(row), "r"(source)
                 : "memory");
}

DEVICE void close_stores()
{
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}

/* Waits until all but the latest `OPEN` groups of this thread have been read from shared memory. */
template <int OPEN>
DEVICE void wait_for_reading()
{
    asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(OPEN) : "memory");
}

DEVICE void wait_for_stores()
{
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

/* What this thread wrote to shared memory becomes visible to copies. */
DEVICE void fence_for_copies()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

/* --- groups of four warps ------------------------------------------------------------------------------------------------------------------ */

/* The threads of consumer number `consumer` meet. */
DEVICE void consumer_sync(unsigned int consumer)
{
    asm volatile("barrier.cta.sync %0, 128;" ::"r"(1u + consumer) : "memory");
}

/* The same; true for all if for any. */
DEVICE bool consumer_any(unsigned int consumer, bool mine)
{
    unsigned int any;
    asm volatile(
        "{\n"
        ".reg .pred mine, any;\n"
        "setp.ne.u32 mine, %2, 0;\n"
        "barrier.cta.red.or.pred any, %1, 128, mine;\n"
        "selp.u32 %0, 1, 0, any;\n"
        "}"
        : "=r"(any)
        : "r"(1u + consumer), "r"((unsigned int)mine)
        : "memory");
    return any != 0;
}

template <int REGISTERS>
DEVICE void more_registers()
{
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

template <int REGISTERS>
DEVICE void fewer_registers()
{
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(REGISTERS));
}

/* Before the first wgmma that touches registers or shared memory which others touched. */
DEVICE void wgmma_fence()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}

DEVICE void wgmma_close()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}

/* Waits until at most `OPEN` groups are being computed. */
template <int OPEN>
DEVICE void wgmma_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(OPEN) : "memory");
}

/* Keeps the compiler from moving uses of sums to the other side of a wait. */
template <int COUNT>
DEVICE void pin(float (&sums)[COUNT])
{
    UNROLL for (int i = 0; i < COUNT; ++i) asm volatile("" : "+f"(sums[i])::"memory");
}

/* d = a * b + (add ? d : 0), a of 64 rows and b of as many as d has columns, from shared memory by their descriptors. One struct per format
 * with one function per width: sums of 32, 64 or 128 registers are 64, 128 or 256 columns. */
#define NAMES_32                                                                                                                       \
    "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, "  \
    "%27, %28, %29, %30, %31"
#define NAMES_64                                                                                                                         \
    NAMES_32 ", %32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, %48, %49, %50, %51, %52, %53, %54, %55, " \
             "%56, %57, %58, %59, %60, %61, %62, %63"
#define NAMES_128                                                                                                                      \
    NAMES_64 ", %64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, %80, %81, %82, %83, %84, %85, %86, "   \
             "%87, %88, %89, %90, %91, %92, %93, %94, %95, %96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, " \
             "%109, %110, %111, %112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127"
#define SUMS_8(d, i)                                                                                                         \
    "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7])
#define SUMS_32(d, i) SUMS_8(d, i), SUMS_8(d, i + 8), SUMS_8(d, i + 16), SUMS_8(d, i + 24)
#define SUMS_64(d, i) SUMS_32(d, i), SUMS_32(d, i + 32)
#define SUMS_128(d, i) SUMS_64(d, i), SUMS_64(d, i + 64)

#define WGMMA(COUNT, A, B, ADD, WIDTH, KIND, TAIL)                                                                                        \
    static __device__ __forceinline__ void run(float (&d)[COUNT], unsigned long long a, unsigned long long b, unsigned int add)        \
    {                                                                                                                                  \
        asm volatile("{\n.reg .pred add;\nsetp.ne.u32 add, %" ADD ", 0;\nwgmma.mma_async.sync.aligned.m64" WIDTH KIND " {" NAMES_##COUNT \
                     "}, %" A ", %" B ", add, 1, 1" TAIL ";\n}"                                                                         \
                     : SUMS_##COUNT(d, 0)                                                                                              \
                     : "l"(a), "l"(b), "r"(add));                                                                                      \
    }
#define WGMMAS(KIND, TAIL)                                \
    WGMMA(32, "32", "33", "34", "n64", KIND, TAIL)        \
    WGMMA(64, "64", "65", "66", "n128", KIND, TAIL)       \
    WGMMA(128, "128", "129", "130", "n256", KIND, TAIL)

#endif
