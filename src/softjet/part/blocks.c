/* Particle blocks of Particle Transformer for inference, one jet after the other.
 *
 * A jet of some thirty particles stays in a core's cache while it passes through all blocks, so that what is
 * not a matrix product costs little. W is the width, H the number of heads, F the width of the feed-forward
 * layers; a head has CHANNELS channels, a vector of sixteen.
 */
#include "attention.h"
#include "gelu.h"

#define WIDE (F > 3 * W ? F : 3 * W)

static const float nothing[WIDE];

/* What a jet needs on its way. */
typedef struct {
    Number *rows, *projected, *given;
    Head head;
    float *wide, *out, *inner, *bias;
    Tail tail;
} Room;

ANY void attend(int n, int pad, Room *room) {
    for (int head = 0; head < H; head++) {
        const Number *query = room->projected + head * CHANNELS;
        as_columns(query + W, 3 * W, n, pad, room->head.keys);
        as_pairs(query + 2 * W, 3 * W, n, pad, room->head.values);
        for (int i = 0; i < n; i++, query += 3 * W) {
            const float *bias = room->bias + ((long)head * n + i) * pad;
            store(room->rows + (long)i * W + head * CHANNELS, take(query, pad, bias, &room->head, NULL));
        }
    }
}

/* Weights, in the order in which softjet.part.native packs them, and the shapes of the matrices: inputs and outputs of
 * each, and its rank, 0 where it is dense. */
typedef struct {
    const float *weights;
    const int32_t *shapes;
} At;

ANY const float *next(At *at, long size) {
    const float *here = at->weights;
    at->weights += size;
    return here;
}

/* to[n][width] = products of `rows` with the matrices that are next, side by side. */
static void linear(At *at, const Number *rows, int n, int inputs, int width, float *to, Room *room) {
    for (int column = 0; column < width; at->shapes += 3) {
        const int outputs = at->shapes[1], rank = at->shapes[2], inner = rank ? rank : inputs;
        if (rank) {
            product(rows, n, inputs, next(at, (long)inputs * rank / PACKED), rank, nothing, room->inner, rank);
            for (int i = 0; i < n * rank; i += LANES) store(room->given + i, load(room->inner + i));
        }
        const float *matrix = next(at, (long)inner * outputs / PACKED), *bias = next(at, outputs);
        product(rank ? room->given : rows, n, inner, matrix, outputs, bias, to + column, width);
        column += outputs;
    }
}

/* Take the particles x (n, W) of a jet through a block, and go on to the next one's weights. */
static void pass(At *at, float *x, int n, int pad, Room *room) {
    const float *attention_norm = next(at, 2 * W);
    for (int i = 0; i < n; i++) norm_to(room->rows + (long)i * W, x + (long)i * W, attention_norm, W);
    linear(at, room->rows, n, W, 3 * W, room->wide, room);
    for (int i = 0; i < n * 3 * W; i += LANES) store(room->projected + i, load(room->wide + i));
    attend(n, pad, room);
    linear(at, room->rows, n, W, W, room->out, room);
    const float *branch_norm = next(at, 2 * W), *feed_norm = next(at, 2 * W);
    for (int i = 0; i < n; i++) {
        norm_onto(x + (long)i * W, room->out + (long)i * W, branch_norm, W);
        norm_to(room->rows + (long)i * W, x + (long)i * W, feed_norm, W);
    }
    linear(at, room->rows, n, W, F, room->wide, room);
    const float *hidden_norm = next(at, 2 * F);
    for (int i = 0; i < n; i++) {
        float *row = room->wide + (long)i * F;
        for (int k = 0; k < F; k += LANES) put(row + k, gelu_and_slope(&room->tail, load(row + k)).value);
        norm_to(room->rows + (long)i * F, row, hidden_norm, F);
    }
    linear(at, room->rows, n, F, W, room->out, room);
    const float *residual = next(at, W);
    for (int i = 0; i < n * W; i += LANES)
        put(x + i, _mm512_fmadd_ps(load(x + i), load(residual + i % W), load(room->out + i)));
}

/* Share a piece of memory out; without one, say how much it takes for jets of `most` particles. */
static size_t furnish(Room *room, char *memory, size_t most) {
    size_t used = 0, pad = padded((int)most);
    room->rows = room_for(&used, memory, most * WIDE * sizeof(Number));
    room->projected = room_for(&used, memory, most * 3 * W * sizeof(Number));
    room->given = room_for(&used, memory, most * WIDE * sizeof(Number));
    room->head.keys = room_for(&used, memory, pad * CHANNELS * sizeof(Unit));
    room->head.values = room_for(&used, memory, pad * CHANNELS * sizeof(Unit));
    room->head.weights = room_for(&used, memory, pad * sizeof(Number));
    room->wide = room_for(&used, memory, most * WIDE * sizeof(float));
    room->out = room_for(&used, memory, most * W * sizeof(float));
    room->inner = room_for(&used, memory, most * WIDE * sizeof(float));
    room->bias = room_for(&used, memory, most * pad * H * sizeof(float));
    return used;
}

/* Take jets through `depth` blocks, in place: x (all particles, W), pairs (all pairs, H); where particles and pairs of
 * each jet begin (jets + 1), jets of `most` particles at most, and no rank larger than WIDE. Returns how many threads
 * had no memory. */
int particle_blocks(const float *weights, const int32_t *shapes, int depth, float *x, const float *pairs,
                    const int64_t *starts, const int64_t *pair_starts, int jets, int most, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
        Room room;
        char *memory = aligned_alloc(64, furnish(&room, NULL, most));
        failed += !memory;
        if (memory) furnish(&room, memory, most);
        room.tail = tail_series();
#pragma omp for schedule(dynamic)
        for (int jet = 0; jet < jets; jet++) {
            if (!memory) continue;
            const int n = (int)(starts[jet + 1] - starts[jet]), pad = padded(n);
            spread(pairs + pair_starts[jet] * H, n, pad, room.bias);
            At at = {weights, shapes};
            for (int block = 0; block < depth; block++) pass(&at, x + starts[jet] * W, n, pad, &room);
        }
        free(memory);
    }
    return failed;
}
