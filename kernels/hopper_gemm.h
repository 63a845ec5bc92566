/* C = A * B^T as Hopper wants it: copied by TMA, multiplied by wgmma, by warps of different trades. CUDA only, sm_90a.
 *
 * A block of three groups of four warps computes one tile after the other. One thread of the first group, the producer, copies slices of A
 * and B into a ring of stages, as far ahead as the ring is long, also into the next tile. The other two groups, the consumers, multiply: each
 * has a part of the tile, its sums in registers, and gives a stage back when its wgmma has read it. Registers are moved from the producers to
 * the consumers at the start. Results go through shared memory and are stored by TMA, panel by panel. There are as many blocks as fit at once.
 *
 * In a cluster two blocks, one below the other, need the same rows of B: each copies half of them, to both. So a stage may be filled again
 * only when the consumers of both blocks have left it, and a block may not end before the other has stopped writing to it.
 *
 * FP8: the tensor cores add with fewer bits than FP32 has. So what they add up is one slice, 128 products, and that is added to sums in FP32.
 *
 * Edges: boxes beyond m, n or k read zeros, and are not stored. TMA needs rows of a multiple of 16 bytes: k is a multiple of 8 in BF16 and of
 * 16 in FP8, n of 8; m is free.
 *
 * All positions come from hopper_index.h.
 */
#ifndef GPU_ASSAY_HOPPER_GEMM_H
#define GPU_ASSAY_HOPPER_GEMM_H
#include "prelude.h"

#include "hopper_async.h"
#include "hopper_index.h"

#define DEVICE_METHOD __device__ __forceinline__

/* Enumerations, because a static constant that a lambda uses becomes a variable in the image. */
#define TILE(name, rows, columns, stages, cluster, group) \
    struct name {                                       \
        enum : unsigned int { ROWS = rows, COLUMNS = columns, STAGES = stages, CLUSTER = cluster, GROUP = group }; \
    };
HOPPER_TILES(TILE)
#undef TILE

/* Registers per thread after they are moved: together what the block began with, 384 * 168. */
#define PRODUCER_REGISTERS 24
#define CONSUMER_REGISTERS 240
static_assert(PRODUCER_REGISTERS * WARPGROUP + CONSUMER_REGISTERS * CONSUMERS * WARPGROUP <= 168 * THREADS, "more registers than there are");

/* A kernel's head: one block per multiprocessor; CLUSTERED is empty or says how many blocks belong together. */
#undef KERNEL
#define KERNEL extern "C" __global__ void __launch_bounds__(384, 1) CLUSTERED

/* Two FP32 numbers as BF16, the first one in the lower half. */
DEVICE unsigned int pack_bf16(float low, float high)
{
    unsigned int packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

DEVICE void store_matrices(unsigned int address, unsigned int r0, unsigned int r1, unsigned int r2, unsigned int r3)
{
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(address), "r"(r0), "r"(r1), "r"(r2), "r"(r3) : "memory");
}

/* Format::run(d, a, b, add) is one wgmma, Format::ELEMENT the bytes of an element, Format::WIDEST the columns of a part at most, and
 * Format::PROMOTES says whether sums of a slice are added to others. */
template <class Format, class Tile>
struct HopperGemm {
    enum : unsigned int {
        ROWS = Tile::ROWS,
        COLUMNS = Tile::COLUMNS,
        STAGES = Tile::STAGES,
        CLUSTER = Tile::CLUSTER,
        SHARE_ROWS = ROWS > PART_ROWS ? ROWS / CONSUMERS : ROWS,
        SHARE_COLUMNS = ROWS > PART_ROWS ? COLUMNS : COLUMNS / CONSUMERS,
        PART_COLUMNS = SHARE_COLUMNS < Format::WIDEST ? SHARE_COLUMNS : Format::WIDEST,
        PARTS = SHARE_ROWS / PART_ROWS * (SHARE_COLUMNS / PART_COLUMNS),
        SUMS = PART_COLUMNS / 2,
        SLICE = SLICE_BYTES / Format::ELEMENT,
    };
    static_assert(ROWS % PART_ROWS == 0 && SHARE_COLUMNS % PART_COLUMNS == 0 && PART_COLUMNS % PANEL_COLUMNS == 0, "a tile is whole parts");
    static_assert(PARTS * SUMS + (Format::PROMOTES ? SUMS : 0) <= 192, "more sums than there are registers");

    const tensor_map *a, *b, *c;
    unsigned int m, n, k;
    unsigned int* given_up;
    unsigned int shared, rank;

    DEVICE_METHOD unsigned int full(unsigned int stage) const { return shared + full_offset(stage, ROWS, COLUMNS, STAGES); }
    DEVICE_METHOD unsigned int empty(unsigned int stage) const { return shared + empty_offset(stage, ROWS, COLUMNS, STAGES); }
    DEVICE_METHOD unsigned int slices() const { return parts_along(k, SLICE); }

    /* Calls `tile(row, column)` for every tile of this block, until it says false. */
    template <class Body>
    DEVICE_METHOD void for_each_tile(Body tile) const
    {
        const unsigned int rows = work_rows(m, ROWS, CLUSTER), columns = parts_along(n, COLUMNS);
        for (unsigned int work = blockIdx.x / CLUSTER; work < rows * columns; work += gridDim.x / CLUSTER) {
            const unsigned int row = tile_row(work_row(work, rows, columns, Tile::GROUP), rank, ROWS, CLUSTER);
            const unsigned int column = tile_column(work_column(work, rows, columns, Tile::GROUP), COLUMNS);
            if (!tile(row, column)) break;
        }
    }

    /* One thread. */
    DEVICE_METHOD void produce() const
    {
        unsigned int slice = 0;
        for_each_tile([&](unsigned int row, unsigned int column) {
            for (unsigned int i = 0; i < slices(); ++i, ++slice) {
                const unsigned int stage = slice % STAGES, target = shared + stage_offset(stage, ROWS, COLUMNS);
                if (!barrier_wait(empty(stage), empty_parity(slice, STAGES), given_up)) return false;
                barrier_expect(full(stage), stage_bytes(ROWS, COLUMNS));
                load_box(target, a, i * SLICE, row, full(stage));
                if (CLUSTER == 1) {
                    load_box(target + b_offset(0, ROWS), b, i * SLICE, column, full(stage));
                } else {
                    const unsigned int first = rank * b_share(COLUMNS, CLUSTER);
                    load_box_to_all(target + b_offset(first, ROWS), b, i * SLICE, column + first, full(stage), (1u << CLUSTER) - 1u);
                }
            }
            return true;
        });
    }

    /* This warp has left a stage. */
    DEVICE_METHOD void release(unsigned int stage, unsigned int lane) const
    {
        if (CLUSTER == 1) {
            if (lane == 0) barrier_arrive(empty(stage));
        } else {
            if (lane < CLUSTER) barrier_arrive(empty(stage), lane);
        }
    }

    /* All steps of a slice for one part. */
    DEVICE_METHOD void multiply(float (&sums)[SUMS], unsigned int part, unsigned int consumer, unsigned int stage, unsigned int add) const
    {
        const unsigned int start = shared + stage_offset(stage, ROWS, COLUMNS);
        const unsigned int row = consumer_row(consumer, ROWS) + part_row(part, SHARE_COLUMNS, PART_COLUMNS);
        const unsigned int column = consumer_column(consumer, ROWS, COLUMNS) + part_column(part, SHARE_COLUMNS, PART_COLUMNS);
        UNROLL for (unsigned int step = 0; step < STEPS; ++step) {
            Format::run(sums, matrix_descriptor(start + row * SLICE_BYTES + step * STEP_BYTES),
                        matrix_descriptor(start + b_offset(column, ROWS) + step * STEP_BYTES), add | step);
        }
    }

    /* A consumer's four warps. */
    DEVICE_METHOD void consume(unsigned int consumer) const
    {
        const unsigned int thread = threadIdx.x % WARPGROUP, warp = thread / 32, lane = thread % 32;
        unsigned int slice = 0, panel = 0;
        bool waits = true;
        float sums[PARTS][SUMS];
        for_each_tile([&](unsigned int row, unsigned int column) {
            /* From here to the end of the loop all four warps do the same, whatever one of them waited for in vain. */
            if (Format::PROMOTES) {
                UNROLL for (unsigned int part = 0; part < PARTS; ++part)
                    UNROLL for (unsigned int i = 0; i < SUMS; ++i) sums[part][i] = 0.0f;
            }
            for (unsigned int i = 0; i < slices(); ++i, ++slice) {
                const unsigned int stage = slice % STAGES;
                if (waits) waits = barrier_wait(full(stage), full_parity(slice, STAGES), given_up);
                __syncwarp();
                if (Format::PROMOTES) {
                    UNROLL for (unsigned int part = 0; part < PARTS; ++part) {
                        float few[SUMS];
                        wgmma_fence();
                        multiply(few, part, consumer, stage, 0);
                        wgmma_close();
                        wgmma_wait<0>();
                        pin(few);
                        if (part + 1 == PARTS && waits) release(stage, lane);
                        UNROLL for (unsigned int j = 0; j < SUMS; ++j) sums[part][j] += few[j];
                    }
                } else {
                    wgmma_fence();
                    UNROLL for (unsigned int part = 0; part < PARTS; ++part) multiply(sums[part], part, consumer, stage, i);
                    wgmma_close();
                    /* The slice before is done when only this one is open. */
                    wgmma_wait<1>();
                    if (i > 0 && waits) release((slice - 1) % STAGES, lane);
                }
            }
            if (!Format::PROMOTES) {
                wgmma_wait<0>();
                UNROLL for (unsigned int part = 0; part < PARTS; ++part) pin(sums[part]);
                if (waits) release((slice - 1) % STAGES, lane);
            }
            if (consumer_any(consumer, !waits)) return false;
            UNROLL for (unsigned int part = 0; part < PARTS; ++part) {
                const unsigned int first_row = row + consumer_row(consumer, ROWS) + part_row(part, SHARE_COLUMNS, PART_COLUMNS);
                const unsigned int first_column =
                    column + consumer_column(consumer, ROWS, COLUMNS) + part_column(part, SHARE_COLUMNS, PART_COLUMNS);
                UNROLL for (unsigned int j = 0; j < PART_COLUMNS / PANEL_COLUMNS; ++j) {
                    const unsigned int target = shared + panel_offset(consumer, panel, ROWS, COLUMNS, STAGES);
                    panel = (panel + 1) % PANELS;
                    if (thread == 0) wait_for_reading<PANELS - 1>();
                    consumer_sync(consumer);
                    UNROLL for (unsigned int pair = 0; pair < PANEL_COLUMNS / 16; ++pair) {
                        const float* const s = &sums[part][j * PANEL_COLUMNS / 2 + pair * 8];
                        store_matrices(target + swizzled(panel_row(warp, lane), panel_chunk(pair, lane)), pack_bf16(s[0], s[1]),
                                       pack_bf16(s[2], s[3]), pack_bf16(s[4], s[5]), pack_bf16(s[6], s[7]));
                    }
                    fence_for_copies();
                    consumer_sync(consumer);
                    if (thread == 0) {
                        store_box(c, first_column + j * PANEL_COLUMNS, first_row, target);
                        close_stores();
                    }
                }
            }
            return true;
        });
        if (thread == 0) wait_for_stores();
    }

    /* After a failure copies may still be on their way, to memory that must not go to another block before they have come. */
    DEVICE_METHOD void linger() const
    {
        const unsigned long long since = global_nanoseconds();
        while (global_nanoseconds() - since < LINGER_NS) {
        }
    }

    DEVICE_METHOD void run()
    {
        extern __shared__ unsigned char shared_memory[];
        const unsigned int word = given_up_offset(ROWS, COLUMNS, STAGES);
        shared = ((unsigned int)__cvta_generic_to_shared(shared_memory) + ATOM_BYTES - 1) / ATOM_BYTES * ATOM_BYTES;
        rank = CLUSTER == 1 ? 0 : rank_in_cluster();
        if (threadIdx.x == 0) {
            for (unsigned int stage = 0; stage < STAGES; ++stage) {
                barrier_init(full(stage), full_arrivals());
                barrier_init(empty(stage), empty_arrivals(CLUSTER));
            }
            fence_barrier_init();
            asm volatile("st.shared.u32 [%0], %1;" ::"r"(shared + word), "r"((unsigned int)has_given_up(given_up)) : "memory");
            prefetch_map(a);
            prefetch_map(b);
            prefetch_map(c);
        }
        if (CLUSTER == 1)
            __syncthreads();
        else
            cluster_sync();
        /* Launches behind one that gave up do nothing. The blocks of a cluster have to agree on that, so the first one's view counts. */
        if (load_from_block(shared + word, 0) == 0) {
            /* The same in all threads of a warp, and known to be to the compiler. */
            const unsigned int group = __shfl_sync(0xffffffffu, threadIdx.x / WARPGROUP, 0);
            if (group == 0) {
                fewer_registers<PRODUCER_REGISTERS>();
                if (threadIdx.x == 0) produce();
                __syncwarp();
            } else {
                more_registers<CONSUMER_REGISTERS>();
                consume(group - 1);
                __syncwarp();
            }
        }
        if (threadIdx.x == 0 && has_given_up(given_up)) linger();
        /* No block ends while the other may still copy to it or arrive at its barriers. */
        if (CLUSTER > 1) cluster_sync();
    }
};

template <class Format, class Tile>
DEVICE void hopper_gemm(const tensor_map& a, const tensor_map& b, const tensor_map& c, unsigned int m, unsigned int n, unsigned int k,
                        unsigned int* given_up)
{
    HopperGemm<Format, Tile> gemm{&a, &b, &c, m, n, k, given_up, 0, 0};
    gemm.run();
}

#endif
