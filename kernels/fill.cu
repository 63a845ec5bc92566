/* Fills memory with data that can be checked or that is fit to be multiplied.
 *
 *   fill_pattern     out[i] = mix64(i + seed * odd): every word says where it belongs; 8 bytes written per word
 *   verify_pattern   compares with the same; *errors += wrong words, *first_bad = least wrong index; 8 bytes read per word
 *   verify_equal     compares two arrays word by word, with the same answer; 16 bytes read per word
 *   fill_uniform_*   uniform in [-1, 1) times scale          fill_normal_*   standard normal times scale
 *
 * Floating-point formats are rounded to (numbers.h); i8 is the nearest whole number, e2m1 has two elements in a byte, the first in the lower
 * half, and f64 has a word of its own for each element. random.h has the formulas. All accesses are 16 bytes wide but for FP64 and the last few
 * elements of an array. The pattern kernels should be
 * limited by device memory, the random fills by integer and special-function arithmetic: they prepare data and are never timed.
 * Their code is kept short (ROLLED): a random pair takes a hundred instructions.
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
    ROLLED for (unsigned long long i = thread_index(); i < vectors; i += thread_count()) wide[i] = pattern_at(i, seed);
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
    ROLLED for (; i < vectors; i += step) compare_vector(&found, i, wide[i], seed);
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
    ROLLED for (; i < vectors; i += step) compare_words(&found, i, left[i], right[i]);
    if (words % 2 == 1 && thread_index() == 0) compare(&found, words - 1, a[words - 1], b[words - 1]);
    report(&found, errors, first_bad);
}

/* Words of a vector of 16 bytes, by number. */
DEVICE void set_word(uint4* vector, int i, unsigned int word)
{
    if (i == 0) vector->x = word;
    if (i == 1) vector->y = word;
    if (i == 2) vector->z = word;
    if (i == 3) vector->w = word;
}

DEVICE unsigned int get_word(uint4 vector, int i)
{
    return i == 0 ? vector.x : i == 1 ? vector.y : i == 2 ? vector.z : vector.w;
}

/* Formats by number. */
#define F32 0
#define BF16 1
#define E4M3 2
#define E5M2 3
#define F16 4
#define I8 5
#define E2M1 6

DEVICE int bits_of(int format)
{
    return format == F32 ? 32 : format == BF16 || format == F16 ? 16 : format == E2M1 ? 4 : 8;
}

DEVICE unsigned int encode(int format, float value)
{
    switch (format) {
    case F32: return float_bits(value);
    case BF16: return bf16_encode(value);
    case E4M3: return e4m3_encode(value);
    case E5M2: return e5m2_encode(value);
    case F16: return f16_encode(value);
    case I8: return i8_encode(value);
    default: return e2m1_encode(value);
    }
}

/* Word number `word` of a 16-byte vector whose elements begin with number `first`. */
DEVICE unsigned int random_code_word(int format, int normal, unsigned long long first, unsigned long long seed, float scale, int word)
{
    const int per_word = 32 / bits_of(format);
    const unsigned long long start = first + (unsigned long long)(word * per_word);
    unsigned int code = 0;
    ROLLED for (int i = 0; i < per_word; i += 2) {
        float even, odd;
        random_pair(normal, (start + i) / 2, seed, scale, &even, &odd);
        code |= encode(format, even) << (bits_of(format) * i);
        code |= encode(format, odd) << (bits_of(format) * (i + 1));
    }
    return code;
}

/* One vector of 16 bytes. */
DEVICE uint4 random_vector(int format, int normal, unsigned long long vector, unsigned long long seed, float scale)
{
    const unsigned long long first = vector * (unsigned long long)(128 / bits_of(format));
    uint4 held;
    held.x = held.y = held.z = held.w = 0;
    if (format == F32) {
        ROLLED for (int pair = 0; pair < 2; ++pair) {
            float even, odd;
            random_pair(normal, first / 2 + pair, seed, scale, &even, &odd);
            set_word(&held, 2 * pair, float_bits(even));
            set_word(&held, 2 * pair + 1, float_bits(odd));
        }
    } else {
        ROLLED for (int word = 0; word < 4; ++word) set_word(&held, word, random_code_word(format, normal, first, seed, scale, word));
    }
    return held;
}

/* n elements; two to a byte are written in whole bytes. A last vector that is not full is written piece by piece. */
DEVICE void fill_random(int format, void* out, unsigned long long n, unsigned long long seed, float scale, int normal)
{
    const unsigned int per_vector = 128 / bits_of(format);
    const unsigned long long vectors = n / per_vector;
    ROLLED for (unsigned long long i = thread_index(); i < (n + per_vector - 1) / per_vector; i += thread_count()) {
        const uint4 held = random_vector(format, normal, i, seed, scale);
        if (i < vectors) {
            ((uint4*)out)[i] = held;
        } else if (format == F32) {
            ROLLED for (int j = 0; j < (int)(n % 4); ++j) ((unsigned int*)out)[4 * i + j] = get_word(held, j);
        } else if (bits_of(format) == 16) {
            ROLLED for (int j = 0; j < (int)(n % 8); ++j) ((unsigned short*)out)[8 * i + j] = (unsigned short)(get_word(held, j / 2) >> (16 * (j % 2)));
        } else {
            const int bytes = (int)((n % per_vector) * bits_of(format) + 7) / 8;
            ROLLED for (int j = 0; j < bytes; ++j) ((unsigned char*)out)[16 * i + j] = (unsigned char)(get_word(held, j / 4) >> (8 * (j % 4)));
        }
    }
}

KERNEL fill_uniform_f32(float* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(F32, out, n, seed, scale, 0);
}

KERNEL fill_uniform_bf16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(BF16, out, n, seed, scale, 0);
}

KERNEL fill_uniform_e4m3(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(E4M3, out, n, seed, scale, 0);
}

KERNEL fill_uniform_e5m2(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(E5M2, out, n, seed, scale, 0);
}

KERNEL fill_normal_f32(float* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(F32, out, n, seed, scale, 1);
}

KERNEL fill_normal_bf16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(BF16, out, n, seed, scale, 1);
}

KERNEL fill_normal_e4m3(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(E4M3, out, n, seed, scale, 1);
}

KERNEL fill_normal_e5m2(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(E5M2, out, n, seed, scale, 1);
}

KERNEL fill_uniform_f16(unsigned short* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(F16, out, n, seed, scale, 0);
}

KERNEL fill_uniform_i8(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(I8, out, n, seed, scale, 0);
}

KERNEL fill_uniform_e2m1(unsigned char* out, unsigned long long n, unsigned long long seed, float scale)
{
    fill_random(E2M1, out, n, seed, scale, 0);
}

/* All 53 bits of an FP64 number are random: one word each, its upper 53 bits. */
DEVICE double random_double(unsigned long long index, unsigned long long seed, float scale)
{
    return ((double)(random_word(index, seed) >> 11) * 0x1p-52 - 1.0) * (double)scale;
}

KERNEL fill_uniform_f64(double* out, unsigned long long n, unsigned long long seed, float scale)
{
    ROLLED for (unsigned long long i = thread_index(); i < n; i += thread_count()) out[i] = random_double(i, seed, scale);
}
