// -2 log likelihood of one series and its gradient, by one thread: as likelihood.rs, operation by operation.

namespace {

using common::Real;

// One thread's part of an array that all threads share.
struct Column {
    double* first;
    i64 stride;
    __device__ __forceinline__ Real get(i64 at) const { return Real(first[at * stride]); }
    __device__ __forceinline__ void set(i64 at, Real value) const { first[at * stride] = value.v; }
    __device__ __forceinline__ Column from(i64 at) const { return Column{first + at * stride, stride}; }
};

constexpr double LN_2 = 0.693147180559945309417232121458;
constexpr double SQRT_2 = 1.41421356237309504880168872421;
constexpr double LEAST = 1e-4;
constexpr double MOST = 0.9999;
constexpr double PHI_LEAST = 0.8;
constexpr double PHI_MOST = 0.98;
constexpr double LEAST_FORECAST = 1e-12;
constexpr double LITTLE = 1e-7;
constexpr int MOST_VALUES = 400;
constexpr int MOST_TRIES = 16;
constexpr int STARTS_OF_ONE = 3;
constexpr double INSIDE = 0.8;
constexpr int FACTS = 6;
constexpr i64 MANTISSA = 0x000fffffffffffffll;
constexpr i64 ONE = 0x3ff0000000000000ll;

// Threads of a block.
constexpr int WIDTH = 64;

// A value of each place of the season, in shared memory: the states on the way there, the gradient by them on the way back.
struct Seasonal {
    double* first;
    __device__ __forceinline__ Real get(int place) const { return Real(first[place * WIDTH]); }
    __device__ __forceinline__ void set(int place, Real value) const { first[place * WIDTH] = value.v; }
};

__device__ __forceinline__ Seasonal seasonal() {
    DYNAMIC_SHARED(shared);
    return Seasonal{(double*)shared + threadIdx.x};
}

enum Season { NONE = 0, ADDED = 1, MULTIPLIED = 2 };
enum Phase { STARTS, ALONG, DONE };

struct Model {
    bool relative, trend, damped;
    int season;
    int smoothing;
    int dimension;
    Real most_beta;
};

struct Smoothing {
    Real alpha, beta, gamma, phi;
};

// As `likelihood::logarithm`, for x that is positive, finite and normal, which Σe² plus its floor and mantissas are.
__device__ Real logarithm(Real value) {
    i64 bits = __double_as_longlong(value.v);
    Real exponent((double)((i64)((u64)bits >> 52) - 1023));
    Real mantissa(__longlong_as_double((bits & MANTISSA) | ONE));
    if (mantissa.v > SQRT_2) {
        mantissa = mantissa * 0.5;
        exponent = exponent + 1.0;
    }
    const Real z = (mantissa - 1.0) / (mantissa + 1.0);
    const Real w = z * z;
    Real sum(0.0);
    for (double odd = 23.0; odd > 2.0; odd -= 2.0) {
        sum = (sum + Real(1.0) / odd) * w;
    }
    return Real(2.0) * z + Real(2.0) * z * sum + exponent * LN_2;
}

__device__ __forceinline__ Real wave(Real x) { return Real(0.5) + x / (Real(1.0) + x * x); }
__device__ __forceinline__ Real wave_slope(Real x) {
    const Real square = x * x;
    const Real below = Real(1.0) + square;
    return (Real(1.0) - square) / (below * below);
}

__device__ Smoothing smoothing(const Model& model, const Column& x) {
    const Real alpha = Real(LEAST) + (Real(MOST) - LEAST) * wave(x.get(0));
    Smoothing found{alpha, 0.0, 0.0, 1.0};
    int at = 1;
    if (model.trend) {
        const Real most = alpha < model.most_beta ? alpha : model.most_beta;
        found.beta = Real(LEAST) + (most - LEAST) * wave(x.get(at++));
    }
    if (model.season != NONE) {
        found.gamma = Real(LEAST) + (Real(MOST) - LEAST) * wave(x.get(at++));
    }
    if (model.damped) {
        found.phi = Real(PHI_LEAST) + (Real(PHI_MOST) - PHI_LEAST) * wave(x.get(at));
    }
    return found;
}

__device__ void smoothing_slopes(const Model& model, const Column& x, const Smoothing& by, const Column& slopes) {
    const Real alpha = Real(LEAST) + (Real(MOST) - LEAST) * wave(x.get(0));
    Real by_alpha = by.alpha;
    int at = 1;
    if (model.trend) {
        const bool is_most = alpha < model.most_beta;
        if (is_most) {
            by_alpha = by_alpha + by.beta * wave(x.get(at));
        }
        slopes.set(at, by.beta * (((is_most ? alpha : model.most_beta) - LEAST) * wave_slope(x.get(at))));
        ++at;
    }
    if (model.season != NONE) {
        slopes.set(at, by.gamma * ((Real(MOST) - LEAST) * wave_slope(x.get(at))));
        ++at;
    }
    if (model.damped) {
        slopes.set(at, by.phi * ((Real(PHI_MOST) - PHI_LEAST) * wave_slope(x.get(at))));
    }
    slopes.set(0, by_alpha * ((Real(MOST) - LEAST) * wave_slope(x.get(0))));
}

// What one thread knows of its series.
struct Series {
    const double* samples;
    i64 stride;
    int steps, period;
    Real observed, floor;
    // Where the states start, and their units in the search.
    Real level, trend;
    const double* season_start;
    Real units[3];
};

struct Scratch {
    Column tape, inverse, x, gradient, direction, trial, product, slopes, kept;
};

// By what the value changes: by the smoothing, and by the states at the start.
struct Gradient {
    Smoothing smoothing;
    Real level, trend;
};

// The value at the point whose states are in `level`, `trend` and `seasonal()`; the gradient by them goes to `found` and
// `seasonal()`. No part of its caller, so that its loops have the registers to themselves.
//
// Loops are unrolled so that the loads of some steps are under way together: those of the samples may pass the writes of the
// tape, as they go through the cache of what nobody writes, and on the way back nothing is written but shared memory.
template <bool RELATIVE, bool TREND, int SEASON>
__device__ NEVER_INLINED Real pass(const Series& series, const Column tape, const Smoothing p, Real level, Real trend,
                                   Gradient& found) {
    // What the way back asks of a step besides its error.
    constexpr bool WITH_Q = RELATIVE, WITH_S = SEASON == MULTIPLIED || (SEASON == ADDED && RELATIVE);
    const Seasonal season = seasonal();
    const double* const samples = series.samples;
    const i64 stride = series.stride;
    const int steps = series.steps;
    const int period = SEASON == NONE ? 1 : series.period;
    Real squares(0.0), product(1.0);
    i64 exponents = 0;
    double least = INFINITY;
    int place = 0;
#pragma unroll 4
    for (int t = 0; t < steps; ++t) {
        const Real y(__ldg(samples + t * stride));
        const bool seen = y.v == y.v;
        const Real s = SEASON == NONE ? Real(0.0) : season.get(place);
        const Real q = TREND ? level + p.phi * trend : level;
        const Real f = SEASON == NONE ? q : SEASON == ADDED ? q + s : q * s;
        const Real r = seen ? y - f : Real(0.0);
        const Real e = RELATIVE ? r / f : r;
        if (WITH_Q) {
            tape.set(4 * (i64)t, q);
        }
        tape.set(4 * (i64)t + 3, e);
        const Real change = SEASON == MULTIPLIED ? q * e : r;
        level = q + p.alpha * change;
        if (TREND) {
            tape.set(4 * (i64)t + 1, trend);
            trend = p.phi * trend + p.beta * change;
        }
        if (SEASON != NONE) {
            if (WITH_S) {
                tape.set(4 * (i64)t + 2, s);
            }
            season.set(place, s + p.gamma * (SEASON == MULTIPLIED ? s * e : r));
        }
        squares = squares + e * e;
        if (RELATIVE) {
            const Real factor = seen ? f : Real(1.0);
            least = factor.v < least ? factor.v : least;
            const i64 bits = __double_as_longlong((product * factor).v);
            exponents += (i64)((u64)bits >> 52) - 1023;
            product = Real(__longlong_as_double((bits & MANTISSA) | ONE));
        }
        place = place + 1 == period ? 0 : place + 1;
    }

    const Real sum = squares + series.floor * series.observed;
    Real value(NAN);
    // Of what is not a number the CPU's logarithm is none either, and the point is refused.
    if (sum.v > 0.0 && sum.v < INFINITY) {
        value = series.observed * logarithm(sum);
    } else if (sum.v > 0.0) {
        value = Real(INFINITY);
    }
    if (RELATIVE) {
        value = value + Real(2.0) * (logarithm(product) + Real((double)exponents) * LN_2);
        if (!(least >= LEAST_FORECAST)) {
            value = Real(INFINITY);
        }
    }
    const Real weight = Real(2.0) * series.observed / sum;

    Smoothing by{0.0, 0.0, 0.0, 0.0};
    Real by_level(0.0), by_trend(0.0);
    if (SEASON != NONE) {
        for (int at = 0; at < period; ++at) {
            season.set(at, 0.0);
        }
    }
#pragma unroll 4
    for (int t = steps - 1; t >= 0; --t) {
        place = place == 0 ? period - 1 : place - 1;
        const Real y(__ldg(samples + t * stride));
        const bool seen = y.v == y.v;
        const Real q = WITH_Q ? tape.get(4 * (i64)t) : Real(0.0), e = tape.get(4 * (i64)t + 3);
        const Real b = TREND ? tape.get(4 * (i64)t + 1) : Real(0.0);
        const Real s = WITH_S ? tape.get(4 * (i64)t + 2) : Real(0.0);
        const Real by_s = SEASON == NONE ? Real(0.0) : season.get(place);
        Real by_q = by_level;
        Real by_f(0.0);
        if (SEASON == MULTIPLIED) {
            const Real f = q * s;
            const Real moved = p.alpha * by_level + (TREND ? p.beta * by_trend : Real(0.0));
            const Real by_e = q * moved + s * (p.gamma * by_s) + weight * e;
            by.alpha = by.alpha + q * e * by_level;
            if (TREND) {
                by.beta = by.beta + q * e * by_trend;
            }
            by.gamma = by.gamma + s * e * by_s;
            by_q = by_q + e * moved;
            if (seen) {
                by_f = (Real(2.0) - by_e * (Real(1.0) + e)) / f;
            }
            by_q = by_q + by_f * s;
            season.set(place, by_s * (Real(1.0) + p.gamma * e) + by_f * q);
        } else {
            const Real f = SEASON == ADDED ? q + s : q;
            const Real r = !RELATIVE ? e : seen ? y - f : Real(0.0);
            Real moved = p.alpha * by_level;
            by.alpha = by.alpha + by_level * r;
            if (TREND) {
                moved = moved + p.beta * by_trend;
                by.beta = by.beta + by_trend * r;
            }
            if (SEASON == ADDED) {
                moved = moved + p.gamma * by_s;
                by.gamma = by.gamma + by_s * r;
            }
            const Real weighted = weight * e;
            if (seen) {
                by_f = RELATIVE ? (Real(2.0) - weighted * (Real(1.0) + e)) / f - moved : -(moved + weighted);
            }
            by_q = by_q + by_f;
            if (SEASON == ADDED) {
                season.set(place, by_s + by_f);
            }
        }
        if (TREND) {
            const Real both = by_trend + by_q;
            by.phi = by.phi + b * both;
            by_trend = p.phi * both;
        }
        by_level = by_q;
    }
    found = Gradient{by, by_level, by_trend};
    return value;
}

// The value at scratch.trial, and its gradient in scratch.slopes.
__device__ Real evaluate(const Model& model, const Series& series, const Scratch& scratch) {
    const Smoothing p = smoothing(model, scratch.trial);
    int at = model.smoothing;
    const Real level = series.level + series.units[0] * scratch.trial.get(at++);
    Real trend(0.0);
    if (model.trend) {
        trend = series.trend + series.units[1] * scratch.trial.get(at++);
    }
    if (model.season != NONE) {
        const Seasonal own = seasonal();
        Real sum(0.0);
        for (int place = 1; place < series.period; ++place) {
            const Real start(series.season_start[place * series.stride]);
            const Real season = start + series.units[2] * scratch.trial.get(at + place - 1);
            own.set(place, season);
            sum = sum + season;
        }
        own.set(0, Real(model.season == MULTIPLIED ? (double)series.period : 0.0) - sum);
    }
    Gradient by;
    Real value;
    switch ((model.relative ? 1 : 0) + (model.trend ? 2 : 0) + 4 * model.season) {
#define PASS(RELATIVE, TREND, SEASON) \
    pass<RELATIVE, TREND, SEASON>(series, scratch.tape, p, level, trend, by)
        case 0: value = PASS(false, false, NONE); break;
        case 1: value = PASS(true, false, NONE); break;
        case 2: value = PASS(false, true, NONE); break;
        case 3: value = PASS(true, true, NONE); break;
        case 4: value = PASS(false, false, ADDED); break;
        case 5: value = PASS(true, false, ADDED); break;
        case 6: value = PASS(false, true, ADDED); break;
        case 7: value = PASS(true, true, ADDED); break;
        case 9: value = PASS(true, false, MULTIPLIED); break;
        default: value = PASS(true, true, MULTIPLIED); break;
#undef PASS
    }
    smoothing_slopes(model, scratch.trial, by.smoothing, scratch.slopes);
    at = model.smoothing;
    scratch.slopes.set(at++, series.units[0] * by.level);
    if (model.trend) {
        scratch.slopes.set(at++, series.units[1] * by.trend);
    }
    if (model.season != NONE) {
        const Seasonal own = seasonal();
        const Real dependent = own.get(0);
        for (int place = 1; place < series.period; ++place) {
            const Real slope = own.get(place) - dependent;
            scratch.slopes.set(at + place - 1, series.units[2] * slope);
        }
    }
    return value;
}

}  // namespace
