// Nearest vectors: a screen on the tensor cores, and the proof in double.
//
// For a tile of queries, piece after piece of the base, and in each piece part after part:
//
//   code     vectors -> codes (bfloat16, shifted by the centre) and their facts, once for each piece
//   screen   codes x codes: an upper bound of every score; what reaches its query's threshold goes to its list
//   settle   a query's list -> scores in double -> its k nearest so far, and a higher threshold
//
//   vectors  reciprocals of norms[room], then values[room][cols], as they came in
//   codes    [rows][padded]   u16, `padded` a multiple of 32, rows a multiple of 128; those that are not there are zeros
//   facts    size[], error[], bias[]   as kernels/src/nearest/space.rs has them; bias is -infinity where no row is
//   list     [queries][capacity]       columns of the part in no order; counts[] goes on beyond the capacity
//   top      [queries][k]              scores and positions, in order
//
//   shared   [3 stages][queries, base][128 rows][20 words]   one slice is worked on while two are on their way
//
// The screen is a product of 128 x 128 for each block, 64 x 32 for each warp, over slices of 32 dimensions. It is bound by the tensor cores: 24 shared loads of a word feed 16
// matrix instructions. A row of a slice is 20 words (16 and a pad), so that the 8 rows x 4 words that a fragment reads
// lie in 32 different banks. Its scores stay in registers: only the few that reach a threshold are written.
//
// Hazards.
// - What the tensor cores round is not told: `code` adds (padded + 68)·2^-22·‖z‖ to a row's error, twice what 17
//   truncated terms for each instruction can lose.
// - A list that overflowed is not complete. Its query is then scored with every column of the part, in double.
// - The order of a list is that of the threads; what `settle` makes of it is not: it ranks by score, then position.
// - Scores have the bits of the CPU's (kernels/src/nearest/score.rs): 32 sums, one for each lane, added pairwise from
//   16 apart to 1; products are rounded before they are added.

namespace {

constexpr int TILE = 128;
constexpr int SLICE = 32;
constexpr int ROW_WORDS = 20;
constexpr int STAGES = 3;
constexpr int STAGE_WORDS = 2 * TILE * ROW_WORDS;
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;

enum Metric { COSINE = 0, DOT = 1, SQUARED_L2 = 2 };

template <typename T>
struct Vectors {
    const double* inverses;
    const T* values;
    int cols;
    __device__ __forceinline__ Vectors(const double* vectors, int room, int cols)
        : inverses(vectors), values((const T*)(vectors + room)), cols(cols) {}
    __device__ __forceinline__ const T* row(int at) const { return values + (size_t)at * cols; }
};

template <typename T>
__device__ __forceinline__ double warp_score(const Vectors<T>& queries, int row, const Vectors<T>& base, int col,
                                             int metric, int lane) {
    const T* q = queries.row(row);
    const T* x = base.row(col);
    const int cols = base.cols;
    double sum = 0;
    if (metric == SQUARED_L2) {
        for (int at = lane; at < cols; at += 32) {
            const double apart = (double)q[at] - (double)x[at];
            sum = __dadd_rn(sum, __dmul_rn(apart, apart));
        }
    } else {
        for (int at = lane; at < cols; at += 32) {
            sum = __dadd_rn(sum, __dmul_rn((double)q[at], (double)x[at]));
        }
    }
    double score = common::warp_sum(sum);
    if (metric == COSINE) {
        score = __dmul_rn(__dmul_rn(score, queries.inverses[row]), base.inverses[col]);
        score = score > 1.0 ? 1.0 : score < -1.0 ? -1.0 : score;
    }
    // One zero only.
    return score == 0.0 ? 0.0 : score;
}

// One warp for each row.
template <typename T>
__device__ __forceinline__ void code(const Vectors<T>& vectors, double gain, const double* __restrict__ centre,
                                     const double* __restrict__ tilt, int cols, int padded, int rows, int is_query,
                                     int metric, u16* __restrict__ codes, float* __restrict__ size,
                                     float* __restrict__ error, float* __restrict__ bias) {
    const int lane = threadIdx.x % 32;
    const int row = blockIdx.x * WARPS + threadIdx.x / 32;
    u16* own = codes + (size_t)row * padded;
    if (row >= rows) {
        for (int at = lane; at < padded; at += 32) {
            own[at] = 0;
        }
        if (lane == 0) {
            size[row] = 0;
            error[row] = 0;
            bias[row] = -INFINITY;
        }
        return;
    }
    const double factor = vectors.inverses[row] * gain;
    const T* x = vectors.row(row);
    double squares = 0, errors = 0, tilted = 0;
    for (int at = lane; at < padded; at += 32) {
        const double z = at < cols ? (double)x[at] * factor - centre[at] : 0.0;
        const u16 short_z = common::to_bf16((float)z);
        own[at] = short_z;
        const double lost = z - (double)common::from_bf16(short_z);
        squares += z * z;
        errors += lost * lost;
        tilted += at < cols && !is_query ? z * tilt[at] : 0.0;
    }
    squares = common::warp_sum(squares);
    errors = common::warp_sum(errors);
    tilted = common::warp_sum(tilted);
    if (lane == 0) {
        const double up = 1.0 + 1e-5, norm = sqrt(squares), lost = sqrt(errors);
        if (is_query) {
            size[row] = (float)((norm + lost) * up + 1e-30);
            error[row] = (float)(lost * up + 1e-30);
            bias[row] = 0;
        } else {
            const double rounding = (padded + 68) * 2.384185791015625e-7 * (norm + lost);
            const double rank = metric == SQUARED_L2 ? tilted - 0.5 * squares : tilted;
            size[row] = (float)(norm * up + 1e-30);
            error[row] = (float)(lost * up + rounding + 1e-30);
            bias[row] = (float)(rank + 9.5367431640625e-7 * fabs(rank) + 1e-30);
        }
    }
}

// Upper bounds of one block's 128 x 128 pairs. `take(row, col)` gets those that reach the row's threshold.
template <typename Take>
__device__ __forceinline__ void bound(const u16* __restrict__ q_codes, const float* __restrict__ q_size,
                                      const float* __restrict__ q_error, const float* __restrict__ thresholds,
                                      const u16* __restrict__ x_codes, const float* __restrict__ x_size,
                                      const float* __restrict__ x_error, const float* __restrict__ x_bias, int padded,
                                      int row0, int col0, Take take) {
    DYNAMIC_SHARED(slices_of_both);
    u32* words = (u32*)slices_of_both;
    __shared__ float rows[3][TILE];
    __shared__ float cols[3][TILE];

    const int thread = threadIdx.x;
    if (thread < TILE) {
        rows[0][thread] = q_size[row0 + thread];
        rows[1][thread] = q_error[row0 + thread];
        rows[2][thread] = thresholds[row0 + thread];
    } else {
        const int at = thread - TILE;
        cols[0][at] = x_size[col0 + at];
        cols[1][at] = x_error[col0 + at];
        cols[2][at] = x_bias[col0 + at];
    }
    // A row of a slice is 64 bytes: 4 copies of 16.
    auto fetch = [&](int slice) {
        const int stage = slice % STAGES;
#pragma unroll
        for (int part = 0; part < TILE * 4 / THREADS; ++part) {
            const int copy = part * THREADS + thread;
            const int row = copy / 4, quarter = copy % 4;
            u32* to = words + stage * STAGE_WORDS + row * ROW_WORDS + quarter * 4;
            const int from = slice * SLICE + quarter * 8;
            common::copy_16(to, q_codes + (size_t)(row0 + row) * padded + from);
            common::copy_16(to + TILE * ROW_WORDS, x_codes + (size_t)(col0 + row) * padded + from);
        }
    };

    const int lane = thread % 32, warp = thread / 32;
    const int group = lane / 4, place = lane % 4;
    const int my_row = warp / 4 * 64, my_col = warp % 4 * 32;
    float sums[4][4][4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
#pragma unroll
            for (int part = 0; part < 4; ++part) {
                sums[i][j][part] = 0;
            }
        }
    }

    const int slices = padded / SLICE;
#pragma unroll
    for (int slice = 0; slice < STAGES - 1; ++slice) {
        if (slice < slices) {
            fetch(slice);
        }
        common::copies_commit();
    }
    for (int slice = 0; slice < slices; ++slice) {
        common::copies_wait<STAGES - 2>();
        // This slice is there for all, and all are done with the one before, whose place the next copies take.
        __syncthreads();
        if (slice + STAGES - 1 < slices) {
            fetch(slice + STAGES - 1);
        }
        common::copies_commit();
        const u32* a = words + slice % STAGES * STAGE_WORDS;
        const u32* b = a + TILE * ROW_WORDS;
#pragma unroll
        for (int step = 0; step < SLICE / 16; ++step) {
            u32 a_part[4][4], b_part[4][2];
#pragma unroll
            for (int i = 0; i < 4; ++i) {
                const u32* from = a + (my_row + i * 16 + group) * ROW_WORDS + step * 8 + place;
                a_part[i][0] = from[0];
                a_part[i][1] = from[8 * ROW_WORDS];
                a_part[i][2] = from[4];
                a_part[i][3] = from[8 * ROW_WORDS + 4];
            }
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const u32* from = b + (my_col + j * 8 + group) * ROW_WORDS + step * 8 + place;
                b_part[j][0] = from[0];
                b_part[j][1] = from[4];
            }
#pragma unroll
            for (int i = 0; i < 4; ++i) {
#pragma unroll
                for (int j = 0; j < 4; ++j) {
                    common::multiply_bf16(sums[i][j], a_part[i], b_part[j]);
                }
            }
        }
    }

#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
            const int row = my_row + i * 16 + half * 8 + group;
            const float size = rows[0][row], error = rows[1][row], threshold = rows[2][row];
#pragma unroll
            for (int j = 0; j < 4; ++j) {
#pragma unroll
                for (int side = 0; side < 2; ++side) {
                    const int col = my_col + j * 8 + 2 * place + side;
                    const float margin = error * cols[0][col] + (size * cols[1][col] + cols[2][col]);
                    if (sums[i][j][2 * half + side] + margin >= threshold) {
                        take(row0 + row, col0 + col);
                    }
                }
            }
        }
    }
}

// Whether the first of two rows is the nearer one.
__device__ __forceinline__ bool is_nearer(int metric, double a, int a_at, double b, int b_at) {
    const double first = metric == SQUARED_L2 ? -a : a, second = metric == SQUARED_L2 ? -b : b;
    return first > second || (first == second && a_at < b_at);
}

// One block for each query.
template <typename T>
__device__ __forceinline__ void settle(const Vectors<T>& queries, const Vectors<T>& base, int metric, int k,
                                       int capacity, int part, int part_cols, int piece, const int* __restrict__ own,
                                       const double* __restrict__ rests, double unit, float* thresholds, u32* counts,
                                       const int* __restrict__ list, double* top_scores, int* top_rows,
                                       int* top_counts, u32* overflows) {
    DYNAMIC_SHARED(shared);
    double* scores = (double*)shared;
    int* at = (int*)(scores + k + capacity);
    __shared__ int real;

    const int query = blockIdx.x;
    const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
    const u32 found = counts[query];
    if (found == 0) {
        return;
    }
    const bool is_whole = found > (u32)capacity;
    const int all = is_whole ? part_cols : (int)found;
    const int itself = own[query];
    double* my_scores = top_scores + (size_t)query * k;
    int* my_rows = top_rows + (size_t)query * k;
    int have = top_counts[query];

    for (int first = 0; first < all; first += capacity) {
        const int batch = all - first < capacity ? all - first : capacity;
        if (thread == 0) {
            real = 0;
        }
        for (int place = thread; place < have; place += THREADS) {
            scores[place] = my_scores[place];
            at[place] = my_rows[place];
        }
        for (int place = warp; place < batch; place += WARPS) {
            const int col = is_whole ? part + first + place : list[(size_t)query * capacity + place];
            const int position = piece + col;
            const double score = warp_score(queries, query, base, col, metric, lane);
            if (lane == 0) {
                scores[have + place] = score;
                at[have + place] = position == itself ? -1 : position;
            }
        }
        __syncthreads();
        const int entries = have + batch;
        for (int entry = thread; entry < entries; entry += THREADS) {
            if (at[entry] < 0) {
                continue;
            }
            int nearer = 0;
            for (int other = 0; other < entries && nearer < k; ++other) {
                nearer += at[other] >= 0 && is_nearer(metric, scores[other], at[other], scores[entry], at[entry]);
            }
            if (nearer < k) {
                my_scores[nearer] = scores[entry];
                my_rows[nearer] = at[entry];
                atomicAdd(&real, 1);
            }
        }
        __syncthreads();
        have = real;
        __syncthreads();
    }
    if (thread == 0) {
        top_counts[query] = have;
        counts[query] = 0;
        if (is_whole) {
            atomicAdd(overflows, 1u);
        }
        if (have == k) {
            const double least = my_scores[k - 1] * unit - rests[query];
            const double lowered = least - 4e-7 * fabs(least) - 1e-10;
            thresholds[query] = lowered > -3e38 ? (float)lowered : -3.4028235e38f;
        }
    }
}

}  // namespace

// grid: rows / 8 (rows a multiple of 128), block: 256
#define CODE(name, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const double* vectors, int room, double gain,              \
                                                           const double* centre, const double* tilt, int cols,        \
                                                           int padded, int rows, int is_query, int metric,            \
                                                           u16* codes, float* size, float* error, float* bias) {      \
        code<type>(Vectors<type>(vectors, room, cols), gain, centre, tilt, cols, padded, rows, is_query, metric,      \
                   codes, size, error, bias);                                                                         \
    }
CODE(code_f32, float)
CODE(code_f64, double)

// grid: (queries / 128, columns of the part / 128), block: 256, shared: 3 * 2 * 128 * 80
extern "C" __global__ void __launch_bounds__(256)
    screen(const u16* q_codes, const float* q_size, const float* q_error, const float* thresholds, const u16* x_codes,
           const float* x_size, const float* x_error, const float* x_bias, int padded, int part, int capacity,
           u32* counts, int* list) {
    const int row0 = blockIdx.x * TILE, col0 = part + blockIdx.y * TILE;
    auto take = [&](int row, int col) {
        const u32 place = atomicAdd(&counts[row], 1u);
        if (place < (u32)capacity) {
            list[(size_t)row * capacity + place] = col;
        }
    };
    bound(q_codes, q_size, q_error, thresholds, x_codes, x_size, x_error, x_bias, padded, row0, col0, take);
}

// The same for pairs. `half`: only pairs whose second position is the larger. `count` goes on beyond `capacity`.
// grid: (queries / 128, columns of the part / 128), block: 256, shared: 3 * 2 * 128 * 80
extern "C" __global__ void __launch_bounds__(256)
    screen_pairs(const u16* q_codes, const float* q_size, const float* q_error, const float* thresholds,
                 const u16* x_codes, const float* x_size, const float* x_error, const float* x_bias, int padded,
                 int part, int first, int piece, int half, u32 capacity, u32* count, int* found_rows,
                 int* found_cols) {
    const int row0 = blockIdx.x * TILE, col0 = part + blockIdx.y * TILE;
    if (half && piece + col0 + TILE - 1 <= first + row0) {
        return;
    }
    auto take = [&](int row, int col) {
        if (half && piece + col <= first + row) {
            return;
        }
        const u32 place = atomicAdd(count, 1u);
        if (place < capacity) {
            found_rows[place] = row;
            found_cols[place] = col;
        }
    };
    bound(q_codes, q_size, q_error, thresholds, x_codes, x_size, x_error, x_bias, padded, row0, col0, take);
}

// grid: queries, block: 256, shared: (k + capacity) * 12
#define SETTLE(name, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) name(const double* queries, int queries_room,                   \
                                                           const double* base, int base_room, int cols, int metric,   \
                                                           int k, int capacity, int part, int part_cols, int piece,   \
                                                           const int* own, const double* rests, double unit,          \
                                                           float* thresholds, u32* counts, const int* list,           \
                                                           double* top_scores, int* top_rows, int* top_counts,        \
                                                           u32* overflows) {                                          \
        settle<type>(Vectors<type>(queries, queries_room, cols), Vectors<type>(base, base_room, cols), metric, k,     \
                     capacity, part, part_cols, piece, own, rests, unit, thresholds, counts, list, top_scores,        \
                     top_rows, top_counts, overflows);                                                                \
    }
SETTLE(settle_f32, float)
SETTLE(settle_f64, double)

// One warp for each pair. grid: pairs / 8 rounded up, block: 256
#define PAIRS(name, type)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) name(const double* queries, int queries_room,                   \
                                                           const double* base, int base_room, int cols, int metric,   \
                                                           int pairs, const int* found_rows, const int* found_cols,   \
                                                           double* scores) {                                          \
        const int pair = blockIdx.x * WARPS + threadIdx.x / 32;                                                       \
        if (pair >= pairs) {                                                                                          \
            return;                                                                                                   \
        }                                                                                                             \
        const int lane = threadIdx.x % 32;                                                                            \
        const double score = warp_score(Vectors<type>(queries, queries_room, cols), found_rows[pair],                 \
                                        Vectors<type>(base, base_room, cols), found_cols[pair], metric, lane);        \
        if (lane == 0) {                                                                                              \
            scores[pair] = score;                                                                                     \
        }                                                                                                             \
    }
PAIRS(pairs_f32, float)
PAIRS(pairs_f64, double)
