/* Where everything is in the matrix product: the index arithmetic of gemm_tile.h and nothing else.
 *
 * Pure functions in the common subset of CUDA C++ and C11. The kernel calls them, and so does an emulation on the host
 * (tests/kernels/gemm_emulation.c) which moves data exactly as these functions say and compares the product with the definition.
 * The layout is described in bytes, so it is the same for BF16 and FP8.
 *
 * C[m, n] = A[m, k] * B[n, k]^T, all row-major. Words:
 *   chunk     16 bytes of a row of A or B: 8 BF16 or 16 FP8 elements; the unit of copying
 *   tile      what one block computes: TILE_M rows by TILE_N columns of C
 *   slice     SLICE_CHUNKS chunks of k for the whole tile; one slice fills one stage of the ring of STAGES stages in shared memory
 *   step      2 chunks of k: what one mma.sync consumes. A slice has SLICE_CHUNKS / 2 steps
 *   fragment  the part of an operand that one thread of a warp holds in registers
 *
 * launch: block=256 tile_m=128 tile_n=256 stages=4 shared=98304
 */
#ifndef GPU_ASSAY_GEMM_INDEX_H
#define GPU_ASSAY_GEMM_INDEX_H

#ifndef DEVICE
#error "include prelude.h first"
#endif

#define BLOCK 256u
#define TILE_M 128u
#define TILE_N 256u
#define STAGES 4u
#define CHUNK_BYTES 16u
#define SLICE_CHUNKS 4u
#define SLICE_BYTES (SLICE_CHUNKS * CHUNK_BYTES)
#define STEPS (SLICE_CHUNKS / 2u)

/* Each of the 8 warps computes WARP_M by WARP_N; 2 warps share the rows of a tile and 4 its columns. */
#define WARP_M 64u
#define WARP_N 64u
#define WARPS_N (TILE_N / WARP_N)

/* mma.sync works on MMA_M by MMA_N. */
#define MMA_M 16u
#define MMA_N 8u
#define MMAS_M (WARP_M / MMA_M)
#define MMAS_N (WARP_N / MMA_N)

/* A stage: the slice of A, then the slice of B. */
#define STAGE_A_BYTES (TILE_M * SLICE_BYTES)
#define STAGE_BYTES ((TILE_M + TILE_N) * SLICE_BYTES)
#define SHARED_BYTES (STAGES * STAGE_BYTES)

/* Chunks of a slice are copied by 4 threads per row; the block covers COPY_ROWS rows at once. */
#define COPY_ROWS (BLOCK / SLICE_CHUNKS)
#define COPIES_A (TILE_M / COPY_ROWS)
#define COPIES_B (TILE_N / COPY_ROWS)

/* Blocks go down GROUP_ROWS tile rows before they move to the next tile column, so that the blocks which run at the same time cover a
 * nearly square part of C and share their operands in the L2. */
#define GROUP_ROWS 16u

DEVICE unsigned int tiles_along(unsigned int length, unsigned int tile)
{
    return length / tile + (length % tile != 0u);
}

DEVICE unsigned int group_rows(unsigned int block, unsigned int tiles_m, unsigned int tiles_n)
{
    const unsigned int first = block / (GROUP_ROWS * tiles_n) * GROUP_ROWS;
    return tiles_m - first < GROUP_ROWS ? tiles_m - first : GROUP_ROWS;
}

/* Tile row and tile column of a block. */
DEVICE unsigned int tile_row(unsigned int block, unsigned int tiles_m, unsigned int tiles_n)
{
    const unsigned int in_group = block % (GROUP_ROWS * tiles_n);
    return block / (GROUP_ROWS * tiles_n) * GROUP_ROWS + in_group % group_rows(block, tiles_m, tiles_n);
}

DEVICE unsigned int tile_column(unsigned int block, unsigned int tiles_m, unsigned int tiles_n)
{
    return block % (GROUP_ROWS * tiles_n) / group_rows(block, tiles_m, tiles_n);
}

/* The stage that slice number `slice` goes to, in bytes from the start of shared memory. */
DEVICE unsigned int stage_offset(unsigned int slice)
{
    return slice % STAGES * STAGE_BYTES;
}

/* Byte offset of a chunk inside the slice of one operand. Rows are 64 bytes long, two to a line of 128 bytes (all 32 banks). Swapping
 * chunks by the row's bits 1 and 2 puts the same chunk of 8 consecutive rows on 8 different groups of 4 banks: reading (ldmatrix) and
 * writing are free of bank conflicts. */
DEVICE unsigned int chunk_offset(unsigned int row, unsigned int chunk)
{
    return row * SLICE_BYTES + ((chunk ^ ((row >> 1) & 3u)) * CHUNK_BYTES);
}

/* Row inside the tile of the chunk that `thread` copies in round `round`, and the chunk inside the slice. */
DEVICE unsigned int copy_row(unsigned int thread, unsigned int round)
{
    return thread / SLICE_CHUNKS + round * COPY_ROWS;
}

DEVICE unsigned int copy_chunk(unsigned int thread)
{
    return thread % SLICE_CHUNKS;
}

/* First row and column of a warp inside the tile. */
DEVICE unsigned int warp_row(unsigned int warp)
{
    return warp / WARPS_N * WARP_M;
}

DEVICE unsigned int warp_column(unsigned int warp)
{
    return warp % WARPS_N * WARP_N;
}

/* ldmatrix.x4 reads four 8x16-byte matrices; lanes 8q to 8q + 7 name the rows of matrix q.
 * For A they are: rows 0-7 chunk 0, rows 8-15 chunk 0, rows 0-7 chunk 1, rows 8-15 chunk 1: the four registers of an A fragment. */
DEVICE unsigned int a_load_row(unsigned int warp, unsigned int tile, unsigned int lane)
{
    return warp_row(warp) + tile * MMA_M + lane % 16u;
}

DEVICE unsigned int a_load_chunk(unsigned int step, unsigned int lane)
{
    return 2u * step + lane / 16u;
}

/* For B: rows 0-7 chunk 0, rows 0-7 chunk 1, rows 8-15 chunk 0, rows 8-15 chunk 1 (a row of B is a column of C): the two registers of B
 * fragment 2 * pair, then those of fragment 2 * pair + 1. */
DEVICE unsigned int b_load_row(unsigned int warp, unsigned int pair, unsigned int lane)
{
    return warp_column(warp) + pair * 2u * MMA_N + lane / 16u * 8u + lane % 8u;
}

DEVICE unsigned int b_load_chunk(unsigned int step, unsigned int lane)
{
    return 2u * step + lane / 8u % 2u;
}

/* A thread holds 4 elements of each 16x8 product: columns 2 * (lane % 4) and the next one, of row lane / 4 (half 0) and 8 rows below
 * (half 1). Before they are stored, the 4 threads of a row exchange what they have of 4 neighbouring products (a "quad", 32 columns), so
 * that thread number q of the 4 ends up with all 8 columns of product q: one store of 16 bytes. */
DEVICE unsigned int store_row(unsigned int warp, unsigned int tile, unsigned int half, unsigned int lane)
{
    return warp_row(warp) + tile * MMA_M + half * 8u + lane / 4u;
}

DEVICE unsigned int store_column(unsigned int warp, unsigned int quad, unsigned int lane)
{
    return warp_column(warp) + quad * 4u * MMA_N + lane % 4u * MMA_N;
}

/* The exchange is a 4x4 transposition in two rounds with distance 1 and 2. In each, for every pair of items that differ in bit `distance`,
 * a thread gives away one and keeps the other: the upper one if its own bit is 0. */
DEVICE int exchange_gives_upper(unsigned int lane, unsigned int distance)
{
    return (lane & distance) == 0u;
}

#endif
