// Rows to the centre with the least low - 2 p, and whether that is proven. Behind `frame.cuh`.

namespace {

// The least and second least of what a thread has seen of one row.
template <typename T>
struct Best {
    T least;
    T second;
    u32 centre;

    __device__ __forceinline__ void see(T value, u32 at) {
        const bool is_less = value < least;
        const T greater = is_less ? least : value;
        second = greater < second ? greater : second;
        least = is_less ? value : least;
        centre = is_less ? at : centre;
    }

    __device__ __forceinline__ void merge(T other_least, T other_second, u32 other_centre) {
        const bool is_less = other_least < least || (other_least == least && other_centre < centre);
        const T greater = is_less ? least : other_least;
        second = other_second < second ? other_second : second;
        second = greater < second ? greater : second;
        least = is_less ? other_least : least;
        centre = is_less ? other_centre : centre;
    }
};

__device__ __forceinline__ void assign_double(const double* __restrict__ packed, const double* __restrict__ lengths,
                                              const double* __restrict__ centres, const double* __restrict__ low,
                                              const double* __restrict__ squares, u32* __restrict__ labels,
                                              u8* __restrict__ unsure, int first, int rows, int clusters, int cols,
                                              double row_bound, double centre_bound, double least) {
    constexpr int A_COPIES = DEPTH * PANEL / THREADS;
    constexpr int B_COPIES = DEPTH * CENTRES / THREADS;
    __shared__ __align__(16) double as[DEPTH * PANEL];
    __shared__ __align__(16) double bs[DEPTH * CENTRES];
    const int row0 = blockIdx.x * PANEL;
    const int thread = threadIdx.x;
    const int my_row = thread / (CENTRES / COLS) * ROWS;
    const int my_col = thread % (CENTRES / COLS) * COLS;
    const double* a_panel = packed + (size_t)row0 * cols;

    Best<double> best[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        best[i] = {INFINITY, INFINITY, 0};
    }
    for (int col0 = 0; col0 < clusters; col0 += CENTRES) {
        const double* b_panel = centres + (size_t)col0 * cols;
        double sum[ROWS][COLS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
#pragma unroll
            for (int j = 0; j < COLS; ++j) {
                sum[i][j] = 0;
            }
        }
        double a_next[A_COPIES], b_next[B_COPIES];
        auto fetch = [&](int start) {
#pragma unroll
            for (int copy = 0; copy < A_COPIES; ++copy) {
                const int at = copy * THREADS + thread;
                a_next[copy] = start + at / PANEL < cols ? a_panel[(size_t)start * PANEL + at] : 0.0;
            }
#pragma unroll
            for (int copy = 0; copy < B_COPIES; ++copy) {
                const int at = copy * THREADS + thread;
                b_next[copy] = start + at / CENTRES < cols ? b_panel[(size_t)start * CENTRES + at] : 0.0;
            }
        };
        fetch(0);
        for (int start = 0; start < cols; start += DEPTH) {
#pragma unroll
            for (int copy = 0; copy < A_COPIES; ++copy) {
                as[copy * THREADS + thread] = a_next[copy];
            }
#pragma unroll
            for (int copy = 0; copy < B_COPIES; ++copy) {
                bs[copy * THREADS + thread] = b_next[copy];
            }
            __syncthreads();
            if (start + DEPTH < cols) {
                fetch(start + DEPTH);
            }
#pragma unroll
            for (int k = 0; k < DEPTH; ++k) {
                double a[ROWS], b[COLS];
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
                    a[i] = as[k * PANEL + my_row + i];
                }
#pragma unroll
                for (int j = 0; j < COLS; ++j) {
                    b[j] = bs[k * CENTRES + my_col + j];
                }
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                    for (int j = 0; j < COLS; ++j) {
                        sum[i][j] += a[i] * b[j];
                    }
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (int j = 0; j < COLS; ++j) {
            const int centre = col0 + my_col + j;
            const double from = low[centre];
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                best[i].see(from - 2 * sum[i][j], (u32)centre);
            }
        }
    }

    // The threads of one row are 16 lanes beside each other.
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        for (int distance = CENTRES / COLS / 2; distance > 0; distance /= 2) {
            const double other_least = __shfl_xor_sync(common::ALL_LANES, best[i].least, distance);
            const double other_second = __shfl_xor_sync(common::ALL_LANES, best[i].second, distance);
            const u32 other_centre = __shfl_xor_sync(common::ALL_LANES, best[i].centre, distance);
            best[i].merge(other_least, other_second, other_centre);
        }
        const int row = row0 + my_row + i;
        if (my_col == 0 && row < rows && labels[first + row] != NONE) {
            const double slack = row_bound * lengths[row] + centre_bound * squares[best[i].centre] + least;
            labels[first + row] = best[i].centre;
            unsure[row] = !(best[i].least + slack < best[i].second);
        }
    }
}

__device__ __forceinline__ void assign_split(const u32* __restrict__ packed, const double* __restrict__ lengths,
                                             const u32* __restrict__ centres, const float* __restrict__ low,
                                             const double* __restrict__ squares, u32* __restrict__ labels,
                                             u8* __restrict__ unsure, int first, int rows, int clusters, int cols,
                                             double row_bound, double centre_bound, double least) {
    DYNAMIC_SHARED(shared);
    u32* stages = (u32*)shared;
    // What each thread has of its rows, which the products leave no registers for: [row][thread].
    float* leasts = (float*)(stages + STAGES * STAGE_WORDS);
    float* seconds = leasts + ROWS * THREADS;
    u32* nearest = (u32*)(seconds + ROWS * THREADS);

    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const int row_half = warp / PANELS, my_panel = warp % PANELS;
    const int steps = (cols + STEP - 1) / STEP;
    const int panels = (clusters + CENTRES - 1) / CENTRES;
    const u32* next_rows = packed + (size_t)blockIdx.x * steps * ROW_WORDS + 4 * thread;
    const u32* next_centres = centres + 4 * thread;
    int next_panel = 0, next_step = 0;
    auto fetch = [&](u32* stage) {
        if (next_panel < panels) {
            u32* to = stage + 4 * thread;
#pragma unroll
            for (int part = 0; part < ROW_WORDS / (4 * THREADS); ++part) {
                common::copy_16(to + 4 * part * THREADS, next_rows + 4 * part * THREADS);
            }
#pragma unroll
            for (int part = 0; part < PANELS; ++part) {
                if (next_panel + part < panels) {
                    common::copy_16(to + ROW_WORDS + part * CENTRE_WORDS,
                                    next_centres + (size_t)part * steps * CENTRE_WORDS);
                }
            }
            next_rows += ROW_WORDS;
            next_centres += CENTRE_WORDS;
            if (++next_step == steps) {
                next_step = 0;
                next_panel += PANELS;
                next_rows -= (size_t)steps * ROW_WORDS;
                next_centres += (size_t)(PANELS - 1) * steps * CENTRE_WORDS;
            }
        }
        common::copies_commit();
    };

#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        leasts[i * THREADS + thread] = INFINITY;
        seconds[i * THREADS + thread] = INFINITY;
        nearest[i * THREADS + thread] = 0;
    }
#pragma unroll
    for (int stage = 0; stage < STAGES - 1; ++stage) {
        fetch(stages + stage * STAGE_WORDS);
    }
    int stage = 0;
    for (int panel = my_panel; panel - my_panel < panels; panel += PANELS) {
        const bool is_there = panel < panels;
        float sums[4][8][4];
#pragma unroll
        for (int i = 0; i < 4; ++i) {
#pragma unroll
            for (int j = 0; j < 8; ++j) {
#pragma unroll
                for (int part = 0; part < 4; ++part) {
                    sums[i][j][part] = 0;
                }
            }
        }
        for (int step = 0; step < steps; ++step) {
            common::copies_wait<STAGES - 2>();
            // This step is there for all, and all are done with the one before, whose place the next copies take.
            __syncthreads();
            fetch(stages + (stage == 0 ? STAGES - 1 : stage - 1) * STAGE_WORDS);
            const u32* a = stages + stage * STAGE_WORDS + row_half * 4 * BLOCK_WORDS + lane * 4;
            const u32* b = stages + stage * STAGE_WORDS + ROW_WORDS + my_panel * CENTRE_WORDS + lane * 4;
            stage = stage + 1 == STAGES ? 0 : stage + 1;
            if (!is_there) {
                continue;
            }
            u32 high[4][4], rest[4][4];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const uint4 of_high = *(const uint4*)(a + i * BLOCK_WORDS);
                const uint4 of_low = *(const uint4*)(a + i * BLOCK_WORDS + BLOCK_WORDS / 2);
                high[i][0] = of_high.x, high[i][1] = of_high.y, high[i][2] = of_high.z, high[i][3] = of_high.w;
                rest[i][0] = of_low.x, rest[i][1] = of_low.y, rest[i][2] = of_low.z, rest[i][3] = of_low.w;
            }
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const uint4 of_high = *(const uint4*)(b + j * BLOCK_WORDS);
                const uint4 of_low = *(const uint4*)(b + j * BLOCK_WORDS + BLOCK_WORDS / 2);
                // 16 centres are two times 8.
                const u32 b_high[2][2] = {{of_high.x, of_high.y}, {of_high.z, of_high.w}};
                const u32 b_low[2][2] = {{of_low.x, of_low.y}, {of_low.z, of_low.w}};
#pragma unroll
                for (int pair = 0; pair < 4; pair += 2) {
                    // Four at once, because each needs the one before.
                    float part[4][4] = {};
#pragma unroll
                    for (int at = 0; at < 4; ++at) {
                        common::multiply_bf16(part[at], rest[pair + at / 2], b_high[at % 2]);
                    }
#pragma unroll
                    for (int at = 0; at < 4; ++at) {
                        common::multiply_bf16(part[at], high[pair + at / 2], b_low[at % 2]);
                    }
#pragma unroll
                    for (int at = 0; at < 4; ++at) {
                        common::multiply_bf16(part[at], high[pair + at / 2], b_high[at % 2]);
                    }
#pragma unroll
                    for (int at = 0; at < 4; ++at) {
#pragma unroll
                        for (int own = 0; own < 4; ++own) {
                            sums[pair + at / 2][2 * j + at % 2][own] += part[at][own];
                        }
                    }
                }
            }
        }
        if (!is_there) {
            continue;
        }
        const int centre0 = panel * CENTRES + 2 * (lane % 4);
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
            const int at = i * THREADS + thread;
            Best<float> best = {leasts[at], seconds[at], nearest[at]};
#pragma unroll
            for (int j = 0; j < 8; ++j) {
                const float2 from = *(const float2*)(low + centre0 + 8 * j);
                best.see(from.x - 2 * sums[i / 2][j][i % 2 * 2], (u32)(centre0 + 8 * j));
                best.see(from.y - 2 * sums[i / 2][j][i % 2 * 2 + 1], (u32)(centre0 + 8 * j + 1));
            }
            leasts[at] = best.least;
            seconds[at] = best.second;
            nearest[at] = best.centre;
        }
    }

    // A row is with four lanes beside each other of each of four warps.
    __syncthreads();
    if (thread < PANEL) {
        const int row = blockIdx.x * PANEL + thread;
        const int i = thread % 64 / 8;
        Best<float> best = {INFINITY, INFINITY, 0};
#pragma unroll
        for (int other = 0; other < 4 * PANELS; ++other) {
            const int at = i * THREADS + (thread / 64 * PANELS + other / 4) * 32 + thread % 8 * 4 + other % 4;
            best.merge(leasts[at], seconds[at], nearest[at]);
        }
        if (row < rows && labels[first + row] != NONE) {
            const double slack = row_bound * lengths[row] + centre_bound * squares[best.centre] + least;
            labels[first + row] = best.centre;
            unsure[row] = !((double)best.least + slack < (double)best.second);
        }
    }
}

}  // namespace
