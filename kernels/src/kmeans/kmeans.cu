// Rows to the nearest of some centres, and the sums of each centre's rows.
//
//   rows x            [row][column]                     as they came
//   packed            panel p: rows 128 p .. +127 as [column][128], in the frame (minus the means, scaled)
//   centres, packed   panel p: centres 64 p .. +63 as [column][64], in the frame; low = +inf where there is none
//
//   assign    one block: 128 rows x all centres, 64 at a time     one thread: 8 x 4 products
//               shared   as[16][128]  bs[16][64]   the next 16 columns come into registers meanwhile
//               after each 64 centres   v = low - 2 p, and of each row the least v, its centre, the second least
//               at the end              16 threads merge what they have of a row
//   settle    one warp: a row whose least is not proven, against all centres, in double
//   add_rows  one thread: one column of one segment, row after row: sums[segment][label][column] += x
//   add_segments  one thread: one value of the sums, segment after segment
//
// Bounds. `assign` is bound by multiply-adds: of each 16 columns a thread reads 12 values of shared memory for 32
// products. `frame`, `add_rows` and `add_segments` are bound by memory.
//
// Hazards.
// - Nothing is rounded in an order that depends on the grid: labels are those of distances in double, in the order of
//   `distance.rs` (8 lanes, then a tree), without fma; sums go row by row. Both have the CPU's bits.
// - float sums of many columns: chains of 64 go into a second level. What is left is in `bound`, with which a label is
//   proven: least + 2 bound (|x|^2 + |c|^2) < second least.
// - A thread's rows are neighbours, and its centres are: a warp reads `as` by broadcast and `bs` without conflicts.

namespace {

constexpr int PANEL = 128;
constexpr int CENTRES = 64;
constexpr int DEPTH = 16;
constexpr int CHAIN = 64;
constexpr int ROWS = 8;
constexpr int COLS = 4;
constexpr int THREADS = 256;
constexpr u32 NONE = 0xffffffffu;

// Columns that are transposed together.
constexpr int STRIP = 32;

template <typename T>
__device__ __forceinline__ void frame(const T* __restrict__ x, T* __restrict__ kept, T* __restrict__ packed,
                                      double* __restrict__ lengths, const double* __restrict__ means,
                                      const u32* __restrict__ labels, int first, int rows, int cols, int keep,
                                      double scale) {
    // One more, so that neither rows nor columns of the strip share banks.
    __shared__ T strip[STRIP][PANEL + 1];
    const int row0 = blockIdx.x * PANEL;
    T* panel = packed + (size_t)row0 * cols;
    double length = 0;
    for (int col0 = 0; col0 < cols; col0 += STRIP) {
        for (int at = threadIdx.x; at < PANEL * STRIP; at += THREADS) {
            const int row = row0 + at / STRIP, col = col0 + at % STRIP;
            T value = 0;
            if (row < rows && col < cols) {
                const T given = x[(size_t)row * cols + col];
                if (keep) {
                    kept[(size_t)row * cols + col] = given;
                }
                if (labels[first + row] != NONE) {
                    value = (T)(((double)given - means[col]) * scale);
                }
            }
            strip[at % STRIP][at / STRIP] = value;
        }
        __syncthreads();
        for (int at = threadIdx.x; at < PANEL * STRIP; at += THREADS) {
            const int col = at / PANEL;
            if (col0 + col < cols) {
                panel[(size_t)(col0 + col) * PANEL + at % PANEL] = strip[col][at % PANEL];
            }
        }
        if (threadIdx.x < PANEL) {
            for (int col = 0; col < STRIP; ++col) {
                const double value = (double)strip[col][threadIdx.x];
                length += value * value;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x < PANEL && row0 + threadIdx.x < rows) {
        lengths[row0 + threadIdx.x] = length;
    }
}

// The least and second least of what a thread has seen of one row.
template <typename T>
struct Best {
    T least;
    T second;
    u32 centre;

    __device__ __forceinline__ void see(T value, u32 at) {
        if (value < least) {
            second = least;
            least = value;
            centre = at;
        } else if (value < second) {
            second = value;
        }
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

template <typename T>
__device__ __forceinline__ void assign(const T* __restrict__ packed, const double* __restrict__ lengths,
                                       const T* __restrict__ centres, const T* __restrict__ low,
                                       const double* __restrict__ squares, u32* __restrict__ labels,
                                       u8* __restrict__ unsure, int first, int rows, int clusters, int cols,
                                       double bound, double least) {
    constexpr bool TWO_LEVELS = sizeof(T) == 4;
    constexpr int A_COPIES = DEPTH * PANEL / THREADS;
    constexpr int B_COPIES = DEPTH * CENTRES / THREADS;
    __shared__ __align__(16) T as[DEPTH * PANEL];
    __shared__ __align__(16) T bs[DEPTH * CENTRES];
    const int row0 = blockIdx.x * PANEL;
    const int thread = threadIdx.x;
    const int my_row = thread / (CENTRES / COLS) * ROWS;
    const int my_col = thread % (CENTRES / COLS) * COLS;
    const T* a_panel = packed + (size_t)row0 * cols;

    Best<T> best[ROWS];
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        best[i] = {(T)INFINITY, (T)INFINITY, 0};
    }
    for (int col0 = 0; col0 < clusters; col0 += CENTRES) {
        const T* b_panel = centres + (size_t)col0 * cols;
        T sum[ROWS][COLS], middle[ROWS][COLS];
#pragma unroll
        for (int i = 0; i < ROWS; ++i) {
#pragma unroll
            for (int j = 0; j < COLS; ++j) {
                sum[i][j] = 0;
                middle[i][j] = 0;
            }
        }
        T a_next[A_COPIES], b_next[B_COPIES];
        auto fetch = [&](int start) {
#pragma unroll
            for (int copy = 0; copy < A_COPIES; ++copy) {
                const int at = copy * THREADS + thread;
                a_next[copy] = start + at / PANEL < cols ? a_panel[(size_t)start * PANEL + at] : T(0);
            }
#pragma unroll
            for (int copy = 0; copy < B_COPIES; ++copy) {
                const int at = copy * THREADS + thread;
                b_next[copy] = start + at / CENTRES < cols ? b_panel[(size_t)start * CENTRES + at] : T(0);
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
                T a[ROWS], b[COLS];
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
            if (TWO_LEVELS && (start + DEPTH) % CHAIN == 0) {
#pragma unroll
                for (int i = 0; i < ROWS; ++i) {
#pragma unroll
                    for (int j = 0; j < COLS; ++j) {
                        middle[i][j] += sum[i][j];
                        sum[i][j] = 0;
                    }
                }
            }
            __syncthreads();
        }
#pragma unroll
        for (int j = 0; j < COLS; ++j) {
            const int centre = col0 + my_col + j;
            const T from = low[centre];
#pragma unroll
            for (int i = 0; i < ROWS; ++i) {
                best[i].see(from - 2 * (middle[i][j] + sum[i][j]), (u32)centre);
            }
        }
    }

    // The threads of one row are 16 lanes beside each other.
#pragma unroll
    for (int i = 0; i < ROWS; ++i) {
        for (int distance = CENTRES / COLS / 2; distance > 0; distance /= 2) {
            const T other_least = __shfl_xor_sync(common::ALL_LANES, best[i].least, distance);
            const T other_second = __shfl_xor_sync(common::ALL_LANES, best[i].second, distance);
            const u32 other_centre = __shfl_xor_sync(common::ALL_LANES, best[i].centre, distance);
            best[i].merge(other_least, other_second, other_centre);
        }
        const int row = row0 + my_row + i;
        if (my_col == 0 && row < rows && labels[first + row] != NONE) {
            const double slack = 2 * bound * (lengths[row] + squares[best[i].centre]) + least;
            labels[first + row] = best[i].centre;
            unsure[row] = !((double)best[i].least + slack < (double)best[i].second);
        }
    }
}

template <typename T>
__device__ __forceinline__ void settle(const T* __restrict__ x, const double* __restrict__ centres,
                                       u32* __restrict__ labels, const u8* __restrict__ unsure, u32* settled,
                                       int first, int rows, int clusters, int cols) {
    const int row = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    const int group = threadIdx.x % 32 / 8, lane = threadIdx.x % 8;
    // A warp returns as a whole.
    if (row >= rows || labels[first + row] == NONE || !unsure[row]) {
        return;
    }
    const T* values = x + (size_t)row * cols;
    double least = INFINITY;
    u32 nearest = 0;
    for (int start = 0; start < clusters; start += 4) {
        const bool is_there = start + group < clusters;
        const double* centre = centres + (size_t)(is_there ? start + group : 0) * cols;
        double sum = 0;
        for (int col = lane; col < cols; col += 8) {
            const double difference = (double)values[col] - centre[col];
            sum = __dadd_rn(sum, __dmul_rn(difference, difference));
        }
        sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 4));
        sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 2));
        sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 1));
        if (is_there && sum < least) {
            least = sum;
            nearest = (u32)(start + group);
        }
    }
    for (int distance = 8; distance <= 16; distance *= 2) {
        const double other = __shfl_xor_sync(common::ALL_LANES, least, distance);
        const u32 other_nearest = __shfl_xor_sync(common::ALL_LANES, nearest, distance);
        if (other < least || (other == least && other_nearest < nearest)) {
            least = other;
            nearest = other_nearest;
        }
    }
    if (threadIdx.x % 32 == 0) {
        labels[first + row] = nearest;
        atomicAdd(settled, 1u);
    }
}

template <typename T>
__device__ __forceinline__ void add_rows(const T* __restrict__ x, const u32* __restrict__ labels, double* sums,
                                         int first, int rows, int cols, int clusters, int segment) {
    const int col = blockIdx.y * blockDim.x + threadIdx.x;
    const int begin = blockIdx.x * segment;
    const int end = min(begin + segment, rows);
    if (col >= cols) {
        return;
    }
    double* own = sums + (size_t)blockIdx.x * clusters * cols + col;
    for (int cluster = 0; cluster < clusters; ++cluster) {
        own[(size_t)cluster * cols] = 0;
    }
    // The next rows' values are on their way while this one's is added.
    constexpr int AHEAD = 8;
    for (int row0 = begin; row0 < end; row0 += AHEAD) {
        u32 label[AHEAD];
        T value[AHEAD];
#pragma unroll
        for (int at = 0; at < AHEAD; ++at) {
            const int row = row0 + at;
            label[at] = row < end ? labels[first + row] : NONE;
            value[at] = row < end ? x[(size_t)row * cols + col] : T(0);
        }
#pragma unroll
        for (int at = 0; at < AHEAD; ++at) {
            if (label[at] != NONE) {
                double* sum = own + (size_t)label[at] * cols;
                *sum = __dadd_rn(*sum, (double)value[at]);
            }
        }
    }
}

}  // namespace

// grid: rows / 128, block: 256
#define FRAME(name, type)                                                                                              \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, type* kept, type* packed, double* lengths,   \
                                                           const double* means, const u32* labels, int first,          \
                                                           int rows, int cols, int keep, double scale) {               \
        frame<type>(x, kept, packed, lengths, means, labels, first, rows, cols, keep, scale);                          \
    }
FRAME(frame_f32, float)
FRAME(frame_f64, double)

// Two blocks of float share a multiprocessor's registers (128 for each thread); double needs 194.
// grid: rows / 128, block: 256
#define ASSIGN(name, type, blocks)                                                                                     \
    extern "C" __global__ void __launch_bounds__(256, blocks) name(                                                    \
        const type* packed, const double* lengths, const type* centres, const type* low, const double* squares,        \
        u32* labels, u8* unsure, int first, int rows, int clusters, int cols, double bound, double least) {            \
        assign<type>(packed, lengths, centres, low, squares, labels, unsure, first, rows, clusters, cols, bound,       \
                     least);                                                                                           \
    }
ASSIGN(assign_f32, float, 2)
ASSIGN(assign_f64, double, 1)

// grid: rows / 8, block: 256
#define SETTLE(name, type)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, const double* centres, u32* labels,          \
                                                           const u8* unsure, u32* settled, int first, int rows,        \
                                                           int clusters, int cols) {                                   \
        settle<type>(x, centres, labels, unsure, settled, first, rows, clusters, cols);                                \
    }
SETTLE(settle_f32, float)
SETTLE(settle_f64, double)

// grid: (rows / segment, columns / 128), block: 128
#define ADD(name, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128) name(const type* x, const u32* labels, double* sums, int first,  \
                                                           int rows, int cols, int clusters, int segment) {            \
        add_rows<type>(x, labels, sums, first, rows, cols, clusters, segment);                                         \
    }
ADD(add_rows_f32, float)
ADD(add_rows_f64, double)

// grid: size / 256, block: 256
extern "C" __global__ void __launch_bounds__(256) add_segments(const double* sums, double* group, int size,
                                                               int segments) {
    const int at = blockIdx.x * 256 + threadIdx.x;
    if (at < size) {
        double sum = group[at];
        for (int segment = 0; segment < segments; ++segment) {
            sum = __dadd_rn(sum, sums[(size_t)segment * size + at]);
        }
        group[at] = sum;
    }
}
