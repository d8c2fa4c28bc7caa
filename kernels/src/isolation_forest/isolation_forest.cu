// Scores of an isolation forest: the sum of every row's path lengths.
//
//   shared   thresholds [trees][2^d - 1]     T        a group of trees, loaded once by each block
//            columns    [trees][2^d - 1]     u32
//            leaves     [trees][2^d]         float
//            values     [columns][256]       T        the rows at hand, one column after the other
//
//   one thread for each row; a block takes every gridDim-th tile of 256 rows. The host sends tiles transposed, so that
//   loads are coalesced and lanes that look at different columns are still in different banks.
//
// A forest that does not fit takes several launches, each adding to the sums: always in the order of the trees, so
// that the sums have the bits of the CPU's.
//
// What bounds it: three reads of shared memory for each row, tree and depth, of which that of the threshold and that
// of the column meet in a bank about 3 deep once rows are spread over a tree.
//
// Hazards.
// - Oblique sums are rounded after each product and each sum, as on the CPU: contracted, a row that lies on a plane
//   would go another way.
// - Wide rows or large trees stay in global memory (`shared_trees`, `shared_values`): the layout is the same.

namespace {

constexpr int ROWS = 256;

__device__ __forceinline__ float plus_product(float sum, float a, float b) { return __fadd_rn(sum, __fmul_rn(a, b)); }
__device__ __forceinline__ double plus_product(double sum, double a, double b) {
    return __dadd_rn(sum, __dmul_rn(a, b));
}

template <typename T>
__device__ __forceinline__ void copy(T* to, const T* __restrict__ from, int count) {
    for (int at = threadIdx.x; at < count; at += ROWS) {
        to[at] = from[at];
    }
}

template <typename T>
__device__ __forceinline__ void add_paths(const T* __restrict__ x, const T* __restrict__ all_thresholds,
                                          const u32* __restrict__ all_columns, const T* __restrict__ all_weights,
                                          const float* __restrict__ all_leaves, double* __restrict__ sums, int rows,
                                          int columns, int first_tree, int trees, int depth, int terms, int oblique,
                                          int shared_trees, int shared_values) {
    DYNAMIC_SHARED(shared);
    const int cuts = (1 << depth) - 1;
    // In elements of each array; no forest has more than 2^31 of any.
    const i64 first = (i64)first_tree * cuts;
    const T* thresholds = all_thresholds + first;
    const T* weights = all_weights + (oblique ? first * terms : 0);
    const u32* cut_columns = all_columns + first * terms;
    const float* leaves = all_leaves + (i64)first_tree * (cuts + 1);
    char* place = shared;
    if (shared_trees) {
        // The widest first, so that each array begins where its type may.
        T* to_thresholds = (T*)place;
        copy(to_thresholds, thresholds, trees * cuts);
        thresholds = to_thresholds;
        place += sizeof(T) * trees * cuts;
        if (oblique) {
            T* to_weights = (T*)place;
            copy(to_weights, weights, trees * cuts * terms);
            weights = to_weights;
            place += sizeof(T) * trees * cuts * terms;
        }
    }
    T* tile_values = (T*)place;
    if (shared_values) {
        place += sizeof(T) * ROWS * columns;
    }
    if (shared_trees) {
        u32* to_columns = (u32*)place;
        copy(to_columns, cut_columns, trees * cuts * terms);
        cut_columns = to_columns;
        place += sizeof(u32) * trees * cuts * terms;
        float* to_leaves = (float*)place;
        copy(to_leaves, leaves, trees * (cuts + 1));
        leaves = to_leaves;
    }

    // For the trees: of the values a thread reads those that it copied itself.
    __syncthreads();
    const int tiles = (rows + ROWS - 1) / ROWS;
    for (int tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
        const T* values = x + (i64)tile * ROWS * columns;
        if (shared_values) {
            copy(tile_values, values, ROWS * columns);
            values = tile_values;
        }
        const int row = tile * ROWS + (int)threadIdx.x;
        if (row < rows) {
            const T* own = values + threadIdx.x;
            double sum = sums[row];
            if (first_tree == 0) {
                sum = 0;
                for (int column = 0; column < columns; ++column) {
                    const T value = own[column * ROWS];
                    // 0, or NaN where the value is NaN or infinite.
                    sum += (double)(value - value);
                }
            }
            for (int tree = 0; tree < trees; ++tree) {
                const int base = tree * cuts;
                int cut = 0;
                for (int level = 0; level < depth; ++level) {
                    T compared = 0;
                    if (oblique) {
                        const i64 term = (i64)(base + cut) * terms;
                        for (i64 at = term; at < term + terms; ++at) {
                            compared = plus_product(compared, weights[at], own[(i64)cut_columns[at] * ROWS]);
                        }
                    } else {
                        compared = own[(i64)cut_columns[base + cut] * ROWS];
                    }
                    cut = 2 * cut + (compared <= thresholds[base + cut] ? 1 : 2);
                }
                sum += (double)leaves[tree * (cuts + 1) + cut - cuts];
            }
            sums[row] = sum;
        }
    }
}

}  // namespace

// grid: any number of blocks, block: 256, shared: what the host put there
#define PATHS(name, type)                                                                                             \
    extern "C" __global__ void __launch_bounds__(256) name(                                                           \
        const type* x, const type* thresholds, const u32* cut_columns, const type* weights, const float* leaves,      \
        double* sums, int rows, int columns, int first_tree, int trees, int depth, int terms, int oblique,            \
        int shared_trees, int shared_values) {                                                                        \
        add_paths<type>(x, thresholds, cut_columns, weights, leaves, sums, rows, columns, first_tree, trees, depth,   \
                        terms, oblique, shared_trees, shared_values);                                                 \
    }
PATHS(paths_f32, float)
PATHS(paths_f64, double)
