/* Multiplies on the host what the kernels that measure wgmma alone multiply: the very contents of shared memory, read as the hardware reads it.
 *
 * Elements are decoded from their bytes by the decoders of numbers.h and compared with the whole numbers they should be. Where they are found
 * follows from the kernel's own descriptors, by the PTX manual's words about the 128-byte swizzle; each chunk has to be read once in four steps.
 * Then the same without any swizzle, and from chunks that are taken at random: the answer has to be the same, as the kernel promises.
 *
 * Sums are made in doubles, so that they are exact; what is reported as too large is any sum of magnitudes that FP32, or the tensor cores with
 * some 14 bits of FP8's sums, might not hold exactly in some order.
 *
 * Arguments: any number of rounds. For each format and number prints the format, the rounds, and what every thread writes.
 */
#include <stdio.h>
#include <stdlib.h>

#include "prelude.h"

#include "hopper_index.h"
#include "numbers.h"
#include "wgmma_operands.h"

_Thread_local position threadIdx, blockIdx, blockDim, gridDim;

#define FAIL(...) (printf(__VA_ARGS__), printf("\n"), exit(1))
#define SIZE (OPERAND_CHUNKS * OPERAND_CHUNK)
#define BASE 1024u /* where shared memory begins that is a multiple of 1024 */

typedef struct {
    const char* name;
    unsigned int width, fraction, bias, bits;
} format;

static const format formats[] = {
#define FORMAT(name, width, fraction, bias, bits) {#name, width, fraction, bias, bits},
    WGMMA_FORMATS(FORMAT)
};

static unsigned char shared[SIZE];
static unsigned int times_read[OPERAND_CHUNKS];

static double decode(const format* f, unsigned int code)
{
    if (f->fraction == 0) return (double)(signed char)code;
    if (f->fraction == 7) return bf16_decode(code);
    if (f->fraction == 10) return f16_decode(code);
    if (f->fraction == 3) return e4m3_decode(code);
    if (f->fraction == 2) return e5m2_decode(code);
    return bits_float(code);
}

/* Element `i` of the chunk at an address. */
static double element(const format* f, unsigned int address, unsigned int i)
{
    unsigned int code = 0;
    for (unsigned int byte = 0; byte < f->width / 8; ++byte) code |= (unsigned int)shared[address + i * f->width / 8 + byte] << (8 * byte);
    return decode(f, code);
}

/* PTX, 128-byte swizzle: bits 4 to 6 of an address are exchanged for their difference to bits 7 to 9. */
static unsigned int swizzle(unsigned int address)
{
    return address ^ (address >> 7 & 7u) << 4;
}

/* PTX: where chunk c (of two) of row r of a step is, by the descriptor of its matrix; or without swizzle; or anywhere in the same operand. */
static unsigned int chunk_address(unsigned long long descriptor, unsigned int r, unsigned int c, unsigned int layout)
{
    const unsigned int start = (unsigned int)(descriptor & 0x3fffu) << 4, stride = (unsigned int)(descriptor >> 32 & 0x3fffu) << 4;
    if (descriptor >> 62 != 1 || (descriptor >> 49 & 7u) != 0) FAIL("descriptor %llx", descriptor);
    unsigned int address = start + r / 8 * stride + r % 8 * 128u + c * OPERAND_CHUNK;
    if (layout == 0) address = swizzle(address);
    address -= BASE;
    if (address >= SIZE || address % OPERAND_CHUNK != 0) FAIL("address %u", address);
    if (layout == 2) {
        const int of_a = address < A_CHUNKS * OPERAND_CHUNK;
        const unsigned int any = (unsigned int)(mix64(address * 7ull + r * 131ull + c) >> 33);
        address = OPERAND_CHUNK * (of_a ? any % A_CHUNKS : A_CHUNKS + any % B_CHUNKS);
    }
    times_read[address / OPERAND_CHUNK] += 1;
    return address;
}

static double a[64][32], b[256][32], d[64][256];

static void read_rows(const format* f, double (*rows)[32], unsigned int count, unsigned long long descriptor, unsigned int layout)
{
    const unsigned int per_chunk = 128 / f->width;
    for (unsigned int r = 0; r < count; ++r)
        for (unsigned int c = 0; c < 2; ++c) {
            const unsigned int address = chunk_address(descriptor, r, c, layout);
            for (unsigned int i = 0; i < per_chunk; ++i) rows[r][c * per_chunk + i] = element(f, address, i);
        }
}

/* Four steps: every element of D grows by 2 in each, and no partial sum gets out of bounds in a segment. */
static void multiply(const format* f, unsigned int layout)
{
    const unsigned int k = 256 / f->width, fp8 = f->width == 8 && f->fraction != 0;
    const double limit = f->fraction == 0 ? 2147483648.0 : fp8 ? 8192.0 : 16777216.0;
    for (unsigned int chunk = 0; chunk < OPERAND_CHUNKS; ++chunk) times_read[chunk] = 0;
    for (unsigned int step = 0; step < 4; ++step) {
        read_rows(f, a, 64, matrix_descriptor(BASE + a_step(step)), layout);
        read_rows(f, b, 256, matrix_descriptor(BASE + b_step(step)), layout);
        for (unsigned int r = 0; r < 64; ++r)
            for (unsigned int column = 0; column < 256; ++column) {
                double sum = 0, size = 0;
                for (unsigned int i = 0; i < k; ++i) {
                    const double product = a[r][i] * b[column][i];
                    sum += product;
                    size += product < 0 ? -product : product;
                }
                d[r][column] = sum;
                if (sum != 2) FAIL("%s: row %u, column %u, step %u: %g", f->name, r, column, step, sum);
                if (size + 2.0 * ROUND_STEPS * SEGMENT > limit) FAIL("%s: a sum of up to %g", f->name, size);
            }
    }
    for (unsigned int chunk = 0; chunk < OPERAND_CHUNKS; ++chunk)
        if (layout != 2 && times_read[chunk] != 1) FAIL("%s: chunk %u is read %u times", f->name, chunk, times_read[chunk]);
}

/* Fills shared memory as the kernel does, and compares every element with the whole number it stands for. */
static void fill(const format* f)
{
    unsigned int different = 0;
    for (unsigned int chunk = 0; chunk < OPERAND_CHUNKS; ++chunk) {
        for (unsigned int w = 0; w < 4; ++w) {
            const unsigned int word = operand_word(chunk, w, f->width, f->fraction, f->bias, f->bits);
            for (unsigned int byte = 0; byte < 4; ++byte) shared[chunk * OPERAND_CHUNK + w * 4 + byte] = (unsigned char)(word >> (8 * byte));
        }
        for (unsigned int i = 0; i < 128 / f->width; ++i) {
            const int value = operand_element(chunk, mix64(chunk + 1ull), i, f->bits);
            if (element(f, chunk * OPERAND_CHUNK, i) != value) FAIL("%s: chunk %u, element %u is not %d", f->name, chunk, i, value);
            if (abs(value) > 1 << (f->bits - 1)) FAIL("%s: %d is too large", f->name, value);
            different |= 1u << (value & 15);
        }
    }
    if (different != 0xffffu) FAIL("%s: its elements are hardly random: %x", f->name, different);
}

/* What a thread writes: the sums of its 128 elements over segments, the first of which is half as long in the second group. */
static unsigned int answer(unsigned int thread, unsigned int rounds)
{
    unsigned int left = rounds, length = thread / 128 % 2 == 0 ? SEGMENT : SEGMENT / 2, total = 0;
    const unsigned int x = thread % 128;
    double each = 0;
    for (unsigned int i = 0; i < 128; ++i) each += d[x / 32 * 16 + x % 32 / 4 + i / 2 % 2 * 8][i / 4 * 8 + x % 4 * 2 + i % 2];
    while (left != 0) {
        length = length < left ? length : left;
        left -= length;
        total += (unsigned int)(int)(each * ROUND_STEPS * length);
        length = SEGMENT;
    }
    return total;
}

int main(int count, char** arguments)
{
    for (unsigned int i = 0; i < sizeof formats / sizeof *formats; ++i) {
        const format* f = &formats[i];
        fill(f);
        for (unsigned int layout = 0; layout < 3; ++layout) multiply(f, layout);
        for (int argument = 1; argument < count; ++argument) {
            const unsigned int rounds = (unsigned int)strtoul(arguments[argument], NULL, 10), first = answer(0, rounds);
            for (unsigned int thread = 1; thread < 256; ++thread)
                if (answer(thread, rounds) != first) FAIL("%s: thread %u answers otherwise", f->name, thread);
            printf("%s %u %u\n", f->name, rounds, first);
        }
    }
    return 0;
}
