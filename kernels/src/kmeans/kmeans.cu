// Rows to the nearest of some centres, and the sums of each centre's rows.
//
//   rows x            [row][column]                     as they came
//   packed, float     panel p: rows 128 p .. +127 as [step of 16 columns][16 rows][high, low][lane][4 words], in the
//                     frame (minus the means, scaled): the fragments of a matrix instruction, as a lane has them
//   packed, double    panel p: rows 128 p .. +127 as [column][128], in the frame
//   centres, packed   panel p: centres 64 p .. +63 in the same way; low = +inf where there is none
//
//   assign    one block: 128 rows x all centres; float 256 at a time, double 64     one warp: 64 x 64
//               shared, float    [3 stages][rows, centres][step]   one step is worked on while two are on their way
//               shared, double   as[16][128]  bs[16][64]   the next 16 columns come into registers meanwhile
//               after each tile of centres   v = low - 2 p, and of each row the least v, its centre, the second least
//               at the end                   the threads of a row merge what they have
//   gather    one warp: lists rows whose least is not proven
//   measure   one block: four of those, against all centres, in double
//   rank      one thread: how many rows of its segment have a row's label before it, and the tally of each label
//   offsets   one block: where the rows of each label and segment begin
//   place     one thread: a row to its place: rows by label, then in order
//   add_rows  one thread: one column of one label, row after row, segment after segment
//   add_segments  one thread: one value of the sums, segment after segment
//   distances     eight threads: a row's distance from its own centre, in double
//
// Bounds. `assign` is bound by the tensor cores: of each step a warp reads 16 times 16 bytes of shared memory for 96
// matrix instructions. A block reads the packed rows once for each 256 centres. `frame` and `add_rows` are bound by
// memory.
//
// Hazards.
// - Nothing is rounded in an order that depends on the grid: labels are those of distances in double, in the order of
//   `distance.rs` (8 lanes, then a tree), without fma; sums go row by row. Both have the CPU's bits.
// - float is split, z = high + low + what is left, into two bfloat16, and low * low is left out. What the tensor cores
//   round is not told. They start anew with each step, the small products first, so that what they lose is relative to
//   16 columns; float sums the steps. `cuda/bound.rs` has the bound of it all, with which a label is proven:
//   least + what both may be off < second least.
// - The order of a list is that of the threads; what `measure` makes of it is not.

namespace {

__device__ __forceinline__ void gather(const u32* __restrict__ labels, const u8* __restrict__ unsure,
                                       u32* __restrict__ list, u32* __restrict__ count, int first, int rows) {
    const int row = blockIdx.x * THREADS + threadIdx.x, lane = threadIdx.x % 32;
    const bool is_listed = row < rows && labels[first + row] != NONE && unsure[row];
    const u32 votes = __ballot_sync(common::ALL_LANES, is_listed);
    u32 place = 0;
    if (lane == 0 && votes != 0) {
        place = atomicAdd(count, (u32)__popc(votes));
    }
    place = __shfl_sync(common::ALL_LANES, place, 0);
    if (is_listed) {
        list[place + __popc(votes & ((1u << lane) - 1))] = (u32)row;
    }
}

// Rows that meet all centres together.
constexpr int MEASURED = 4;

template <typename T>
__device__ __forceinline__ void measure(const T* __restrict__ x, const double* __restrict__ centres,
                                        u32* __restrict__ labels, const u32* __restrict__ list,
                                        const u32* __restrict__ count, int first, int clusters, int cols) {
    __shared__ double leasts[WARPS][MEASURED];
    __shared__ u32 places[WARPS][MEASURED];
    const int warp = threadIdx.x / 32, group = threadIdx.x % 32 / 8, lane = threadIdx.x % 8;
    const int found = (int)*count;
    for (int start = blockIdx.x * MEASURED; start < found; start += gridDim.x * MEASURED) {
        const T* values[MEASURED];
        double least[MEASURED];
        u32 nearest[MEASURED];
#pragma unroll
        for (int r = 0; r < MEASURED; ++r) {
            values[r] = x + (size_t)list[start + r < found ? start + r : start] * cols;
            least[r] = INFINITY;
            nearest[r] = NONE;
        }
        for (int from = warp * 4; from < clusters; from += WARPS * 4) {
            const bool is_there = from + group < clusters;
            const double* centre = centres + (size_t)(is_there ? from + group : 0) * cols;
            double sums[MEASURED] = {};
            for (int col = lane; col < cols; col += 8) {
                const double own = centre[col];
#pragma unroll
                for (int r = 0; r < MEASURED; ++r) {
                    const double difference = (double)values[r][col] - own;
                    sums[r] = __dadd_rn(sums[r], __dmul_rn(difference, difference));
                }
            }
#pragma unroll
            for (int r = 0; r < MEASURED; ++r) {
                double sum = sums[r];
                sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 4));
                sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 2));
                sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, 1));
                if (is_there && sum < least[r]) {
                    least[r] = sum;
                    nearest[r] = (u32)(from + group);
                }
            }
        }
#pragma unroll
        for (int r = 0; r < MEASURED; ++r) {
            for (int distance = 8; distance <= 16; distance *= 2) {
                const double other = __shfl_xor_sync(common::ALL_LANES, least[r], distance);
                const u32 other_nearest = __shfl_xor_sync(common::ALL_LANES, nearest[r], distance);
                if (other < least[r] || (other == least[r] && other_nearest < nearest[r])) {
                    least[r] = other;
                    nearest[r] = other_nearest;
                }
            }
            if (threadIdx.x % 32 == 0) {
                leasts[warp][r] = least[r];
                places[warp][r] = nearest[r];
            }
        }
        __syncthreads();
        if (threadIdx.x < MEASURED && start + (int)threadIdx.x < found) {
            double best = leasts[0][threadIdx.x];
            u32 label = places[0][threadIdx.x];
            for (int other = 1; other < WARPS; ++other) {
                const double value = leasts[other][threadIdx.x];
                const u32 place = places[other][threadIdx.x];
                if (value < best || (value == best && place < label)) {
                    best = value;
                    label = place;
                }
            }
            // As on the CPU where no distance is a number below infinity.
            labels[first + list[start + threadIdx.x]] = label == NONE ? 0 : label;
        }
        __syncthreads();
    }
}

template <typename T>
__device__ __forceinline__ void distances(const T* __restrict__ x, const double* __restrict__ centres,
                                          const u32* __restrict__ labels, double* __restrict__ found, int first,
                                          int rows, int cols) {
    const int row = blockIdx.x * (THREADS / 8) + threadIdx.x / 8, lane = threadIdx.x % 8;
    const u32 label = row < rows ? labels[first + row] : NONE;
    const T* values = x + (size_t)(label != NONE ? row : 0) * cols;
    const double* centre = centres + (size_t)(label != NONE ? label : 0) * cols;
    double sum = 0;
    for (int col = lane; label != NONE && col < cols; col += 8) {
        const double difference = (double)values[col] - centre[col];
        sum = __dadd_rn(sum, __dmul_rn(difference, difference));
    }
    for (int distance = 4; distance > 0; distance /= 2) {
        sum = __dadd_rn(sum, __shfl_xor_sync(common::ALL_LANES, sum, distance));
    }
    if (row < rows && lane == 0) {
        found[row] = sum;
    }
}

// 256 rows of one segment.
__device__ __forceinline__ void rank(const u32* __restrict__ labels, u32* __restrict__ ranks, u32* __restrict__ tally,
                                     int first, int rows, int segments, int segment) {
    __shared__ __align__(16) u32 others[THREADS];
    const int row = blockIdx.x * THREADS + threadIdx.x;
    const u32 label = row < rows ? labels[first + row] : NONE;
    u32 before = 0;
    for (int start = blockIdx.x * THREADS / segment * segment; start <= blockIdx.x * THREADS; start += THREADS) {
        others[threadIdx.x] = start + threadIdx.x < rows ? labels[first + start + threadIdx.x] : NONE;
        __syncthreads();
        const int end = start + THREADS <= row ? THREADS : row - start;
        for (int at = 0; at < THREADS; at += 4) {
            const uint4 four = *(const uint4*)&others[at];
            before += (four.x == label && at < end) + (four.y == label && at + 1 < end) +
                      (four.z == label && at + 2 < end) + (four.w == label && at + 3 < end);
        }
        __syncthreads();
    }
    if (label != NONE) {
        ranks[row] = before;
        atomicAdd(&tally[(size_t)label * segments + row / segment], 1u);
    }
}

template <typename T>
__device__ __forceinline__ void add_rows(const T* __restrict__ x, const u32* __restrict__ order,
                                         const u32* __restrict__ starts, double* sums, double* group, int cols,
                                         int clusters, int segments, int segment, int apart) {
    const int col = blockIdx.y * blockDim.x + threadIdx.x;
    if (col >= cols) {
        return;
    }
    const int unit = blockIdx.x;
    const u32 begin = starts[apart ? unit : unit * segments];
    const u32 end = starts[apart ? unit + 1 : (unit + 1) * segments];
    double* own = apart ? sums + ((size_t)(unit % segments) * clusters + unit / segments) * cols + col
                        : group + (size_t)unit * cols + col;
    double whole = apart ? 0.0 : *own, part = 0;
    u32 limit = 0;
    // The next rows' values are on their way while this one's is added.
    constexpr u32 AHEAD = 8;
    for (u32 start = begin; start < end; start += AHEAD) {
        u32 row[AHEAD];
        T value[AHEAD];
#pragma unroll
        for (u32 at = 0; at < AHEAD; ++at) {
            row[at] = start + at < end ? order[start + at] : NONE;
        }
#pragma unroll
        for (u32 at = 0; at < AHEAD; ++at) {
            value[at] = row[at] != NONE ? x[(size_t)row[at] * cols + col] : T(0);
        }
#pragma unroll
        for (u32 at = 0; at < AHEAD; ++at) {
            if (row[at] == NONE) {
                continue;
            }
            if (row[at] >= limit) {
                whole = __dadd_rn(whole, part);
                part = 0;
                limit = (row[at] / segment + 1) * segment;
            }
            part = __dadd_rn(part, (double)value[at]);
        }
    }
    *own = __dadd_rn(whole, part);
}

}  // namespace

// A piece of a tile, behind `before` values.
// grid: size / 256, block: 256
#define KEEP(name, type)                                                                                               \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, type* kept, u64 before, int size) {          \
        const int at = blockIdx.x * 256 + threadIdx.x;                                                                 \
        if (at < size) {                                                                                               \
            kept[before + at] = x[at];                                                                                 \
        }                                                                                                              \
    }
KEEP(keep_f32, float)
KEEP(keep_f64, double)

// grid: rows / 128, block: 256
extern "C" __global__ void __launch_bounds__(256)
    frame_f32(const float* x, u32* packed, double* lengths, const double* means, const u32* labels, int first,
              int rows, int cols, double scale) {
    frame_split(x, packed, lengths, means, labels, first, rows, cols, scale);
}
extern "C" __global__ void __launch_bounds__(256)
    frame_f64(const double* x, double* packed, double* lengths, const double* means, const u32* labels, int first,
              int rows, int cols, double scale) {
    frame_double(x, packed, lengths, means, labels, first, rows, cols, scale);
}

// grid: rows / 128, block: 256, shared: 3 * 24,576 + 3 * 8 * 256 * 4
extern "C" __global__ void __launch_bounds__(256)
    assign_f32(const u32* packed, const double* lengths, const u32* centres, const float* low, const double* squares,
               u32* labels, u8* unsure, int first, int rows, int clusters, int cols, double row_bound,
               double centre_bound, double least) {
    assign_split(packed, lengths, centres, low, squares, labels, unsure, first, rows, clusters, cols, row_bound,
                 centre_bound, least);
}

// grid: rows / 128, block: 256
extern "C" __global__ void __launch_bounds__(256)
    assign_f64(const double* packed, const double* lengths, const double* centres, const double* low,
               const double* squares, u32* labels, u8* unsure, int first, int rows, int clusters, int cols,
               double row_bound, double centre_bound, double least) {
    assign_double(packed, lengths, centres, low, squares, labels, unsure, first, rows, clusters, cols, row_bound,
                  centre_bound, least);
}

// grid: rows / 256, block: 256
extern "C" __global__ void __launch_bounds__(256)
    gather_unsure(const u32* labels, const u8* unsure, u32* list, u32* counts, int tile, int first, int rows) {
    gather(labels, unsure, list, counts + tile, first, rows);
}

// grid: any, block: 256
#define MEASURE(name, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, const double* centres, u32* labels,          \
                                                           const u32* list, const u32* counts, int tile, int first,    \
                                                           int clusters, int cols) {                                   \
        measure<type>(x, centres, labels, list, counts + tile, first, clusters, cols);                                 \
    }
MEASURE(measure_f32, float)
MEASURE(measure_f64, double)

// grid: rows / 32, block: 256
#define DISTANCES(name, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, const double* centres, const u32* labels,    \
                                                           double* found, int first, int rows, int cols) {             \
        distances<type>(x, centres, labels, found, first, rows, cols);                                                 \
    }
DISTANCES(distances_f32, float)
DISTANCES(distances_f64, double)

// grid: rows / 256, block: 256; `segment` is a multiple of 256
extern "C" __global__ void __launch_bounds__(256)
    rank_rows(const u32* labels, u32* ranks, u32* tally, int first, int rows, int segments, int segment) {
    rank(labels, ranks, tally, first, rows, segments, segment);
}

// What there is of each before it, in place; all of them at `size`.
// grid: 1, block: 1024
extern "C" __global__ void __launch_bounds__(1024) offsets(u32* tally, int size) {
    __shared__ u32 warps[32];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    u32 carry = 0;
    for (int start = 0; start < size; start += 1024) {
        const int at = start + threadIdx.x;
        const u32 own = at < size ? tally[at] : 0;
        u32 sum = own;
        for (int distance = 1; distance < 32; distance *= 2) {
            const u32 other = __shfl_up_sync(common::ALL_LANES, sum, distance);
            sum += lane >= distance ? other : 0;
        }
        if (lane == 31) {
            warps[warp] = sum;
        }
        __syncthreads();
        u32 before = carry;
        for (int other = 0; other < 32; ++other) {
            before += other < warp ? warps[other] : 0;
            carry += warps[other];
        }
        if (at < size) {
            tally[at] = before + sum - own;
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        tally[size] = carry;
    }
}

// grid: rows / 256, block: 256
extern "C" __global__ void __launch_bounds__(256)
    place_rows(const u32* labels, const u32* ranks, const u32* starts, u32* order, int first, int rows, int segments,
               int segment) {
    const int row = blockIdx.x * 256 + threadIdx.x;
    if (row < rows) {
        const u32 label = labels[first + row];
        if (label != NONE) {
            order[starts[(size_t)label * segments + row / segment] + ranks[row]] = (u32)row;
        }
    }
}

// `apart`: the sums of each segment by themselves, for `add_segments`; else onto those of the group.
// grid: (clusters, or clusters * segments; columns / 128), block: 128
#define ADD(name, type)                                                                                            \
    extern "C" __global__ void __launch_bounds__(128) name(const type* x, const u32* order, const u32* starts,         \
                                                           double* sums, double* group, int cols, int clusters,        \
                                                           int segments, int segment, int apart) {                     \
        add_rows<type>(x, order, starts, sums, group, cols, clusters, segments, segment, apart);                       \
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
