// Products of normalised series, a screen for them on tensor cores, and the selection of the strong ones.
//
// product:   C[i][j] += sum over k of A[i][k] * B[j][k], C in double whatever the type of A and B.
//
//   A packed:  panel p holds rows p*BM .. p*BM+BM-1 as [k][BM], so that a tile of 16 samples is one piece of memory
//   B packed:  as A; a block takes BN neighbours of each BM. `b_first` is the row that B begins at: behind those of A, or 0
//              where A is B
//   C:         padded to whole panels, row-major, `stride` doubles from row to row
//
//   one block:  BM x BN of C              one thread: TM x TN of them
//      shared   As[16][BM]  Bs[16][BN]       registers  sum (32 samples) -> middle (256) -> total (double)
//
// screen:    the same product of the series rounded to bfloat16, on tensor cores. What may be strong is computed again.
//
//   A, B:      row-major, [row][depth], depth a multiple of 64, rows of 128 bytes or more; `b_first` as above
//   one block: 128 x 128 of C             one warp: 64 x 32 of them, 4 x 4 matrix instructions for 16 samples
//      shared   3 x (A[128][72], B[128][72])   64 samples each; copies of the next two run beside the products.
//               A row is 36 words, so that the 8 rows x 4 places of a fragment lie in 32 banks
//   Bound by the tensor cores: 24 shared loads for 16 instructions in each warp, 2 blocks on a multiprocessor.
//
// lags:      the product in double once for every lag, with B read from as many samples further on; then one thread for
//            each pair looks through its lags, neighbours reading neighbours.
//
// Hazards.
// - Long float sums: adding equal terms rounds the same way each time. Hence three levels, as on the CPU
//   (kernels/src/product), and no tensor core: TF32 would keep 10 bits of each factor. The screen keeps 8, and
//   sums 2048 samples in float: what that can be off by is in kernels/src/tolerance.rs.
// - The copy of the next tile is under way in registers while this one is multiplied; two barriers
//   per tile keep a fast warp from overwriting what a slow one still reads.
// - A thread's columns are neighbours, so that a warp reads Bs without bank conflicts and As by broadcast.

namespace {

constexpr int TILE_DEPTH = 16;
constexpr int CHAIN = 32;
constexpr int MIDDLE = 256;
constexpr int THREADS = 256;

// Adds the products of one panel of A with one of B to BM x BN of C.
template <typename T, int BM, int BN, int TM, int TN>
__device__ __forceinline__ void add_panels(const T* __restrict__ a_panel, const T* __restrict__ b_panel,
                                           double* __restrict__ c, int depth, int stride) {
    static_assert((BM / TM) * (BN / TN) == THREADS, "a thread for each part of the block");
    static_assert(BM % BN == 0, "a block's part of B lies in one panel");
    constexpr int A_COPIES = TILE_DEPTH * BM / THREADS;
    constexpr int B_COPIES = TILE_DEPTH * BN / THREADS;
    __shared__ T as[TILE_DEPTH * BM];
    __shared__ T bs[TILE_DEPTH * BN];

    const int thread = threadIdx.x;
    const int my_row = thread / (BN / TN) * TM;
    const int my_col = thread % (BN / TN) * TN;

    T sum[TM][TN], middle[TM][TN];
    double total[TM][TN];
#pragma unroll
    for (int i = 0; i < TM; ++i) {
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            sum[i][j] = 0;
            middle[i][j] = 0;
            total[i][j] = 0;
        }
    }

    T a_next[A_COPIES], b_next[B_COPIES];
    auto fetch = [&](int start) {
#pragma unroll
        for (int copy = 0; copy < A_COPIES; ++copy) {
            int at = copy * THREADS + thread;
            a_next[copy] = start + at / BM < depth ? a_panel[(size_t)start * BM + at] : T(0);
        }
#pragma unroll
        for (int copy = 0; copy < B_COPIES; ++copy) {
            int at = copy * THREADS + thread;
            const int k = start + at / BN;
            b_next[copy] = k < depth ? b_panel[(size_t)k * BM + at % BN] : T(0);
        }
    };

    fetch(0);
    for (int start = 0; start < depth; start += TILE_DEPTH) {
#pragma unroll
        for (int copy = 0; copy < A_COPIES; ++copy) {
            as[copy * THREADS + thread] = a_next[copy];
        }
#pragma unroll
        for (int copy = 0; copy < B_COPIES; ++copy) {
            bs[copy * THREADS + thread] = b_next[copy];
        }
        __syncthreads();
        if (start + TILE_DEPTH < depth) {
            fetch(start + TILE_DEPTH);
        }
#pragma unroll
        for (int k = 0; k < TILE_DEPTH; ++k) {
            T a_part[TM], b_part[TN];
#pragma unroll
            for (int i = 0; i < TM; ++i) {
                a_part[i] = as[k * BM + my_row + i];
            }
#pragma unroll
            for (int j = 0; j < TN; ++j) {
                b_part[j] = bs[k * BN + my_col + j];
            }
#pragma unroll
            for (int i = 0; i < TM; ++i) {
#pragma unroll
                for (int j = 0; j < TN; ++j) {
                    sum[i][j] += a_part[i] * b_part[j];
                }
            }
        }
        const int end = start + TILE_DEPTH;
        if (end % CHAIN == 0 || end >= depth) {
            const bool to_total = end % MIDDLE == 0 || end >= depth;
#pragma unroll
            for (int i = 0; i < TM; ++i) {
#pragma unroll
                for (int j = 0; j < TN; ++j) {
                    middle[i][j] += sum[i][j];
                    sum[i][j] = 0;
                    if (to_total) {
                        total[i][j] += (double)middle[i][j];
                        middle[i][j] = 0;
                    }
                }
            }
        }
        __syncthreads();
    }

#pragma unroll
    for (int i = 0; i < TM; ++i) {
        double* out = c + (size_t)(my_row + i) * stride + my_col;
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            out[j] += total[i][j];
        }
    }
}

template <typename T, int BM, int BN, int TM, int TN>
__device__ __forceinline__ void add_products(const T* __restrict__ packed, double* __restrict__ c,
                                             int depth, int stride, int row0, int col0, int within, int b_first) {
    const int row = blockIdx.y * BM;
    const int col = blockIdx.x * BN;
    // The whole block lies on or below the diagonal: no thread of it enters.
    if (within && col0 + col + BN - 1 <= row0 + row) {
        return;
    }
    const T* a_panel = packed + (size_t)row * depth;
    const size_t b_row = (size_t)b_first + col;
    const T* b_panel = packed + b_row / BM * BM * depth + b_row % BM;
    add_panels<T, BM, BN, TM, TN>(a_panel, b_panel, c + (size_t)row * stride + col, depth, stride);
}

}  // namespace

// grid: (columns / 64, rows / 128), block: 256
extern "C" __global__ void __launch_bounds__(256) product_f32(const float* packed, double* c, int depth,
                                                              int stride, int row0, int col0, int within,
                                                              int b_first) {
    add_products<float, 128, 64, 8, 4>(packed, c, depth, stride, row0, col0, within, b_first);
}

// grid: (columns / 64, rows / 64), block: 256
extern "C" __global__ void __launch_bounds__(256) product_f64(const double* packed, double* c, int depth,
                                                              int stride, int row0, int col0, int within,
                                                              int b_first) {
    add_products<double, 64, 64, 4, 4>(packed, c, depth, stride, row0, col0, within, b_first);
}

namespace {

constexpr int SIDE = 128;
constexpr int STEP = 64;
constexpr int PITCH = STEP + 8;
constexpr int STAGES = 3;

}  // namespace

// grid: (columns / 128, rows / 128), block: 256, shared: 3 * 2 * 128 * 72 * 2
extern "C" __global__ void __launch_bounds__(256) screen_bf16(const u16* packed, double* c, int depth, int stride,
                                                              int row0, int col0, int within, int b_first) {
    DYNAMIC_SHARED(shared);
    const int row = blockIdx.y * SIDE;
    const int col = blockIdx.x * SIDE;
    // The whole block lies on or below the diagonal: no thread of it enters.
    if (within && col0 + col + SIDE - 1 <= row0 + row) {
        return;
    }
    const u16* a_rows = packed + (size_t)row * depth;
    const u16* b_rows = packed + ((size_t)b_first + col) * depth;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int group = lane / 4, place = lane % 4;
    const int my_row = warp / 4 * 64, my_col = warp % 4 * 32;

    auto stage = [&](int step) { return (u16*)shared + step % STAGES * (2 * SIDE * PITCH); };
    auto fetch = [&](int step) {
        u16* as = stage(step);
        u16* bs = as + SIDE * PITCH;
#pragma unroll
        for (int copy = 0; copy < SIDE * STEP / 8 / THREADS; ++copy) {
            const int at = copy * THREADS + threadIdx.x;
            const int from = at / (STEP / 8), piece = at % (STEP / 8) * 8;
            common::copy_16(as + from * PITCH + piece, a_rows + (size_t)from * depth + step * STEP + piece);
            common::copy_16(bs + from * PITCH + piece, b_rows + (size_t)from * depth + step * STEP + piece);
        }
    };

    float sum[4][4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                sum[i][j][part] = 0;
            }
        }
    }
    const int steps = depth / STEP;
    for (int step = 0; step < STAGES - 1; ++step) {
        if (step < steps) {
            fetch(step);
        }
        common::copies_commit();
    }
    for (int step = 0; step < steps; ++step) {
        common::copies_wait<STAGES - 2>();
        // What all threads copied is there, and the stage of the step before is free.
        __syncthreads();
        if (step + STAGES - 1 < steps) {
            fetch(step + STAGES - 1);
        }
        common::copies_commit();
        const u16* as = stage(step) + (my_row + group) * PITCH + 2 * place;
        const u16* bs = stage(step) + SIDE * PITCH + (my_col + group) * PITCH + 2 * place;
#pragma unroll
        for (int k = 0; k < STEP; k += 16) {
            u32 a[4][4], b[4][2];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                a[i][0] = *(const u32*)(as + i * 16 * PITCH + k);
                a[i][1] = *(const u32*)(as + (i * 16 + 8) * PITCH + k);
                a[i][2] = *(const u32*)(as + i * 16 * PITCH + k + 8);
                a[i][3] = *(const u32*)(as + (i * 16 + 8) * PITCH + k + 8);
            }
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                b[j][0] = *(const u32*)(bs + j * 8 * PITCH + k);
                b[j][1] = *(const u32*)(bs + j * 8 * PITCH + k + 8);
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    common::multiply_bf16(sum[i][j], a[i], b[j]);
                }
            }
        }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                const int r = row + my_row + i * 16 + group + part / 2 * 8;
                c[(size_t)r * stride + col + my_col + j * 8 + 2 * place + part % 2] += (double)sum[i][j][part];
            }
        }
    }
}

// Appends every defined pair that is strong enough to a list, in no particular order: the host sorts it.
// `count` goes on beyond `capacity`, so that the host sees that the list is not complete.
// grid: (columns / 256 rounded up, rows), block: 256
extern "C" __global__ void select_pairs(const double* c, const unsigned char* row_defined,
                                        const unsigned char* col_defined, int rows, int cols, int stride, int row0,
                                        int col0, int within, int by_magnitude, double minimum, unsigned capacity,
                                        unsigned* count, int* found_rows, int* found_cols, double* found_scores) {
    const int row = blockIdx.y;
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (row >= rows || col >= cols || !row_defined[row] || !col_defined[col]) {
        return;
    }
    if (within && col0 + col <= row0 + row) {
        return;
    }
    double score = c[(size_t)row * stride + col];
    score = score > 1.0 ? 1.0 : score < -1.0 ? -1.0 : score;
    const double strength = by_magnitude ? fabs(score) : score;
    if (strength >= minimum) {
        const unsigned place = atomicAdd(count, 1u);
        if (place < capacity) {
            found_rows[place] = row;
            found_cols[place] = col;
            found_scores[place] = score;
        }
    }
}

// The products of every lag: C[lag][i][j] += sum over k of A[i][k] * B[j][k + lag], where a panel of B holds
// `lags - 1` more samples than one of A.
// grid: (columns / 64, rows / 64 * lags), block: 256
extern "C" __global__ void __launch_bounds__(256) product_lags(const double* packed, double* c, int depth, int rows,
                                                               int cols, int lags, int row0, int col0, int within) {
    const int lag = blockIdx.y % lags;
    const int row = (int)(blockIdx.y / lags) * 64;
    const int col = blockIdx.x * 64;
    if (within && col0 + col + 63 <= row0 + row) {
        return;
    }
    const double* a_panel = packed + (size_t)row * depth;
    const double* b_panel = packed + (size_t)rows * depth + (size_t)col * (depth + lags - 1) + (size_t)lag * 64;
    double* out = c + ((size_t)lag * rows + row) * cols + col;
    add_panels<double, 64, 64, 4, 4>(a_panel, b_panel, out, depth, cols);
}

namespace {

// Values, masks and squares of the rows and of the columns: what each of the six products is of.
__device__ __forceinline__ int row_kind(int product) { return product == 4 ? 2 : product == 1 || product == 3 || product == 5; }
__device__ __forceinline__ int col_kind(int product) { return product == 5 ? 2 : product == 1 || product == 2 || product == 4; }

}  // namespace

// The six products of pairs over shared samples (kernels/src/correlate/pairwise.rs), in the order of its PRODUCTS.
// grid: (side / 64, side / 64 * 6), block: 256
extern "C" __global__ void __launch_bounds__(256) product_parts(const double* packed, double* c, int depth, int side,
                                                                int row0, int col0, int within) {
    const int product = blockIdx.y % 6;
    const int row = (int)(blockIdx.y / 6) * 64;
    const int col = blockIdx.x * 64;
    if (within && col0 + col + 63 <= row0 + row) {
        return;
    }
    const size_t part = (size_t)side * depth;
    const double* a_panel = packed + row_kind(product) * part + (size_t)row * depth;
    const double* b_panel = packed + (3 + col_kind(product)) * part + (size_t)col * depth;
    double* out = c + ((size_t)product * side + row) * side + col;
    add_panels<double, 64, 64, 4, 4>(a_panel, b_panel, out, depth, side);
}

// From the six sums to the coefficient, in the place of the first; `again` where too little is left of a difference.
// Kinds: 0 for a series that is left out, 1 for one with gaps, 2 for one without.
// grid: (side / 256 rounded up, side), block: 256
extern "C" __global__ void __launch_bounds__(256) combine_parts(double* c, const u8* row_kinds, const u8* col_kinds,
                                                                int side, int samples, int min_overlap,
                                                                double least_part, double again) {
    const int row = blockIdx.y;
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= side) {
        return;
    }
    const size_t area = (size_t)side * side;
    double* const sums = c + (size_t)row * side + col;
    const int kinds = row_kinds[row] * col_kinds[col];
    double score = NAN;
    if (kinds == 4 && samples >= min_overlap) {
        score = sums[0];
    } else if (kinds == 1 || kinds == 2) {
        const double count = sums[area];
        if (count >= min_overlap) {
            const double row_sum = sums[2 * area], col_sum = sums[3 * area];
            const double row_squares = sums[4 * area], col_squares = sums[5 * area];
            const double row_left = row_squares - row_sum * (row_sum / count);
            const double col_left = col_squares - col_sum * (col_sum / count);
            score = again;
            if (row_left > least_part * row_squares && col_left > least_part * col_squares) {
                score = (sums[0] - row_sum * (col_sum / count)) / (sqrt(row_left) * sqrt(col_left));
            }
        }
    }
    // NaN and `again` stay what they are.
    sums[0] = score == again ? again : score > 1.0 ? 1.0 : score < -1.0 ? -1.0 : score;
}

// The lag at which each pair agrees best: of equal ones that of the smaller shift, and of those the positive one.
// Edges: for each shift the means and squares of the heads, then of the tails (kernels/src/correlate/lagged).
// grid: (columns / 256 rounded up, rows), block: 256
extern "C" __global__ void __launch_bounds__(256) best_lags(const double* sums, const double* row_edges,
                                                            const double* col_edges, int rows, int cols, int max_lag,
                                                            int min_overlap, int samples, int* lags, double* best,
                                                            double* unshifted) {
    const int row = blockIdx.y;
    const int col = blockIdx.x * blockDim.x + threadIdx.x;
    if (col >= cols) {
        return;
    }
    const size_t area = (size_t)rows * cols, at = (size_t)row * cols + col;
    auto bounded = [](double r) { return r > 1.0 ? 1.0 : r < -1.0 ? -1.0 : r; };
    const double at_zero = bounded(sums[(size_t)max_lag * area + at]);
    double found = at_zero;
    int found_lag = 0;
    for (int shift = 1; shift <= max_lag && samples - shift >= min_overlap; ++shift) {
        const double overlap = samples - shift;
#pragma unroll
        for (int side = 0; side < 2; ++side) {
            // A positive lag: the head of the first series and the tail of the second.
            const int row_part = 4 * shift + 2 * side, col_part = 4 * shift + 2 - 2 * side;
            const double row_mean = row_edges[(size_t)row_part * rows + row];
            const double col_mean = col_edges[(size_t)col_part * cols + col];
            const double squares =
                row_edges[(size_t)(row_part + 1) * rows + row] * col_edges[(size_t)(col_part + 1) * cols + col];
            if (squares > 0) {
                const int lag = side == 0 ? shift : -shift;
                const double sum = sums[(size_t)(max_lag + lag) * area + at];
                const double r = bounded((sum - overlap * row_mean * col_mean) / sqrt(squares));
                if (fabs(r) > fabs(found)) {
                    found = r;
                    found_lag = lag;
                }
            }
        }
    }
    lags[at] = found_lag;
    best[at] = found;
    unshifted[at] = at_zero;
}
