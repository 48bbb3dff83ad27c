/* Particle blocks of Particle Transformer in training: forward, keeping what backward needs, and backward.
 *
 * A few jets, a *chunk*, go through a block together: few enough to stay in a core's cache, and enough rows that
 * the block's weights and their gradients are worth fetching. Kept are a block's inputs and what its matrices
 * make of them; norms, GELU and attention weights are computed again. Units are as in vectors.h; where rows are
 * summed over, as in gradients of matrices, those of a unit stand side by side.
 */
#include "attention.h"
#include "gelu.h"

#define ROWS 96 /* of a chunk, or a few more */
#define ROOM (ROWS + MOST)

/* Parameters of a block in float32, as PyTorch has them; gradients stand in the same places. */
enum {
    ATTENTION_NORM = 0,
    PROJECT = ATTENTION_NORM + 2 * W,
    PROJECT_BIAS = PROJECT + 3 * W * W,
    OUT = PROJECT_BIAS + 3 * W,
    OUT_BIAS = OUT + W * W,
    BRANCH_NORM = OUT_BIAS + W,
    FEED_NORM = BRANCH_NORM + 2 * W,
    EXPAND = FEED_NORM + 2 * W,
    EXPAND_BIAS = EXPAND + F * W,
    HIDDEN_NORM = EXPAND_BIAS + F,
    CONTRACT = HIDDEN_NORM + 2 * F,
    CONTRACT_BIAS = CONTRACT + F * W,
    RESIDUAL = CONTRACT_BIAS + W,
    PARAMETERS = RESIDUAL + W
};

/* Matrices of a block as products want them, in units: forward, then transposed for backward. */
enum {
    TO_PROJECT = 0,
    TO_OUT = TO_PROJECT + 3 * W * W / PACKED,
    TO_EXPAND = TO_OUT + W * W / PACKED,
    TO_CONTRACT = TO_EXPAND + F * W / PACKED,
    BACK = TO_CONTRACT + F * W / PACKED,
    PACKED_SIZE = 2 * BACK
};

static const float nothing[F > 3 * W ? F : 3 * W];

/* Units from a row of units to the next: those of a column would share few lines of a cache, were it a power of two. */
#define PITCH(width) ((width) + LANES)

/* Rows of numbers as units of rows. */
ANY void pair_rows(const Number *rows, int n, int width, Unit *to) {
    for (int i = 0; i < n; i += PACKED, rows += PACKED * width, to += PITCH(width))
        for (int k = 0; k < width; k += LANES) pair(rows + k, i + 1 < n ? rows + width + k : NULL, to + k);
}

ANY int units_of(int rows) { return (rows + PACKED - 1) / PACKED; }

/* Gradient of a matrix (outputs, inputs): adds the products of upstream and input, summed over rows. */
static void add_products(const Unit *upstream, int outputs, const Unit *input, int inputs, int n, float *to) {
    const Product p = {upstream, 1, PITCH(outputs), units_of(n), input, PITCH(inputs), to, inputs, to, inputs};
    for (int column = 0; column < inputs; column += COLUMNS)
        sum_rows(moved(p, 0, column), outputs, COLUMNS / LANES);
}

/* What is kept of a block, of all particles or from some particle on. */
typedef struct {
    float *x, *out, *sums; /* sums: of a query its largest logit, and 1 over the sum of its exponentials */
    Number *projected, *mixed, *hidden;
} Kept;

static size_t keep(Kept *kept, char *memory, size_t particles) {
    size_t used = 0;
    kept->x = room_for(&used, memory, particles * W * sizeof(float));
    kept->out = room_for(&used, memory, particles * W * sizeof(float));
    kept->sums = room_for(&used, memory, particles * 2 * H * sizeof(float));
    kept->projected = room_for(&used, memory, particles * 3 * W * sizeof(Number));
    kept->mixed = room_for(&used, memory, particles * W * sizeof(Number));
    kept->hidden = room_for(&used, memory, particles * F * sizeof(Number));
    return used;
}

static Kept kept_of(char *memory, long particles, int block, long first) {
    Kept kept;
    size_t size = keep(&kept, NULL, particles);
    keep(&kept, memory + block * size, particles);
    return (Kept){kept.x + first * W,
                  kept.out + first * W,
                  kept.sums + first * 2 * H,
                  kept.projected + first * 3 * W,
                  kept.mixed + first * W,
                  kept.hidden + first * F};
}

/* Bytes to keep of `depth` blocks. */
int64_t kept_bytes(int64_t particles, int depth) {
    Kept kept;
    return (int64_t)keep(&kept, NULL, particles) * depth;
}

/* Jets that go through a block together. */
typedef struct {
    const int64_t *lengths;
    int jets, rows;
} Chunk;

static Chunk next_chunk(const int64_t *lengths, int left) {
    Chunk chunk = {lengths, 0, 0};
    while (chunk.jets < left && chunk.rows < ROWS) chunk.rows += (int)lengths[chunk.jets++];
    return chunk;
}

/* What a chunk needs on its way. */
typedef struct {
    Number *rows, *upstream, *weights, *steps;
    Head head;
    Unit *values, *queries, *given, *others, *left, *right;
    float *wide, *out, *middle, *bias, *of_bias;
    Tail tail;
} Room;

static size_t furnish(Room *room, char *memory) {
    const size_t wide = F > 3 * W ? F : 3 * W, most = padded(MOST), pairs = (size_t)ROOM * most * H;
    size_t used = 0;
    room->rows = room_for(&used, memory, ROOM * wide * sizeof(Number));
    room->upstream = room_for(&used, memory, ROOM * wide * sizeof(Number));
    room->weights = room_for(&used, memory, (most + 1) * most * sizeof(Number));
    room->steps = room_for(&used, memory, (most + 1) * most * sizeof(Number));
    room->queries = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->given = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->others = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->head.keys = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->head.values = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->head.weights = room_for(&used, memory, most * sizeof(Number));
    room->values = room_for(&used, memory, most * CHANNELS * sizeof(Unit));
    room->left = room_for(&used, memory, (ROOM + PACKED) / PACKED * PITCH(wide) * sizeof(Unit));
    room->right = room_for(&used, memory, (ROOM + PACKED) / PACKED * PITCH(wide) * sizeof(Unit));
    room->wide = room_for(&used, memory, ROOM * wide * sizeof(float));
    room->out = room_for(&used, memory, ROOM * W * sizeof(float));
    room->middle = room_for(&used, memory, ROOM * W * sizeof(float));
    room->bias = room_for(&used, memory, pairs * sizeof(float));
    room->of_bias = room_for(&used, memory, pairs * sizeof(float));
    return used;
}

ANY long bias_size(Chunk chunk) {
    long size = 0;
    for (int jet = 0; jet < chunk.jets; jet++) size += (long)H * chunk.lengths[jet] * padded((int)chunk.lengths[jet]);
    return size;
}

static const float *spread_all(const float *pairs, Chunk chunk, float *bias) {
    for (int jet = 0; jet < chunk.jets; jet++) {
        const int n = (int)chunk.lengths[jet], pad = padded(n);
        pairs = spread(pairs, n, pad, bias);
        bias += (long)H * n * pad;
    }
    return pairs;
}

/* Attention of a chunk's jets, each its own. */
static void attend(Chunk chunk, Kept kept, Room *room) {
    const float *bias = room->bias;
    for (int jet = 0; jet < chunk.jets; jet++) {
        const int n = (int)chunk.lengths[jet], pad = padded(n);
        for (int head = 0; head < H; head++) {
            const Number *query = kept.projected + head * CHANNELS;
            as_columns(query + W, 3 * W, n, pad, room->head.keys);
            as_pairs(query + 2 * W, 3 * W, n, pad, room->head.values);
            for (int i = 0; i < n; i++, query += 3 * W, bias += pad)
                store(kept.mixed + (long)i * W + head * CHANNELS,
                      take(query, pad, bias, &room->head, kept.sums + 2 * (i * H + head)));
        }
        kept.projected += (long)n * 3 * W, kept.mixed += (long)n * W, kept.sums += (long)n * 2 * H;
    }
}

/* Take a chunk x through a block. */
static void forward(const float *p, const float *packed, float *x, Chunk chunk, Kept kept, Room *room) {
    const int n = chunk.rows;
    if (!n) return;
    memcpy(kept.x, x, sizeof(float) * n * W);
    for (int i = 0; i < n; i++) norm_to(room->rows + (long)i * W, x + (long)i * W, p + ATTENTION_NORM, W);
    product(room->rows, n, W, packed + TO_PROJECT, 3 * W, p + PROJECT_BIAS, room->wide, 3 * W);
    for (int i = 0; i < n * 3 * W; i += LANES) store(kept.projected + i, load(room->wide + i));
    attend(chunk, kept, room);
    product(kept.mixed, n, W, packed + TO_OUT, W, p + OUT_BIAS, kept.out, W);
    for (int i = 0; i < n; i++) {
        norm_onto(x + (long)i * W, kept.out + (long)i * W, p + BRANCH_NORM, W);
        norm_to(room->rows + (long)i * W, x + (long)i * W, p + FEED_NORM, W);
    }
    product(room->rows, n, W, packed + TO_EXPAND, F, p + EXPAND_BIAS, room->wide, F);
    for (int i = 0; i < n; i++) {
        float *row = room->wide + (long)i * F;
        for (int k = 0; k < F; k += LANES) {
            store(kept.hidden + (long)i * F + k, load(row + k));
            put(row + k, gelu_and_slope(&room->tail, load(row + k)).value);
        }
        norm_to(room->rows + (long)i * F, row, p + HIDDEN_NORM, F);
    }
    product(room->rows, n, F, packed + TO_CONTRACT, W, p + CONTRACT_BIAS, room->out, W);
    for (int i = 0; i < n * W; i += LANES)
        put(x + i, _mm512_fmadd_ps(load(x + i), load(p + RESIDUAL + i % W), load(room->out + i)));
}

/* Gradients behind the contracting matrix, of its input's norm and of GELU, row by row: leaves the gradients of the
 * hidden layer in `upstream`, and its output in `rows`. */
static void hidden_back(const float *p, float *g, int n, Kept kept, Room *room) {
    float values[F], slopes[F];
    for (int i = 0; i < n; i++) {
        float *up = room->wide + (long)i * F;
        for (int k = 0; k < F; k += LANES) {
            const Curve curve = gelu_and_slope(&room->tail, widened(kept.hidden + (long)i * F + k));
            put(values + k, curve.value);
            put(slopes + k, curve.slope);
        }
        norm_to(room->rows + (long)i * F, values, p + HIDDEN_NORM, F);
        norm_back(values, up, p + HIDDEN_NORM, g + HIDDEN_NORM, F, up);
        for (int k = 0; k < F; k += LANES) {
            Vector own = _mm512_mul_ps(load(up + k), load(slopes + k));
            add(g + EXPAND_BIAS + k, own);
            store(room->upstream + (long)i * F + k, own);
        }
    }
}

/* Gradient d of the block's output to that of what the feed-forward layers are given. */
static void feed_forward_back(const float *p, const float *packed, float *g, float *d, int n, Kept kept, Room *room) {
    if (!n) return;
    memcpy(room->middle, kept.x, sizeof(float) * n * W);
    for (int i = 0; i < n; i++) norm_onto(room->middle + (long)i * W, kept.out + (long)i * W, p + BRANCH_NORM, W);
    for (int i = 0; i < n * W; i += LANES) {
        Vector up = load(d + i);
        store(room->upstream + i, up);
        add(g + CONTRACT_BIAS + i % W, up);
        add(g + RESIDUAL + i % W, _mm512_mul_ps(up, load(room->middle + i)));
        put(d + i, _mm512_mul_ps(up, load(p + RESIDUAL + i % W)));
    }
    pair_rows(room->upstream, n, W, room->left);
    product(room->upstream, n, W, packed + BACK + TO_CONTRACT, F, nothing, room->wide, F);
    hidden_back(p, g, n, kept, room);
    pair_rows(room->rows, n, F, room->right);
    add_products(room->left, W, room->right, F, n, g + CONTRACT);
    product(room->upstream, n, F, packed + BACK + TO_EXPAND, W, nothing, room->out, W);
    for (int i = 0; i < n; i++) {
        const float *x = room->middle + (long)i * W;
        float *up = room->out + (long)i * W;
        norm_to(room->rows + (long)i * W, x, p + FEED_NORM, W);
        norm_back(x, up, p + FEED_NORM, g + FEED_NORM, W, up);
        for (int k = 0; k < W; k += LANES) add(d + (long)i * W + k, load(up + k));
    }
    pair_rows(room->upstream, n, F, room->left);
    pair_rows(room->rows, n, W, room->right);
    add_products(room->left, F, room->right, W, n, g + EXPAND);
}

/* A query's part in the gradients: its weights and the gradients of its logits, which are added to `of_bias` and
 * left, over sqrt(channels), in `steps`. */
ANY void query_back(const Number *query, const Number *given, const float *sums, int pad, const float *bias,
                    float *of_bias, Number *weights, Number *steps, const Room *room) {
    Vector weight[MOST / LANES], gain[MOST / LANES], sum = zero();
    for (int c = 0; c < pad / LANES; c++) {
        Vector logit = _mm512_fmadd_ps(dots((const Unit *)query, room->head.keys + LANES * c, pad), all(SCALE),
                                       load(bias + LANES * c));
        weight[c] = _mm512_mul_ps(exponential(_mm512_sub_ps(logit, all(sums[0]))), all(sums[1]));
        gain[c] = dots((const Unit *)given, room->values + LANES * c, pad);
        sum = _mm512_fmadd_ps(weight[c], gain[c], sum);
    }
    const Vector mean = all(_mm512_reduce_add_ps(sum));
    for (int c = 0; c < pad / LANES; c++) {
        Vector step = _mm512_mul_ps(weight[c], _mm512_sub_ps(gain[c], mean));
        add(of_bias + LANES * c, step);
        store(weights + LANES * c, weight[c]);
        store(steps + LANES * c, _mm512_mul_ps(step, all(SCALE)));
    }
}

/* to[j] = sum over queries of weights[query][j] rows[query], for particles j. */
static void sum_queries(const Unit *weights, int n, int pad, const Unit *rows, float *to) {
    const Product p = {weights, 1, PITCH(pad), units_of(n), rows, CHANNELS, nothing, 0, to, 3 * W};
    sum_rows(p, n, CHANNELS / LANES);
}

/* Gradients of a head's queries, keys and values, to `to` (n, 3 W). */
static void head_back(const Number *projected, const Number *given, const float *sums, int n, const float *bias,
                      float *of_bias, float *to, Room *room) {
    const int pad = padded(n);
    as_columns(projected + W, 3 * W, n, pad, room->head.keys);
    as_columns(projected + 2 * W, 3 * W, n, pad, room->values);
    as_pairs(projected, 3 * W, n, pad, room->queries);
    as_pairs(projected + W, 3 * W, n, pad, room->others);
    as_pairs(given, W, n, pad, room->given);
    for (int i = 0; i < n; i++) {
        Number *steps = room->steps + (long)i * pad;
        query_back(projected + (long)i * 3 * W, given + (long)i * W, sums + 2 * i * H, pad, bias + (long)i * pad,
                   of_bias + (long)i * pad, room->weights + (long)i * pad, steps, room);
        put(to + (long)i * 3 * W, weighted(steps, room->others, pad));
    }
    pair_rows(room->steps, n, pad, room->left);
    sum_queries(room->left, n, pad, room->queries, to + W);
    pair_rows(room->weights, n, pad, room->left);
    sum_queries(room->left, n, pad, room->given, to + 2 * W);
}

/* Gradients of a chunk's queries, keys and values from those of what attention gives, in `upstream`. */
static void attend_back(Chunk chunk, Kept kept, Room *room) {
    const Number *given = room->upstream;
    const float *bias = room->bias;
    float *of_bias = room->of_bias, *to = room->wide;
    for (int jet = 0; jet < chunk.jets; jet++) {
        const int n = (int)chunk.lengths[jet];
        for (int head = 0; head < H; head++) {
            const int at = head * CHANNELS;
            head_back(kept.projected + at, given + at, kept.sums + 2 * head, n, bias, of_bias, to + at, room);
            bias += (long)n * padded(n), of_bias += (long)n * padded(n);
        }
        kept.projected += (long)n * 3 * W, kept.sums += (long)n * 2 * H;
        given += (long)n * W, to += (long)n * 3 * W;
    }
}

/* Gradient d of what the feed-forward layers are given to that of the block's input. */
static void attention_back(const float *p, const float *packed, float *g, float *d, Chunk chunk, Kept kept, Room *room) {
    const int n = chunk.rows;
    for (int i = 0; i < n; i++) {
        float *up = room->out + (long)i * W;
        norm_back(kept.out + (long)i * W, d + (long)i * W, p + BRANCH_NORM, g + BRANCH_NORM, W, up);
        for (int k = 0; k < W; k += LANES) {
            add(g + OUT_BIAS + k, load(up + k));
            store(room->upstream + (long)i * W + k, load(up + k));
        }
    }
    pair_rows(room->upstream, n, W, room->left);
    pair_rows(kept.mixed, n, W, room->right);
    add_products(room->left, W, room->right, W, n, g + OUT);
    product(room->upstream, n, W, packed + BACK + TO_OUT, W, nothing, room->out, W);
    for (int i = 0; i < n * W; i += LANES) store(room->upstream + i, load(room->out + i));
    attend_back(chunk, kept, room);
    for (int i = 0; i < n; i++) {
        const float *up = room->wide + (long)i * 3 * W;
        for (int k = 0; k < 3 * W; k += LANES) {
            add(g + PROJECT_BIAS + k, load(up + k));
            store(room->upstream + (long)i * 3 * W + k, load(up + k));
        }
    }
    product(room->upstream, n, 3 * W, packed + BACK + TO_PROJECT, W, nothing, room->out, W);
    for (int i = 0; i < n; i++) {
        const float *x = kept.x + (long)i * W;
        float *up = room->out + (long)i * W;
        norm_to(room->rows + (long)i * W, x, p + ATTENTION_NORM, W);
        norm_back(x, up, p + ATTENTION_NORM, g + ATTENTION_NORM, W, up);
        for (int k = 0; k < W; k += LANES) add(d + (long)i * W + k, load(up + k));
    }
    pair_rows(room->upstream, n, 3 * W, room->left);
    pair_rows(room->rows, n, W, room->right);
    add_products(room->left, 3 * W, room->right, W, n, g + PROJECT);
}

/* Gradients of both orders of a chunk's pairs as those of the pairs; returns where what follows goes. */
static float *gather_all(float *pairs, Chunk chunk, const float *of_bias) {
    for (int jet = 0; jet < chunk.jets; jet++) {
        const int n = (int)chunk.lengths[jet], pad = padded(n);
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++, pairs += H)
                for (int h = 0; h < H; h++) {
                    const float *plane = of_bias + (long)h * n * pad;
                    pairs[h] = plane[(long)i * pad + j] + (i == j ? 0.0f : plane[(long)j * pad + i]);
                }
        of_bias += (long)H * n * pad;
    }
    return pairs;
}

/* A matrix (outputs, inputs) in units: forward in blocks of its outputs, and transposed in blocks of its inputs. */
static void pack_matrix(const float *matrix, int outputs, int inputs, Number *room, Unit *ahead, Unit *back) {
    for (long i = 0; i < (long)outputs * inputs; i += LANES) store(room + i, load(matrix + i));
    const Unit *rows = (const Unit *)room;
    const int units = inputs / PACKED;
    for (int column = 0; column < outputs; column += COLUMNS)
        for (int k = 0; k < units; k++)
            for (int c = 0; c < COLUMNS; c++) *ahead++ = rows[(long)(column + c) * units + k];
    for (int column = 0; column < inputs; column += COLUMNS)
        for (int k = 0; k < outputs; k += PACKED, back += COLUMNS)
            for (int c = 0; c < COLUMNS; c += LANES) {
                const Number *at = room + (long)k * inputs + column + c;
                pair(at, at + inputs, back + c);
            }
}

/* Matrices of `depth` blocks in units; returns 0, or 1 where there is no memory. */
int pack_blocks(const float *parameters, int depth, Unit *packed) {
    Number *room = malloc(sizeof(Number) * (F > 3 * W ? F : 3 * W) * W);
    if (!room) return 1;
    for (int block = 0; block < depth; block++) {
        const float *p = parameters + (long)block * PARAMETERS;
        Unit *ahead = packed + (long)block * PACKED_SIZE, *back = ahead + BACK;
        pack_matrix(p + PROJECT, 3 * W, W, room, ahead + TO_PROJECT, back + TO_PROJECT);
        pack_matrix(p + OUT, W, W, room, ahead + TO_OUT, back + TO_OUT);
        pack_matrix(p + EXPAND, F, W, room, ahead + TO_EXPAND, back + TO_EXPAND);
        pack_matrix(p + CONTRACT, W, F, room, ahead + TO_CONTRACT, back + TO_CONTRACT);
    }
    free(room);
    return 0;
}

/* Numbers of a block's parameters, and of its packed matrices. */
int64_t parameters_of_block(void) { return PARAMETERS; }
int64_t packed_of_block(void) { return PACKED_SIZE; }

/* Room for a thread, whose numbers too small for float32's precision are zero from then on: they take many times
 * as long, and nothing here is so small that matters. */
static char *enter(Room *room, unsigned *mode) {
    char *memory = aligned_alloc(64, furnish(room, NULL));
    if (memory) furnish(room, memory);
    room->tail = tail_series();
    *mode = _mm_getcsr();
    _mm_setcsr(*mode | 0x8040);
    return memory;
}

static void leave(char *memory, unsigned mode) {
    _mm_setcsr(mode);
    free(memory);
}

/* Jets that a thread takes: how many, and which jet, particle and pair of the batch are its first. */
typedef struct {
    int64_t jets, jet, particle, pair;
} Share;

/* What jets go through. */
typedef struct {
    const float *parameters, *packed;
    int depth;
    char *kept;
    int64_t particles; /* of the batch, that room is kept for */
} Blocks;

static void share_forward(Blocks of, Share share, float *x, const float *pairs, const int64_t *lengths, Room *room) {
    x += share.particle * W, pairs += share.pair * H, lengths += share.jet;
    for (Chunk chunk; share.jets; share.jets -= chunk.jets, lengths += chunk.jets) {
        chunk = next_chunk(lengths, (int)share.jets);
        pairs = spread_all(pairs, chunk, room->bias);
        for (int block = 0; block < of.depth; block++)
            forward(of.parameters + (long)block * PARAMETERS, of.packed + (long)block * PACKED_SIZE, x, chunk,
                    kept_of(of.kept, of.particles, block, share.particle), room);
        share.particle += chunk.rows, x += (long)chunk.rows * W;
    }
}

static void share_backward(Blocks of, Share share, float *d, const float *pairs, const int64_t *lengths,
                           float *of_pairs, float *gradients, Room *room) {
    d += share.particle * W, pairs += share.pair * H, of_pairs += share.pair * H, lengths += share.jet;
    for (Chunk chunk; share.jets; share.jets -= chunk.jets, lengths += chunk.jets) {
        chunk = next_chunk(lengths, (int)share.jets);
        pairs = spread_all(pairs, chunk, room->bias);
        memset(room->of_bias, 0, sizeof(float) * bias_size(chunk));
        for (int block = of.depth - 1; block >= 0; block--) {
            const float *p = of.parameters + (long)block * PARAMETERS, *own = of.packed + (long)block * PACKED_SIZE;
            float *g = gradients + (long)block * PARAMETERS;
            const Kept kept = kept_of(of.kept, of.particles, block, share.particle);
            feed_forward_back(p, own, g, d, chunk.rows, kept, room);
            attention_back(p, own, g, d, chunk, kept, room);
        }
        of_pairs = gather_all(of_pairs, chunk, room->of_bias);
        share.particle += chunk.rows, d += (long)chunk.rows * W;
    }
}

/* Take jets through `depth` blocks: their particles x (particles, W) in place, their pairs (all pairs, H), a share of
 * them on each thread. Returns how many threads had no memory. */
int blocks_forward(const float *parameters, const float *packed, int depth, float *x, const float *pairs,
                   const int64_t *lengths, int64_t particles, char *kept, const Share *shares, int threads) {
    const Blocks of = {parameters, packed, depth, kept, particles};
    int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : failed)
    for (int thread = 0; thread < threads; thread++) {
        Room room;
        unsigned mode;
        char *memory = enter(&room, &mode);
        if (memory) share_forward(of, shares[thread], x, pairs, lengths, &room);
        failed += !memory;
        leave(memory, mode);
    }
    return failed;
}

/* Gradients d (particles, W) of what jets gave to those of what was given, in place; those of pairs; and, added, those
 * of parameters, of each thread's jets for themselves. Otherwise as blocks_forward. */
int blocks_backward(const float *parameters, const float *packed, int depth, float *d, const float *pairs,
                    const int64_t *lengths, int64_t particles, char *kept, const Share *shares, int threads,
                    float *of_pairs, float *gradients) {
    const Blocks of = {parameters, packed, depth, kept, particles};
    int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static, 1) reduction(+ : failed)
    for (int thread = 0; thread < threads; thread++) {
        Room room;
        unsigned mode;
        char *memory = enter(&room, &mode);
        float *own = gradients + (long)thread * depth * PARAMETERS;
        if (memory) share_backward(of, shares[thread], d, pairs, lengths, of_pairs, own, &room);
        failed += !memory;
        leave(memory, mode);
    }
    return failed;
}
