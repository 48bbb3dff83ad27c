/* Pair embedding of Particle Transformer in training, a pass over all rows for each linear layer.
 *
 * A batch renormalisation needs mean and variance of its input over all rows before it can begin, and its
 * gradient two sums over all rows. So a pass forward normalises what the linear layer before has left, and
 * goes on to what the next one leaves; a pass backward goes from the gradient behind a normalisation to that
 * behind the one before. Between passes rows wait in memory, in a pass a block of them stays in cache.
 *
 * IN and OUT are the widths of the pass's linear layer. The first pass begins with the features: its
 * normalisations, and the linear layer between them, are one matrix that softjet.part.native_pairs makes.
 */
#include "gelu.h"

#define FEATURES 4
#define BLOCK 48 /* rows; a multiple of those of every tile, and of the rows of features in a vector */
#define ALIGNED __attribute__((aligned(64)))

#ifdef BFLOAT16
ANY Vector load_some(const Number *from, int count) {
    __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16((1u << count) - 1, from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
ANY void store_some(Number *to, int count, Vector x) {
    _mm256_mask_storeu_epi16(to, (1u << count) - 1, (__m256i)_mm512_cvtneps_pbh(x));
}
/* Two rows as units of neighbours, so that a product can sum over rows. */
ANY void store_side_by_side(Unit *to, int width, Vector a, Vector b) {
    (void)width; /* one row of units */
    const __m512i lane = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    const __m512i other = _mm512_slli_epi32(_mm512_add_epi32(lane, _mm512_set1_epi32(LANES)), 16);
    const __m512i order = _mm512_or_si512(lane, other);
    _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, (__m512i)_mm512_cvtne2ps_pbh(b, a)));
}
#else
ANY Vector load_some(const Number *from, int count) { return _mm512_maskz_loadu_ps((1u << count) - 1, from); }
ANY void store_some(Number *to, int count, Vector x) { _mm512_mask_storeu_ps(to, (1u << count) - 1, x); }
ANY void store_side_by_side(Unit *to, int width, Vector a, Vector b) {
    _mm512_storeu_ps(to, a);
    _mm512_storeu_ps(to + width, b);
}
#endif

/* As many columns at a time as make a tile. */
ANY void sum_products(Product p, const int n) {
    const int rest = p.next_to % COLUMNS;
    for (int column = 0; column < p.next_to - rest; column += COLUMNS)
        sum_rows(moved(p, 0, column), n, COLUMNS / LANES);
    if (rest) sum_rows(moved(p, 0, p.next_to - rest), n, rest / LANES);
}

ANY void add_to(double *totals, const Vector *sums, const int vectors) {
    for (int c = 0; c < vectors; c++) {
        float parts[LANES];
        _mm512_storeu_ps(parts, sums[c]);
        for (int i = 0; i < LANES; i++) totals[LANES * c + i] += parts[i];
    }
}

/* Sums of features less `around`, then of their products with each; four rows stand side by side. */
static void add_features(const float *features, const float *around, int64_t begin, int64_t end,
                         double *sums) {
    const Vector centre = _mm512_broadcast_f32x4(_mm_loadu_ps(around));
    const __m512i lane = _mm512_set_epi32(12, 12, 12, 12, 8, 8, 8, 8, 4, 4, 4, 4, 0, 0, 0, 0);
    for (int64_t from = begin; from < end; from += BLOCK) {
        Vector parts[1 + FEATURES];
        for (int k = 0; k <= FEATURES; k++) parts[k] = zero();
        for (int64_t row = from; row < from + BLOCK && row < end; row += LANES / FEATURES) {
            const __mmask16 given = end - row < LANES / FEATURES ? (1 << FEATURES * (end - row)) - 1 : 0xffff;
            const Vector from_row = _mm512_maskz_loadu_ps(given, features + FEATURES * row);
            const Vector x = _mm512_maskz_sub_ps(given, from_row, centre);
            parts[0] = _mm512_add_ps(parts[0], x);
            for (int k = 0; k < FEATURES; k++) {
                Vector other = _mm512_permutexvar_ps(_mm512_add_epi32(lane, _mm512_set1_epi32(k)), x);
                parts[1 + k] = _mm512_fmadd_ps(x, other, parts[1 + k]);
            }
        }
        add_to(sums, parts, 1 + FEATURES);
    }
}

/* Ask for rows, so that they are in cache when their block begins. */
ANY void fetch(const Number *rows, int width) {
    const int line = 64 / sizeof(Number);
    for (int i = 0; i < BLOCK * width; i += line) _mm_prefetch((const char *)(rows + i), _MM_HINT_T0);
}

/* What a pass reads: the features, or what a linear layer of width IN has left. */
typedef struct {
    const float *features, *around;
    const Number *linear;
    /* To the input of GELU: matrix (4, IN) of features less `around`, and start; or scale and shift. */
    const float *affine;
    const float *own; /* scale and shift that bring what was left to mean 0 and variance 1 */
} Source;

typedef struct {
    float features[BLOCK * FEATURES];
    const Number *linear;
    int count;
} Block;

ANY int block_of(const Source *source, const int first, int64_t begin, int64_t end, Block *block) {
    block->count = end - begin < BLOCK ? (int)(end - begin) : BLOCK;
    if (!first) {
        block->linear = source->linear + begin * IN;
        fetch(block->linear + BLOCK * IN, IN);
        return block->count;
    }
    const float *features = source->features + begin * FEATURES;
    for (int i = 0; i < BLOCK * FEATURES; i++)
        block->features[i] = i < block->count * FEATURES ? features[i] - source->around[i % FEATURES] : 0;
    return block->count;
}

/* A piece of a row; zero behind the last. */
ANY Vector line(const Number *from, int row, int count) {
    return row < count ? widened(from + row * IN) : zero();
}

typedef struct {
    Vector factors[FEATURES], start;
} Affine;

ANY Affine affine_of(const float *affine, const int first) {
    Affine found;
    const int factors = first ? FEATURES : 1;
    for (int k = 0; k < factors; k++) found.factors[k] = load(affine + k * IN);
    found.start = load(affine + factors * IN);
    return found;
}

ANY Vector normalised(const Block *block, const int first, const Affine *affine, int row, int column) {
    if (!first) {
        const Vector linear = line(block->linear + column, row, block->count);
        return _mm512_fmadd_ps(linear, affine->factors[0], affine->start);
    }
    Vector y = affine->start;
    const float *features = block->features + FEATURES * row;
    for (int k = 0; k < FEATURES; k++) y = _mm512_fmadd_ps(all(features[k]), affine->factors[k], y);
    return y;
}

/* Sums, and sums of squares, of which those about the block's own mean are float32. */
ANY void add_moments(const float *rows, int count, double *sums) {
    Vector sum[OUT / LANES], squares[OUT / LANES], mean[OUT / LANES];
    for (int c = 0; c < OUT / LANES; c++) sum[c] = squares[c] = zero();
    for (int r = 0; r < count; r++)
        for (int c = 0; c < OUT / LANES; c++)
            sum[c] = _mm512_add_ps(sum[c], load(rows + r * OUT + LANES * c));
    for (int c = 0; c < OUT / LANES; c++) mean[c] = _mm512_mul_ps(sum[c], all(1.0f / count));
    for (int r = 0; r < count; r++)
        for (int c = 0; c < OUT / LANES; c++) {
            Vector d = _mm512_sub_ps(load(rows + r * OUT + LANES * c), mean[c]);
            squares[c] = _mm512_fmadd_ps(d, d, squares[c]);
        }
    float total[OUT], centre[OUT];
    for (int c = 0; c < OUT / LANES; c++) {
        _mm512_storeu_ps(total + LANES * c, sum[c]);
        _mm512_storeu_ps(centre + LANES * c, mean[c]);
    }
    add_to(sums, sum, OUT / LANES);
    add_to(sums + OUT, squares, OUT / LANES);
    /* sum of x^2 = sum of (x - m)^2 + m (2 sum of x - n m), whatever m is */
    for (int i = 0; i < OUT; i++) sums[OUT + i] += centre[i] * (2.0 * total[i] - (double)count * centre[i]);
}

/* to (n, OUT) = bias + matrix GELU(what the source makes), and its moments. */
ANY void go_forward(const int first, Source source, const Unit *matrix, const float *bias, Number *to,
                    int64_t begin, int64_t end, double *sums) {
    const Tail tail = tail_series();
    Number rows[BLOCK * IN] ALIGNED;
    float out[BLOCK * OUT] ALIGNED;
    Block block;
    for (; begin < end; begin += BLOCK) {
        const int count = block_of(&source, first, begin, end, &block);
        for (int c = 0; c < IN; c += LANES) {
            const Affine affine = affine_of(source.affine + c, first);
            for (int r = 0; r < BLOCK; r++) {
                const Vector y = normalised(&block, first, &affine, r, c);
                store(rows + r * IN + c, gelu_and_slope(&tail, y).value);
            }
        }
        const Product linear = {(const Unit *)rows, IN / PACKED, 1, IN / PACKED, matrix, OUT, bias, 0, out, OUT};
        sum_products(linear, BLOCK);
        add_moments(out, count, sums);
        for (int i = 0; i < count * OUT; i += LANES) store(to + begin * OUT + i, load(out + i));
    }
}

/* The last normalisation and GELU, of LANES columns of which `heads` are wanted. */
static void finish(const Number *linear, const float *affine, int heads, Number *to, int64_t begin,
                   int64_t end) {
    const Tail tail = tail_series();
    const Vector scale = load(affine), shift = load(affine + LANES);
    for (; begin < end; begin++) {
        const Vector y = _mm512_fmadd_ps(widened(linear + begin * LANES), scale, shift);
        store_some(to + begin * heads, heads, gelu_and_slope(&tail, y).value);
    }
}

/* Gradient behind the last normalisation, and its sums as of `keep_gradient`. */
static void begin_backward(const Number *upstream, const Number *linear, const float *affine,
                           const float *own, int heads, Number *to, int64_t begin, int64_t end,
                           double *sums) {
    const Tail tail = tail_series();
    const Vector scale = load(affine), shift = load(affine + LANES);
    while (begin < end) {
        Vector parts[2] = {zero(), zero()};
        for (int r = 0; r < BLOCK && begin < end; r++, begin++) {
            const Vector z = widened(linear + begin * LANES), y = _mm512_fmadd_ps(z, scale, shift);
            const Vector given = load_some(upstream + begin * heads, heads);
            const Vector d = _mm512_mul_ps(given, gelu_and_slope(&tail, y).slope);
            store(to + begin * LANES, d);
            parts[0] = _mm512_add_ps(parts[0], d);
            parts[1] = _mm512_fmadd_ps(d, _mm512_fmadd_ps(z, load(own), load(own + LANES)), parts[1]);
        }
        add_to(sums, parts, 2);
    }
}

/* The gradient of what a linear layer has left is affine in this and in that behind its normalisation. */
typedef struct {
    const Number *upstream, *linear;
    const float *factors; /* of upstream, of linear, and what is added */
} Above;

ANY void gradient_of_linear(Above above, int64_t begin, int count, Number *rows, Unit *pairs) {
    const Number *upstream = above.upstream + begin * OUT, *linear = above.linear + begin * OUT;
    const float *f = above.factors;
    for (int r = 0; r < BLOCK; r += 2)
        for (int c = 0; c < OUT; c += LANES) {
            Vector found[2] = {zero(), zero()};
            for (int i = 0; i < 2 && r + i < count; i++) {
                const int at = (r + i) * OUT + c;
                const Vector d = widened(upstream + at), z = widened(linear + at);
                const Vector rest = _mm512_fmadd_ps(z, load(f + OUT + c), load(f + 2 * OUT + c));
                found[i] = _mm512_fmadd_ps(d, load(f + c), rest);
            }
            store(rows + r * OUT + c, found[0]);
            store(rows + (r + 1) * OUT + c, found[1]);
            store_side_by_side(pairs + r / PACKED * OUT + c, OUT, found[0], found[1]);
        }
}

/* GELU of a block, its rows side by side, and its slope. */
ANY void recompute(const Source *source, const int first, const Block *block, const Tail *tail, Unit *pairs,
                   float *slopes) {
    for (int c = 0; c < IN; c += LANES) {
        const Affine affine = affine_of(source->affine + c, first);
        for (int r = 0; r < BLOCK; r += 2) {
            const Curve a = gelu_and_slope(tail, normalised(block, first, &affine, r, c));
            const Curve b = gelu_and_slope(tail, normalised(block, first, &affine, r + 1, c));
            store_side_by_side(pairs + r / PACKED * IN + c, IN, a.value, b.value);
            _mm512_storeu_ps(slopes + r * IN + c, a.slope);
            _mm512_storeu_ps(slopes + (r + 1) * IN + c, b.slope);
        }
    }
}

/* Sums of the gradient behind the source's normalisation, and of it times each feature. */
ANY void sum_gradient(const Block *block, const float *behind, const float *slopes, double *sums) {
    Vector parts[(1 + FEATURES) * IN / LANES];
    for (int c = 0; c < (1 + FEATURES) * IN / LANES; c++) parts[c] = zero();
    for (int r = 0; r < block->count; r++)
        for (int c = 0; c < IN / LANES; c++) {
            const int at = r * IN + LANES * c;
            const Vector d = _mm512_mul_ps(load(behind + at), load(slopes + at));
            parts[c] = _mm512_add_ps(parts[c], d);
            for (int k = 0; k < FEATURES; k++) {
                Vector *part = parts + (1 + k) * IN / LANES + c;
                *part = _mm512_fmadd_ps(d, all(block->features[FEATURES * r + k]), *part);
            }
        }
    add_to(sums, parts, (1 + FEATURES) * IN / LANES);
}

/* The same gradient, kept; its sums, and those of it times what the batch's own moments normalise. */
ANY void keep_gradient(const Block *block, const float *own, const float *behind, const float *slopes,
                       Number *to, double *sums) {
    Vector parts[2 * IN / LANES];
    for (int c = 0; c < 2 * IN / LANES; c++) parts[c] = zero();
    for (int r = 0; r < block->count; r++)
        for (int c = 0; c < IN / LANES; c++) {
            const int at = r * IN + LANES * c;
            const Vector d = _mm512_mul_ps(load(behind + at), load(slopes + at));
            const Vector z = widened(block->linear + at), scale = load(own + LANES * c);
            const Vector x = _mm512_fmadd_ps(z, scale, load(own + IN + LANES * c));
            store(to + at, d);
            parts[c] = _mm512_add_ps(parts[c], d);
            parts[IN / LANES + c] = _mm512_fmadd_ps(d, x, parts[IN / LANES + c]);
        }
    add_to(sums, parts, 2 * IN / LANES);
}

/* From the gradient behind the normalisation above to that behind the source's; adds that of the matrix. */
ANY void go_backward(const int first, Above above, Source source, const Unit *matrix, Number *to,
                     int64_t begin, int64_t end, float *of_matrix, double *sums) {
    static const float none[IN];
    const Tail tail = tail_series();
    Number rows[BLOCK * OUT] ALIGNED;
    Unit upstream[BLOCK / PACKED * OUT] ALIGNED, values[BLOCK / PACKED * IN] ALIGNED;
    float slopes[BLOCK * IN] ALIGNED, behind[BLOCK * IN] ALIGNED;
    Block block;
    for (; begin < end; begin += BLOCK) {
        const int count = block_of(&source, first, begin, end, &block);
        fetch(above.upstream + (begin + BLOCK) * OUT, OUT);
        fetch(above.linear + (begin + BLOCK) * OUT, OUT);
        gradient_of_linear(above, begin, count, rows, upstream);
        recompute(&source, first, &block, &tail, values, slopes);
        const Product outer = {upstream, 1, OUT, BLOCK / PACKED, values, IN, of_matrix, IN, of_matrix, IN};
        const Unit *across = (const Unit *)rows;
        const Product inner = {across, OUT / PACKED, 1, OUT / PACKED, matrix, IN, none, 0, behind, IN};
        sum_products(outer, OUT);
        sum_products(inner, BLOCK);
        if (first)
            sum_gradient(&block, behind, slopes, sums);
        else
            keep_gradient(&block, source.own, behind, slopes, to + begin * IN, sums);
    }
}

/* Rows in contiguous ranges, one a thread, each with its own of the sums. */
#define IN_RANGES(threads)                                               \
    _Pragma("omp parallel for num_threads(threads) schedule(static, 1)") \
    for (int i = 0; i < threads; i++)
#define RANGE(rows, threads) (rows) * i / (threads), (rows) * (i + 1) / (threads)

void sum_features(const float *features, const float *around, int64_t rows, int threads, double *sums) {
    IN_RANGES(threads)
    add_features(features, around, RANGE(rows, threads), sums + i * (1 + FEATURES) * LANES);
}

void forward(const float *features, const float *around, const Number *linear, const float *affine,
             const float *own, const Unit *matrix, const float *bias, Number *to, int64_t rows, int threads,
             double *sums) {
    const Source source = {features, around, linear, affine, own};
    IN_RANGES(threads) {
        double *part = sums + i * 2 * OUT;
        if (features)
            go_forward(1, source, matrix, bias, to, RANGE(rows, threads), part);
        else
            go_forward(0, source, matrix, bias, to, RANGE(rows, threads), part);
    }
}

void forward_out(const Number *linear, const float *affine, int heads, Number *to, int64_t rows,
                 int threads) {
    IN_RANGES(threads)
    finish(linear, affine, heads, to, RANGE(rows, threads));
}

void backward_out(const Number *upstream, const Number *linear, const float *affine, const float *own,
                  int heads, Number *to, int64_t rows, int threads, double *sums) {
    IN_RANGES(threads)
    begin_backward(upstream, linear, affine, own, heads, to, RANGE(rows, threads), sums + i * 2 * LANES);
}

void backward(const Number *upstream, const Number *above, const float *factors, const float *features,
              const float *around, const Number *linear, const float *affine, const float *own,
              const Unit *matrix, Number *to, int64_t rows, int threads, float *of_matrix, double *sums) {
    const Above given = {upstream, above, factors};
    const Source source = {features, around, linear, affine, own};
    IN_RANGES(threads) {
        float *product = of_matrix + i * OUT * IN;
        double *part = sums + i * IN * (features ? 1 + FEATURES : 2);
        if (features)
            go_backward(1, given, source, matrix, NULL, RANGE(rows, threads), product, part);
        else
            go_backward(0, given, source, matrix, to, RANGE(rows, threads), product, part);
    }
}
