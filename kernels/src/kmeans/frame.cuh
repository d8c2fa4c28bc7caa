// Rows into the frame, packed for `assign.cuh`, and their squared lengths there.

namespace {

constexpr int PANEL = 128;
constexpr int CENTRES = 64;
constexpr int THREADS = 256;
constexpr int WARPS = THREADS / 32;
constexpr u32 NONE = 0xffffffffu;

// Of double: columns that are worked on together, and the products of a thread.
constexpr int DEPTH = 16;
constexpr int ROWS = 8;
constexpr int COLS = 4;

// Of float: columns of a matrix instruction, words of 16 rows in a step, panels of centres of a tile.
constexpr int STEP = 16;
constexpr int BLOCK_WORDS = 2 * 32 * 4;
constexpr int PANELS = 4;
constexpr int STAGES = 3;
constexpr int ROW_WORDS = PANEL / 16 * BLOCK_WORDS;
constexpr int CENTRE_WORDS = CENTRES / 16 * BLOCK_WORDS;
constexpr int STAGE_WORDS = ROW_WORDS + PANELS * CENTRE_WORDS;

// Columns that are transposed together.
constexpr int STRIP = 32;

__device__ __forceinline__ void frame_double(const double* __restrict__ x, double* __restrict__ packed,
                                             double* __restrict__ lengths, const double* __restrict__ means,
                                             const u32* __restrict__ labels, int first, int rows, int cols,
                                             double scale) {
    // One more, so that neither rows nor columns of the strip share banks.
    __shared__ double strip[STRIP][PANEL + 1];
    const int row0 = blockIdx.x * PANEL;
    double* panel = packed + (size_t)row0 * cols;
    double length = 0;
    for (int col0 = 0; col0 < cols; col0 += STRIP) {
        for (int at = threadIdx.x; at < PANEL * STRIP; at += THREADS) {
            const int row = row0 + at / STRIP, col = col0 + at % STRIP;
            double value = 0;
            if (row < rows && col < cols && labels[first + row] != NONE) {
                const double given = x[(size_t)row * cols + col];
                value = (given - means[col]) * scale;
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
                const double value = strip[col][threadIdx.x];
                length += value * value;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x < PANEL && row0 + threadIdx.x < rows) {
        lengths[row0 + threadIdx.x] = length;
    }
}

// The two halves of a word: the nearest bfloat16 of two numbers, or of what those leave.
__device__ __forceinline__ u32 high_pair(float2 values) {
    return (u32)common::to_bf16(values.x) | (u32)common::to_bf16(values.y) << 16;
}
__device__ __forceinline__ u32 low_pair(float2 values) {
    const float x = values.x - common::from_bf16(common::to_bf16(values.x));
    const float y = values.y - common::from_bf16(common::to_bf16(values.y));
    return high_pair(make_float2(x, y));
}

__device__ __forceinline__ void frame_split(const float* __restrict__ x, u32* __restrict__ packed,
                                            double* __restrict__ lengths, const double* __restrict__ means,
                                            const u32* __restrict__ labels, int first, int rows, int cols,
                                            double scale) {
    // 8 rows apart by 8 banks: the pairs that half a warp reads lie in 32 of them.
    __shared__ __align__(8) float strip[PANEL][STRIP + 8];
    const int row0 = blockIdx.x * PANEL;
    const int steps = (cols + STEP - 1) / STEP;
    u32* panel = packed + (size_t)blockIdx.x * steps * ROW_WORDS;
    double length = 0;
    for (int col0 = 0; col0 < cols; col0 += STRIP) {
        for (int at = threadIdx.x; at < PANEL * STRIP; at += THREADS) {
            const int row = row0 + at / STRIP, col = col0 + at % STRIP;
            float value = 0;
            if (row < rows && col < cols && labels[first + row] != NONE) {
                const float given = x[(size_t)row * cols + col];
                value = (float)(((double)given - means[col]) * scale);
            }
            strip[at / STRIP][at % STRIP] = value;
        }
        __syncthreads();
        for (int at = threadIdx.x; at < STRIP / STEP * (PANEL / 16) * 32; at += THREADS) {
            const int lane = at % 32, block = at / 32 % (PANEL / 16), step = at / (32 * (PANEL / 16));
            if (col0 / STEP + step < steps) {
                const int row = block * 16 + lane / 4, col = step * STEP + 2 * (lane % 4);
                const float2 parts[4] = {*(const float2*)&strip[row][col], *(const float2*)&strip[row + 8][col],
                                         *(const float2*)&strip[row][col + 8],
                                         *(const float2*)&strip[row + 8][col + 8]};
                u32* to = panel + (size_t)(col0 / STEP + step) * ROW_WORDS + block * BLOCK_WORDS + lane * 4;
                *(uint4*)to =
                    make_uint4(high_pair(parts[0]), high_pair(parts[1]), high_pair(parts[2]), high_pair(parts[3]));
                *(uint4*)(to + BLOCK_WORDS / 2) =
                    make_uint4(low_pair(parts[0]), low_pair(parts[1]), low_pair(parts[2]), low_pair(parts[3]));
            }
        }
        if (threadIdx.x < PANEL) {
            // Each thread from another column on, so that a warp reads 32 banks.
            for (int col = 0; col < STRIP; ++col) {
                const double value = (double)strip[threadIdx.x][(col + threadIdx.x) % STRIP];
                length += value * value;
            }
        }
        __syncthreads();
    }
    if (threadIdx.x < PANEL && row0 + threadIdx.x < rows) {
        lengths[row0 + threadIdx.x] = length;
    }
}

}  // namespace
