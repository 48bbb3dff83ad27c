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

/* to[row] = start[row] + the sum over units k of a[row, k] b[k]: a unit of `a` stands at row next_row + k next_unit,
 * so that `a` may be multiplied as it stands or transposed. */
typedef struct {
    const Unit *a;
    int next_row, next_unit, units;
    const Unit *b;
    int next_b; /* from a row of units to the next */
    const float *start;
    int next_start; /* 0: one row for all */
    float *to;
    int next_to;
} Product;

ANY void sum_tile(const Product p, const int rows, const int vectors) {
    Vector sums[12][COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < vectors; c++) sums[r][c] = load(p.start + r * p.next_start + LANES * c);
    for (int k = 0; k < p.units; k++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < vectors; c++)
                sums[r][c] = multiply_add(sums[r][c], p.a[r * p.next_row + k * p.next_unit],
                                          p.b + k * p.next_b + LANES * c);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < vectors; c++) put(p.to + r * p.next_to + LANES * c, sums[r][c]);
}

ANY Product moved(Product p, int rows, int columns) {
    p.a += rows * p.next_row;
    p.b += columns;
    p.start += rows * p.next_start + columns;
    p.to += rows * p.next_to + columns;
    return p;
}

#define TILE(n) \
    case n: sum_tile(p, n, vectors); break

/* n rows of some vectors, as many at a time as registers hold sums of: constants, so that sums are registers. */
ANY void sum_rows(Product p, int n, const int vectors) {
    const int rows = vectors < 3 ? 12 : 24 / vectors;
    for (; n >= rows; n -= rows, p = moved(p, rows, 0)) sum_tile(p, rows, vectors);
    switch (n % rows) {
        TILE(1);
        TILE(2);
        TILE(3);
        TILE(4);
        TILE(5);
        TILE(6);
        TILE(7);
        TILE(8);
        TILE(9);
        TILE(10);
        TILE(11);
    }
}

/* to[n][width], its rows `stride` apart, = bias + from[n][inner] matrix: the matrix in blocks of COLUMNS and one of
 * the columns that are left, sixteen or a multiple, units of a block side by side. */
static void product(const Number *from, int n, int inner, const float *matrix, int width, const float *bias, float *to,
                    int stride) {
    const int units = inner / PACKED;
    Product p = {(const Unit *)from, units, 1, units, (const Unit *)matrix, COLUMNS, bias, 0, to, stride};
    for (; width >= COLUMNS; width -= COLUMNS, p.b += COLUMNS * units, p.start += COLUMNS, p.to += COLUMNS)
        sum_rows(p, n, COLUMNS / LANES);
    p.next_b = width;
    switch (width / LANES) {
        case 3: sum_rows(p, n, 3); break;
        case 2: sum_rows(p, n, 2); break;
        case 1: sum_rows(p, n, 1); break;
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
