// Fits models of exponential smoothing: one thread searches the best point of one model for one series.
//
//   grid      x: series of the tile, y: models       a warp has one model and 32 neighbouring series
//   input     samples[t][series]  facts[f][series]   so that every load of a warp is one line
//   facts     observed, floor of Σe², the same for relative errors, unit, mean, which models (bits), and for each
//             kind of season: level, line at 0, slope, season[period]
//   scratch   [place][thread] for each thread: tape[4 · samples] of q, b, s, e; inverse[d · d];
//             x, gradient, direction, trial, product, slopes, kept [d each]; season, by_season [period each]
//
// The same machine as search.rs and the same recursion as likelihood.rs, operation by operation: sums and products are
// never contracted (`Real`), quotients and roots are rounded as IEEE 754 has it. So every thread takes the steps that
// the CPU takes, bit for bit, and the tests demand it. A change here is a change there.
//
// Hazards.
// - Threads of a warp search for different numbers of values; the first to end waits for the last. All threads of a
//   warp evaluate the same code, so what differs is only when they are done.
// - The recursion is a chain of dependent operations of 8 to 40 cycles: what bounds it is their latency, and at many
//   series the bandwidth of the tape (64 bytes a step, there and back). Enough warps hide the first.

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
        found.beta = Real(LEAST) + (alpha - LEAST) * wave(x.get(at++));
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
        by_alpha = by_alpha + by.beta * wave(x.get(at));
        slopes.set(at, by.beta * ((alpha - LEAST) * wave_slope(x.get(at))));
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

__device__ Real dot(const Column& a, const Column& b, int n) {
    Real sum(0.0);
    for (int at = 0; at < n; ++at) {
        sum = sum + a.get(at) * b.get(at);
    }
    return sum;
}

struct Search {
    const Model& model;
    const Scratch& scratch;
    int phase = STARTS, values = 0, tries = 0, small = 0;
    bool updated = false;
    int stage = 0;
    Real kept = Real(INFINITY), value = Real(INFINITY), step, near, far, slope;

    __device__ Search(const Model& model, const Scratch& scratch) : model(model), scratch(scratch) { restart(); }

    __device__ void restart() {
        phase = STARTS;
        values = tries = small = 0;
        updated = false;
        value = Real(INFINITY);
        for (int at = 0; at < model.dimension; ++at) {
            scratch.x.set(at, 0.0);
            scratch.gradient.set(at, 0.0);
            scratch.trial.set(at, 0.0);
        }
        start(0);
    }

    __device__ void start(int index) {
        const double alpha = index == 0 ? -0.63 : index == 1 ? -0.2 : 0.4, others = stage == 1 ? 0.0 : -0.63;
        scratch.trial.set(0, alpha);
        int at = 1;
        if (model.trend) {
            scratch.trial.set(at++, others);
        }
        if (model.season != NONE) {
            scratch.trial.set(at++, others);
        }
        if (model.damped) {
            scratch.trial.set(at, 0.4);
        }
    }

    __device__ void end() {
        const int n = model.dimension;
        if (stage > 0 && kept <= value) {
            value = kept;
            for (int at = 0; at < n; ++at) {
                scratch.x.set(at, scratch.kept.get(at));
            }
        }
        const bool alone = !model.trend && model.season == NONE;
        if (stage == 2 || (value.v == INFINITY && (alone || stage == 1))) {
            phase = DONE;
            return;
        }
        kept = value;
        for (int at = 0; at < n; ++at) {
            scratch.kept.set(at, scratch.x.get(at));
        }
        if (stage == 0 && !alone) {
            stage = 1;
            restart();
            return;
        }
        stage = 2;
        restart();
        for (int at = 0; at < n; ++at) {
            const double x = scratch.kept.get(at).v;
            const double inside = x > INSIDE ? INSIDE : x < -INSIDE ? -INSIDE : x;
            scratch.trial.set(at, at < model.smoothing ? inside : x);
        }
    }

    __device__ void tell(Real found) {
        ++values;
        if (phase == STARTS) {
            tell_start(found);
        } else {
            tell_along(found);
        }
    }

    __device__ void tell_start(Real found) {
        if (found < value) {
            value = found;
            for (int at = 0; at < model.dimension; ++at) {
                scratch.x.set(at, scratch.trial.get(at));
                scratch.gradient.set(at, scratch.slopes.get(at));
            }
        }
        if (stage < 2 && values < STARTS_OF_ONE) {
            start(values);
        } else if (value.v < INFINITY) {
            phase = ALONG;
            steepest();
        } else {
            end();
        }
    }

    __device__ void tell_along(Real found) {
        ++tries;
        if (found <= value + Real(1e-4) * step * slope) {
            const Real further = dot(scratch.slopes, scratch.direction, model.dimension);
            if (further < Real(0.9) * slope && tries < MOST_TRIES && values < MOST_VALUES) {
                near = step;
            } else {
                accept(found);
                return;
            }
        } else if (tries >= MOST_TRIES || values >= MOST_VALUES) {
            end();
            return;
        } else {
            far = step;
        }
        step = far.v < INFINITY ? Real(0.5) * (near + far) : Real(2.0) * step;
        go();
    }

    __device__ void accept(Real found) {
        const int n = model.dimension;
        const Real gained = value - found;
        for (int at = 0; at < n; ++at) {
            const Real x = scratch.trial.get(at), here = scratch.slopes.get(at);
            scratch.trial.set(at, x - scratch.x.get(at));
            scratch.direction.set(at, here - scratch.gradient.get(at));
            scratch.x.set(at, x);
            scratch.gradient.set(at, here);
        }
        value = found;
        update();
        small = gained.v < LITTLE ? small + 1 : 0;
        if (small >= 2 || values >= MOST_VALUES) {
            end();
            return;
        }
        for (int row = 0; row < n; ++row) {
            scratch.direction.set(row, -dot(scratch.inverse.from(row * n), scratch.gradient, n));
        }
        slope = dot(scratch.gradient, scratch.direction, n);
        if (slope.v < 0.0) {
            begin_line(1.0);
        } else {
            steepest();
        }
    }

    __device__ void update() {
        const int n = model.dimension;
        const Real curvature = dot(scratch.trial, scratch.direction, n);
        if (curvature.v <= 0.0 || !(curvature.v - curvature.v == 0.0)) {
            return;
        }
        if (!updated) {
            const Real scale = curvature / dot(scratch.direction, scratch.direction, n);
            for (int at = 0; at < n; ++at) {
                scratch.inverse.set(at * n + at, scale);
            }
            updated = true;
        }
        for (int row = 0; row < n; ++row) {
            scratch.product.set(row, dot(scratch.inverse.from(row * n), scratch.direction, n));
        }
        const Real rho = Real(1.0) / curvature;
        const Real factor = (Real(1.0) + dot(scratch.direction, scratch.product, n) * rho) * rho;
        for (int row = 0; row < n; ++row) {
            const Real stepped = scratch.trial.get(row) * factor, product = scratch.product.get(row) * rho;
            const Real both = scratch.trial.get(row) * rho;
            for (int col = 0; col < n; ++col) {
                const Real less = product * scratch.trial.get(col) + both * scratch.product.get(col);
                const Real cell = scratch.inverse.get(row * n + col);
                scratch.inverse.set(row * n + col, cell + (stepped * scratch.trial.get(col) - less));
            }
        }
    }

    __device__ void steepest() {
        const int n = model.dimension;
        for (int at = 0; at < n * n; ++at) {
            scratch.inverse.set(at, at % (n + 1) == 0 ? 1.0 : 0.0);
        }
        for (int at = 0; at < n; ++at) {
            scratch.direction.set(at, -scratch.gradient.get(at));
        }
        updated = false;
        slope = dot(scratch.gradient, scratch.direction, n);
        if (slope.v < 0.0) {
            const Real length = root(-slope);
            begin_line(length.v > 0.5 ? Real(0.5) / length : Real(1.0));
        } else {
            end();
        }
    }

    __device__ void begin_line(Real first) {
        step = first;
        near = Real(0.0);
        far = Real(INFINITY);
        tries = 0;
        go();
    }

    __device__ void go() {
        for (int at = 0; at < model.dimension; ++at) {
            scratch.trial.set(at, scratch.x.get(at) + step * scratch.direction.get(at));
        }
    }
};

}  // namespace

// `models` has for each: 1 relative, 2 trend, 4 damped, 8 added or 16 multiplied season. Values of searches that
// found nothing, or were not for the series, are infinite. points[model][variable][series] of `dimension` variables.
extern "C" __global__ void __launch_bounds__(64)
fit(const double* input, const int* models, double* memory, double* values, double* points, int series_count,
    int samples, int period, int dimension) {
    const int column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= series_count) {
        return;
    }
    const int number = blockIdx.y, bits = models[number];
    const i64 count = series_count, slot = (i64)number * count + column, slots = (i64)gridDim.y * count;
    const double* facts = input + (i64)samples * count + column;
    values[slot] = INFINITY;
    if (!((u64)facts[5 * count] >> number & 1)) {
        return;
    }

    Model model;
    model.relative = bits & 1;
    model.trend = bits & 2;
    model.damped = bits & 4;
    model.season = bits & 8 ? ADDED : bits & 16 ? MULTIPLIED : NONE;
    model.smoothing = 1 + (model.trend ? 1 : 0) + (model.season != NONE ? 1 : 0) + (model.damped ? 1 : 0);
    model.dimension = model.smoothing + 1 + (model.trend ? 1 : 0) + (model.season != NONE ? period - 1 : 0);

    Series series;
    series.samples = input + column;
    series.stride = count;
    series.steps = samples;
    series.period = period;
    series.observed = Real(facts[0]);
    series.floor = Real(facts[model.relative ? 2 * count : count]);
    const double* start = facts + (FACTS + (i64)model.season * (3 + period)) * count;
    series.level = Real(model.trend ? start[count] : start[0]);
    series.trend = Real(start[2 * count]);
    series.season_start = start + 3 * count;
    const Real unit(facts[3 * count]), mean(facts[4 * count]);
    series.units[0] = unit;
    series.units[1] = Real(0.1) * unit;
    series.units[2] = model.season == MULTIPLIED ? unit / mean : unit;

    const int d = model.dimension;
    Scratch scratch;
    Column next{memory + slot, slots};
    scratch.tape = next;
    next = next.from(4 * (i64)samples);
    scratch.inverse = next;
    next = next.from((i64)d * d);
    Column* vectors[7] = {&scratch.x,       &scratch.gradient, &scratch.direction, &scratch.trial,
                          &scratch.product, &scratch.slopes,   &scratch.kept};
    for (int at = 0; at < 7; ++at) {
        *vectors[at] = next;
        next = next.from(d);
    }
    scratch.season = next;
    scratch.by_season = next.from(period);

    Search search(model, scratch);
    while (search.phase != DONE) {
        search.tell(evaluate(model, series, scratch));
    }
    if (search.value.v - search.value.v == 0.0) {
        values[slot] = search.value.v;
        for (int at = 0; at < d; ++at) {
            points[((i64)number * dimension + at) * count + column] = scratch.x.get(at).v;
        }
    }
}
