/* Fills memory with data that can be checked or that is fit to be multiplied.
 *
 *   fill_pattern     out[i] = mix64(i + seed * odd): every word says where it belongs; 8 bytes written per word
 *   verify_pattern   compares with the same; *errors += wrong words, *first_bad = least wrong index; 8 bytes read per word
 *   verify_equal     compares two arrays word by word, with the same answer; 16 bytes read per word
 *   fill_uniform_*   uniform in [-1, 1) times scale          fill_normal_*   standard normal times scale
 *
 * random.h has the formulas. All accesses are 16 bytes wide but for the last few elements of an array. The pattern kernels should be
 * limited by device memory, the random fills by integer and special-function arithmetic: they prepare data and are never timed.
 * The host sets *errors to 0 and *first_bad to the largest number before verify_pattern and verify_equal.
 */
#include "numbers.h"
#include "prelude.h"
#include "random.h"

#define DEPTH 4

DEVICE words2 pattern_at(unsigned long long vector, unsigned long long seed)
{
    words2 words;
    words.x = random_word(2 * vector, seed);
    words.y = random_word(2 * vector + 1, seed);
    return words;
}

KERNEL fill_pattern(unsigned long long* out, unsigned long long words, unsigned long long seed)
{
    words2* const wide = (words2*)out;
    const unsigned long long vectors = words / 2;
    for (unsigned long long i = thread_index(); i < vectors; i += thread_count()) wide[i] = pattern_at(i, seed);
    if (words % 2 == 1 && thread_index() == 0) out[words - 1] = random_word(words - 1, seed);
}

/* What one thread has found wrong. */
typedef struct {
    unsigned long long errors;
    unsigned long long first;
} findings;

DEVICE void compare(findings* found, unsigned long long index, unsigned long long seen, unsigned long long expected)
{
    if (seen != expected) {
        found->errors += 1;
        if (index < found->first) found->first = index;
    }
}

DEVICE void compare_words(findings* found, unsigned long long vector, words2 seen, words2 expected)
{
    compare(found, 2 * vector, seen.x, expected.x);
    compare(found, 2 * vector + 1, seen.y, expected.y);
}

DEVICE void compare_vector(findings* found, unsigned long long vector, words2 seen, unsigned long long seed)
{
    compare_words(found, vector, seen, pattern_at(vector, seed));
}

/* Adds what a thread found to the answer; atomics, but only where something is wrong. */
DEVICE void report(const findings* found, unsigned long long* errors, unsigned long long* first_bad)
{
    if (found->errors != 0) {
        atomic_add_u64(errors, found->errors);
        atomic_min_u64(first_bad, found->first);
    }
}

KERNEL verify_pattern(const unsigned long long* in, unsigned long long words, unsigned long long seed, unsigned long long* errors, unsigned long long* first_bad)
{
    const words2* const wide = (const words2*)in;
    const unsigned long long vectors = words / 2;
    const unsigned long long step = thread_count();
    unsigned long long i = thread_index();
    findings found;
    found.errors = 0;
    found.first = ~0ull;
    for (; i + (DEPTH - 1) * step < vectors; i += DEPTH * step) {
        words2 held[DEPTH];
        UNROLL for (int j = 0; j < DEPTH; ++j) held[j] = wide[i + j * step];
        UNROLL for (int j = 0; j < DEPTH; ++j) compare_vector(&found, i + j * step, held[j], seed);
    }
    for (; i < vectors; i += step) compare_vector(&found, i, wide[i], seed);
    if (words % 2 == 1 && thread_index() == 0) compare(&found, words - 1, in[words - 1], random_word(words - 1, seed));
    report(&found, errors, first_bad);
}

KERNEL verify_equal(const unsigned long long* a, const unsigned long long* b, unsigned long long words, unsigned long long* errors, unsigned long long* first_bad)
{
    const words2* const left = (const words2*)a;
    const words2* const right = (const words2*)b;
    const unsigned long long vectors = words / 2;
    const unsigned long long step = thread_count();
    unsigned long long i = thread_index();
    findings found;
    found.errors = 0;
    found.first = ~0ull;
    for (; i + (DEPTH - 1) * step < vectors; i += DEPTH * step) {
        words2 held[DEPTH], expected[DEPTH];
        UNROLL for (int j = 0; j < DEPTH; ++j) held[j] = left[i + j * step];
        UNROLL for (int j = 0; j < DEPTH; ++j) expected[j] = right[i + j * step];
        UNROLL for (int j = 0; j < DEPTH; ++j) compare_words(&found, i + j * step, held[j], expected[j]);
    }
    for (; i < vectors; i += step) compare_words(&found, i, left[i], right[i]);
    if (words % 2 == 1 && thread_index() == 0) compare(&found, words - 1, a[words - 1], b[words - 1]);
    report(&found, errors, first_bad);
}

/* One element, for the end of an array. */
DEVICE float random_element(int normal, unsigned long long index, unsigned long long seed, float scale)
{
    float even, odd;
    random_pair(normal, index / 2, seed, scale, &even, &odd);
    return index % 2 == 0 ? even : odd;
}

DEVICE void fill_f32(float* out, unsigned long long n, unsigned long long seed, float scale, int normal)
{
    float4* const wide = (float4*)out;
    const unsigned long long vectors = n / 4;
    const unsigned long long rest = vectors * 4 + thread_index();
    for (unsigned long long i = thread_index(); i < vectors; i += thread_count()) {
        float4 held;
        random_pair(normal, 2 * i, seed, scale, &held.x, &held.y);
        random_pair(normal, 2 * i + 1, seed, scale, &held.z, &held.w);
        wide[i] = held;
    }
    /* Up to 3 elements are left; the launch may be smaller than that. */
    for (unsigned long long i = rest; i < n; i += thread_count()) out[i] = random_element(normal, i, seed, scale);
}

DEVICE unsigned int bf16_pair(int normal, unsigned long long pair, unsigned long long seed, float scale)
{
    float even, odd;
    random_pair(normal, pair, seed, scale, &even, &odd);
    return bf16_encode(even) | bf16_encode(odd) << 16;
}

DEVICE void fill_bf16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale, int normal)
{
    uint4* const wide = (uint4*)out;
    const unsigned long long vectors = n / 8;
    const unsigned long long rest = vectors * 8 + thread_index();
    for (unsigned long long i = thread_index(); i < vectors; i += thread_count()) {
        uint4 held;
        held.x = bf16_pair(normal, 4 * i, seed, scale);
        held.y = bf16_pair(normal, 4 * i + 1, seed, scale);
        held.z = bf16_pair(normal, 4 * i + 2, seed, scale);
        held.w = bf16_pair(normal, 4 * i + 3, seed, scale);
        wide[i] = held;
    }
    for (unsigned long long i = rest; i < n; i += thread_count()) out[i] = (unsigned short)bf16_encode(random_element(normal, i, seed, scale));
}

DEVICE unsigned int fp8_code(int e5m2, float value)
{
    return e5m2 ? e5m2_encode(value) : e4m3_encode(value);
}

DEVICE unsigned int fp8_quad(int e5m2, int normal, unsigned long long quad, unsigned long long seed, float scale)
{
    float a, b, c, d;
    random_pair(normal, 2 * quad, seed, scale, &a, &b);
    random_pair(normal, 2 * quad + 1, seed, scale, &c, &d);
    return fp8_code(e5m2, a) | fp8_code(e5m2, b) << 8 | fp8_code(e5m2, c) << 16 | fp8_code(e5m2, d) << 24;
}

DEVICE void fill_fp8(unsigned char* out, unsigned long long n, unsigned long long seed, float scale, int normal, int e5m2)
{
    uint4* const wide = (uint4*)out;
    const unsigned long long vectors = n / 16;
    const unsigned long long rest = vectors * 16 + thread_index();
    for (unsigned long long i = thread_index(); i < vectors; i += thread_count()) {
        uint4 held;
        held.x = fp8_quad(e5m2, normal, 4 * i, seed, scale);
        held.y = fp8_quad(e5m2, normal, 4 * i + 1, seed, scale);
        held.z = fp8_quad(e5m2, normal, 4 * i + 2, seed, scale);
        held.w = fp8_quad(e5m2, normal, 4 * i + 3, seed, scale);
        wide[i] = held;
    }
    for (unsigned long long i = rest; i < n; i += thread_count()) {
        out[i] = (unsigned char)fp8_code(e5m2, random_element(normal, i, seed, scale));
    }
}

KERNEL fill_uniform_f32(float* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_f32(out, n, seed, scale, 0);
}

KERNEL fill_uniform_bf16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_bf16(out, n, seed, scale, 0);
}

KERNEL fill_uniform_e4m3(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_fp8(out, n, seed, scale, 0, 0);
}

KERNEL fill_uniform_e5m2(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_fp8(out, n, seed, scale, 0, 1);
}

KERNEL fill_normal_f32(float* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_f32(out, n, seed, scale, 1);
}

KERNEL fill_normal_bf16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_bf16(out, n, seed, scale, 1);
}

KERNEL fill_normal_e4m3(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_fp8(out, n, seed, scale, 1, 0);
}

KERNEL fill_normal_e5m2(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_fp8(out, n, seed, scale, 1, 1);
}
