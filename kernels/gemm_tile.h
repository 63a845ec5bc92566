/* One tile of C = A * B^T on the tensor cores: copy, wait, multiply, store. CUDA only.
 *
 * A block of 8 warps computes TILE_M x TILE_N. A ring of STAGES slices in shared memory is filled by cp.async, three slices ahead, so device memory
 * latency is covered without registers; ldmatrix brings fragments into registers one step ahead of mma.sync, so shared memory latency
 * is covered too. All positions come from gemm_index.h. Accumulation is FP32; C is rounded to BF16, to nearest even.
 *
 * Edges: chunks beyond m, n or k are not read and count as zeros (cp.async with a source size of 0); results beyond m or n are not
 * stored. Rows of A, B and C are whole chunks: k is a multiple of 8 in BF16 and of 16 in FP8, n of 8. m is free.
 */
#ifndef GPU_ASSAY_GEMM_TILE_H
#define GPU_ASSAY_GEMM_TILE_H
#include "prelude.h"

#include "gemm_index.h"

/* 16 bytes from device to shared memory, past L1; `bytes` is 16, or 0 to write zeros and read nothing. */
DEVICE void copy_chunk_async(unsigned int target, const unsigned char* source, unsigned int bytes)
{
    asm volatile("cp.async.cg.shared.global.L2::128B [%0], [%1], 16, %2;" ::"r"(target), "l"(source), "r"(bytes) : "memory");
}

DEVICE void close_copy_group()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}

/* Waits until at most STAGES - 2 of this thread's copy groups are open. */
DEVICE void wait_for_copies()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(STAGES - 2u) : "memory");
}

/* Waits until none is open: the block does not end while copies into its memory are on their way. */
DEVICE void wait_for_all_copies()
{
    asm volatile("cp.async.wait_all;" ::: "memory");
}

DEVICE void load_matrices(unsigned int& r0, unsigned int& r1, unsigned int& r2, unsigned int& r3, unsigned int address)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r0), "=r"(r1), "=r"(r2), "=r"(r3)
                 : "r"(address)
                 : "memory");
}

/* Two FP32 numbers as BF16, the first one in the lower half. */
DEVICE unsigned int pack_bf16(float low, float high)
{
    unsigned int packed;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(packed) : "f"(high), "f"(low));
    return packed;
}

/* Item i of thread q becomes item q of thread i, among 4 neighbouring threads. */
DEVICE void exchange(unsigned int (&item)[4], unsigned int lane)
{
    UNROLL for (unsigned int distance = 1; distance <= 2; distance *= 2) {
        const bool gives_upper = exchange_gives_upper(lane, distance);
        UNROLL for (unsigned int lower = 0; lower < 4; ++lower) {
            if (lower & distance) continue;
            const unsigned int given = gives_upper ? item[lower | distance] : item[lower];
            const unsigned int taken = __shfl_xor_sync(0xffffffffu, given, distance);
            if (gives_upper)
                item[lower | distance] = taken;
            else
                item[lower] = taken;
        }
    }
}

/* Mma::run(d, a, b) is one mma.sync: d += a * b. Mma::PREFETCH says whether fragments are loaded one step ahead, which takes a second set of
 * registers. `chunks` is the length of k in chunks. */
template <class Mma>
DEVICE void gemm_tile(const unsigned char* a, const unsigned char* b, unsigned short* c, unsigned int m, unsigned int n, unsigned int chunks)
{
    extern __shared__ __align__(128) unsigned char shared_memory[];
    const unsigned int shared = (unsigned int)__cvta_generic_to_shared(shared_memory);
    const unsigned int thread = threadIdx.x % BLOCK;
    const unsigned int lane = thread % 32;
    const unsigned int warp = thread / 32;
    const unsigned int tiles_m = tiles_along(m, TILE_M);
    const unsigned int tiles_n = tiles_along(n, TILE_N);
    const unsigned int row0 = tile_row(blockIdx.x, tiles_m, tiles_n) * TILE_M;
    const unsigned int column0 = tile_column(blockIdx.x, tiles_m, tiles_n) * TILE_N;
    const unsigned int slices = tiles_along(chunks, SLICE_CHUNKS);

    const unsigned long long pitch = (unsigned long long)chunks * CHUNK_BYTES;
    const unsigned char* const a_start = a + (row0 + copy_row(thread, 0)) * pitch + copy_chunk(thread) * CHUNK_BYTES;
    const unsigned char* const b_start = b + (column0 + copy_row(thread, 0)) * pitch + copy_chunk(thread) * CHUNK_BYTES;

    auto copy_slice = [&](unsigned int slice) {
        const unsigned int stage = shared + stage_offset(slice);
        const bool inside = slice * SLICE_CHUNKS + copy_chunk(thread) < chunks;
        const unsigned char* const a_slice = a_start + (unsigned long long)slice * SLICE_BYTES;
        const unsigned char* const b_slice = b_start + (unsigned long long)slice * SLICE_BYTES;
        UNROLL for (unsigned int round = 0; round < COPIES_A; ++round) {
            const unsigned int row = copy_row(thread, round);
            copy_chunk_async(stage + chunk_offset(row, copy_chunk(thread)), a_slice + round * COPY_ROWS * pitch,
                             inside && row0 + row < m ? CHUNK_BYTES : 0);
        }
        UNROLL for (unsigned int round = 0; round < COPIES_B; ++round) {
            const unsigned int row = copy_row(thread, round);
            copy_chunk_async(stage + STAGE_A_BYTES + chunk_offset(row, copy_chunk(thread)), b_slice + round * COPY_ROWS * pitch,
                             inside && column0 + row < n ? CHUNK_BYTES : 0);
        }
        close_copy_group();
    };

    unsigned int a_fragments[2][MMAS_M][4];
    unsigned int b_fragments[2][MMAS_N][2];
    float sums[MMAS_M][MMAS_N][4] = {};

    auto load_fragments = [&](unsigned int slice, unsigned int step, unsigned int buffer) {
        const unsigned int stage = shared + stage_offset(slice);
        UNROLL for (unsigned int tile = 0; tile < MMAS_M; ++tile) {
            unsigned int(&f)[4] = a_fragments[buffer][tile];
            load_matrices(f[0], f[1], f[2], f[3], stage + chunk_offset(a_load_row(warp, tile, lane), a_load_chunk(step, lane)));
        }
        UNROLL for (unsigned int pair = 0; pair < MMAS_N / 2; ++pair) {
            unsigned int(&f)[2] = b_fragments[buffer][2 * pair];
            unsigned int(&g)[2] = b_fragments[buffer][2 * pair + 1];
            load_matrices(f[0], f[1], g[0], g[1],
                          stage + STAGE_A_BYTES + chunk_offset(b_load_row(warp, pair, lane), b_load_chunk(step, lane)));
        }
    };

    auto multiply = [&](unsigned int buffer) {
        UNROLL for (unsigned int i = 0; i < MMAS_M; ++i) {
            /* Forth and back along the columns: the fragment used last is used first again. */
            UNROLL for (unsigned int turn = 0; turn < MMAS_N; ++turn) {
                const unsigned int j = i % 2 == 0 ? turn : MMAS_N - 1 - turn;
                Mma::run(sums[i][j], a_fragments[buffer][i], b_fragments[buffer][j]);
            }
        }
    };

    /* Before slice s is multiplied, s + STAGES - 1 groups are closed and one more follows during it; "at most STAGES - 2 open" therefore means
     * that slice s + 1 has arrived. A stage is refilled one slice after its last read, with a barrier between. */
    for (unsigned int slice = 0; slice < STAGES - 1; ++slice) copy_slice(slice);
    wait_for_copies();
    __syncthreads();
    if (Mma::PREFETCH) load_fragments(0, 0, 0);
    for (unsigned int slice = 0; slice < slices; ++slice) {
#pragma unroll(Mma::PREFETCH ? STEPS : 1)
        for (unsigned int step = 0; step < STEPS; ++step) {
            const bool last = step + 1 == STEPS;
            if (!Mma::PREFETCH) load_fragments(slice, step, 0);
            if (Mma::PREFETCH && !last) load_fragments(slice, step + 1, (step + 1) % 2);
            if (last) {
                wait_for_copies();
                __syncthreads();
            }
            if (Mma::PREFETCH && last) load_fragments(slice + 1, 0, 0);
            if (step == 0) copy_slice(slice + STAGES - 1);
            multiply(Mma::PREFETCH ? step % 2 : 0);
        }
    }
    wait_for_all_copies();

    UNROLL for (unsigned int tile = 0; tile < MMAS_M; ++tile) {
        UNROLL for (unsigned int half = 0; half < 2; ++half) {
            const unsigned int row = row0 + store_row(warp, tile, half, lane);
            UNROLL for (unsigned int quad = 0; quad < MMAS_N / 4; ++quad) {
                const unsigned int column = column0 + store_column(warp, quad, lane);
                unsigned int item[4];
                UNROLL for (unsigned int i = 0; i < 4; ++i) {
                    const float(&sum)[4] = sums[tile][4 * quad + i];
                    item[i] = pack_bf16(sum[2 * half], sum[2 * half + 1]);
                }
                exchange(item, lane);
                if (row < m && column < n) {
                    *(uint4*)(c + (unsigned long long)row * n + column) = make_uint4(item[0], item[1], item[2], item[3]);
                }
            }
        }
    }
}

#endif
