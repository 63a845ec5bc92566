/* Runs Hopper's matrix product on the host: its data movement, with the index functions that the kernel itself uses, and its order of events.
 *
 * Operands are 4-byte words of the rows of A and B (2 BF16 or 4 FP8 elements; the layout is the same), each replaced by a random 64-bit
 * number; sums are modulo 2^64. If one operand were taken from a wrong place, left out or used twice, the sum would differ from the
 * definition's with near certainty. What the hardware does is written here from the PTX manual: boxes of tensor maps and their swizzle, phases
 * and pending bytes of barriers, the fields of a matrix descriptor, where wgmma finds and leaves elements, stmatrix, groups of stores.
 *
 * Producers and consumers of both blocks of a cluster are fibres that a seeded scheduler runs in any order, switching at whatever they could
 * be overtaken at. A copy is done at any time between its issue and its completion, which comes at any later time; a wgmma reads its
 * operands when it is issued or only when it is waited for. Shared memory starts with numbers that belong to nothing.
 *
 * With a lost copy nobody may be left waiting: then every wait fails once nothing else can happen, and all have to come to their end.
 *
 * Arguments: any number of tile,widest,clusters,m,n,chunks,seed,lost. Prints what is wrong and exits with 1, or prints the number of products.
 * With the argument `tiles` it prints the tiles instead: name, rows, columns, stages, blocks of a cluster, bytes of shared memory.
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#define DEVICE static inline __attribute__((unused))
#include "hopper_index.h"

#define FAIL(...) (printf(__VA_ARGS__), printf("\n"), exit(1))
#define MOST_BLOCKS 2u
#define MOST_FIBRES (MOST_BLOCKS * (1u + CONSUMERS))
#define MOST_SUMS 128u
#define MOST_PARTS 4u
#define WINDOW (256u << 10)
#define LIMIT 232448u /* most dynamic shared memory of a block on compute capability 9.0 */

typedef unsigned long long word;

static word mix(word x)
{
    x += 0x9e3779b97f4a7c15ull;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

static word state;

static unsigned int chance(unsigned int of)
{
    return (unsigned int)(mix(++state) >> 33) % of;
}

/* --- the problem --------------------------------------------------------------------------------------------------------------- */

typedef struct {
    const char* name;
    unsigned int rows, columns, stages, cluster, group;
} tile;

static const tile tiles[] = {
#define TILE(name, rows, columns, stages, cluster, group) {#name, rows, columns, stages, cluster, group},
    HOPPER_TILES(TILE)
#undef TILE
};

static tile t;
static unsigned int part_columns, parts, columns_of_share, m, n, chunks, clusters;
static int promotes, eager;
static word *a, *b, *c;
static unsigned char* stored;

/* --- shared memory and barriers -------------------------------------------------------------------------------------------------- */

/* One phase of a barrier: how many still have to arrive, and how many bytes have been announced but not come. */
typedef struct {
    unsigned int expected, pending, phase;
    long bytes;
} barrier;

typedef struct {
    word shared[WINDOW / 2]; /* one number per 2 bytes; operands use every other one */
    barrier barriers[32];
    unsigned int start; /* where the kernel's own use begins: a multiple of 1024 */
} block;

static block blocks[MOST_BLOCKS];

static word* at(block* of, unsigned int address)
{
    if (address < of->start || address >= of->start + given_up_offset(t.rows, t.columns, t.stages) || address % 2 != 0)
        FAIL("%s: address %u of shared memory that begins at %u", t.name, address, of->start);
    return &of->shared[address / 2];
}

/* PTX, 128-byte swizzle: bits 4 to 6 of an address are exchanged for their difference to bits 7 to 9. */
static unsigned int swizzle(unsigned int address)
{
    return address ^ (address >> 7 & 7u) << 4;
}

static barrier* barrier_at(block* of, unsigned int address)
{
    const unsigned int first = of->start + full_offset(0, t.rows, t.columns, t.stages);
    const unsigned int index = (address - first) / 8;
    if (address < first || address % 8 != 0 || index >= 2 * t.stages) FAIL("%s: no barrier at %u", t.name, address);
    return &of->barriers[index];
}

static void settle(barrier* one)
{
    if (one->pending != 0 || one->bytes != 0) return;
    one->phase += 1;
    one->pending = one->expected;
}

static void arrive(barrier* one)
{
    if (one->pending == 0) FAIL("%s: more arrivals than a barrier expects", t.name);
    one->pending -= 1;
    settle(one);
}

/* --- copies ------------------------------------------------------------------------------------------------------------------------ */

/* A matrix and the box that is copied: rows of `pitch` bytes, `row_bytes` of which are the matrix's. */
typedef struct {
    const word* from;
    unsigned int rows, row_bytes, box_rows;
} map;

typedef struct {
    map source;
    unsigned int byte, row, target, barrier, mask;
    int moved;
} load;

static load loads[256];
static unsigned int loads_open, loads_done, lost;

static void move(load* one)
{
    if (one->moved) return;
    one->moved = 1;
    if (one->target % 1024 != 0) FAIL("%s: a box goes to %u", t.name, one->target);
    for (unsigned int to = 0; to < t.cluster; ++to) {
        if (!(one->mask >> to & 1u)) continue;
        for (unsigned int r = 0; r < one->source.box_rows; ++r)
            for (unsigned int byte = 0; byte < SLICE_BYTES; byte += 4) {
                const unsigned int row = one->row + r, from = one->byte + byte;
                const int inside = row < one->source.rows && from < one->source.row_bytes;
                *at(&blocks[to], swizzle(one->target + r * SLICE_BYTES + byte)) =
                    inside ? one->source.from[(size_t)row * (one->source.row_bytes / 4) + from / 4] : 0;
            }
    }
}

/* One of the copies under way comes to its end. */
static void finish_load(unsigned int index)
{
    load* one = &loads[index];
    move(one);
    loads_done += 1;
    for (unsigned int to = 0; to < t.cluster; ++to)
        if (one->mask >> to & 1u && loads_done != lost) {
            barrier* full = barrier_at(&blocks[to], one->barrier);
            full->bytes -= one->source.box_rows * SLICE_BYTES;
            settle(full);
        }
    *one = loads[--loads_open];
}

static void load_box(map source, unsigned int byte, unsigned int row, unsigned int target, unsigned int barrier, unsigned int mask)
{
    if (loads_open == sizeof loads / sizeof *loads) FAIL("too many copies");
    loads[loads_open] = (load){source, byte, row, target, barrier, mask, 0};
    if (chance(2)) move(&loads[loads_open]);
    loads_open += 1;
}

/* Stores of one thread, in groups; the oldest is read first. */
typedef struct {
    unsigned int count, row[8], column[8], source[8];
} stores;

static void read_panel(block* of, stores* s)
{
    for (unsigned int r = 0; r < PART_ROWS; ++r)
        for (unsigned int column = 0; column < PANEL_COLUMNS; ++column) {
            const word value = *at(of, swizzle(s->source[0] + r * 128u + column * 2u));
            const unsigned int row = s->row[0] + r, col = s->column[0] + column;
            if (row >= m || col >= n) continue;
            c[(size_t)row * n + col] = value;
            stored[(size_t)row * n + col] += 1;
        }
    s->count -= 1;
    memmove(s->row, s->row + 1, sizeof s->row - sizeof *s->row);
    memmove(s->column, s->column + 1, sizeof s->column - sizeof *s->column);
    memmove(s->source, s->source + 1, sizeof s->source - sizeof *s->source);
}

static void store_box(stores* s, unsigned int column, unsigned int row, unsigned int source)
{
    if (source % 1024 != 0) FAIL("%s: a panel at %u", t.name, source);
    s->row[s->count] = row;
    s->column[s->count] = column;
    s->source[s->count] = source;
    s->count += 1;
}

static void wait_for_reading(block* of, stores* s, unsigned int open)
{
    while (s->count > open) read_panel(of, s);
}

/* --- fibres ------------------------------------------------------------------------------------------------------------------------ */

static ucontext_t scheduler, fibres[MOST_FIBRES];
static char stacks[MOST_FIBRES][1 << 16];
static int ended[MOST_FIBRES], waiting[MOST_FIBRES], given_up;
static unsigned int running;

static void yield(void)
{
    swapcontext(&fibres[running], &scheduler);
}

static int wait_for(block* of, unsigned int address, unsigned int parity)
{
    yield();
    while ((barrier_at(of, address)->phase & 1u) == parity) {
        waiting[running] = !given_up;
        if (given_up) return 0;
        yield();
    }
    waiting[running] = 0;
    return 1;
}

/* --- wgmma --------------------------------------------------------------------------------------------------------------------------- */

typedef struct {
    word a, b;
    unsigned int part, add;
} product;

typedef struct {
    word sums[MOST_PARTS][128][MOST_SUMS]; /* part, thread, register */
    word few[128][MOST_SUMS];
    product open[64];
    unsigned int open_count, groups[4], closed;
    stores stores;
} consumer;

static consumer consumers[MOST_BLOCKS][CONSUMERS];

/* PTX: word w of row r of a matrix whose k is the fast direction, by its descriptor. */
static word operand(block* of, word descriptor, unsigned int r, unsigned int w)
{
    const unsigned int start = (unsigned int)(descriptor & 0x3fffu) << 4, stride = (unsigned int)(descriptor >> 32 & 0x3fffu) << 4;
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7u) != 0) FAIL("%s: descriptor %llx", t.name, descriptor);
    return *at(of, swizzle(start + r / 8 * stride + r % 8 * 128u + w * 4u));
}

/* PTX, m64nNk16 of 16-bit and m64nNk32 of 8-bit elements: register i of thread x is row 16 (x / 32) + x % 32 / 4 + 8 (i / 2 % 2), column
 * 8 (i / 4) + 2 (x % 4) + i % 2. */
static void multiply(block* of, consumer* who, const product* p)
{
    static word ma[64][8], mb[256][8], md[64][256];
    for (unsigned int w = 0; w < 8; ++w) {
        for (unsigned int r = 0; r < 64; ++r) ma[r][w] = operand(of, p->a, r, w);
        for (unsigned int r = 0; r < part_columns; ++r) mb[r][w] = operand(of, p->b, r, w);
    }
    for (unsigned int r = 0; r < 64; ++r)
        for (unsigned int column = 0; column < part_columns; ++column) {
            word sum = 0;
            for (unsigned int w = 0; w < 8; ++w) sum += ma[r][w] * mb[column][w];
            md[r][column] = sum;
        }
    word(*d)[MOST_SUMS] = promotes ? who->few : who->sums[p->part];
    for (unsigned int x = 0; x < 128; ++x)
        for (unsigned int i = 0; i < part_columns / 2; ++i) {
            const word value = md[x / 32 * 16 + x % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + x % 4 * 2 + i % 2];
            d[x][i] = value + (p->add ? d[x][i] : 0);
        }
}

static void wgmma_close(consumer* who)
{
    who->groups[who->closed++] = who->open_count;
}

/* Everything but the latest `open` groups is computed now, if it was not before. */
static void wgmma_wait(block* of, consumer* who, unsigned int open)
{
    if (who->closed <= open) return;
    const unsigned int finished = who->closed - open, count = who->groups[finished - 1];
    for (unsigned int i = 0; i < count; ++i) multiply(of, who, &who->open[i]);
    memmove(who->open, who->open + count, (who->open_count - count) * sizeof *who->open);
    who->open_count -= count;
    who->closed -= finished;
    for (unsigned int i = 0; i < who->closed; ++i) who->groups[i] = who->groups[i + finished] - count;
}

/* --- the kernel -------------------------------------------------------------------------------------------------------------------- */

static unsigned int first_work, rank_of[MOST_FIBRES], consumer_of[MOST_FIBRES];

static unsigned int slices(void)
{
    return parts_along(chunks * CHUNK_BYTES, SLICE_BYTES);
}

static void produce(unsigned int rank)
{
    block* me = &blocks[rank];
    const map of_a = {a, m, chunks * CHUNK_BYTES, t.rows}, of_b = {b, n, chunks * CHUNK_BYTES, b_share(t.columns, t.cluster)};
    const unsigned int rows = work_rows(m, t.rows, t.cluster), columns = parts_along(n, t.columns);
    unsigned int slice = 0;
    for (unsigned int work = first_work; work < rows * columns; work += clusters) {
        const unsigned int row = tile_row(work_row(work, rows, columns, t.group), rank, t.rows, t.cluster);
        const unsigned int column = tile_column(work_column(work, rows, columns, t.group), t.columns);
        for (unsigned int i = 0; i < slices(); ++i, ++slice) {
            const unsigned int stage = slice % t.stages, target = me->start + stage_offset(stage, t.rows, t.columns);
            const unsigned int full = me->start + full_offset(stage, t.rows, t.columns, t.stages);
            if (!wait_for(me, me->start + empty_offset(stage, t.rows, t.columns, t.stages), empty_parity(slice, t.stages))) return;
            barrier_at(me, full)->bytes += stage_bytes(t.rows, t.columns);
            arrive(barrier_at(me, full));
            yield();
            load_box(of_a, i * SLICE_BYTES, row, target, full, 1u << rank);
            yield();
            const unsigned int first = rank * b_share(t.columns, t.cluster);
            load_box(of_b, i * SLICE_BYTES, column + first, target + b_offset(first, t.rows), full, (1u << t.cluster) - 1u);
        }
    }
}

static void release(unsigned int stage)
{
    for (unsigned int warp = 0; warp < WARPS_OF_CONSUMER; ++warp)
        for (unsigned int to = 0; to < t.cluster; ++to) {
            arrive(barrier_at(&blocks[to], blocks[to].start + empty_offset(stage, t.rows, t.columns, t.stages)));
            yield();
        }
}

static void multiply_part(block* me, consumer* who, unsigned int number, unsigned int part, unsigned int stage, unsigned int add)
{
    const unsigned int start = me->start + stage_offset(stage, t.rows, t.columns);
    const unsigned int row = consumer_row(number, t.rows) + part_row(part, columns_of_share, part_columns);
    const unsigned int column = consumer_column(number, t.rows, t.columns) + part_column(part, columns_of_share, part_columns);
    for (unsigned int step = 0; step < STEPS; ++step) {
        const product p = {matrix_descriptor(start + row * SLICE_BYTES + step * STEP_BYTES),
                           matrix_descriptor(start + b_offset(column, t.rows) + step * STEP_BYTES), part, add | step};
        who->open[who->open_count++] = p;
    }
}

static void store_part(block* me, consumer* who, unsigned int number, unsigned int part, unsigned int row, unsigned int column, unsigned int* panel)
{
    const unsigned int first_row = row + consumer_row(number, t.rows) + part_row(part, columns_of_share, part_columns);
    const unsigned int first_column =
        column + consumer_column(number, t.rows, t.columns) + part_column(part, columns_of_share, part_columns);
    for (unsigned int j = 0; j < part_columns / PANEL_COLUMNS; ++j) {
        const unsigned int target = me->start + panel_offset(number, *panel, t.rows, t.columns, t.stages);
        *panel = (*panel + 1) % PANELS;
        wait_for_reading(me, &who->stores, PANELS - 1);
        for (unsigned int warp = 0; warp < 4; ++warp)
            for (unsigned int pair = 0; pair < PANEL_COLUMNS / 16; ++pair)
                for (unsigned int q = 0; q < 4; ++q) {
                    unsigned int groups = 0;
                    /* stmatrix: lane 8q + r gives the address of row r of matrix q; lane x holds its row x / 4, columns 2 (x % 4) and the next. */
                    for (unsigned int r = 0; r < 8; ++r) {
                        const unsigned int lane = 8 * q + r;
                        const unsigned int address = target + swizzled(panel_row(warp, lane), panel_chunk(pair, lane));
                        groups |= 1u << (address / 16 % 8);
                        for (unsigned int col = 0; col < 8; ++col) {
                            const unsigned int thread = warp * 32 + r * 4 + col / 2;
                            *at(me, address + col * 2) = who->sums[part][thread][j * PANEL_COLUMNS / 2 + pair * 8 + q * 2 + col % 2];
                        }
                    }
                    if (groups != 0xff) FAIL("%s: stmatrix: bank conflict", t.name);
                }
        store_box(&who->stores, first_column + j * PANEL_COLUMNS, first_row, target);
        if (eager) wait_for_reading(me, &who->stores, 0);
        yield();
    }
}

static void consume(unsigned int rank, unsigned int number)
{
    block* me = &blocks[rank];
    consumer* who = &consumers[rank][number];
    const unsigned int rows = work_rows(m, t.rows, t.cluster), columns = parts_along(n, t.columns);
    unsigned int slice = 0, panel = 0;
    int waits = 1;
    for (unsigned int work = first_work; work < rows * columns; work += clusters) {
        const unsigned int row = tile_row(work_row(work, rows, columns, t.group), rank, t.rows, t.cluster);
        const unsigned int column = tile_column(work_column(work, rows, columns, t.group), t.columns);
        if (promotes) memset(who->sums, 0, sizeof who->sums);
        for (unsigned int i = 0; i < slices(); ++i, ++slice) {
            const unsigned int stage = slice % t.stages;
            if (waits) waits = wait_for(me, me->start + full_offset(stage, t.rows, t.columns, t.stages), full_parity(slice, t.stages));
            for (unsigned int part = 0; part < parts; ++part) {
                multiply_part(me, who, number, part, stage, promotes ? 0 : i);
                if (!promotes) continue;
                wgmma_close(who);
                yield();
                wgmma_wait(me, who, 0);
                if (part + 1 == parts && waits) release(stage);
                for (unsigned int x = 0; x < 128; ++x)
                    for (unsigned int s = 0; s < part_columns / 2; ++s) who->sums[part][x][s] += who->few[x][s];
            }
            if (promotes) continue;
            wgmma_close(who);
            yield();
            wgmma_wait(me, who, eager ? 0 : 1);
            if (i > 0 && waits) release((slice - 1) % t.stages);
        }
        if (!promotes) {
            wgmma_wait(me, who, 0);
            if (waits) release((slice - 1) % t.stages);
        }
        if (!waits) break;
        for (unsigned int part = 0; part < parts; ++part) store_part(me, who, number, part, row, column, &panel);
    }
    wait_for_reading(me, &who->stores, 0);
}

static void fibre(void)
{
    const unsigned int self = running;
    if (consumer_of[self] == 0)
        produce(rank_of[self]);
    else
        consume(rank_of[self], consumer_of[self] - 1);
    ended[self] = 1;
    yield();
}

static void run_cluster(unsigned int number)
{
    const unsigned int count = t.cluster * (1 + CONSUMERS);
    first_work = number;
    loads_open = loads_done = 0;
    given_up = 0;
    memset(consumers, 0, sizeof consumers);
    /* The dynamic shared memory of both blocks begins at the same place. */
    const unsigned int start = (1024 + 16 * chance(64) + ATOM_BYTES - 1) / ATOM_BYTES * ATOM_BYTES;
    for (unsigned int rank = 0; rank < t.cluster; ++rank) {
        block* of = &blocks[rank];
        of->start = start;
        for (unsigned int i = 0; i < WINDOW / 2; ++i) of->shared[i] = mix(0xdead0000ull + i);
        for (unsigned int stage = 0; stage < t.stages; ++stage) {
            of->barriers[stage] = (barrier){full_arrivals(), full_arrivals(), 0, 0};
            of->barriers[t.stages + stage] = (barrier){empty_arrivals(t.cluster), empty_arrivals(t.cluster), 0, 0};
        }
    }
    for (unsigned int i = 0; i < count; ++i) {
        rank_of[i] = i / (1 + CONSUMERS);
        consumer_of[i] = i % (1 + CONSUMERS);
        ended[i] = waiting[i] = 0;
        getcontext(&fibres[i]);
        fibres[i].uc_stack.ss_sp = stacks[i];
        fibres[i].uc_stack.ss_size = sizeof stacks[i];
        fibres[i].uc_link = NULL;
        makecontext(&fibres[i], fibre, 0);
    }
    for (unsigned int idle = 0;;) {
        unsigned int alive = 0, blocked = 0;
        for (unsigned int i = 0; i < count; ++i) {
            alive += !ended[i];
            blocked += !ended[i] && waiting[i];
        }
        if (alive == 0 && loads_open == 0) break;
        idle = alive == blocked && loads_open == 0 ? idle + 1 : 0;
        if (idle > 1000) {
            if (given_up || !lost) FAIL("%s: %ux%ux%u: everybody waits", t.name, m, n, chunks);
            given_up = 1;
            idle = 0;
        }
        if (loads_open > 0 && (alive == blocked || chance(3) == 0)) {
            finish_load(chance(loads_open));
            continue;
        }
        running = chance(count);
        if (!ended[running]) swapcontext(&scheduler, &fibres[running]);
    }
    if (lost && !given_up && loads_done >= lost) FAIL("%s: a copy was lost and nobody noticed", t.name);
    for (unsigned int rank = 0; !lost && rank < t.cluster; ++rank)
        for (unsigned int i = 0; i < 2 * t.stages; ++i)
            if (blocks[rank].barriers[i].pending != blocks[rank].barriers[i].expected || blocks[rank].barriers[i].bytes != 0)
                FAIL("%s: %ux%ux%u: barrier %u of block %u ends in the middle of a phase", t.name, m, n, chunks, i, rank);
}

static void check_product(void)
{
    const size_t words = (size_t)chunks * 4;
    a = malloc(m * words * sizeof(word));
    b = malloc(n * words * sizeof(word));
    c = malloc((size_t)m * n * sizeof(word));
    stored = calloc((size_t)m * n, 1);
    for (size_t i = 0; i < m * words; ++i) a[i] = mix(i);
    for (size_t i = 0; i < n * words; ++i) b[i] = mix(i + (1ull << 40));
    for (unsigned int cluster = 0; cluster < clusters; ++cluster) run_cluster(cluster);
    for (unsigned int row = 0; !lost && row < m; ++row) {
        for (unsigned int column = 0; column < n; ++column) {
            const size_t place = (size_t)row * n + column;
            word sum = 0;
            for (size_t k = 0; k < words; ++k) sum += a[row * words + k] * b[column * words + k];
            if (stored[place] != 1) FAIL("%s: %ux%ux%u: element %u,%u stored %u times", t.name, m, n, chunks, row, column, stored[place]);
            if (c[place] != sum) FAIL("%s: %ux%ux%u: element %u,%u is wrong", t.name, m, n, chunks, row, column);
        }
    }
    free(a);
    free(b);
    free(c);
    free(stored);
}

/* Every piece of work comes exactly once. */
static void check_order(unsigned int rows, unsigned int columns, unsigned int group)
{
    unsigned char* seen = calloc(rows * columns, 1);
    for (unsigned int work = 0; work < rows * columns; ++work) {
        const unsigned int row = work_row(work, rows, columns, group), column = work_column(work, rows, columns, group);
        if (row >= rows || column >= columns) FAIL("%ux%u: work %u is outside", rows, columns, work);
        if (seen[row * columns + column]++) FAIL("%ux%u: work at %u,%u twice", rows, columns, row, column);
    }
    free(seen);
}

int main(int count, char** arguments)
{
    for (unsigned int i = 0; i < sizeof tiles / sizeof *tiles; ++i) {
        t = tiles[i];
        if (shared_bytes(t.rows, t.columns, t.stages) > LIMIT) FAIL("%s: %u bytes of shared memory", t.name, shared_bytes(t.rows, t.columns, t.stages));
        for (unsigned int rows = 1; rows <= 40; ++rows)
            for (unsigned int columns = 1; columns <= 20; ++columns) check_order(rows, columns, t.group);
    }
    if (count == 2 && strcmp(arguments[1], "tiles") == 0) {
        for (unsigned int i = 0; i < sizeof tiles / sizeof *tiles; ++i) {
            t = tiles[i];
            printf("%s %u %u %u %u %u\n", t.name, t.rows, t.columns, t.stages, t.cluster, shared_bytes(t.rows, t.columns, t.stages));
        }
        return 0;
    }
    for (int i = 1; i < count; ++i) {
        unsigned int number, widest, seed;
        if (sscanf(arguments[i], "%u,%u,%u,%u,%u,%u,%u,%u", &number, &widest, &clusters, &m, &n, &chunks, &seed, &lost) != 8 ||
            number >= sizeof tiles / sizeof *tiles || n % 8 != 0)
            FAIL("expected tile,widest,clusters,m,n,chunks,seed,lost with n a multiple of 8 but found %s", arguments[i]);
        t = tiles[number];
        columns_of_share = consumer_columns(t.rows, t.columns);
        part_columns = columns_of_share < widest ? columns_of_share : widest;
        parts = consumer_rows(t.rows) / PART_ROWS * (columns_of_share / part_columns);
        state = mix(seed);
        promotes = widest == 128;
        eager = (int)(seed % 2);
        check_product();
    }
    printf("%d products\n", count - 1);
    return 0;
}
