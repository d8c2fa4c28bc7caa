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
    Column tape, inverse, x, gradient, direction, trial, product, slopes, kept, season, by_season;
};

// The value at the point whose states are in `level`, `trend` and scratch.season; the gradient by them goes to `by`,
// `by_level`, `by_trend` and scratch.by_season.
template <bool RELATIVE, bool TREND, int SEASON>
__device__ Real pass(const Series& series, const Scratch& scratch, const Smoothing& p, Real level, Real trend,
                     Smoothing& by, Real& by_level, Real& by_trend) {
    const int period = SEASON == NONE ? 1 : series.period;
    Real squares(0.0), product(1.0);
    i64 exponents = 0;
    double least = INFINITY;
    int place = 0;
    for (int t = 0; t < series.steps; ++t) {
        const Real y(series.samples[t * series.stride]);
        const bool seen = y.v == y.v;
        const Real s = SEASON == NONE ? Real(0.0) : scratch.season.get(place);
        const Real q = TREND ? level + p.phi * trend : level;
        const Real f = SEASON == NONE ? q : SEASON == ADDED ? q + s : q * s;
        const Real r = seen ? y - f : Real(0.0);
        const Real e = RELATIVE ? r / f : r;
        scratch.tape.set(4 * t, q);
        scratch.tape.set(4 * t + 3, e);
        const Real change = SEASON == MULTIPLIED ? q * e : r;
        level = q + p.alpha * change;
        if (TREND) {
            scratch.tape.set(4 * t + 1, trend);
            trend = p.phi * trend + p.beta * change;
        }
        if (SEASON != NONE) {
            scratch.tape.set(4 * t + 2, s);
            scratch.season.set(place, s + p.gamma * (SEASON == MULTIPLIED ? s * e : r));
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

    by = Smoothing{0.0, 0.0, 0.0, 0.0};
    by_level = Real(0.0);
    by_trend = Real(0.0);
    if (SEASON != NONE) {
        for (int at = 0; at < period; ++at) {
            scratch.by_season.set(at, 0.0);
        }
    }
    for (int t = series.steps - 1; t >= 0; --t) {
        place = place == 0 ? period - 1 : place - 1;
        const Real y(series.samples[t * series.stride]);
        const bool seen = y.v == y.v;
        const Real q = scratch.tape.get(4 * t), e = scratch.tape.get(4 * t + 3);
        const Real b = TREND ? scratch.tape.get(4 * t + 1) : Real(0.0);
        const Real s = SEASON == NONE ? Real(0.0) : scratch.tape.get(4 * t + 2);
        const Real by_s = SEASON == NONE ? Real(0.0) : scratch.by_season.get(place);
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
            scratch.by_season.set(place, by_s * (Real(1.0) + p.gamma * e) + by_f * q);
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
                scratch.by_season.set(place, by_s + by_f);
            }
        }
        if (TREND) {
            const Real both = by_trend + by_q;
            by.phi = by.phi + b * both;
            by_trend = p.phi * both;
        }
        by_level = by_q;
    }
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
        Real sum(0.0);
        for (int place = 1; place < series.period; ++place) {
            const Real start(series.season_start[place * series.stride]);
            const Real season = start + series.units[2] * scratch.trial.get(at + place - 1);
            scratch.season.set(place, season);
            sum = sum + season;
        }
        scratch.season.set(0, Real(model.season == MULTIPLIED ? (double)series.period : 0.0) - sum);
    }
    Smoothing by;
    Real by_level, by_trend, value;
    switch ((model.relative ? 1 : 0) + (model.trend ? 2 : 0) + 4 * model.season) {
#define PASS(RELATIVE, TREND, SEASON) \
    pass<RELATIVE, TREND, SEASON>(series, scratch, p, level, trend, by, by_level, by_trend)
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
    smoothing_slopes(model, scratch.trial, by, scratch.slopes);
    at = model.smoothing;
    scratch.slopes.set(at++, series.units[0] * by_level);
    if (model.trend) {
        scratch.slopes.set(at++, series.units[1] * by_trend);
    }
    if (model.season != NONE) {
        const Real dependent = scratch.by_season.get(0);
        for (int place = 1; place < series.period; ++place) {
            const Real slope = scratch.by_season.get(place) - dependent;
            scratch.slopes.set(at + place - 1, series.units[2] * slope);
        }
    }
    return value;
}

}  // namespace
