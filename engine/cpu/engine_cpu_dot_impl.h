/* The dot product kernel, written once. The including file defines
 *   DOT_INLINE            static inline, always
 *   DOT_STEP              elements of x and w that one step takes
 *   DOT_ROWS, DOT_TOKENS  largest tile; DOT_TOKENS is 1, 2, 4 or 6
 *   dot_acc, dot_x, dot_w types; dot_acc_zero()
 *   dot_x_load(p, k), dot_x_load_n(p, k, n), dot_w_load(type, p, k), dot_w_load_n(type, p, k, n)
 *   dot_prefetch(type, p, k, ahead)
 *   dot_step(acc, w, x), dot_add(a, b), dot_sum(acc) and dot_sum4(out, a, b, c, d)
 *   DOT_PAIRS             1 where engine_cpu_dot.pairs is known
 *
 * An output is one accumulator of lanes over ascending k, a masked step for the rest, and one fixed tree over the lanes;
 * of a pair of halves the two accumulators are added before the tree.
 * Rows and tokens of a tile share loads, nothing else, so a tile of any size gives the bits of a tile of one. */

/* Outputs of token t of the tile. */
DOT_INLINE void dot_finish_token(dot_acc acc[DOT_ROWS][DOT_TOKENS], float *y, int t, int rows)
{
#if DOT_ROWS == 4
    if (rows == 4) {
        dot_sum4(y, acc[0][t], acc[1][t], acc[2][t], acc[3][t]);
        return;
    }
#endif
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        y[r] = dot_sum(acc[r][t]);
    }
}

DOT_INLINE void dot_finish(const engine_cpu_dot *d, dot_acc acc[DOT_ROWS][DOT_TOKENS], uint32_t r0,
                           uint32_t t0, int rows, int tokens)
{
#if DOT_PAIRS
    if (d->pairs) {
#pragma GCC unroll 8
        for (int t = 0; t + 1 < tokens; t += 2) {
#pragma GCC unroll 8
            for (int r = 0; r < rows; r++) {
                acc[r][t] = dot_add(acc[r][t], acc[r][t + 1]);
            }
            dot_finish_token(acc, d->y[(t0 + (uint32_t)t) / 2] + d->y_first + r0, t, rows);
        }
        return;
    }
#endif
#pragma GCC unroll 8
    for (int t = 0; t < tokens; t++) {
        dot_finish_token(acc, d->y[t0 + (uint32_t)t] + d->y_first + r0, t, rows);
    }
}

/* rows <= DOT_ROWS and tokens <= DOT_TOKENS are constants where this is inlined. */
DOT_INLINE void dot_tile(const engine_cpu_dot *d, engine_cpu_type type, uint32_t r0, uint32_t t0,
                         int rows, int tokens)
{
    const char *w[DOT_ROWS];
    const void *x[DOT_TOKENS];
    dot_acc acc[DOT_ROWS][DOT_TOKENS];
#pragma GCC unroll 8
    for (int r = 0; r < rows; r++) {
        w[r] = (const char *)d->w + (r0 + (size_t)r) * d->w_stride;
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) {
            x[t] = d->x[t0 + (uint32_t)t];
            acc[r][t] = dot_acc_zero();
        }
    }
    (void)type; /* where there is one type only */
    size_t cols = d->cols;
    size_t k = 0;
    for (; k + DOT_STEP <= cols; k += DOT_STEP) {
        dot_x xs[DOT_TOKENS];
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) {
            xs[t] = dot_x_load(x[t], k);
        }
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            dot_w wv = dot_w_load(type, w[r], k);
            dot_prefetch(type, w[r], k, d->ahead);
#pragma GCC unroll 8
            for (int t = 0; t < tokens; t++) {
                acc[r][t] = dot_step(acc[r][t], wv, xs[t]);
            }
        }
    }
    if (k < cols) {
#pragma GCC unroll 8
        for (int r = 0; r < rows; r++) {
            dot_w wv = dot_w_load_n(type, w[r], k, cols - k);
#pragma GCC unroll 8
            for (int t = 0; t < tokens; t++) {
                acc[r][t] = dot_step(acc[r][t], wv, dot_x_load_n(x[t], k, cols - k));
            }
        }
    }
    dot_finish(d, acc, r0, t0, rows, tokens);
}

DOT_INLINE void dot_band(const engine_cpu_dot *d, engine_cpu_type type, uint32_t r0, int rows)
{
    uint32_t t = 0;
#if DOT_TOKENS >= 6
    for (; t + 6 <= d->tokens && d->tokens - t != 8;
         t += 6) { /* 8 = 4 + 4: 2 alone waits for loads */
        dot_tile(d, type, r0, t, rows, 6);
    }
#endif
#if DOT_TOKENS >= 4
    for (; t + 4 <= d->tokens; t += 4) {
        dot_tile(d, type, r0, t, rows, 4);
    }
#endif
#if DOT_TOKENS >= 2
    for (; t + 2 <= d->tokens; t += 2) {
        dot_tile(d, type, r0, t, rows, 2);
    }
#endif
    for (; t < d->tokens; t++) {
        dot_tile(d, type, r0, t, rows, 1);
    }
}

DOT_INLINE void dot_all(const engine_cpu_dot *d, engine_cpu_type type)
{
    uint32_t r = 0;
    for (; r + DOT_ROWS <= d->rows; r += DOT_ROWS) {
        dot_band(d, type, r, DOT_ROWS);
    }
    for (; r < d->rows; r++) {
        dot_band(d, type, r, 1);
    }
}
