/* Runs the matrix product's data movement on the host, word by word, with the index functions that the kernel itself uses.
 *
 * Operands are 4-byte words of the rows of A and B (2 BF16 or 4 FP8 elements; the layout is the same), each replaced by a random 64-bit
 * number; sums are modulo 2^64. If one operand were taken from a wrong place, left out or used twice, the sum would differ from the
 * definition's with near certainty. What ldmatrix, mma.sync, cp.async and shfl do is written here from the PTX manual's figures.
 *
 * Order of events is varied as far as the hardware may vary it: a copy arrives at once or only when it is waited for, and between two
 * barriers the warps run one after the other, upwards or downwards. Shared memory starts with numbers that belong to nothing.
 *
 * Arguments: any number of m,n,chunks,prefetch,early,downwards. Prints what is wrong and exits with 1, or prints the number of products.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEVICE static inline __attribute__((unused))
#include "gemm_index.h"

#define WARPS (BLOCK / 32)
#define CHUNK_WORDS 4u
#define FAIL(...) (printf(__VA_ARGS__), printf("\n"), exit(1))

typedef unsigned long long word;

static word mix(word x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

/* --- the problem --------------------------------------------------------------------------------------------------------------- */

static unsigned int m, n, chunks;
static int prefetch, early, downwards;
static word *a, *b, *c;
static unsigned char* stored;

/* --- the machine --------------------------------------------------------------------------------------------------------------- */

static word shared[SHARED_BYTES / 4];

typedef struct {
    unsigned int target; /* word in shared memory */
    word data[CHUNK_WORDS];
} copy;

/* Copies that a thread has issued; groups[g] is how many there were when group g was closed. */
typedef struct {
    copy copies[(STAGES + 1) * (COPIES_A + COPIES_B)];
    unsigned int count, groups[STAGES + 1], closed;
} queue;

static queue queues[BLOCK];

typedef struct {
    word a[2][MMAS_M][4][32];
    word b[2][MMAS_N][2][32];
    word sums[MMAS_M][MMAS_N][4][32];
} registers;

static registers warps[WARPS];

static void arrive(const copy* done)
{
    memcpy(shared + done->target, done->data, sizeof done->data);
}

static void copy_async(unsigned int thread, unsigned int offset, const word* source, int inside)
{
    queue* q = &queues[thread];
    copy* item = &q->copies[q->count++];
    if (offset % CHUNK_BYTES != 0 || offset + CHUNK_BYTES > SHARED_BYTES) FAIL("thread %u copies to offset %u", thread, offset);
    item->target = offset / 4;
    for (unsigned int i = 0; i < CHUNK_WORDS; ++i) item->data[i] = inside ? source[i] : 0;
    if (early) arrive(item);
}

static void close_group(unsigned int thread)
{
    queue* q = &queues[thread];
    q->groups[q->closed++] = q->count;
}

/* All but the latest STAGES - 2 groups have to arrive; the rest stays away as long as it can. */
static void wait_for_copies(unsigned int thread)
{
    queue* q = &queues[thread];
    if (q->closed <= STAGES - 2) return;
    const unsigned int finished = q->closed - (STAGES - 2);
    const unsigned int items = q->groups[finished - 1];
    if (!early)
        for (unsigned int i = 0; i < items; ++i) arrive(&q->copies[i]);
    memmove(q->copies, q->copies + items, (q->count - items) * sizeof(copy));
    q->count -= items;
    q->closed -= finished;
    for (unsigned int i = 0; i < q->closed; ++i) q->groups[i] = q->groups[i + finished] - items;
}

/* Eight 16-byte accesses at once are free of conflicts when they touch all eight groups of 4 banks. */
static void expect_no_conflict(const unsigned int* offsets, const char* what)
{
    unsigned int groups = 0;
    for (int i = 0; i < 8; ++i) groups |= 1u << (offsets[i] / 16 % 8);
    if (groups != 0xff) FAIL("%s: bank conflict", what);
}

/* PTX: lanes 8q to 8q+7 give the rows of matrix q; lane l receives word l % 4 of row l / 4 of every matrix, matrix q in register q. */
static void load_matrices(word* r0, word* r1, word* r2, word* r3, const unsigned int* offsets)
{
    word* const r[4] = {r0, r1, r2, r3};
    for (unsigned int q = 0; q < 4; ++q) {
        expect_no_conflict(offsets + 8 * q, "ldmatrix");
        for (unsigned int lane = 0; lane < 32; ++lane) r[q][lane] = shared[offsets[8 * q + lane / 4] / 4 + lane % 4];
    }
}

/* PTX, m16n8k16 of 16-bit and m16n8k32 of 8-bit elements, in words of k: a0 (g, t) a1 (g+8, t) a2 (g, t+4) a3 (g+8, t+4); b0 (t, g)
 * b1 (t+4, g); d0 (g, 2t) d1 (g, 2t+1) d2 (g+8, 2t) d3 (g+8, 2t+1), with g = lane / 4 and t = lane % 4. */
static void multiply_one(word d[4][32], word fa[4][32], word fb[2][32])
{
    word ma[16][8], mb[8][8];
    for (unsigned int lane = 0; lane < 32; ++lane) {
        const unsigned int g = lane / 4, t = lane % 4;
        ma[g][t] = fa[0][lane];
        ma[g + 8][t] = fa[1][lane];
        ma[g][t + 4] = fa[2][lane];
        ma[g + 8][t + 4] = fa[3][lane];
        mb[t][g] = fb[0][lane];
        mb[t + 4][g] = fb[1][lane];
    }
    for (unsigned int lane = 0; lane < 32; ++lane) {
        const unsigned int g = lane / 4, t = lane % 4;
        for (unsigned int k = 0; k < 8; ++k) {
            d[0][lane] += ma[g][k] * mb[k][2 * t];
            d[1][lane] += ma[g][k] * mb[k][2 * t + 1];
            d[2][lane] += ma[g + 8][k] * mb[k][2 * t];
            d[3][lane] += ma[g + 8][k] * mb[k][2 * t + 1];
        }
    }
}

/* --- the kernel's parts, for one warp ---------------------------------------------------------------------------------------------- */

static void copy_slice(unsigned int warp, unsigned int slice, unsigned int row0, unsigned int column0)
{
    const unsigned int stage = stage_offset(slice);
    unsigned int offsets[32];
    for (unsigned int round = 0; round < COPIES_A + COPIES_B; ++round) {
        const int is_a = round < COPIES_A;
        for (unsigned int lane = 0; lane < 32; ++lane) {
            const unsigned int thread = 32 * warp + lane;
            const unsigned int row = copy_row(thread, is_a ? round : round - COPIES_A);
            const unsigned int chunk = slice * SLICE_CHUNKS + copy_chunk(thread);
            const unsigned int place = (is_a ? row0 : column0) + row;
            const int inside = chunk < chunks && place < (is_a ? m : n);
            const word* source = inside ? (is_a ? a : b) + ((size_t)place * chunks + chunk) * CHUNK_WORDS : NULL;
            if (row >= (is_a ? TILE_M : TILE_N)) FAIL("thread %u copies row %u of a tile", thread, row);
            offsets[lane] = stage + (is_a ? 0 : STAGE_A_BYTES) + chunk_offset(row, copy_chunk(thread));
            copy_async(thread, offsets[lane], source, inside);
        }
        for (unsigned int part = 0; part < 4; ++part) expect_no_conflict(offsets + 8 * part, "cp.async");
    }
    for (unsigned int lane = 0; lane < 32; ++lane) close_group(32 * warp + lane);
}

static void load_fragments(unsigned int warp, unsigned int slice, unsigned int step, unsigned int buffer)
{
    registers* r = &warps[warp];
    const unsigned int stage = stage_offset(slice);
    unsigned int offsets[32];
    for (unsigned int tile = 0; tile < MMAS_M; ++tile) {
        word(*f)[32] = r->a[buffer][tile];
        for (unsigned int lane = 0; lane < 32; ++lane)
            offsets[lane] = stage + chunk_offset(a_load_row(warp, tile, lane), a_load_chunk(step, lane));
        load_matrices(f[0], f[1], f[2], f[3], offsets);
    }
    for (unsigned int pair = 0; pair < MMAS_N / 2; ++pair) {
        word(*f)[32] = r->b[buffer][2 * pair];
        word(*g)[32] = r->b[buffer][2 * pair + 1];
        for (unsigned int lane = 0; lane < 32; ++lane)
            offsets[lane] = stage + STAGE_A_BYTES + chunk_offset(b_load_row(warp, pair, lane), b_load_chunk(step, lane));
        load_matrices(f[0], f[1], g[0], g[1], offsets);
    }
}

static void multiply(unsigned int warp, unsigned int buffer)
{
    registers* r = &warps[warp];
    for (unsigned int i = 0; i < MMAS_M; ++i)
        for (unsigned int j = 0; j < MMAS_N; ++j) multiply_one(r->sums[i][j], r->a[buffer][i], r->b[buffer][j]);
}

static void wait_warp(unsigned int warp)
{
    for (unsigned int lane = 0; lane < 32; ++lane) wait_for_copies(32 * warp + lane);
}

/* Two neighbouring columns: what pack_bf16 puts into one register. */
typedef struct {
    word low, high;
} packed;

static void exchange(packed item[4][32])
{
    for (unsigned int distance = 1; distance <= 2; distance *= 2) {
        for (unsigned int lower = 0; lower < 4; ++lower) {
            packed given[32];
            if (lower & distance) continue;
            for (unsigned int lane = 0; lane < 32; ++lane)
                given[lane] = exchange_gives_upper(lane, distance) ? item[lower | distance][lane] : item[lower][lane];
            for (unsigned int lane = 0; lane < 32; ++lane) {
                if (exchange_gives_upper(lane, distance))
                    item[lower | distance][lane] = given[lane ^ distance];
                else
                    item[lower][lane] = given[lane ^ distance];
            }
        }
    }
}

static void store_tile(unsigned int warp, unsigned int row0, unsigned int column0)
{
    registers* r = &warps[warp];
    for (unsigned int tile = 0; tile < MMAS_M; ++tile) {
        for (unsigned int half = 0; half < 2; ++half) {
            for (unsigned int quad = 0; quad < MMAS_N / 4; ++quad) {
                packed item[4][32];
                for (unsigned int i = 0; i < 4; ++i)
                    for (unsigned int lane = 0; lane < 32; ++lane) {
                        item[i][lane].low = r->sums[tile][4 * quad + i][2 * half][lane];
                        item[i][lane].high = r->sums[tile][4 * quad + i][2 * half + 1][lane];
                    }
                exchange(item);
                for (unsigned int lane = 0; lane < 32; ++lane) {
                    const unsigned int row = row0 + store_row(warp, tile, half, lane);
                    const unsigned int column = column0 + store_column(warp, quad, lane);
                    if (row >= m || column >= n) continue;
                    const size_t at = (size_t)row * n + column;
                    if (at % 8 != 0) FAIL("a store of 16 bytes at element %zu", at);
                    for (unsigned int i = 0; i < 8; ++i) {
                        c[at + i] = i % 2 == 0 ? item[i / 2][lane].low : item[i / 2][lane].high;
                        stored[at + i] += 1;
                    }
                }
            }
        }
    }
}

/* --- the kernel -------------------------------------------------------------------------------------------------------------------- */

static unsigned int nth_warp(unsigned int i)
{
    return downwards ? WARPS - 1 - i : i;
}

static void run_block(unsigned int block)
{
    const unsigned int tiles_m = tiles_along(m, TILE_M), tiles_n = tiles_along(n, TILE_N);
    const unsigned int row0 = tile_row(block, tiles_m, tiles_n) * TILE_M;
    const unsigned int column0 = tile_column(block, tiles_m, tiles_n) * TILE_N;
    const unsigned int slices = tiles_along(chunks, SLICE_CHUNKS);
    memset(queues, 0, sizeof queues);
    memset(warps, 0, sizeof warps);
    for (unsigned int i = 0; i < SHARED_BYTES / 4; ++i) shared[i] = mix(0xdead0000ull + i);

    for (unsigned int i = 0; i < WARPS; ++i) {
        for (unsigned int slice = 0; slice < STAGES - 1; ++slice) copy_slice(nth_warp(i), slice, row0, column0);
        wait_warp(nth_warp(i));
    }
    /* Barrier. Each turn of this loop is what a warp does from one barrier to the next: the end of slice - 1, the beginning of slice. */
    for (unsigned int slice = 0; slice <= slices; ++slice) {
        for (unsigned int i = 0; i < WARPS; ++i) {
            const unsigned int warp = nth_warp(i);
            if (prefetch) load_fragments(warp, slice, 0, 0);
            if (slice > 0) multiply(warp, prefetch ? (STEPS - 1) % 2 : 0);
            if (slice == slices) continue;
            for (unsigned int step = 0; step < STEPS; ++step) {
                const int last = step + 1 == STEPS;
                if (!prefetch) load_fragments(warp, slice, step, 0);
                if (prefetch && !last) load_fragments(warp, slice, step + 1, (step + 1) % 2);
                if (step == 0) copy_slice(warp, slice + STAGES - 1, row0, column0);
                if (!last) multiply(warp, prefetch ? step % 2 : 0);
            }
            wait_warp(warp);
        }
    }
    for (unsigned int i = 0; i < WARPS; ++i) store_tile(nth_warp(i), row0, column0);
}

static void check_product(void)
{
    const size_t words = (size_t)chunks * CHUNK_WORDS;
    const unsigned int blocks = tiles_along(m, TILE_M) * tiles_along(n, TILE_N);
    a = malloc(m * words * sizeof(word));
    b = malloc(n * words * sizeof(word));
    c = malloc((size_t)m * n * sizeof(word));
    stored = calloc((size_t)m * n, 1);
    for (size_t i = 0; i < m * words; ++i) a[i] = mix(i);
    for (size_t i = 0; i < n * words; ++i) b[i] = mix(i + (1ull << 40));
    for (unsigned int block = 0; block < blocks; ++block) run_block(block);
    for (unsigned int row = 0; row < m; ++row) {
        for (unsigned int column = 0; column < n; ++column) {
            const size_t at = (size_t)row * n + column;
            word sum = 0;
            for (size_t k = 0; k < words; ++k) sum += a[row * words + k] * b[column * words + k];
            if (stored[at] != 1) FAIL("%ux%ux%u: element %u,%u stored %u times", m, n, chunks, row, column, stored[at]);
            if (c[at] != sum) FAIL("%ux%ux%u: element %u,%u is wrong", m, n, chunks, row, column);
        }
    }
    free(a);
    free(b);
    free(c);
    free(stored);
}

/* Every tile belongs to exactly one block. */
static void check_order(unsigned int tiles_m, unsigned int tiles_n)
{
    unsigned char* seen = calloc(tiles_m * tiles_n, 1);
    for (unsigned int block = 0; block < tiles_m * tiles_n; ++block) {
        const unsigned int row = tile_row(block, tiles_m, tiles_n), column = tile_column(block, tiles_m, tiles_n);
        if (row >= tiles_m || column >= tiles_n) FAIL("%ux%u tiles: block %u is outside", tiles_m, tiles_n, block);
        if (seen[row * tiles_n + column]++) FAIL("%ux%u tiles: tile %u,%u twice", tiles_m, tiles_n, row, column);
    }
    free(seen);
}

int main(int count, char** arguments)
{
    for (unsigned int tiles_m = 1; tiles_m <= 70; ++tiles_m)
        for (unsigned int tiles_n = 1; tiles_n <= 20; ++tiles_n) check_order(tiles_m, tiles_n);
    for (int i = 1; i < count; ++i) {
        if (sscanf(arguments[i], "%u,%u,%u,%d,%d,%d", &m, &n, &chunks, &prefetch, &early, &downwards) != 6 || n % 8 != 0)
            FAIL("expected m,n,chunks,prefetch,early,downwards with n a multiple of 8 but found %s", arguments[i]);
        check_product();
    }
    printf("%d products\n", count - 1);
    return 0;
}
