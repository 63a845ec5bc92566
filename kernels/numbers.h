/* Short number formats: bfloat16, FP16, the two FP8 formats of the OCP 8-bit floating point specification, the 4-bit format of the OCP
 * microscaling formats, and whole numbers of 8 bits.
 *
 *   bf16   1 sign  8 exponent  7 fraction   bias 127   the upper half of an FP32 number
 *   e4m3   1 sign  4 exponent  3 fraction   bias 7     no infinity; S.1111.111 is NaN; largest finite 448
 *   e5m2   1 sign  5 exponent  2 fraction   bias 15    infinity and NaN as in FP16;  largest finite 57344
 *   f16    1 sign  5 exponent 10 fraction   bias 15    IEEE 754 binary16;  largest finite 65504
 *   e2m1   1 sign  2 exponent  1 fraction   bias 1     neither infinity nor NaN: 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives
 *   i8     two's complement
 *
 * Encoding rounds to nearest, ties to even. FP8, E2M1 and whole numbers saturate: what is larger than the largest finite number,
 * infinity included, becomes it; NaN stays NaN where there is one, and becomes 0 elsewhere. FP16 overflows to infinity. The code is plain integer arithmetic, the same on every chip and on the host, so results are equal bit for bit.
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

/* FP16 by hand, so that host and chips agree: the subnormal trick of fp8_encode, and infinity above 65504 and a half step. */
DEVICE unsigned int f16_encode(float value)
{
    const unsigned int bits = float_bits(value);
    const unsigned int sign = (bits >> 16) & 0x8000u;
    const unsigned int magnitude = bits & 0x7fffffffu;
    unsigned int code;
    if (magnitude > 0x7f800000u) return sign | 0x7e00u;
    if (magnitude >= (128u - 15u) << 23) {
        code = ((magnitude + 0xfffu + ((magnitude >> 13) & 1u)) >> 13) - ((127u - 15u) << 10);
    } else {
        const unsigned int anchor = (127u + 1u + 23u - 15u - 10u) << 23;
        code = float_bits(bits_float(magnitude) + bits_float(anchor)) - anchor;
    }
    return sign | (code > 0x7c00u ? 0x7c00u : code);
}

DEVICE float f16_decode(unsigned int code)
{
    const unsigned int magnitude = code & 0x7fffu;
    float value = bits_float(magnitude << 13) * 0x1p112f;
    if (magnitude >= 0x7c00u) value = bits_float(magnitude == 0x7c00u ? 0x7f800000u : 0x7fc00000u);
    return bits_float(float_bits(value) | (code & 0x8000u) << 16);
}

/* 8 codes in the order of their numbers: halfway points go to the even code. */
DEVICE unsigned int e2m1_encode(float value)
{
    const unsigned int sign = (float_bits(value) >> 28) & 8u;
    const float size = bits_float(float_bits(value) & 0x7fffffffu);
    const unsigned int code = (size > 0.25f) + (size >= 0.75f) + (size > 1.25f) + (size >= 1.75f) + (size > 2.5f) + (size >= 3.5f) + (size > 5.0f);
    return sign | code;
}

DEVICE float e2m1_decode(unsigned int code)
{
    /* Exponent and fraction put where FP32 has them, the bias repaired by an exact multiplication, for the subnormal too. */
    return bits_float(float_bits(bits_float((code & 7u) << 22) * 0x1p126f) | (code & 8u) << 28);
}

/* Adding and taking away 1.5 times 2^23 rounds at the unit; the sum is kept from being optimised away by being looked at as bits. */
DEVICE unsigned int i8_encode(float value)
{
    const float bounded = value >= 127.0f ? 127.0f : value <= -128.0f ? -128.0f : value == value ? value : 0.0f;
    return float_bits(bounded + 12582912.0f) & 0xffu;
}

#endif
