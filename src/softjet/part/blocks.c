/* Particle blocks of Particle Transformer for inference, one jet after the other.
 *
 * A jet of some thirty particles stays in a core's cache while it passes through all blocks, so that what is
 * not a matrix product costs little. Products are of bfloat16 with float32 sums (BFLOAT16 defined), or of
 * float32; everything else is float32. W is the width, H the number of heads, F the width of the feed-forward
 * layers; a head has CHANNELS channels, a vector of sixteen.
 *
 * A *unit* is 32 bits of a row that are multiplied together: two neighbours in bfloat16, or one float32.
 */
#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef __m512 Vector;
typedef uint32_t Unit;

#define CHANNELS (W / H)
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

/* x Phi(x), with erf of Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7). */
ANY Vector gelu(Vector x) {
    Vector z = _mm512_mul_ps(_mm512_abs_ps(x), all(0.70710678f));
    Vector t = _mm512_div_ps(all(1.0f), _mm512_fmadd_ps(z, all(0.3275911f), all(1.0f)));
    Vector p = all(1.061405429f);
    p = _mm512_fmadd_ps(p, t, all(-1.453152027f));
    p = _mm512_fmadd_ps(p, t, all(1.421413741f));
    p = _mm512_fmadd_ps(p, t, all(-0.284496736f));
    p = _mm512_fmadd_ps(p, t, all(0.254829592f));
    Vector tail = _mm512_mul_ps(_mm512_mul_ps(p, t), exponential(_mm512_fnmadd_ps(z, z, zero())));
    Vector below = _mm512_mul_ps(tail, all(0.5f));
    __mmask16 negative = _mm512_cmp_ps_mask(x, zero(), _CMP_LT_OQ);
    return _mm512_mul_ps(x, _mm512_mask_blend_ps(negative, _mm512_sub_ps(all(1.0f), below), below));
}

/* to[rows][COLUMNS] = bias + a[rows][units] b: as many sums as registers hold beside what they are made of. */
ANY void tile(const int rows, const Unit *a, int units, const Unit *b, const float *bias, float *to, int width) {
    Vector sums[6][COLUMNS / LANES];
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < COLUMNS / LANES; c++) sums[r][c] = load(bias + LANES * c);
    for (int k = 0; k < units; k++)
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < COLUMNS / LANES; c++)
                sums[r][c] = multiply_add(sums[r][c], a[r * units + k], b + COLUMNS * k + LANES * c);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < COLUMNS / LANES; c++) _mm512_storeu_ps(to + r * width + LANES * c, sums[r][c]);
}

/* to[n][width] = bias + from[n][inner] matrix, the matrix in blocks of COLUMNS, units of them side by side. */
ANY void product(const Number *from, int n, int inner, const float *matrix, int width, const float *bias, float *to) {
    const int units = inner / PACKED;
    for (int column = 0; column < width; column += COLUMNS) {
        const Unit *a = (const Unit *)from, *b = (const Unit *)matrix + (long)column * units;
        const float *c = bias + column;
        float *out = to + column;
        int left = n;
        for (; left >= 6; left -= 6, a += 6 * units, out += 6 * width) tile(6, a, units, b, c, out, width);
        switch (left) { /* a constant number of rows each, so that sums are registers */
            case 5: tile(5, a, units, b, c, out, width); break;
            case 4: tile(4, a, units, b, c, out, width); break;
            case 3: tile(3, a, units, b, c, out, width); break;
            case 2: tile(2, a, units, b, c, out, width); break;
            case 1: tile(1, a, units, b, c, out, width); break;
        }
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

/* What a jet needs on its way; `pad` is its number of particles, up to whole vectors. */
typedef struct {
    Number *rows, *queries, *weights, *values;
    Unit *keys;
    float *projected, *hidden, *out, *bias;
} Room;

/* Keys and values of a head, so that their units stand side by side; queries in their precision. */
ANY void lay_out(const float *projected, int n, int pad, Room *room) {
    Number row[CHANNELS];
    memset(room->keys, 0, sizeof(Unit) * CHANNELS / PACKED * pad); /* padding is multiplied, and may not be NaN */
    memset(room->values, 0, sizeof(Number) * CHANNELS * pad);
    for (int j = 0; j < n; j++, projected += 3 * W) {
        store(room->queries + j * CHANNELS, load(projected));
        store(row, load(projected + W));
        for (int k = 0; k < CHANNELS / PACKED; k++) memcpy(room->keys + k * pad + j, row + k * PACKED, sizeof(Unit));
        store(row, load(projected + 2 * W));
        Number *values = room->values + j / PACKED * PACKED * CHANNELS + j % PACKED;
        for (int k = 0; k < CHANNELS; k++) values[k * PACKED] = row[k];
    }
}

/* What a query takes from all keys; `bias` is its row, far below zero behind the last particle. */
ANY Vector take(const Unit *query, int pad, const float *bias, Room *room) {
    Vector logits[MOST / LANES], top = all(-INFINITY), sum = zero(), parts[4] = {zero(), zero(), zero(), zero()};
    for (int c = 0; c < pad / LANES; c++) {
        Vector dot = zero();
        for (int k = 0; k < CHANNELS / PACKED; k++)
            dot = multiply_add(dot, query[k], room->keys + k * pad + LANES * c);
        logits[c] = _mm512_fmadd_ps(dot, all(1.0f / sqrtf(CHANNELS)), load(bias + LANES * c));
        top = _mm512_max_ps(top, logits[c]);
    }
    const Vector most = all(_mm512_reduce_max_ps(top));
    for (int c = 0; c < pad / LANES; c++) {
        Vector weight = exponential(_mm512_sub_ps(logits[c], most));
        sum = _mm512_add_ps(sum, weight);
        store(room->weights + LANES * c, weight);
    }
    const Unit *weights = (const Unit *)room->weights, *values = (const Unit *)room->values;
    for (int j = 0; j < pad / PACKED; j += 4)
        for (int part = 0; part < 4; part++)
            parts[part] = multiply_add(parts[part], weights[j + part], values + (j + part) * CHANNELS);
    Vector out = _mm512_add_ps(_mm512_add_ps(parts[0], parts[1]), _mm512_add_ps(parts[2], parts[3]));
    return _mm512_mul_ps(out, all(1.0f / _mm512_reduce_add_ps(sum)));
}

ANY void attend(int n, int pad, Room *room) {
    for (int head = 0; head < H; head++) {
        lay_out(room->projected + head * CHANNELS, n, pad, room);
        for (int i = 0; i < n; i++) {
            const Unit *query = (const Unit *)(room->queries + i * CHANNELS);
            const float *bias = room->bias + ((long)head * n + i) * pad;
            store(room->rows + (long)i * W + head * CHANNELS, take(query, pad, bias, room));
        }
    }
}

/* Weights of a block, in the order in which softjet.part.native packs them. */
ANY const float *next(const float **at, long size) {
    const float *here = *at;
    *at += size;
    return here;
}

/* Take the particles x (n, W) of a jet through a block; returns where the next block's weights begin. */
static const float *pass(const float *at, float *x, int n, int pad, Room *room) {
    const float *attention_norm = next(&at, 2 * W);
    for (int i = 0; i < n; i++) norm_to(room->rows + (long)i * W, x + (long)i * W, attention_norm, W);
    const float *project = next(&at, 3L * W * W / PACKED), *project_bias = next(&at, 3 * W);
    product(room->rows, n, W, project, 3 * W, project_bias, room->projected);
    attend(n, pad, room);
    const float *out = next(&at, (long)W * W / PACKED), *out_bias = next(&at, W);
    product(room->rows, n, W, out, W, out_bias, room->out);
    const float *branch_norm = next(&at, 2 * W), *feed_norm = next(&at, 2 * W);
    for (int i = 0; i < n; i++) {
        norm_onto(x + (long)i * W, room->out + (long)i * W, branch_norm, W);
        norm_to(room->rows + (long)i * W, x + (long)i * W, feed_norm, W);
    }
    const float *expand = next(&at, (long)F * W / PACKED), *expand_bias = next(&at, F);
    product(room->rows, n, W, expand, F, expand_bias, room->hidden);
    const float *hidden_norm = next(&at, 2 * F);
    for (int i = 0; i < n; i++) {
        float *row = room->hidden + (long)i * F;
        for (int k = 0; k < F; k += LANES) _mm512_storeu_ps(row + k, gelu(load(row + k)));
        norm_to(room->rows + (long)i * F, row, hidden_norm, F);
    }
    const float *contract = next(&at, (long)F * W / PACKED), *contract_bias = next(&at, W);
    product(room->rows, n, F, contract, W, contract_bias, room->out);
    const float *residual = next(&at, W);
    for (int i = 0; i < n * W; i += LANES)
        _mm512_storeu_ps(x + i, _mm512_fmadd_ps(load(x + i), load(residual + i % W), load(room->out + i)));
    return at;
}

/* Spread the pairs (i, j <= i) of a jet, H numbers each, over both orders and H planes; returns what follows. */
static const float *spread(const float *pairs, int n, int pad, float *bias) {
    for (int row = 0; row < H * n; row++)
        for (int j = n; j < pad; j++) bias[(long)row * pad + j] = -1e30f;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++, pairs += H)
            for (int h = 0; h < H; h++)
                bias[((long)h * n + i) * pad + j] = bias[((long)h * n + j) * pad + i] = pairs[h];
    return pairs;
}

static void *room_for(size_t *used, char *memory, size_t bytes) {
    void *here = memory ? memory + *used : NULL;
    *used += (bytes + 63) / 64 * 64;
    return here;
}

/* Share a piece of memory out; without one, say how much it takes for jets of `most` particles. */
static size_t furnish(Room *room, char *memory, size_t most) {
    size_t used = 0, pad = (most + LANES - 1) / LANES * LANES, wide = F > W ? F : W;
    room->rows = room_for(&used, memory, most * wide * sizeof(Number));
    room->queries = room_for(&used, memory, most * CHANNELS * sizeof(Number));
    room->weights = room_for(&used, memory, pad * sizeof(Number));
    room->values = room_for(&used, memory, pad * CHANNELS * sizeof(Number));
    room->keys = room_for(&used, memory, pad * CHANNELS * sizeof(Unit));
    room->projected = room_for(&used, memory, most * 3 * W * sizeof(float));
    room->hidden = room_for(&used, memory, most * F * sizeof(float));
    room->out = room_for(&used, memory, most * W * sizeof(float));
    room->bias = room_for(&used, memory, most * pad * H * sizeof(float));
    return used;
}

/* Take jets through `depth` blocks: x (all particles, W) in place, pairs (all pairs, H), lengths (jets).
 * Returns 0, or 1 where there is no memory. */
int particle_blocks(const float *weights, int depth, float *x, const float *pairs, const int64_t *lengths, int jets,
                    int most) {
    Room room;
    size_t bytes = furnish(&room, NULL, most);
    char *memory = aligned_alloc(64, bytes);
    if (!memory) return 1;
    furnish(&room, memory, most);
    for (int jet = 0; jet < jets; jet++) {
        const int n = (int)lengths[jet], pad = (n + LANES - 1) / LANES * LANES;
        pairs = spread(pairs, n, pad, room.bias);
        const float *at = weights;
        for (int block = 0; block < depth; block++) at = pass(at, x, n, pad, &room);
        x += (long)n * W;
    }
    free(memory);
    return 0;
}
