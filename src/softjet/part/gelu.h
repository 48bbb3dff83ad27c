/* GELU and its slope, without an exponential or a division.
 *
 * GELU is max(x, 0) + tail(|x|), where the tail is a power series about each of sixteen places STEP apart,
 * whose coefficients stand in the lanes of vectors; behind the last place it is 0 to float32's precision.
 */
#pragma once
#include "vectors.h"

#define STEP 0.375
#ifdef BFLOAT16
#define DEGREE 4 /* errors of 6e-6 and, of the slope, 2e-4 */
#else
#define DEGREE 8 /* errors below those of float32 */
#endif

typedef struct {
    Vector powers[DEGREE + 1];
} Tail;

typedef struct {
    Vector value, slope;
} Curve;

/* From tail(t) = -t (1 - Phi(t)), tail''(t) = (2 - t^2) phi(t) and phi'(t) = -t phi(t). */
static Tail tail_series(void) {
    float series[DEGREE + 1][LANES];
    for (int place = 0; place < LANES; place++) {
        const double t = place * STEP, above = 0.5 * erfc(t * sqrt(0.5));
        double unit = STEP, density[DEGREE + 1] = {exp(-0.5 * t * t) / sqrt(8 * atan(1))};
        for (int k = 0; k < DEGREE; k++)
            density[k + 1] = -(t * density[k] + (k ? density[k - 1] : 0)) / (k + 1);
        series[0][place] = (float)(-t * above);
        series[1][place] = (float)((t * density[0] - above) * unit);
        for (int k = 0; k + 2 <= DEGREE; k++) {
            double second = (2 - t * t) * density[k];
            if (k > 0) second -= 2 * t * density[k - 1];
            if (k > 1) second -= density[k - 2];
            series[k + 2][place] = (float)(second / ((k + 1) * (k + 2)) * (unit *= STEP));
        }
    }
    Tail tail;
    for (int k = 0; k <= DEGREE; k++) tail.powers[k] = load(series[k]);
    return tail;
}

/* NaN stays NaN: a minimum or maximum of two is the second where one is none. */
ANY Curve gelu_and_slope(const Tail *tail, Vector x) {
    const Vector far = _mm512_mul_ps(_mm512_abs_ps(x), all((float)(1 / STEP)));
    const Vector steps = _mm512_min_ps(all(LANES - 0.51f), far);
    const __m512i place = _mm512_cvtps_epi32(steps);
    const Vector r = _mm512_sub_ps(steps, _mm512_cvtepi32_ps(place));
    Vector value = _mm512_permutexvar_ps(place, tail->powers[DEGREE]), slope = value;
    for (int k = DEGREE - 1; k >= 0; k--) {
        value = _mm512_fmadd_ps(value, r, _mm512_permutexvar_ps(place, tail->powers[k]));
        if (k) slope = _mm512_fmadd_ps(slope, r, value);
    }
    const __mmask16 above = _mm512_cmp_ps_mask(x, zero(), _CMP_GT_OQ);
    const Vector sign = _mm512_mask_blend_ps(above, all((float)(-1 / STEP)), all((float)(1 / STEP)));
    slope = _mm512_fmadd_ps(slope, sign, _mm512_maskz_mov_ps(above, all(1.0f)));
    return (Curve){_mm512_add_ps(value, _mm512_max_ps(zero(), x)), slope};
}
