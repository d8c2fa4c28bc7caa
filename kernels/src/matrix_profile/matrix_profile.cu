// Correlations of all pairs of windows along diagonals, as SCAMP does (Zimmerman et al., SoCC 2019), in double.
//
//                 columns j →
//   rows i ↓      ╲╲╲╲╲╲╲╲              one block: 256 neighbouring diagonals over one segment of rows, each
//                  ╲╲╲╲╲╲╲╲             thread 4 of them, 128 rows at a time:
//                   ╲╲╲╲╲╲╲╲
//   shared   df, dg, inverse and best of 384 columns and of 128 rows        16 KB
//
//   a thread, row by row, in registers:   row i      j   j+1 j+2 j+3        one new column for each row; the three
//                                         row i+1        j+1 j+2 j+3 j+4    others were loaded before. Column j is
//                                                                           done when row i is.
//
// The best of a window is one 64-bit number, correlation above and index below, so that the largest is the same in
// whatever order the threads come: see `key`.
//
// What bounds it: per cell two fused multiply-adds, two products and about two comparisons in double, and two reads
// of shared memory; by count, both come to about 3 clocks for 32 cells. Atomics are rare: a candidate is compared before.
//
// Hazards.
// - 4 columns lie between the threads' addresses. Without the gap of one in 16 (`at`) four threads of a half warp
//   would meet in one bank.
// - A thread's columns reach beyond the last window: those have an inverse norm of NaN, and a NaN reaches nothing.
// - Best keys are read without a lock. They only grow, so that an old one costs an atomic and no result.

namespace {

constexpr int THREADS = 64;
constexpr int OWN = 4;
constexpr int UNIT = THREADS * OWN;
constexpr int ROWS = 128;
constexpr int COLUMNS = UNIT + ROWS;
constexpr int SPREAD = COLUMNS + COLUMNS / 16;

__device__ __forceinline__ int at(int column) { return column + column / 16; }

// Orders by correlation, then by the smaller index; 0 is below all. A correlation of -1 to 1 becomes 3 + rho / 2 in
// [2.5, 3.5], whose doubles share their exponent: 51 bits of the significand remain above those of the index. With
// 20 bits of index, correlations are told apart that differ by 2.3e-13.
__device__ __forceinline__ u64 key(double rho, int index, u64 index_mask) {
    const double clamped = rho > 1.0 ? 1.0 : rho < -1.0 ? -1.0 : rho;
    const u64 bits = (u64)__double_as_longlong(3.0 + 0.5 * clamped) << 12;
    return (bits & ~index_mask) | (index_mask - (u64)index);
}

}  // namespace

// The best of the rows and columns of some units. `units` holds the first diagonal of each.
//
// grid: units, segments of the rows; block: 64; shared: none besides
extern "C" __global__ void __launch_bounds__(64)
    join(const double* __restrict__ row_values, const double* __restrict__ row_mean,
         const double* __restrict__ row_inverse, const double* __restrict__ row_df, const double* __restrict__ row_dg,
         const double* __restrict__ col_values, const double* __restrict__ col_mean,
         const double* __restrict__ col_inverse, const double* __restrict__ col_df, const double* __restrict__ col_dg,
         const u32* __restrict__ units, int rows, int cols, int window, int segment, u64 index_mask,
         u64* row_best, u64* col_best) {
    __shared__ double df_cols[SPREAD], dg_cols[SPREAD], inverse_cols[SPREAD];
    __shared__ u64 best_cols[SPREAD];
    __shared__ double df_rows[ROWS], dg_rows[ROWS], inverse_rows[ROWS];
    __shared__ u64 best_rows[ROWS];

    const int unit = (int)units[blockIdx.x];
    const int from = (int)blockIdx.y * segment;
    // Rows of the unit's first diagonal, which is its longest.
    const int end = rows < cols - unit ? rows : cols - unit;
    const int to = from + segment < end ? from + segment : end;
    if (from >= to) {
        return;
    }
    const int diagonal = unit + (int)threadIdx.x * OWN;

    // The covariances of the segment's first row, from the samples.
    double covariance[OWN] = {0, 0, 0, 0};
    {
        const double mean = row_mean[from];
        double means[OWN];
        int first[OWN];
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            const int column = from + diagonal + own;
            // Beyond the last window any will do: its result is never looked at.
            first[own] = column < cols ? column : cols - 1;
            means[own] = col_mean[first[own]];
        }
        for (int t = 0; t < window; ++t) {
            const double centred = row_values[from + t] - mean;
#pragma unroll
            for (int own = 0; own < OWN; ++own) {
                covariance[own] += centred * (col_values[first[own] + t] - means[own]);
            }
        }
    }

    for (int row0 = from; row0 < to; row0 += ROWS) {
        const int count = row0 + ROWS < to ? ROWS : to - row0;
        const int column0 = row0 + unit;
        __syncthreads();
        for (int place = threadIdx.x; place < COLUMNS; place += THREADS) {
            const int column = column0 + place;
            const bool there = column < cols;
            df_cols[at(place)] = there ? col_df[column] : 0.0;
            dg_cols[at(place)] = there ? col_dg[column] : 0.0;
            inverse_cols[at(place)] = there ? col_inverse[column] : (double)NAN;
            best_cols[at(place)] = there ? col_best[column] : 0;
        }
        for (int place = threadIdx.x; place < count; place += THREADS) {
            df_rows[place] = row_df[row0 + place];
            dg_rows[place] = row_dg[row0 + place];
            inverse_rows[place] = row_inverse[row0 + place];
            best_rows[place] = row_best[row0 + place];
        }
        __syncthreads();

        // Columns of the current row, and the best that each has met so far in this thread.
        const int mine = (int)threadIdx.x * OWN;
        double df[OWN], dg[OWN], inverse[OWN], best[OWN];
        int best_row[OWN];
#pragma unroll
        for (int own = 0; own < OWN; ++own) {
            df[own] = df_cols[at(mine + own)];
            dg[own] = dg_cols[at(mine + own)];
            inverse[own] = inverse_cols[at(mine + own)];
            best[own] = -2.0;
            best_row[own] = 0;
        }
#pragma unroll 4
        for (int step = 0; step < count; ++step) {
            const double row_step = df_rows[step], row_sum = dg_rows[step], row_norm = inverse_rows[step];
            double top = -2.0;
            int top_own = 0;
#pragma unroll
            for (int own = 0; own < OWN; ++own) {
                const double rho = covariance[own] * inverse[own] * row_norm;
                covariance[own] += row_step * dg[own] + row_sum * df[own];
                if (rho > top) {
                    top = rho;
                    top_own = own;
                }
                // Rows come in order: of equals the first stays.
                if (rho > best[own]) {
                    best[own] = rho;
                    best_row[own] = row0 + step;
                }
            }
            if (top > -2.0) {
                const u64 candidate = key(top, column0 + step + mine + top_own, index_mask);
                if (candidate > best_rows[step]) {
                    atomicMax(&best_rows[step], candidate);
                }
            }
            if (best[0] > -2.0) {
                const u64 candidate = key(best[0], best_row[0], index_mask);
                if (candidate > best_cols[at(step + mine)]) {
                    atomicMax(&best_cols[at(step + mine)], candidate);
                }
            }
            // On to the next row: every column moves to the diagonal before.
#pragma unroll
            for (int own = 0; own + 1 < OWN; ++own) {
                df[own] = df[own + 1];
                dg[own] = dg[own + 1];
                inverse[own] = inverse[own + 1];
                best[own] = best[own + 1];
                best_row[own] = best_row[own + 1];
            }
            const int next = at(step + mine + OWN);
            df[OWN - 1] = df_cols[next];
            dg[OWN - 1] = dg_cols[next];
            inverse[OWN - 1] = inverse_cols[next];
            best[OWN - 1] = -2.0;
            best_row[OWN - 1] = 0;
        }
        // Columns that were begun and not finished.
#pragma unroll
        for (int own = 0; own + 1 < OWN; ++own) {
            if (best[own] > -2.0) {
                const u64 candidate = key(best[own], best_row[own], index_mask);
                if (candidate > best_cols[at(count + mine + own)]) {
                    atomicMax(&best_cols[at(count + mine + own)], candidate);
                }
            }
        }
        __syncthreads();
        for (int place = threadIdx.x; place < COLUMNS; place += THREADS) {
            const int column = column0 + place;
            if (column < cols && best_cols[at(place)] > col_best[column]) {
                atomicMax(&col_best[column], best_cols[at(place)]);
            }
        }
        for (int place = threadIdx.x; place < count; place += THREADS) {
            if (best_rows[place] > row_best[row0 + place]) {
                atomicMax(&row_best[row0 + place], best_rows[place]);
            }
        }
    }
}
