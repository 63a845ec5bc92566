/* Matrix times vector in double precision, to check a matrix product without repeating it.
 *
 *   matvec_*     y[row] += sum over col of A[row, col] * x[col]      A x
 *   matvec_t_*   y[col] += sum over row of A[row, col] * x[row]      A^T x
 *
 * Freivalds (1977): for C = A B^T and a random x, C x must be A (B^T x). Three matrix-vector products cost 2 * (m n + n k + m k) operations
 * instead of 2 m n k, and one wrong tile of C changes C x with near certainty. All sums are FP64; products of two short numbers are exact
 * in it, so what is left of the difference is the rounding of C and of the product's FP32 sums.
 *
 * matvec_any and matvec_t_any take the format by number, for products whose check is rare: element by element, in little code.
 *
 * A is row-major with no gaps. y has to be 0 before. Any grid is right, the block is a multiple of 32. Reads rows * cols elements once, with
 * 16-byte loads where rows start at 16-byte boundaries; FP64 throughput limits it on chips that have little of it.
 */
#include "numbers.h"
#include "prelude.h"

/* Element formats. */
#define BF16 0
#define E4M3 1
#define E5M2 2

/* Rows that one thread adds up before it goes to memory, in the transposed product. */
#define SLAB 256

DEVICE unsigned int bytes_of(int format)
{
    return format == BF16 ? 2 : 1;
}

/* Element number i of a 32-bit word. */
DEVICE double element(int format, unsigned int word, int i)
{
    if (format == BF16) return bf16_decode((word >> (16 * i)) & 0xffffu);
    if (format == E4M3) return e4m3_decode((word >> (8 * i)) & 0xffu);
    return e5m2_decode((word >> (8 * i)) & 0xffu);
}

/* Element number i of an array. */
DEVICE double element_at(int format, const void* a, unsigned long long i)
{
    return element(format, format == BF16 ? ((const unsigned short*)a)[i] : ((const unsigned char*)a)[i], 0);
}

DEVICE unsigned int word_of(uint4 vector, int i)
{
    return i == 0 ? vector.x : i == 1 ? vector.y : i == 2 ? vector.z : vector.w;
}

/* One warp per row: its threads read consecutive vectors. */
DEVICE void matvec(int format, const void* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    const int per_word = 4 / (int)bytes_of(format);
    const int width = 4 * per_word;
    const unsigned int lane = threadIdx.x % 32;
    const unsigned long long warps = thread_count() / 32;
    for (unsigned long long row = thread_index() / 32; row < rows && warps > 0; row += warps) {
        double sum = 0;
        if (cols % width == 0) {
            const uint4* const wide = (const uint4*)a + row * (cols / width);
            ROLLED for (unsigned long long v = lane; v < cols / width; v += 32) {
                const uint4 held = wide[v];
                UNROLL for (int i = 0; i < width; ++i) {
                    sum += element(format, word_of(held, i / per_word), i % per_word) * x[v * width + i];
                }
            }
        } else {
            ROLLED for (unsigned long long col = lane; col < cols; col += 32) sum += element_at(format, a, row * cols + col) * x[col];
        }
        warp_add(y + row, sum);
    }
}

/* One thread per vector of columns and slab of rows: neighbouring threads read neighbouring vectors. */
DEVICE void matvec_t(int format, const void* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    const int per_word = 4 / (int)bytes_of(format);
    const int width = 4 * per_word;
    const unsigned long long slabs = (rows + SLAB - 1) / SLAB;
    if (cols % width == 0) {
        const unsigned long long vectors = cols / width;
        for (unsigned long long task = thread_index(); task < vectors * slabs; task += thread_count()) {
            const unsigned long long v = task % vectors;
            const unsigned long long first = task / vectors * SLAB;
            const unsigned long long last = first + SLAB < rows ? first + SLAB : rows;
            double sums[16];
            UNROLL for (int i = 0; i < width; ++i) sums[i] = 0;
            ROLLED for (unsigned long long row = first; row < last; ++row) {
                const uint4 held = ((const uint4*)a)[row * vectors + v];
                const double factor = x[row];
                UNROLL for (int i = 0; i < width; ++i) {
                    sums[i] += element(format, word_of(held, i / per_word), i % per_word) * factor;
                }
            }
            UNROLL for (int i = 0; i < width; ++i) atomic_add_f64(y + v * width + i, sums[i]);
        }
    } else {
        for (unsigned long long task = thread_index(); task < cols * slabs; task += thread_count()) {
            const unsigned long long col = task % cols;
            const unsigned long long first = task / cols * SLAB;
            const unsigned long long last = first + SLAB < rows ? first + SLAB : rows;
            double sum = 0;
            ROLLED for (unsigned long long row = first; row < last; ++row) sum += element_at(format, a, row * cols + col) * x[row];
            atomic_add_f64(y + col, sum);
        }
    }
}

KERNEL matvec_bf16(const unsigned short* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec(BF16, a, x, y, rows, cols);
}

KERNEL matvec_e4m3(const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec(E4M3, a, x, y, rows, cols);
}

KERNEL matvec_e5m2(const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec(E5M2, a, x, y, rows, cols);
}

KERNEL matvec_t_bf16(const unsigned short* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec_t(BF16, a, x, y, rows, cols);
}

KERNEL matvec_t_e4m3(const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec_t(E4M3, a, x, y, rows, cols);
}

KERNEL matvec_t_e5m2(const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    matvec_t(E5M2, a, x, y, rows, cols);
}

/* Further formats, of the kernels that take the format by number. */
#define F16 3
#define F32 4
#define I8 5
#define I32 6
#define F64 7
#define E2M1 8

/* Element number i of an array; of E2M1 the even one is the lower half of its byte. */
DEVICE double any_at(unsigned int format, const unsigned char* a, unsigned long long i)
{
    switch (format) {
    case BF16: return bf16_decode(((const unsigned short*)a)[i]);
    case E4M3: return e4m3_decode(a[i]);
    case E5M2: return e5m2_decode(a[i]);
    case F16: return f16_decode(((const unsigned short*)a)[i]);
    case F32: return ((const float*)a)[i];
    case I8: return (int)(a[i] ^ 0x80u) - 128;
    case I32: return ((const int*)a)[i];
    case F64: return ((const double*)a)[i];
    default: return e2m1_decode((unsigned int)a[i / 2] >> (4 * (i % 2)));
    }
}

KERNEL matvec_any(unsigned int format, const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    const unsigned long long warps = thread_count() / 32;
    ROLLED for (unsigned long long row = thread_index() / 32; row < rows && warps > 0; row += warps) {
        double sum = 0;
        ROLLED for (unsigned long long col = threadIdx.x % 32; col < cols; col += 32) sum += any_at(format, a, row * cols + col) * x[col];
        warp_add(y + row, sum);
    }
}

KERNEL matvec_t_any(unsigned int format, const unsigned char* a, const double* x, double* y, unsigned long long rows, unsigned long long cols)
{
    const unsigned long long slabs = (rows + SLAB - 1) / SLAB;
    ROLLED for (unsigned long long task = thread_index(); task < cols * slabs; task += thread_count()) {
        const unsigned long long col = task % cols;
        const unsigned long long first = task / cols * SLAB;
        const unsigned long long last = first + SLAB < rows ? first + SLAB : rows;
        double sum = 0;
        ROLLED for (unsigned long long row = first; row < last; ++row) sum += any_at(format, a, row * cols + col) * x[row];
        atomic_add_f64(y + col, sum);
    }
}
