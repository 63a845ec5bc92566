/* Short floating-point formats: bfloat16 and the two FP8 formats of the OCP 8-bit floating point specification.
 *
 *   bf16   1 sign  8 exponent  7 fraction   bias 127   the upper half of an FP32 number
 *   e4m3   1 sign  4 exponent  3 fraction   bias 7     no infinity; S.1111.111 is NaN; largest finite 448
 *   e5m2   1 sign  5 exponent  2 fraction   bias 15    infinity and NaN as in FP16;  largest finite 57344
 *
 * Encoding rounds to nearest, ties to even. FP8 saturates: what is larger than the largest finite number, infinity included, becomes
 * it; NaN stays NaN. The code is plain integer arithmetic, the same on every chip and on the host, so results are equal bit for bit.
 */
#ifndef GPU_ASSAY_NUMBERS_H
#define GPU_ASSAY_NUMBERS_H
#include "prelude.h"

DEVICE unsigned int bf16_encode(float value)
{
    unsigned int bits = float_bits(value);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (bits >> 16) | 0x40u; /* NaN: keep it one after cutting the fraction */
    return (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
}

DEVICE float bf16_decode(unsigned int code)
{
    return bits_float(code << 16);
}

/* Encodes into an 8-bit format with the given fraction bits, exponent bias, and code of the largest finite magnitude. */
DEVICE unsigned int fp8_encode(float value, unsigned int fraction, unsigned int bias, unsigned int largest)
{
    const unsigned int bits = float_bits(value);
    const unsigned int sign = (bits >> 24) & 0x80u;
    const unsigned int magnitude = bits & 0x7fffffffu;
    const unsigned int cut = 23u - fraction;
    unsigned int code;
    if (magnitude > 0x7f800000u) return sign | 0x7fu;
    if (magnitude >= (128u - bias) << 23) {
        /* Normal: round the fraction (the carry may run into the exponent, which is right), then move the exponent's bias. */
        code = ((magnitude + (1u << (cut - 1u)) - 1u + ((magnitude >> cut) & 1u)) >> cut) - ((127u - bias) << fraction);
    } else {
        /* Subnormal: adding 2^(1 - bias - fraction + 23) makes the FP32 adder round at the last bit that the format has. */
        const unsigned int anchor = (127u + 1u + 23u - bias - fraction) << 23;
        code = float_bits(bits_float(magnitude) + bits_float(anchor)) - anchor;
    }
    return sign | (code > largest ? largest : code);
}

DEVICE unsigned int e4m3_encode(float value)
{
    return fp8_encode(value, 3u, 7u, 0x7eu);
}

DEVICE unsigned int e5m2_encode(float value)
{
    return fp8_encode(value, 2u, 15u, 0x7bu);
}

/* The code's bits are put where FP32 has them; one exact multiplication repairs the bias, for subnormals too. */
DEVICE float e4m3_decode(unsigned int code)
{
    const unsigned int magnitude = code & 0x7fu;
    const float value = magnitude == 0x7fu ? bits_float(0x7fc00000u) : bits_float(magnitude << 20) * 0x1p120f;
    return bits_float(float_bits(value) | (code & 0x80u) << 24);
}

DEVICE float e5m2_decode(unsigned int code)
{
    const unsigned int magnitude = code & 0x7fu;
    float value = bits_float(magnitude << 21) * 0x1p112f;
    if (magnitude >= 0x7cu) value = bits_float(magnitude == 0x7cu ? 0x7f800000u : 0x7fc00000u);
    return bits_float(float_bits(value) | (code & 0x80u) << 24);
}

#endif
