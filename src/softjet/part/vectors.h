/* Vectors of sixteen: products of rows with a matrix, norms, exponential and GELU.
 *
 * Products are of bfloat16 with float32 sums (BFLOAT16 defined), or of float32; everything else is float32.
 * A *unit* is 32 bits of a row that are multiplied together: two neighbours in bfloat16, or one float32.
 */
#pragma once
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef __m512 Vector;
typedef uint32_t Unit;

#define LANES 16
#define COLUMNS 64 /* of a product that are summed up in registers at a time */
#define EPSILON 1e-5f
#define ANY static inline __attribute__((always_inline))

#ifdef BFLOAT16
#ifndef __AVX512BF16__
#error "this processor has no products of bfloat16 (AVX512-BF16)"
#endif
#define PACKED 2 /* numbers in a unit */
typedef uint16_t Number;
ANY Vector multiply_add(Vector sum, Unit a, const Unit *b) {
    return _mm512_dpbf16_ps(sum, (__m512bh)_mm512_set1_epi32((int)a), (__m512bh)_mm512_loadu_si512(b));
}
ANY void store(Number *to, Vector x) { _mm256_storeu_si256((__m256i *)to, (__m256i)_mm512_cvtneps_pbh(x)); }
#else
#ifndef __AVX512F__
#error "this processor has no vectors of sixteen floats (AVX-512)"
#endif
#define PACKED 1
typedef float Number;
ANY Vector multiply_add(Vector sum, Unit a, const Unit *b) {
    return _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_set1_epi32((int)a)), _mm512_loadu_ps(b), sum);
}
ANY void store(Number *to, Vector x) { _mm512_storeu_ps(to, x); }
#endif

#define load(p) _mm512_loadu_ps(p)
#define all(x) _mm512_set1_ps(x)
#define zero() _mm512_setzero_ps()

ANY void put(float *to, Vector x) { _mm512_storeu_ps(to, x); }
ANY void add(float *to, Vector x) { put(to, _mm512_add_ps(load(to), x)); }

/* Sixteen numbers as float32. */
ANY Vector widened(const Number *from) {
#ifdef BFLOAT16
    const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
#else
    return load(from);
#endif
}

/* Sixteen units of two rows (of one, in float32); without a second it is zero. */
ANY void pair(const Number *first, const Number *second, Unit *to) {
#ifdef BFLOAT16
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)first));
    __m512i high = _mm512_setzero_si512();
    if (second) high = _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)second)), 16);
    _mm512_storeu_si512(to, _mm512_or_si512(low, high));
#else
    put((float *)to, load(first));
#endif
}

/* exp(x), as Cephes' expf; NaN stays NaN, since a maximum of two is the second where one is none. */
ANY Vector exponential(Vector x) {
    x = _mm512_max_ps(all(-87.0f), x);
    Vector n = _mm512_roundscale_ps(_mm512_mul_ps(x, all(1.44269504f)), 0);
    Vector r = _mm512_fnmadd_ps(n, all(-2.12194440e-4f), _mm512_fnmadd_ps(n, all(0.693359375f), x));
    Vector p = all(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, all(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, all(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, all(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, all(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, all(5.0000001201e-1f));
    p = _mm512_fmadd_ps(p, _mm512_mul_ps(r, r), _mm512_add_ps(r, all(1.0f)));
    return _mm512_scalef_ps(p, n);
}

/* to[rows][columns] = bias + a[rows][units] b: as many sums as registers hold beside what they are made of. */
ANY void tile(const int rows, const int columns, const Unit *a, int units, const Unit *b, const float *bias, float *to,
              int stride) {
    Vector sums[6][COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns / LANES; c++) sums[r][c] = load(bias + LANES * c);
    for (int k = 0; k < units; k++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < columns / LANES; c++)
                sums[r][c] = multiply_add(sums[r][c], a[r * units + k], b + columns * k + LANES * c);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < columns / LANES; c++) put(to + r * stride + LANES * c, sums[r][c]);
}

/* Tiles one below the other: a constant number of rows each, so that sums are registers. */
ANY void strip(const int columns, const Unit *a, int n, int units, const Unit *b, const float *bias, float *to, int stride) {
    for (; n >= 6; n -= 6, a += 6 * units, to += 6 * stride) tile(6, columns, a, units, b, bias, to, stride);
    switch (n) {
        case 5: tile(5, columns, a, units, b, bias, to, stride); break;
        case 4: tile(4, columns, a, units, b, bias, to, stride); break;
        case 3: tile(3, columns, a, units, b, bias, to, stride); break;
        case 2: tile(2, columns, a, units, b, bias, to, stride); break;
        case 1: tile(1, columns, a, units, b, bias, to, stride); break;
    }
}

/* to[n][width], its rows `stride` apart, = bias + from[n][inner] matrix: the matrix in blocks of COLUMNS and one of
 * the columns that are left, sixteen or a multiple, units of a block side by side. */
static void product(const Number *from, int n, int inner, const float *matrix, int width, const float *bias, float *to,
                    int stride) {
    const int units = inner / PACKED;
    const Unit *a = (const Unit *)from, *b = (const Unit *)matrix;
    for (; width >= COLUMNS; width -= COLUMNS, b += COLUMNS * units, bias += COLUMNS, to += COLUMNS)
        strip(COLUMNS, a, n, units, b, bias, to, stride);
    switch (width / LANES) {
        case 3: strip(3 * LANES, a, n, units, b, bias, to, stride); break;
        case 2: strip(2 * LANES, a, n, units, b, bias, to, stride); break;
        case 1: strip(LANES, a, n, units, b, bias, to, stride); break;
    }
}

typedef struct {
    Vector scale, shift;
} Moments;

/* What brings a row to mean 0 and variance 1. */
ANY Moments moments(const float *x, const int width) {
    Vector sum = zero(), squares = zero();
    for (int i = 0; i < width; i += LANES) sum = _mm512_add_ps(sum, load(x + i));
    const float mean = _mm512_reduce_add_ps(sum) / width;
    for (int i = 0; i < width; i += LANES) {
        Vector d = _mm512_sub_ps(load(x + i), all(mean));
        squares = _mm512_fmadd_ps(d, d, squares);
    }
    const float scale = 1.0f / sqrtf(_mm512_reduce_add_ps(squares) / width + EPSILON);
    return (Moments){all(scale), all(-mean * scale)};
}

/* Layer norm of a piece of a row; `norm` has the weights, then the biases. */
ANY Vector normed(const float *x, Moments of, const float *norm, int width) {
    return _mm512_fmadd_ps(_mm512_fmadd_ps(load(x), of.scale, of.shift), load(norm), load(norm + width));
}

ANY void norm_to(Number *to, const float *x, const float *norm, const int width) {
    const Moments of = moments(x, width);
    for (int i = 0; i < width; i += LANES) store(to + i, normed(x + i, of, norm + i, width));
}

ANY void norm_onto(float *to, const float *x, const float *norm, const int width) {
    const Moments of = moments(x, width);
    for (int i = 0; i < width; i += LANES)
        _mm512_storeu_ps(to + i, _mm512_add_ps(load(to + i), normed(x + i, of, norm + i, width)));
}

/* Gradient of what goes into a norm; adds to those of its weights and biases. `to` may be `upstream`. */
ANY void norm_back(const float *x, const float *upstream, const float *norm, float *of_norm, const int width,
                   float *to) {
    const Moments of = moments(x, width);
    Vector sum = zero(), along = zero();
    for (int i = 0; i < width; i += LANES) {
        Vector unit = _mm512_fmadd_ps(load(x + i), of.scale, of.shift), up = load(upstream + i);
        put(of_norm + i, _mm512_fmadd_ps(up, unit, load(of_norm + i)));
        add(of_norm + width + i, up);
        Vector weighted = _mm512_mul_ps(up, load(norm + i));
        sum = _mm512_add_ps(sum, weighted);
        along = _mm512_fmadd_ps(weighted, unit, along);
    }
    const Vector mean = all(_mm512_reduce_add_ps(sum) / width), slope = all(_mm512_reduce_add_ps(along) / width);
    for (int i = 0; i < width; i += LANES) {
        Vector unit = _mm512_fmadd_ps(load(x + i), of.scale, of.shift);
        Vector own = _mm512_fmsub_ps(load(upstream + i), load(norm + i), _mm512_fmadd_ps(unit, slope, mean));
        put(to + i, _mm512_mul_ps(own, of.scale));
    }
}
