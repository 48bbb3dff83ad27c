/* Particle blocks of Particle Transformer for inference, one jet after the other.
 *
 * A jet of some thirty particles stays in a core's cache while it passes through all blocks, so that what is
 * not a matrix product costs little. W is the width, H the number of heads, F the width of the feed-forward
 * layers; a head has CHANNELS channels, a vector of sixteen.
 */
#include "attention.h"

/* What a jet needs on its way. */
typedef struct {
    Number *rows, *projected;
    Head head;
    float *wide, *out, *bias;
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
    product(room->rows, n, W, project, 3 * W, project_bias, room->wide);
    for (int i = 0; i < n * 3 * W; i += LANES) store(room->projected + i, load(room->wide + i));
    attend(n, pad, room);
    const float *out = next(&at, (long)W * W / PACKED), *out_bias = next(&at, W);
    product(room->rows, n, W, out, W, out_bias, room->out);
    const float *branch_norm = next(&at, 2 * W), *feed_norm = next(&at, 2 * W);
    for (int i = 0; i < n; i++) {
        norm_onto(x + (long)i * W, room->out + (long)i * W, branch_norm, W);
        norm_to(room->rows + (long)i * W, x + (long)i * W, feed_norm, W);
    }
    const float *expand = next(&at, (long)F * W / PACKED), *expand_bias = next(&at, F);
    product(room->rows, n, W, expand, F, expand_bias, room->wide);
    const float *hidden_norm = next(&at, 2 * F);
    for (int i = 0; i < n; i++) {
        float *row = room->wide + (long)i * F;
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

/* Share a piece of memory out; without one, say how much it takes for jets of `most` particles. */
static size_t furnish(Room *room, char *memory, size_t most) {
    size_t used = 0, pad = padded((int)most), wide = F > W ? F : W;
    room->rows = room_for(&used, memory, most * wide * sizeof(Number));
    room->projected = room_for(&used, memory, most * 3 * W * sizeof(Number));
    room->head.keys = room_for(&used, memory, pad * CHANNELS * sizeof(Unit));
    room->head.values = room_for(&used, memory, pad * CHANNELS * sizeof(Unit));
    room->head.weights = room_for(&used, memory, pad * sizeof(Number));
    room->wide = room_for(&used, memory, most * (F > 3 * W ? F : 3 * W) * sizeof(float));
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
        const int n = (int)lengths[jet], pad = padded(n);
        pairs = spread(pairs, n, pad, room.bias);
        const float *at = weights;
        for (int block = 0; block < depth; block++) at = pass(at, x, n, pad, &room);
        x += (long)n * W;
    }
    free(memory);
    return 0;
}
