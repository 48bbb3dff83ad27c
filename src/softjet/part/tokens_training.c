/* Attention of class tokens in training: a query a head for all particles of a jet, and for the token itself.
 *
 * A head asks for W_k^T q of particles as they are behind their norm, and is given their weighted sum: keys and
 * values are made of nobody. All is float32. W is the width, H the number of heads.
 */
#include <omp.h>

#include "vectors.h"

/* Rows of a jet behind their norm, the token's first, which comes so. */
static void normed_rows(const float *x, const float *token, const float *norm, int n, float *rows) {
    memcpy(rows, token, sizeof(float) * W);
    for (int j = 0; j < n; j++) {
        const Moments of = moments(x + (long)j * W, W);
        for (int i = 0; i < W; i += LANES)
            put(rows + (long)(j + 1) * W + i, normed(x + (long)j * W + i, of, norm + i, W));
    }
}

ANY float dot(const float *a, const float *b) {
    Vector sum = zero();
    for (int i = 0; i < W; i += LANES) sum = _mm512_fmadd_ps(load(a + i), load(b + i), sum);
    return _mm512_reduce_add_ps(sum);
}

/* to += weight * row */
ANY void add_row(float *to, float weight, const float *row) {
    for (int i = 0; i < W; i += LANES) put(to + i, _mm512_fmadd_ps(all(weight), load(row + i), load(to + i)));
}

/* What a head is given of n rows; returns the logarithm of the sum of its exponentials. */
static float take(const float *rows, int n, const float *asked, float *weights, float *given) {
    float most = -INFINITY, total = 0.0f;
    for (int j = 0; j < n; j++) {
        weights[j] = dot(rows + (long)j * W, asked);
        most = weights[j] <= most ? most : weights[j]; /* NaN is passed on */
    }
    memset(given, 0, sizeof(float) * W);
    for (int j = 0; j < n; j++) {
        const float weight = expf(weights[j] - most);
        total += weight;
        add_row(given, weight, rows + (long)j * W);
    }
    for (int i = 0; i < W; i += LANES) put(given + i, _mm512_div_ps(load(given + i), all(total)));
    return most + logf(total);
}

/* Adds a head's part to the gradients of rows, and gives that of what it asked for. */
static void take_back(const float *rows, int n, const float *asked, float log_sum, const float *given, const float *up,
                      float *of_rows, float *of_asked) {
    const float mean = dot(up, given);
    memset(of_asked, 0, sizeof(float) * W);
    for (int j = 0; j < n; j++) {
        const float *row = rows + (long)j * W;
        const float weight = expf(dot(row, asked) - log_sum), step = weight * (dot(row, up) - mean);
        add_row(of_rows + (long)j * W, weight, up);
        add_row(of_rows + (long)j * W, step, asked);
        add_row(of_asked, step, row);
    }
}

/* Jets: their particles x (all, W) and tokens (jets, W), the latter behind the norm; what heads ask for (jets, H, W);
 * and where particles begin (jets + 1). */
typedef struct {
    const float *x, *tokens, *norm, *asked;
    const int64_t *starts;
    int jets, most;
} Given;

/* What heads are given (jets, H, W), and the logarithms of the sums of their exponentials (jets, H). Returns how many
 * threads had no memory. */
int tokens_forward(Given of, float *given, float *log_sums, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
        float *rows = malloc(sizeof(float) * (of.most + 1) * (W + 1)), *weights = rows + (long)(of.most + 1) * W;
        failed += !rows;
#pragma omp for schedule(static, 1)
        for (int jet = 0; jet < of.jets; jet++) {
            if (!rows) continue;
            const int n = (int)(of.starts[jet + 1] - of.starts[jet]);
            normed_rows(of.x + of.starts[jet] * W, of.tokens + (long)jet * W, of.norm, n, rows);
            for (long head = (long)jet * H; head < (long)(jet + 1) * H; head++)
                log_sums[head] = take(rows, n + 1, of.asked + head * W, weights, given + head * W);
        }
        free(rows);
    }
    return failed;
}

/* Gradients `up` of what heads were given to those of x, tokens and what was asked for; and, added, of the norm, of
 * each thread's jets for themselves (threads, 2 W). Returns how many threads had no memory. */
int tokens_backward(Given of, const float *given, const float *log_sums, const float *up, float *of_x,
                    float *of_tokens, float *of_asked, float *of_norm, int threads) {
    int failed = 0;
#pragma omp parallel num_threads(threads) reduction(+ : failed)
    {
        float *rows = malloc(sizeof(float) * 2 * (of.most + 1) * W), *of_rows = rows + (long)(of.most + 1) * W;
        float *own = of_norm + 2L * W * omp_get_thread_num();
        failed += !rows;
#pragma omp for schedule(static, 1)
        for (int jet = 0; jet < of.jets; jet++) {
            if (!rows) continue;
            const int64_t first = of.starts[jet];
            const int n = (int)(of.starts[jet + 1] - first);
            normed_rows(of.x + first * W, of.tokens + (long)jet * W, of.norm, n, rows);
            memset(of_rows, 0, sizeof(float) * (n + 1) * W);
            for (long head = (long)jet * H; head < (long)(jet + 1) * H; head++)
                take_back(rows, n + 1, of.asked + head * W, log_sums[head], given + head * W, up + head * W, of_rows,
                          of_asked + head * W);
            memcpy(of_tokens + (long)jet * W, of_rows, sizeof(float) * W);
            for (int j = 0; j < n; j++)
                norm_back(of.x + (first + j) * W, of_rows + (long)(j + 1) * W, of.norm, own, W, of_x + (first + j) * W);
        }
        free(rows);
    }
    return failed;
}
