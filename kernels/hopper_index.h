/* Where everything is in Hopper's matrix product: the index arithmetic of hopper_gemm.h and nothing else.
 *
 * Pure functions in the common subset of CUDA C++ and C11. The kernel calls them, and so does an emulation on the host
 * (tests/kernels/hopper_emulation.c) which moves data exactly as these functions say and compares the product with the definition.
 * The layout is described in bytes, so it is the same for BF16 and FP8.
 *
 * C[m, n] = A[m, k] * B[n, k]^T, all row-major. Words:
 *   slice     SLICE_BYTES of k, one line of 128 bytes per row, for a whole tile; one slice fills one stage of the ring in shared memory
 *   step      STEP_BYTES of k: what one wgmma consumes. A slice has STEPS of them
 *   box       what one copy of the tensor memory accelerator (TMA) moves: some rows of one line
 *   atom      8 rows of a line, 1024 bytes: the period of the 128-byte swizzle
 *   work      what one cluster computes at a time: `cluster` tiles, one below the other, which share their rows of B
 *   consumer  one of two groups of four warps that multiply
 *   part      64 rows and some columns of a consumer's share: what one wgmma computes
 */
#ifndef GPU_ASSAY_HOPPER_INDEX_H
#define GPU_ASSAY_HOPPER_INDEX_H

#ifndef DEVICE
#error "include prelude.h first"
#endif

/* The tiles that there are: name, rows, columns, stages, blocks in a cluster, rows of work in a group. */
#define HOPPER_TILES(TILE)              \
    TILE(t128x256_c2, 128, 256, 4, 2, 8)  \
    TILE(t256x128_c2, 256, 128, 4, 2, 4)  \
    TILE(t128x128, 128, 128, 6, 1, 12)    \
    TILE(t64x128, 64, 128, 8, 1, 16)

#define WARPGROUP 128u
#define CONSUMERS 2u
#define THREADS (WARPGROUP * (1u + CONSUMERS))
#define WARPS_OF_CONSUMER 4u

#define SLICE_BYTES 128u
#define STEP_BYTES 32u
#define STEPS (SLICE_BYTES / STEP_BYTES)
#define CHUNK_BYTES 16u
#define ATOM_BYTES 1024u
#define PART_ROWS 64u

/* Results leave by way of shared memory in panels of PART_ROWS rows and PANEL_COLUMNS columns: a line per row again. Each consumer has
 * PANELS of them, so that one can be written while the other is copied out. */
#define PANEL_COLUMNS 64u
#define PANEL_BYTES (PART_ROWS * 128u)
#define PANELS 2u

/* --- shared memory --------------------------------------------------------------------------------------------------------------- */

/* A stage: the slice of A, then the slice of B. Both are whole atoms. */
DEVICE unsigned int stage_bytes(unsigned int tile_rows, unsigned int tile_columns)
{
    return (tile_rows + tile_columns) * SLICE_BYTES;
}

DEVICE unsigned int stage_offset(unsigned int stage, unsigned int tile_rows, unsigned int tile_columns)
{
    return stage * stage_bytes(tile_rows, tile_columns);
}

/* Where row `row` of B's slice is in its stage. */
DEVICE unsigned int b_offset(unsigned int row, unsigned int tile_rows)
{
    return (tile_rows + row) * SLICE_BYTES;
}

/* Panels follow the stages, then the barriers: a full one for each stage, an empty one for each, and a word. */
DEVICE unsigned int panel_offset(unsigned int consumer, unsigned int panel, unsigned int tile_rows, unsigned int tile_columns, unsigned int stages)
{
    return stages * stage_bytes(tile_rows, tile_columns) + (consumer * PANELS + panel) * PANEL_BYTES;
}

DEVICE unsigned int full_offset(unsigned int stage, unsigned int tile_rows, unsigned int tile_columns, unsigned int stages)
{
    return panel_offset(CONSUMERS, 0u, tile_rows, tile_columns, stages) + stage * 8u;
}

DEVICE unsigned int empty_offset(unsigned int stage, unsigned int tile_rows, unsigned int tile_columns, unsigned int stages)
{
    return full_offset(stages + stage, tile_rows, tile_columns, stages);
}

DEVICE unsigned int given_up_offset(unsigned int tile_rows, unsigned int tile_columns, unsigned int stages)
{
    return full_offset(2u * stages, tile_rows, tile_columns, stages);
}

/* What a launch has to ask for: everything, and room to begin at a multiple of ATOM_BYTES. */
DEVICE unsigned int shared_bytes(unsigned int tile_rows, unsigned int tile_columns, unsigned int stages)
{
    return given_up_offset(tile_rows, tile_columns, stages) + 8u + ATOM_BYTES;
}

/* --- the ring -------------------------------------------------------------------------------------------------------------------- */

/* Slices are counted through all work of a block. The n-th one goes to stage n % stages. A barrier's phases are told apart by one bit,
 * which begins with 0. The n-th slice has arrived when phase n / stages of its full barrier is over. It may be copied when the consumers
 * have left the one before in its stage: when phase n / stages - 1 of the empty barrier is over. For the first round that is the phase
 * "before the first", which counts as over. */
DEVICE unsigned int full_parity(unsigned int slice, unsigned int stages)
{
    return slice / stages & 1u;
}

DEVICE unsigned int empty_parity(unsigned int slice, unsigned int stages)
{
    return (slice / stages & 1u) ^ 1u;
}

/* A stage is full when its own block's producer has said how much will come and all of that has come, from whichever block. It is empty
 * when every consuming warp of every block that is copied to has left it. */
DEVICE unsigned int full_arrivals(void)
{
    return 1u;
}

DEVICE unsigned int empty_arrivals(unsigned int cluster)
{
    return CONSUMERS * WARPS_OF_CONSUMER * cluster;
}

/* --- work ------------------------------------------------------------------------------------------------------------------------ */

DEVICE unsigned int parts_along(unsigned int length, unsigned int part)
{
    return length / part + (length % part != 0u);
}

/* Rows of work: of `cluster` tiles each. */
DEVICE unsigned int work_rows(unsigned int m, unsigned int tile_rows, unsigned int cluster)
{
    return parts_along(m, tile_rows * cluster);
}

/* Work goes down `group` rows before it moves to the next column, so that what runs at the same time covers a nearly square part of C. */
DEVICE unsigned int rows_in_group(unsigned int work, unsigned int rows, unsigned int columns, unsigned int group)
{
    const unsigned int first = work / (group * columns) * group;
    return rows - first < group ? rows - first : group;
}

DEVICE unsigned int work_row(unsigned int work, unsigned int rows, unsigned int columns, unsigned int group)
{
    const unsigned int in_group = work % (group * columns);
    return work / (group * columns) * group + in_group % rows_in_group(work, rows, columns, group);
}

DEVICE unsigned int work_column(unsigned int work, unsigned int rows, unsigned int columns, unsigned int group)
{
    return work % (group * columns) / rows_in_group(work, rows, columns, group);
}

/* First row and column of C of the tile of block number `rank` of a cluster. */
DEVICE unsigned int tile_row(unsigned int row_of_work, unsigned int rank, unsigned int tile_rows, unsigned int cluster)
{
    return (row_of_work * cluster + rank) * tile_rows;
}

DEVICE unsigned int tile_column(unsigned int column_of_work, unsigned int tile_columns)
{
    return column_of_work * tile_columns;
}

/* Each block of a cluster copies its own rows of A, and its share of the rows of B to the same place in all blocks. */
DEVICE unsigned int b_share(unsigned int tile_columns, unsigned int cluster)
{
    return tile_columns / cluster;
}

/* --- consumers ------------------------------------------------------------------------------------------------------------------- */

/* Two consumers share a tile's rows, or its columns where it has only 64 rows. */
DEVICE unsigned int consumer_rows(unsigned int tile_rows)
{
    return tile_rows > PART_ROWS ? tile_rows / CONSUMERS : tile_rows;
}

DEVICE unsigned int consumer_columns(unsigned int tile_rows, unsigned int tile_columns)
{
    return tile_rows > PART_ROWS ? tile_columns : tile_columns / CONSUMERS;
}

DEVICE unsigned int consumer_row(unsigned int consumer, unsigned int tile_rows)
{
    return tile_rows > PART_ROWS ? consumer * consumer_rows(tile_rows) : 0u;
}

DEVICE unsigned int consumer_column(unsigned int consumer, unsigned int tile_rows, unsigned int tile_columns)
{
    return tile_rows > PART_ROWS ? 0u : consumer * consumer_columns(tile_rows, tile_columns);
}

/* Parts of a consumer's share: side by side first. `part_columns` divides the share's columns. */
DEVICE unsigned int part_row(unsigned int part, unsigned int columns, unsigned int part_columns)
{
    return part / (columns / part_columns) * PART_ROWS;
}

DEVICE unsigned int part_column(unsigned int part, unsigned int columns, unsigned int part_columns)
{
    return part % (columns / part_columns) * part_columns;
}

/* Descriptor of a matrix in shared memory for wgmma: rows of one line (k is the fast direction), 128-byte swizzle. Fields, addresses and
 * distances in units of 16 bytes: start in bits 0 to 13; distance between atoms along k in bits 16 to 29, which this layout does not use,
 * and 1 by convention; distance from 8 rows to the next 8 in bits 32 to 45; offset of the atoms' own start in bits 49 to 51, 0 as they
 * begin at multiples of 1024; swizzle in bits 62 and 63, of which 1 is that of 128 bytes. A step further along k begins STEP_BYTES later:
 * the hardware swizzles the address that it computes, whose row bits stay what they are. */
DEVICE unsigned long long matrix_descriptor(unsigned int address)
{
    return (unsigned long long)(address >> 4 & 0x3fffu) | 1ull << 16 | (unsigned long long)(ATOM_BYTES >> 4) << 32 | 1ull << 62;
}

/* --- results --------------------------------------------------------------------------------------------------------------------- */

/* A thread holds, of every 8 columns of a part, 2 neighbouring ones of a row and of the row 8 below. stmatrix.x4 writes four matrices of
 * 8 rows and 8 columns (16 bytes) at once; lane 8q + r gives the address of row r of matrix q. They are, of a warp's 16 rows and of 16
 * columns ("pair"): rows 0-7 of the first chunk, rows 8-15 of it, rows 0-7 of the second chunk, rows 8-15 of it. */
DEVICE unsigned int panel_row(unsigned int warp, unsigned int lane)
{
    return warp * 16u + lane % 16u;
}

DEVICE unsigned int panel_chunk(unsigned int pair, unsigned int lane)
{
    return 2u * pair + lane / 16u;
}

/* The 128-byte swizzle: chunk c of row r of a line lies where chunk c ^ (r % 8) would. The hardware does this to what it copies and
 * multiplies; only the writing of panels has to do it itself. */
DEVICE unsigned int swizzled(unsigned int row, unsigned int chunk)
{
    return row * 128u + (chunk ^ (row & 7u)) * CHUNK_BYTES;
}

#endif
