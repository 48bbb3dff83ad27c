/* Attention of a head among the particles of a jet, which stand as rows of `stride` numbers.
 *
 * H heads of CHANNELS channels, a vector of sixteen; `pad` is the number of particles, up to whole vectors.
 */
#pragma once
#include "vectors.h"

#define CHANNELS (W / H)
#define SCALE (1.0f / sqrtf(CHANNELS))

/* Rows as columns: unit k of all particles side by side. Padding is multiplied, and may not be NaN. */
ANY void as_columns(const Number *rows, int stride, int n, int pad, Unit *to) {
    memset(to, 0, sizeof(Unit) * CHANNELS / PACKED * pad);
    for (int j = 0; j < n; j++, rows += stride)
        for (int k = 0; k < CHANNELS / PACKED; k++) memcpy(to + k * pad + j, rows + k * PACKED, sizeof(Unit));
}

/* Rows that are summed over: those of a unit beside each other, channel by channel. */
ANY void as_pairs(const Number *rows, int stride, int n, int pad, Unit *to) {
    for (int j = 0; j < n; j += PACKED, rows += PACKED * stride, to += CHANNELS)
        pair(rows, j + 1 < n ? rows + stride : NULL, to);
    memset(to, 0, sizeof(Unit) * CHANNELS * ((pad - n) / PACKED));
}

/* Products of a row with sixteen columns. */
ANY Vector dots(const Unit *row, const Unit *columns, int pad) {
    Vector even = zero(), odd = zero();
    for (int k = 0; k < CHANNELS / PACKED; k += 2) {
        even = multiply_add(even, row[k], columns + k * pad);
        odd = multiply_add(odd, row[k + 1], columns + (k + 1) * pad);
    }
    return _mm512_add_ps(even, odd);
}

/* Sum over all particles, weighted. */
ANY Vector weighted(const Number *weights, const Unit *pairs, int pad) {
    const Unit *a = (const Unit *)weights;
    Vector parts[4] = {zero(), zero(), zero(), zero()};
    for (int j = 0; j < pad / PACKED; j += 4)
        for (int part = 0; part < 4; part++)
            parts[part] = multiply_add(parts[part], a[j + part], pairs + (j + part) * CHANNELS);
    return _mm512_add_ps(_mm512_add_ps(parts[0], parts[1]), _mm512_add_ps(parts[2], parts[3]));
}

/* What a head's particles have to say, and room for the weights of a query. */
typedef struct {
    Unit *keys, *values;
    Number *weights;
} Head;

/* What a query takes from all keys; `bias` is its row, far below zero behind the last particle. Its largest logit,
 * and 1 over the sum of its exponentials, go to `sums`, where there is room for them. */
ANY Vector take(const Number *query, int pad, const float *bias, const Head *head, float *sums) {
    Vector logits[MOST / LANES], top = all(-INFINITY), sum = zero();
    for (int c = 0; c < pad / LANES; c++) {
        Vector dot = dots((const Unit *)query, head->keys + LANES * c, pad);
        logits[c] = _mm512_fmadd_ps(dot, all(SCALE), load(bias + LANES * c));
        top = _mm512_max_ps(top, logits[c]);
    }
    const float most = _mm512_reduce_max_ps(top);
    for (int c = 0; c < pad / LANES; c++) {
        Vector weight = exponential(_mm512_sub_ps(logits[c], all(most)));
        sum = _mm512_add_ps(sum, weight);
        store(head->weights + LANES * c, weight);
    }
    const float total = _mm512_reduce_add_ps(sum);
    if (sums) sums[0] = most, sums[1] = 1.0f / total;
    return _mm512_mul_ps(weighted(head->weights, head->values, pad), all(1.0f / total));
}

/* Particles up to whole vectors. */
ANY int padded(int n) { return (n + LANES - 1) / LANES * LANES; }

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
