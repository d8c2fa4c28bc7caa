// Products of normalised series, and the selection of the strong ones.
//
// product:   C[i][j] += sum over k of A[i][k] * B[j][k], C in double whatever the type of A and B.
//
//   A packed:  panel p holds rows p*BM .. p*BM+BM-1 as [k][BM]   so that a tile of 16 samples is one
//   B packed:  panel p holds rows p*BN .. p*BN+BN-1 as [k][BN]   contiguous piece of memory
//   C:         padded to whole panels, row-major, `stride` doubles from row to row
//
//   one block:  BM x BN of C              one thread: TM x TN of them
//      shared   As[16][BM]  Bs[16][BN]       registers  sum (32 samples) -> middle (256) -> total (double)
//
// Hazards.
// - Long float sums: adding equal terms rounds the same way each time. Hence three levels, as on the CPU
//   (kernels/src/product), and no tensor core: TF32 would keep 10 bits of each factor.
// - The copy of the next tile is under way in registers while this one is multiplied; two barriers
//   per tile keep a fast warp from overwriting what a slow one still reads.
// - A thread's columns are neighbours, so that a warp reads Bs without bank conflicts and As by broadcast.

#ifndef COLONNADE_EMULATION
#define DYNAMIC_SHARED(name) extern __shared__ char name[]
#endif

namespace {

constexpr int TILE_DEPTH = 16;
constexpr int CHAIN = 32;
constexpr int MIDDLE = 256;
constexpr int THREADS = 256;

template <typename T, int BM, int BN, int TM, int TN>
__device__ __forceinline__ void add_products(const T* __restrict__ a, const T* __restrict__ b, double* __restrict__ c,
                                             int depth, int stride, int row0, int col0, int within) {
    static_assert((BM / TM) * (BN / TN) == THREADS, "a thread for each part of the block");
    constexpr int A_COPIES = TILE_DEPTH * BM / THREADS;
    constexpr int B_COPIES = TILE_DEPTH * BN / THREADS;
    __shared__ T as[TILE_DEPTH * BM];
    __shared__ T bs[TILE_DEPTH * BN];

    const int row = blockIdx.y * BM;
    const int col = blockIdx.x * BN;
    // The whole block lies on or below the diagonal: no thread of it enters.
    if (within && col0 + col + BN - 1 <= row0 + row) {
        return;
    }
    const T* a_panel = a + (size_t)row * depth;
    const T* b_panel = b + (size_t)col * depth;
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
            b_next[copy] = start + at / BN < depth ? b_panel[(size_t)start * BN + at] : T(0);
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
        double* out = c + (size_t)(row + my_row + i) * stride + col + my_col;
#pragma unroll
        for (int j = 0; j < TN; ++j) {
            out[j] += total[i][j];
        }
    }
}

}  // namespace

// grid: (columns / 64, rows / 128), block: 256
extern "C" __global__ void __launch_bounds__(256) product_f32(const float* a, const float* b, double* c, int depth,
                                                              int stride, int row0, int col0, int within) {
    add_products<float, 128, 64, 8, 4>(a, b, c, depth, stride, row0, col0, within);
}

// grid: (columns / 64, rows / 64), block: 256
extern "C" __global__ void __launch_bounds__(256) product_f64(const double* a, const double* b, double* c, int depth,
                                                              int stride, int row0, int col0, int within) {
    add_products<double, 64, 64, 4, 4>(a, b, c, depth, stride, row0, col0, within);
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
