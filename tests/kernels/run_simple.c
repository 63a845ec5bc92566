/* Runs the simple kernels, compiled for the host from the very same sources, and prints what they leave in memory.
 *
 * Arguments: grid and block. Every line of output is a name, a space, and bytes in hexadecimal. The Rust test knows what they must be.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "numbers.h"

_Thread_local position threadIdx, blockIdx, blockDim, gridDim;

void empty(void);
void gate(const volatile unsigned int*, unsigned long long, unsigned int*);
void fill_pattern(unsigned long long*, unsigned long long, unsigned long long);
void verify_pattern(const unsigned long long*, unsigned long long, unsigned long long, unsigned long long*, unsigned long long*);
void verify_equal(const unsigned long long*, const unsigned long long*, unsigned long long, unsigned long long*, unsigned long long*);
void fill_uniform_f32(float*, unsigned long long, unsigned long long, float);
void fill_uniform_bf16(unsigned short*, unsigned long long, unsigned long long, float);
void fill_uniform_e4m3(unsigned char*, unsigned long long, unsigned long long, float);
void fill_uniform_e5m2(unsigned char*, unsigned long long, unsigned long long, float);
void fill_normal_f32(float*, unsigned long long, unsigned long long, float);
void fill_normal_bf16(unsigned short*, unsigned long long, unsigned long long, float);
void fill_normal_e4m3(unsigned char*, unsigned long long, unsigned long long, float);
void fill_normal_e5m2(unsigned char*, unsigned long long, unsigned long long, float);
void stream_read(const float4*, unsigned long long, unsigned int*);
void stream_write(float4*, unsigned long long, float);
void stream_copy(const float4*, float4*, unsigned long long);
void stream_scale(const float4*, float4*, unsigned long long, float);
void stream_add(const float4*, const float4*, float4*, unsigned long long);
void stream_triad(const float4*, const float4*, float4*, unsigned long long, float);
void bulk_read(const float4*, unsigned long long, unsigned int*);
void bulk_write(float4*, unsigned long long, float);
void bulk_copy(const float4*, float4*, unsigned long long);
void cache_read(const float4*, unsigned long long, unsigned int, unsigned int*);
void chase(const unsigned int*, unsigned int, unsigned long long, unsigned int*, unsigned long long*);
void chase_l2(const unsigned int*, unsigned int, unsigned long long, unsigned int*, unsigned long long*);
void matvec_bf16(const unsigned short*, const double*, double*, unsigned long long, unsigned long long);
void matvec_e4m3(const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void matvec_e5m2(const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void matvec_t_bf16(const unsigned short*, const double*, double*, unsigned long long, unsigned long long);
void matvec_t_e4m3(const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void matvec_t_e5m2(const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void fill_uniform_f16(unsigned short*, unsigned long long, unsigned long long, float);
void fill_uniform_i8(unsigned char*, unsigned long long, unsigned long long, float);
void fill_uniform_e2m1(unsigned char*, unsigned long long, unsigned long long, float);
void fill_uniform_f64(double*, unsigned long long, unsigned long long, float);
void matvec_any(unsigned int, const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void matvec_t_any(unsigned int, const unsigned char*, const double*, double*, unsigned long long, unsigned long long);
void fma_f32(unsigned int, unsigned int, unsigned int*);
void fma_f64(unsigned int, unsigned int, unsigned long long*);
void fma_f16(unsigned int, unsigned int, unsigned int*);

static unsigned int grid, block;

#define LAUNCH(blocks, threads, call)                                                       \
    do {                                                                                    \
        gridDim.x = (blocks);                                                               \
        blockDim.x = (threads);                                                             \
        for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x)                          \
            for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) call;            \
    } while (0)

static void print(const char* name, const void* data, size_t bytes)
{
    printf("%s ", name);
    for (size_t i = 0; i < bytes; ++i) printf("%02x", ((const unsigned char*)data)[i]);
    printf("\n");
}

/* Memory with a guard behind it: a kernel that writes too far is found. */
static void* reserve(size_t bytes)
{
    unsigned char* memory = aligned_alloc(16, (bytes + 64 + 15) / 16 * 16);
    memset(memory, 0xa5, bytes + 64);
    return memory;
}

static void release(void* memory, size_t bytes)
{
    for (size_t i = bytes; i < bytes + 64; ++i)
        if (((unsigned char*)memory)[i] != 0xa5) {
            printf("wrote %zu bytes behind the end\n", i - bytes + 1);
            exit(1);
        }
    free(memory);
}

#define FILL(name, type, n)                                       \
    do {                                                          \
        type* data = reserve((n) * sizeof(type));                 \
        LAUNCH(grid, block, name(data, (n), 12345, 1.5f));        \
        print(#name, data, (n) * sizeof(type));                   \
        release(data, (n) * sizeof(type));                        \
    } while (0)

static void patterns(unsigned long long words)
{
    unsigned long long* data = reserve(words * 8);
    unsigned long long found[2] = {0, ~0ull};
    LAUNCH(grid, block, fill_pattern(data, words, 99));
    print("fill_pattern", data, words * 8);
    LAUNCH(grid, block, verify_pattern(data, words, 99, &found[0], &found[1]));
    print("verify_right", found, sizeof found);
    data[words - 1] ^= 1;
    data[words / 2] ^= 1ull << 63;
    data[words / 2 + 1] = 0;
    LAUNCH(grid, block, verify_pattern(data, words, 99, &found[0], &found[1]));
    print("verify_wrong", found, sizeof found);
    found[0] = 0;
    found[1] = ~0ull;
    unsigned long long* same = reserve(words * 8);
    memcpy(same, data, words * 8);
    LAUNCH(grid, block, verify_equal(data, same, words, &found[0], &found[1]));
    print("verify_right", found, sizeof found);
    same[words - 1] += 1;
    same[words / 2] += 1;
    data[words / 2 + 1] += 1;
    LAUNCH(grid, block, verify_equal(data, same, words, &found[0], &found[1]));
    print("verify_wrong", found, sizeof found);
    release(same, words * 8);
    release(data, words * 8);
}

static void streams(unsigned long long vectors)
{
    const size_t bytes = vectors * sizeof(float4);
    float4 *a = reserve(bytes), *b = reserve(bytes), *c = reserve(bytes);
    unsigned int sink[4] = {0, 0, 0, 0}, sweep[4] = {0, 0, 0, 0};
    LAUNCH(grid, block, fill_uniform_f32((float*)a, vectors * 4, 1, 1.0f));
    LAUNCH(grid, block, stream_read(a, vectors, sink));
    print("stream_read", sink, sizeof sink);
    LAUNCH(grid, block, cache_read(a, vectors, 3, sweep));
    print("cache_read", sweep, sizeof sweep);
    LAUNCH(grid, block, stream_copy(a, c, vectors));
    print("stream_copy", c, bytes);
    LAUNCH(grid, block, stream_scale(c, b, vectors, 3.0f));
    print("stream_scale", b, bytes);
    LAUNCH(grid, block, stream_add(a, b, c, vectors));
    print("stream_add", c, bytes);
    LAUNCH(grid, block, stream_triad(b, c, a, vectors, 0.3f));
    print("stream_triad", a, bytes);
    LAUNCH(grid, block, stream_write(a, vectors, -2.5f));
    print("stream_write", a, bytes);
    release(a, bytes);
    release(b, bytes);
    release(c, bytes);
}

/* Bulk copies, by as many tiles as pass through every place of the ring several times. What they leave is compared here: it is much. */
static void bulks(unsigned long long vectors)
{
    const size_t bytes = vectors * sizeof(float4);
    float4 *a = reserve(bytes), *c = reserve(bytes);
    unsigned int sums[8] = {0};
    unsigned long long found[2] = {0, ~0ull};
    LAUNCH(grid, block, fill_pattern((unsigned long long*)a, vectors * 2, 7));
    LAUNCH(grid, block, stream_read(a, vectors, sums));
    LAUNCH(grid, block, bulk_read(a, vectors, sums + 4));
    print("bulk_read", sums, sizeof sums);
    LAUNCH(grid, block, bulk_copy(a, c, vectors));
    LAUNCH(1, 1, verify_pattern((unsigned long long*)c, vectors * 2, 7, &found[0], &found[1]));
    print("bulk_copy", found, sizeof found);
    LAUNCH(grid, block, stream_write(c, vectors, 0.3f));
    LAUNCH(grid, block, bulk_write(a, vectors, 0.3f));
    LAUNCH(1, 1, verify_equal((unsigned long long*)a, (unsigned long long*)c, vectors * 2, &found[0], &found[1]));
    print("bulk_write", found, sizeof found);
    release(a, bytes);
    release(c, bytes);
}

static void chases(void)
{
    unsigned int next[64], ends[2];
    unsigned long long cycles;
    for (unsigned int i = 0; i < 64; ++i) next[i] = (i + 27) % 64;
    LAUNCH(1, 1, chase(next, 5, 1003, &ends[0], &cycles));
    LAUNCH(1, 1, chase_l2(next, 5, 1003, &ends[1], &cycles));
    print("chase", ends, sizeof ends);
}

#define MATVEC(name, fill, type, rows, cols)                                    \
    do {                                                                        \
        const unsigned long long longest = (rows) > (cols) ? (rows) : (cols);   \
        type* a = reserve((rows) * (cols) * sizeof(type));                      \
        double* x = malloc(longest * 8);                                        \
        double* y = reserve(longest * 8);                                       \
        memset(y, 0, longest * 8);                                              \
        for (unsigned long long i = 0; i < longest; ++i) x[i] = 1.0 / (double)(i + 1); \
        LAUNCH(grid, block, fill(a, (rows) * (cols), 4, 2.0f));                 \
        LAUNCH(grid, block, name(a, x, y, (rows), (cols)));                     \
        printf("%dx%d/", (int)(rows), (int)(cols));                             \
        print(#name, y, longest * 8);                                           \
        release(a, (rows) * (cols) * sizeof(type));                             \
        release(y, longest * 8);                                                \
        free(x);                                                                \
    } while (0)

#define MATVECS(rows, cols)                                                     \
    do {                                                                        \
        MATVEC(matvec_bf16, fill_normal_bf16, unsigned short, rows, cols);      \
        MATVEC(matvec_e4m3, fill_normal_e4m3, unsigned char, rows, cols);       \
        MATVEC(matvec_e5m2, fill_normal_e5m2, unsigned char, rows, cols);       \
        MATVEC(matvec_t_bf16, fill_normal_bf16, unsigned short, rows, cols);    \
        MATVEC(matvec_t_e4m3, fill_normal_e4m3, unsigned char, rows, cols);     \
        MATVEC(matvec_t_e5m2, fill_normal_e5m2, unsigned char, rows, cols);     \
    } while (0)

/* The kernels that take the format by number, on random bytes that are no NaN in any format: the exponents' upper bits are cleared. */
static void matvecs_of_any(unsigned long long rows, unsigned long long cols)
{
    const unsigned long long longest = rows > cols ? rows : cols;
    unsigned char* a = reserve(rows * cols * 8);
    double *x = malloc(longest * 8), *y = reserve(longest * 8);
    for (unsigned long long i = 0; i < longest; ++i) x[i] = 1.0 / (double)(i + 1);
    LAUNCH(grid, block, fill_pattern((unsigned long long*)a, rows * cols, 4));
    for (unsigned long long i = 0; i < rows * cols * 8; ++i) a[i] &= 0xbb;
    for (unsigned int format = 0; format < 9; ++format)
        for (int transposed = 0; transposed < 2; ++transposed) {
            memset(y, 0, longest * 8);
            if (transposed) LAUNCH(grid, block, matvec_t_any(format, a, x, y, rows, cols));
            else LAUNCH(grid, block, matvec_any(format, a, x, y, rows, cols));
            printf("%dx%d/any_%s%u", (int)rows, (int)cols, transposed ? "t_" : "", format);
            print("", y, longest * 8);
        }
    release(y, longest * 8);
    release(a, rows * cols * 8);
    free(x);
}

/* All threads of the launch, and one place that is nobody's. */
static void rates(unsigned int rounds)
{
    const unsigned int threads = grid * block - 1;
    unsigned int *single = reserve(threads * 4), *half = reserve(threads * 4);
    unsigned long long* whole = reserve(threads * 8);
    LAUNCH(grid, block, fma_f32(rounds, threads, single));
    print("fma_f32", single, threads * 4);
    LAUNCH(grid, block, fma_f64(rounds, threads, whole));
    print("fma_f64", whole, threads * 8);
    LAUNCH(grid, block, fma_f16(rounds, threads, half));
    print("fma_f16", half, threads * 4);
    release(single, threads * 4);
    release(half, threads * 4);
    release(whole, threads * 8);
}

/* Codes of FP32 numbers whose lower 13 bits are 0, all ones, or one half of the last bit kept: every sign, exponent and kind of tie. */
static void codes(void)
{
    const unsigned int tails[3] = {0, 0x1fff, 0x1000};
    unsigned char *e4m3 = malloc(3 << 19), *e5m2 = malloc(3 << 19);
    unsigned char *e2m1 = malloc(3 << 19), *i8 = malloc(3 << 19);
    unsigned short *bf16 = malloc(6 << 19), *f16 = malloc(6 << 19);
    float decoded[3][256], halves[1 << 16], quarters[16];
    for (unsigned int i = 0; i < 1u << 19; ++i)
        for (unsigned int t = 0; t < 3; ++t) {
            const float value = bits_float(i << 13 | tails[t]);
            e4m3[3 * i + t] = (unsigned char)e4m3_encode(value);
            e5m2[3 * i + t] = (unsigned char)e5m2_encode(value);
            bf16[3 * i + t] = (unsigned short)bf16_encode(value);
            f16[3 * i + t] = (unsigned short)f16_encode(value);
            e2m1[3 * i + t] = (unsigned char)e2m1_encode(value);
            i8[3 * i + t] = (unsigned char)i8_encode(value);
        }
    for (unsigned int i = 0; i < 1 << 16; ++i) halves[i] = f16_decode(i);
    for (unsigned int i = 0; i < 16; ++i) quarters[i] = e2m1_decode(i);
    for (unsigned int i = 0; i < 256; ++i) {
        decoded[0][i] = e4m3_decode(i);
        decoded[1][i] = e5m2_decode(i);
        decoded[2][i] = bf16_decode(i * 257);
    }
    print("e4m3_encode", e4m3, 3 << 19);
    print("e5m2_encode", e5m2, 3 << 19);
    print("bf16_encode", bf16, 6 << 19);
    print("decode", decoded, sizeof decoded);
    print("f16_encode", f16, 6 << 19);
    print("e2m1_encode", e2m1, 3 << 19);
    print("i8_encode", i8, 3 << 19);
    print("f16_decode", halves, sizeof halves);
    print("e2m1_decode", quarters, sizeof quarters);
    free(e4m3);
    free(e5m2);
    free(bf16);
    free(e2m1);
    free(i8);
    free(f16);
}

static void gates(void)
{
    unsigned int open = 1, timed_out = 0;
    LAUNCH(1, 1, gate(&open, 1000000000ull, &timed_out));
    print("gate_open", &timed_out, 4);
    open = 0;
    LAUNCH(1, 1, gate(&open, 1000ull, &timed_out));
    print("gate_shut", &timed_out, 4);
    LAUNCH(1, 1, empty());
}

int main(int count, char** arguments)
{
    if (count != 4) return 2;
    grid = (unsigned int)atoi(arguments[1]);
    block = (unsigned int)atoi(arguments[2]);
    if (strcmp(arguments[3], "codes") == 0) {
        codes();
        return 0;
    }
    patterns(1003);
    patterns(1000);
    FILL(fill_uniform_f32, float, 1003);
    FILL(fill_normal_f32, float, 1002);
    FILL(fill_uniform_bf16, unsigned short, 1007);
    FILL(fill_normal_bf16, unsigned short, 1001);
    FILL(fill_uniform_e4m3, unsigned char, 1015);
    FILL(fill_normal_e4m3, unsigned char, 1008);
    FILL(fill_uniform_e5m2, unsigned char, 1001);
    FILL(fill_normal_e5m2, unsigned char, 1014);
    FILL(fill_uniform_f16, unsigned short, 1003);
    FILL(fill_uniform_i8, unsigned char, 1009);
    {
        unsigned char* data = reserve(503);
        LAUNCH(grid, block, fill_uniform_e2m1(data, 1006, 12345, 1.5f));
        print("fill_uniform_e2m1", data, 503);
        release(data, 503);
    }
    FILL(fill_uniform_f64, double, 1001);
    streams(1);
    streams(1024);
    streams(1061);
    bulks(1);
    bulks(512 * 3);
    bulks(512 * 5 * 3 * 4 + 77);
    chases();
    MATVECS(300, 48);
    MATVECS(7, 528);
    MATVECS(19, 13);
    matvecs_of_any(300, 48);
    matvecs_of_any(19, 14);
    rates(0);
    rates(40);
    gates();
    return 0;
}
