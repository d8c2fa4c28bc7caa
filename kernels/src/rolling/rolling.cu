// Statistics over a sliding window.
//
// order statistics: one block for a stretch of one series, as on the CPU (kernels/src/rolling/order.rs).
//
//   shared   values[length]   the stretch, then sorted; missing ones are +infinity and sort last
//            index [length]   where each sorted value came from
//            rank  [length]   where each sample went; 0xffff for a missing one
//
//   one warp slides over its part of the outputs. The window is a set of bits over the ranks, spread
//   over the lanes' registers:
//            lane 0               lane 1               …  lane 31
//            ranks 0 … 32W-1      ranks 32W … 64W-1       … length-1          W words in each lane
//   A step flips one bit in two lanes; the k-th set bit is found by a prefix sum over the lanes.
//
// mean, minimum, maximum: spans whose length doubles, as on the CPU (kernels/src/rolling/spans.rs), with the same
// additions in the same order, so that the bits are the same. One block for 1024 outputs of one series.
//
//   shared   from [1024 + w - 1]  values of `span` samples, in double     and as many more for the next span;
//            count[1024 + w - 1]  how many of them are there              log2 w steps, one barrier each
//
// standard deviation: one thread for each output, over a stretch in shared memory, in two passes (mean, then squares
// of what is left) and in double: nothing is subtracted from a running sum.
//
// Hazards.
// - Equal values are told apart by their index, so that the order is one and the same everywhere.
// - `length` is a power of two, at most 1024 * W; ranks fit 16 bits.
// - All lanes of a warp take the same way through the sliding loop: its bounds depend on the warp only.

namespace {

constexpr unsigned ALL = 0xffffffffu;
constexpr unsigned short MISSING = 0xffff;
constexpr int THREADS = 256;
constexpr int SPANS = 1024;

enum Statistic { MEDIAN = 0, MAD = 1, QUANTILE = 2, RANK = 3 };
enum Span { MEAN = 0, LEAST = 1, MOST = 2 };

__device__ __forceinline__ double not_a_number() { return __longlong_as_double(0x7ff8000000000000ll); }

// Neither NaN nor infinite: the difference with itself is 0.
template <typename T>
__device__ __forceinline__ bool is_finite(T value) {
    return value - value == T(0);
}

template <int W>
struct Window {
    unsigned bits[W];
    int before;  // bits set in the lanes before this one
    int own;     // bits set in this lane

    // To be called after bits changed and before `select`.
    __device__ __forceinline__ void count(int lane) {
        own = 0;
#pragma unroll
        for (int word = 0; word < W; ++word) {
            own += __popc(bits[word]);
        }
        int sum = own;
#pragma unroll
        for (int delta = 1; delta < 32; delta *= 2) {
            const int other = __shfl_up_sync(ALL, sum, delta);
            sum += lane >= delta ? other : 0;
        }
        before = sum - own;
    }

    __device__ __forceinline__ void flip(int rank, int lane) {
        const int word = rank / 32;
#pragma unroll
        for (int own_word = 0; own_word < W; ++own_word) {
            if (word == lane * W + own_word) {
                bits[own_word] ^= 1u << (rank % 32);
            }
        }
    }

    // How many bits are set at ranks before `rank`; the same in every lane.
    __device__ __forceinline__ int below(int rank, int lane) const {
        int found = 0;
#pragma unroll
        for (int word = 0; word < W; ++word) {
            const int reach = rank - (lane * W + word) * 32;
            const unsigned mask = reach <= 0 ? 0u : reach >= 32 ? ALL : (1u << reach) - 1;
            found += __popc(bits[word] & mask);
        }
        return common::warp_sum(found);
    }

    // The rank of the k-th set bit, from 0; the same in every lane. There must be one.
    __device__ __forceinline__ int select(int k, int lane) const {
        const unsigned holders = __ballot_sync(ALL, k >= before && k < before + own);
        int rank = 0;
        if (k >= before && k < before + own) {
            int left = k - before;
            unsigned word_bits = 0;
            int base = 0;
#pragma unroll
            for (int word = 0; word < W; ++word) {
                const int ones = __popc(bits[word]);
                if (word_bits == 0 && left < ones) {
                    word_bits = bits[word];
                    base = (lane * W + word) * 32;
                } else if (word_bits == 0) {
                    left -= ones;
                }
            }
            for (; left > 0; --left) {
                word_bits &= word_bits - 1;
            }
            rank = base + __ffs((int)word_bits) - 1;
        }
        return __shfl_sync(ALL, rank, __ffs((int)holders) - 1);
    }
};

template <typename T, int W>
__device__ __forceinline__ double median_of(const Window<W>& window, const T* sorted, int count, int lane) {
    const double low = (double)sorted[window.select((count - 1) / 2, lane)];
    if (count % 2 == 1) {
        return low;
    }
    const double high = (double)sorted[window.select(count / 2, lane)];
    return 0.5 * low + 0.5 * high;
}

// The `run` values nearest to the median are neighbours in order: `first` moves little from step to step.
template <typename T, int W>
__device__ __forceinline__ double mad_of(const Window<W>& window, const T* sorted, int count, int& first, int lane) {
    const double centre = median_of<T, W>(window, sorted, count, lane);
    const int run = (count - 1) / 2 + 1;
    auto value = [&](int k) { return (double)sorted[window.select(k, lane)]; };
    first = first < count - run ? first : count - run;
    while (first + run < count && centre - value(first) > value(first + run) - centre) {
        ++first;
    }
    while (first > 0 && centre - value(first - 1) <= value(first + run - 1) - centre) {
        --first;
    }
    const double left = centre - value(first), right = value(first + run - 1) - centre;
    const double distance = left > right ? left : right;
    if (count % 2 == 1) {
        return distance;
    }
    double next = 0;
    bool found = false;
    if (first > 0) {
        next = centre - value(first - 1);
        found = true;
    }
    if (first + run < count) {
        const double above = value(first + run) - centre;
        next = found && next < above ? next : above;
    }
    return 0.5 * distance + 0.5 * next;
}

// The number of values below that of rank `own`, and half of those that equal it: they are neighbours in order.
template <typename T, int W>
__device__ __forceinline__ double rank_of(const Window<W>& window, const T* sorted, int length, int own, int lane) {
    const T value = sorted[own];
    // The first place whose value is not below, and the first whose value is above.
    int first = own, end = own + 1;
    if (own > 0 && sorted[own - 1] == value) {
        for (int from = 0; from < first;) {
            const int middle = (from + first) / 2;
            if (sorted[middle] < value) {
                from = middle + 1;
            } else {
                first = middle;
            }
        }
    }
    if (end < length && sorted[end] == value) {
        for (int to = length; end < to;) {
            const int middle = (end + to) / 2;
            if (sorted[middle] <= value) {
                end = middle + 1;
            } else {
                to = middle;
            }
        }
    }
    const int less = window.below(first, lane);
    const int equal = window.below(end, lane) - less;
    return less + 0.5 * (equal + 1);
}

template <typename T>
__device__ __forceinline__ bool later(T a, unsigned short a_index, T b, unsigned short b_index) {
    return a > b || (a == b && a_index > b_index);
}

template <typename T, int W>
__device__ __forceinline__ void order_statistic(const T* __restrict__ x, T* __restrict__ out, int cols, int length,
                                                int step, int stretches, int window_size, int ahead, int least,
                                                int statistic, double q) {
    DYNAMIC_SHARED(shared);
    T* values = (T*)shared;
    unsigned short* index = (unsigned short*)(values + length);
    unsigned short* rank = index + length;

    const long long row = blockIdx.x / stretches;
    const int first = (int)(blockIdx.x % stretches) * step;
    const int outputs = first + step < cols ? step : cols - first;
    // Window o of this stretch covers samples start + o .. start + o + window_size of the series.
    const int start = first + ahead - (window_size - 1);
    const int samples_from = start > 0 ? start : 0;
    const int samples_to = first + outputs + ahead < cols ? first + outputs + ahead : cols;
    const int samples = samples_to - samples_from;
    const T* series = x + row * cols + samples_from;

    const T infinity = (T)__longlong_as_double(0x7ff0000000000000ll);
    for (int at = threadIdx.x; at < length; at += blockDim.x) {
        const bool there = at < samples && is_finite(series[at]);
        values[at] = there ? series[at] : infinity;
        index[at] = (unsigned short)at;
        rank[at] = MISSING;
    }
    __syncthreads();

    // Bitonic sort (Batcher, 1968): every pair of a stage is one thread's.
    for (int size = 2; size <= length; size *= 2) {
        for (int distance = size / 2; distance > 0; distance /= 2) {
            for (int pair = threadIdx.x; pair < length / 2; pair += blockDim.x) {
                const int low = pair / distance * 2 * distance + pair % distance;
                const int high = low + distance;
                const bool ascending = (low & size) == 0;
                const T a = values[low], b = values[high];
                const unsigned short ai = index[low], bi = index[high];
                if (later(a, ai, b, bi) == ascending) {
                    values[low] = b;
                    values[high] = a;
                    index[low] = bi;
                    index[high] = ai;
                }
            }
            __syncthreads();
        }
    }
    for (int at = threadIdx.x; at < length; at += blockDim.x) {
        if (is_finite(values[at])) {
            rank[index[at]] = (unsigned short)at;
        }
    }
    __syncthreads();

    const int lane = threadIdx.x % 32;
    const int warps = blockDim.x / 32;
    const int part = (outputs + warps - 1) / warps;
    const int from = (int)(threadIdx.x / 32) * part;
    const int to = from + part < outputs ? from + part : outputs;
    if (from >= to) {
        return;
    }
    // In samples of the stretch; may reach beyond it at both ends of the series.
    const int offset = start - samples_from;
    Window<W> window;
    int count = 0;
#pragma unroll
    for (int word = 0; word < W; ++word) {
        window.bits[word] = 0;
        for (int bit = 0; bit < 32; ++bit) {
            const int at = (lane * W + word) * 32 + bit;
            if (at < length && is_finite(values[at])) {
                const int sample = index[at];
                if (sample >= offset + from && sample < offset + from + window_size) {
                    window.bits[word] |= 1u << bit;
                }
            }
        }
        count += __popc(window.bits[word]);
    }
#pragma unroll
    for (int bits = 16; bits > 0; bits /= 2) {
        count += __shfl_xor_sync(ALL, count, bits);
    }

    int mad_first = 0;
    T kept = 0;
    for (int o = from; o < to; ++o) {
        double result = not_a_number();
        if (count >= least) {
            window.count(lane);
            if (statistic == MEDIAN) {
                result = median_of<T, W>(window, values, count, lane);
            } else if (statistic == MAD) {
                result = mad_of<T, W>(window, values, count, mad_first, lane);
            } else if (statistic == RANK) {
                // Of the sample that the window is for.
                const int own = rank[offset + o + window_size - 1 - ahead];
                if (own != MISSING) {
                    result = rank_of<T, W>(window, values, length, own, lane);
                }
            } else {
                const double position = q * (count - 1);
                const int whole = (int)position < count - 1 ? (int)position : count - 1;
                const double share = position - whole;
                result = (double)values[window.select(whole, lane)];
                if (share != 0.0) {
                    result = (1.0 - share) * result + share * (double)values[window.select(whole + 1, lane)];
                }
            }
        }
        // Every lane keeps one of 32 results, so that they are written side by side.
        if (lane == (o - from) % 32) {
            kept = (T)result;
        }
        if ((o - from) % 32 == 31 || o + 1 == to) {
            const int written = (o - from) / 32 * 32 + lane;
            if (from + written <= o) {
                out[row * cols + first + from + written] = kept;
            }
        }
        const int leaving = offset + o, entering = offset + o + window_size;
        if (leaving >= 0 && leaving < samples && rank[leaving] != MISSING) {
            window.flip(rank[leaving], lane);
            --count;
        }
        if (entering >= 0 && entering < samples && rank[entering] != MISSING) {
            window.flip(rank[entering], lane);
            ++count;
        }
    }
}

__device__ __forceinline__ double reduced(int statistic, double a, double b) {
    return statistic == MEAN ? a + b : statistic == LEAST ? (b < a ? b : a) : (b > a ? b : a);
}

template <typename T>
__device__ __forceinline__ void spans(const T* __restrict__ x, T* __restrict__ out, int cols, int blocks,
                                      int window_size, int ahead, int least, int statistic) {
    DYNAMIC_SHARED(shared);
    __shared__ double largest[THREADS / 32];
    int len = SPANS + window_size - 1;
    double* from = (double*)shared;
    double* to = from + len;
    int* count_from = (int*)(to + len);
    int* count_to = count_from + len;

    const long long row = blockIdx.x / blocks;
    const int first = (int)(blockIdx.x % blocks) * SPANS;
    const int start = first + ahead - (window_size - 1);
    const double infinity = __longlong_as_double(0x7ff0000000000000ll);
    const double none = statistic == MEAN ? 0 : statistic == LEAST ? infinity : -infinity;
    double most = 0;
    for (int at = threadIdx.x; at < len; at += THREADS) {
        const int sample = start + at;
        const T value = sample >= 0 && sample < cols ? x[row * cols + sample] : (T)not_a_number();
        const bool there = is_finite(value);
        from[at] = there ? (double)value : none;
        count_from[at] = there;
        most = there && fabs((double)value) > most ? fabs((double)value) : most;
    }
    most = common::warp_most(most);
    if (threadIdx.x % 32 == 0) {
        largest[threadIdx.x / 32] = most;
    }
    __syncthreads();
    double scale = 1;
    if (statistic == MEAN) {
        // A power of two that keeps the sum of a window finite.
        int power = 1;
        while (power < window_size) {
            power *= 2;
        }
        const double bound = __longlong_as_double(0x7fefffffffffffffll) / power;
        for (int warp = 0; warp < THREADS / 32; ++warp) {
            scale = largest[warp] > bound ? 1.0 / power : scale;
        }
        if (scale != 1) {
            for (int at = threadIdx.x; at < len; at += THREADS) {
                from[at] *= scale;
            }
            __syncthreads();
        }
    }

    double total[SPANS / THREADS];
    int count[SPANS / THREADS];
#pragma unroll
    for (int part = 0; part < SPANS / THREADS; ++part) {
        total[part] = none;
        count[part] = 0;
    }
    for (int span = 1, covered = 0; span <= window_size; span *= 2) {
        const bool counts = window_size & span;
        // A value may count twice in a minimum: the last span covers the end of the window as well as its start.
        const bool last = statistic != MEAN && span > window_size / 2;
#pragma unroll
        for (int part = 0; part < SPANS / THREADS; ++part) {
            const int at = threadIdx.x + part * THREADS;
            if (counts) {
                // From 0: -0 + 0 would be 0.
                total[part] = statistic != MEAN ? total[part]
                              : covered == 0    ? from[at]
                                                : total[part] + from[at + covered];
                count[part] += count_from[at + covered];
            }
            if (last) {
                total[part] = reduced(statistic, from[at], from[at + window_size - span]);
            }
        }
        covered += counts ? span : 0;
        if (span > window_size / 2) {
            break;
        }
        len -= span;
        for (int at = threadIdx.x; at < len; at += THREADS) {
            to[at] = reduced(statistic, from[at], from[at + span]);
            count_to[at] = count_from[at] + count_from[at + span];
        }
        // Also after the reads above: the next step overwrites what they read.
        __syncthreads();
        double* const values = from;
        from = to;
        to = values;
        int* const counted = count_from;
        count_from = count_to;
        count_to = counted;
    }
#pragma unroll
    for (int part = 0; part < SPANS / THREADS; ++part) {
        const int t = first + threadIdx.x + part * THREADS;
        if (t < cols) {
            const double factor = statistic == MEAN ? 1.0 / (count[part] * scale) : 1.0;
            out[row * cols + t] = (T)(count[part] >= least ? total[part] * factor : not_a_number());
        }
    }
}

template <typename T>
__device__ __forceinline__ void deviations(const T* __restrict__ x, T* __restrict__ out, int cols, int blocks,
                                           int window_size, int ahead, int least) {
    DYNAMIC_SHARED(shared);
    T* samples = (T*)shared;
    const long long row = blockIdx.x / blocks;
    const int first = (int)(blockIdx.x % blocks) * THREADS;
    const int start = first + ahead - (window_size - 1);
    for (int at = threadIdx.x; at < THREADS + window_size - 1; at += blockDim.x) {
        const int sample = start + at;
        samples[at] = sample >= 0 && sample < cols ? x[row * cols + sample] : (T)not_a_number();
    }
    __syncthreads();
    const int t = first + threadIdx.x;
    if (t >= cols) {
        return;
    }
    const T* window = samples + threadIdx.x;
    int count = 0;
    double base = 0, sum = 0;
    for (int at = 0; at < window_size; ++at) {
        if (is_finite(window[at])) {
            // Around the first value, so that a large offset does not cancel.
            base = count == 0 ? (double)window[at] : base;
            sum += (double)window[at] - base;
            ++count;
        }
    }
    double result = not_a_number();
    if (count >= least && count > 1) {
        const double mean = base + sum / count;
        double squares = 0, left = 0;
        for (int at = 0; at < window_size; ++at) {
            if (is_finite(window[at])) {
                const double centred = (double)window[at] - mean;
                squares += centred * centred;
                left += centred;
            }
        }
        const double corrected = squares - left * (left / count);
        result = sqrt((corrected > 0 ? corrected : 0) / (count - 1));
    }
    out[row * cols + t] = (T)result;
}

}  // namespace

// grid: rows * stretches, block: 256, shared: length * (sizeof(T) + 4)
#define ORDER(name, type, words)                                                                                    \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, type* out, int cols, int length, int step, \
                                                           int stretches, int window, int ahead, int least,          \
                                                           int statistic, double q) {                               \
        order_statistic<type, words>(x, out, cols, length, step, stretches, window, ahead, least, statistic, q);     \
    }
ORDER(order_f32_1, float, 1)
ORDER(order_f32_8, float, 8)
ORDER(order_f64_1, double, 1)
ORDER(order_f64_8, double, 8)

// grid: rows * (cols / 1024 rounded up), block: 256, shared: 2 * (1023 + window) * (8 + 4)
#define REDUCED(name, type)                                                                                          \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, type* out, int cols, int blocks,           \
                                                           int window, int ahead, int least, int statistic) {        \
        spans<type>(x, out, cols, blocks, window, ahead, least, statistic);                                          \
    }
REDUCED(spans_f32, float)
REDUCED(spans_f64, double)

// grid: rows * (cols / 256 rounded up), block: 256, shared: (255 + window) * sizeof(T)
#define DEVIATIONS(name, type)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256) name(const type* x, type* out, int cols, int blocks,           \
                                                           int window, int ahead, int least) {                       \
        deviations<type>(x, out, cols, blocks, window, ahead, least);                                                \
    }
DEVIATIONS(deviations_f32, float)
DEVIATIONS(deviations_f64, double)
