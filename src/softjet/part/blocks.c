/* Particle blocks of Particle Transformer for inference, one jet after the other.
 *
 * A jet of some thirty particles stays in a core's cache while it passes through all blocks, so that what is
 * not a matrix product costs little. W is the width, H the number of heads, F the width of the feed-forward
 * layers; a head has CHANNELS channels, a vector of sixteen.
 */
#include "vectors.h"

#define CHANNELS (W / H)

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
