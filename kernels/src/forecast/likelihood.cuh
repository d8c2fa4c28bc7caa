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
// Steps of the way there that the way back takes once more, together.
constexpr int STRETCH = 8;

// One thread's part of shared memory.
struct Own {
    double* first;
    __device__ __forceinline__ Real get(int place) const { return Real(first[place * WIDTH]); }
    __device__ __forceinline__ void set(int place, Real value) const { first[place * WIDTH] = value.v; }
};

// A value of each place of the season: the states on the way there, the gradient by them on the way back.
__device__ __forceinline__ Own seasonal() {
    DYNAMIC_SHARED(shared);
    return Own{(double*)shared + threadIdx.x};
}

// Four values of each step of a stretch: error, trend before it, and what else the way back asks; at first the sample and
// the season take the last two.
struct Stretch {
    Own own;
    __device__ __forceinline__ Real get(int step, int value) const { return own.get(4 * step + value); }
    __device__ __forceinline__ void set(int step, int value, Real to) const { own.set(4 * step + value, to); }
};

__device__ __forceinline__ Stretch stretch_of(int period) {
    return Stretch{Own{seasonal().first + period * WIDTH}};
}

enum Season { NONE = 0, ADDED = 1, MULTIPLIED = 2, SEASONS = 3 };
enum Phase { STARTS, ALONG, DONE };

struct Model {
    bool relative, trend, damped;
    int season;
    int smoothing;
    int dimension;
    Real most_beta;

    __device__ static Model of(int bits, int period) {
        Model model;
        model.relative = bits & 1;
        model.trend = bits & 2;
        model.damped = bits & 4;
        model.season = bits & 8 ? ADDED : bits & 16 ? MULTIPLIED : NONE;
        const bool has_season = model.season != NONE;
        model.smoothing = 1 + (model.trend ? 1 : 0) + (has_season ? 1 : 0) + (model.damped ? 1 : 0);
        const double own_period = has_season ? period : 1;
        model.most_beta = Real(LEAST) + Real(0.2) * (Real(MOST) - LEAST) / Real(own_period);
        model.dimension = model.smoothing + 1 + (model.trend ? 1 : 0) + (has_season ? period - 1 : 0);
        return model;
    }
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
    // Side by side, those up to the end of the last stretch missing; of floats, where they are.
    const void* samples;
    bool are_floats;
    // From fact to fact.
    i64 stride;
    int steps, period;
    Real observed, floor;
    // Where the states start, and their units in the search.
    Real level, trend;
    const double* season_start;
    Real units[3];

    // `facts` are of this series, `stride` apart.
    __device__ void read(const Model& model, const double* facts) {
        observed = Real(facts[0]);
        floor = Real(facts[model.relative ? 2 * stride : stride]);
        const double* start = facts + (FACTS + (i64)model.season * (3 + period)) * stride;
        level = Real(model.trend ? start[stride] : start[0]);
        trend = Real(start[2 * stride]);
        season_start = start + 3 * stride;
        const Real unit(facts[3 * stride]), mean(facts[4 * stride]), first(start[0]);
        const Real states = model.relative && first.v > 0.0 && first < unit ? first : unit;
        units[0] = states;
        units[1] = Real(0.1) * states;
        units[2] = model.season == MULTIPLIED ? unit / mean : states;
    }
};

struct Scratch {
    // The seasons of each stretch's steps, and level and trend before the first: of a thread side by side, and the same of
    // the next stretch further on.
    double *seasons, *states;
    i64 to_next_seasons, to_next_states;
    Column inverse, x, gradient, direction, trial, product, slopes, kept;
};

// By what the value changes: by the smoothing, and by the states at the start.
struct Gradient {
    Smoothing smoothing;
    Real level, trend;
};

// One step ahead: from level, trend and season to the forecast, its error and the states after it.
template <bool RELATIVE, bool TREND, int SEASON>
struct Step {
    bool seen;
    Real q, f, r, e;

    __device__ __forceinline__ Step(const Smoothing& p, Real y, Real s, Real& level, Real& trend) {
        seen = y.v == y.v;
        q = TREND ? level + p.phi * trend : level;
        f = SEASON == NONE ? q : SEASON == ADDED ? q + s : q * s;
        r = seen ? y - f : Real(0.0);
        e = RELATIVE ? r / f : r;
        const Real change = SEASON == MULTIPLIED ? q * e : r;
        level = q + p.alpha * change;
        if (TREND) {
            trend = p.phi * trend + p.beta * change;
        }
    }
};

// What a stretch needs, by loads that are under way together; nothing waits for them before it is put to where it is used.
__device__ __forceinline__ void load(const float* from, float (&to)[STRETCH]) {
#pragma unroll
    for (int at = 0; at < STRETCH; at += 4) {
        const float4 four = __ldg((const float4*)(from + at));
        to[at] = four.x;
        to[at + 1] = four.y;
        to[at + 2] = four.z;
        to[at + 3] = four.w;
    }
}

__device__ __forceinline__ void load(const double* from, double (&to)[STRETCH]) {
#pragma unroll
    for (int at = 0; at < STRETCH; at += 2) {
        const double2 two = *(const double2*)(from + at);
        to[at] = two.x;
        to[at + 1] = two.y;
    }
}

template <typename T>
__device__ __forceinline__ void put(const Stretch& stretch, int value, const T (&from)[STRETCH]) {
#pragma unroll
    for (int at = 0; at < STRETCH; ++at) {
        stretch.set(at, value, Real((double)from[at]));
    }
}

// The value at the point whose states are in `level`, `trend` and `seasonal()`; the gradient by them goes to `found` and
// `seasonal()`. No part of its caller, so that its loops have the registers to themselves.
//
// Steps are not unrolled: a multiprocessor's warps are in different places of one of these, and what none of its
// caches of instructions held would be waited for longer than what a step computes. What the next stretch needs is on its
// way while one is computed.
template <typename T, bool RELATIVE, bool TREND, int SEASON>
__device__ NEVER_INLINED Real pass(const Series& series, const Scratch& scratch, const Smoothing p, Real level, Real trend,
                                   Gradient& found) {
    using Ahead = Step<RELATIVE, TREND, SEASON>;
    // Where a stretch has the sample, then q or f; and the season before, then the same or r.
    constexpr int ERROR = 0, SLOPE = 1, SAMPLE = 2, PART = 3;
    const Own season = seasonal();
    const Stretch stretch = stretch_of(series.period);
    const int steps = series.steps;
    const int period = SEASON == NONE ? 1 : series.period;
    const i64 to_next_seasons = scratch.to_next_seasons, to_next_states = scratch.to_next_states;
    const T* samples = (const T*)series.samples;
    double *seasons = scratch.seasons, *states = scratch.states;
    Real squares(0.0), product(1.0);
    i64 exponents = 0;
    double least = INFINITY;
    int place = 0;
    T ys[STRETCH];
    load(samples, ys);
#pragma unroll 1
    for (int left = steps; left > 0; left -= STRETCH) {
        put(stretch, SAMPLE, ys);
        samples += STRETCH;
        if (left > STRETCH) {
            load(samples, ys);
        }
        *(double2*)states = make_double2(level.v, trend.v);
        states += to_next_states;
        const int here = left < STRETCH ? left : STRETCH;
#pragma unroll 1
        for (int at = 0; at < here; ++at) {
            const Real s = SEASON == NONE ? Real(0.0) : season.get(place);
            const Ahead ahead(p, stretch.get(at, SAMPLE), s, level, trend);
            if (SEASON != NONE) {
                stretch.set(at, PART, s);
                season.set(place, s + p.gamma * (SEASON == MULTIPLIED ? s * ahead.e : ahead.r));
            }
            squares = squares + ahead.e * ahead.e;
            if (RELATIVE) {
                const Real factor = ahead.seen ? ahead.f : Real(1.0);
                least = factor.v < least ? factor.v : least;
                const i64 bits = __double_as_longlong((product * factor).v);
                exponents += (i64)((u64)bits >> 52) - 1023;
                product = Real(__longlong_as_double((bits & MANTISSA) | ONE));
            }
            place = place + 1 == period ? 0 : place + 1;
        }
        if (SEASON != NONE) {
#pragma unroll
            for (int at = 0; at < STRETCH; at += 2) {
                *(double2*)(seasons + at) = make_double2(stretch.get(at, PART).v, stretch.get(at + 1, PART).v);
            }
            seasons += to_next_seasons;
        }
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
    double ss[STRETCH];
    double2 before;
    const auto load_earlier = [&] {
        samples -= STRETCH;
        load(samples, ys);
        if (SEASON != NONE) {
            seasons -= to_next_seasons;
            load(seasons, ss);
        }
        states -= to_next_states;
        before = *(const double2*)states;
    };
    load_earlier();
    const int odd = steps % STRETCH;
#pragma unroll 1
    for (int here = odd == 0 ? STRETCH : odd, left = steps; left > 0; left -= here, here = STRETCH) {
        put(stretch, SAMPLE, ys);
        if (SEASON != NONE) {
            put(stretch, PART, ss);
        }
        level = Real(before.x);
        trend = Real(before.y);
        if (left > here) {
            load_earlier();
        }
        u32 seen = 0;
#pragma unroll 1
        for (int at = 0; at < here; ++at) {
            const Real b = trend, s = SEASON == NONE ? Real(0.0) : stretch.get(at, PART);
            const Ahead ahead(p, stretch.get(at, SAMPLE), s, level, trend);
            seen |= ahead.seen ? 1u << at : 0u;
            stretch.set(at, ERROR, ahead.e);
            if (TREND) {
                stretch.set(at, SLOPE, b);
            }
            if (SEASON == MULTIPLIED) {
                stretch.set(at, SAMPLE, ahead.q);
            } else if (RELATIVE) {
                stretch.set(at, SAMPLE, ahead.f);
                stretch.set(at, PART, ahead.r);
            }
        }
#pragma unroll 1
        for (int at = here - 1; at >= 0; --at) {
            place = place == 0 ? period - 1 : place - 1;
            const bool is_seen = seen >> at & 1;
            const Real e = stretch.get(at, ERROR), b = TREND ? stretch.get(at, SLOPE) : Real(0.0);
            const Real by_s = SEASON == NONE ? Real(0.0) : season.get(place);
            Real by_q = by_level;
            Real by_f(0.0);
            if (SEASON == MULTIPLIED) {
                const Real q = stretch.get(at, SAMPLE), s = stretch.get(at, PART);
                const Real f = q * s;
                const Real moved = p.alpha * by_level + (TREND ? p.beta * by_trend : Real(0.0));
                const Real by_e = q * moved + s * (p.gamma * by_s) + weight * e;
                by.alpha = by.alpha + q * e * by_level;
                if (TREND) {
                    by.beta = by.beta + q * e * by_trend;
                }
                by.gamma = by.gamma + s * e * by_s;
                by_q = by_q + e * moved;
                if (is_seen) {
                    by_f = (Real(2.0) - by_e * (Real(1.0) + e)) / f;
                }
                by_q = by_q + by_f * s;
                season.set(place, by_s * (Real(1.0) + p.gamma * e) + by_f * q);
            } else {
                const Real f = RELATIVE ? stretch.get(at, SAMPLE) : Real(0.0);
                const Real r = RELATIVE ? stretch.get(at, PART) : e;
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
                if (is_seen) {
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
    }
    found = Gradient{by, by_level, by_trend};
    return value;
}

// The value at scratch.trial, and its gradient in scratch.slopes.
__device__ NEVER_INLINED Real evaluate(const Model& model, const Series& series, const Scratch& scratch) {
    const Smoothing p = smoothing(model, scratch.trial);
    int at = model.smoothing;
    const Real level = series.level + series.units[0] * scratch.trial.get(at++);
    Real trend(0.0);
    if (model.trend) {
        trend = series.trend + series.units[1] * scratch.trial.get(at++);
    }
    if (model.season != NONE) {
        const Own own = seasonal();
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
    (series.are_floats ? pass<float, RELATIVE, TREND, SEASON>(series, scratch, p, level, trend, by) \
                       : pass<double, RELATIVE, TREND, SEASON>(series, scratch, p, level, trend, by))
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
        const Own own = seasonal();
        const Real dependent = own.get(0);
        for (int place = 1; place < series.period; ++place) {
            const Real slope = own.get(place) - dependent;
            scratch.slopes.set(at + place - 1, series.units[2] * slope);
        }
    }
    return value;
}

}  // namespace
