// Fits models of exponential smoothing: one thread searches the best point of one model for one series.
//
//   grid      x: series of the tile, y: models       a warp has one model and 32 neighbouring series
//   input     samples[t][series]  facts[f][series]   so that every load of a warp is one line
//   facts     observed, floor of Σe², the same for relative errors, unit, mean, which models (bits), and for each
//             kind of season: level, line at 0, slope, season[period]
//   scratch   [place][thread] for each thread: tape[4 · samples] of q, b, s, e; inverse[d · d];
//             x, gradient, direction, trial, product, slopes, kept [d each]
//   shared    the season of each thread's series [period][thread]
//
// The same machine as search.rs and the same recursion as likelihood.rs, operation by operation: sums and products are
// never contracted (`Real`), quotients and roots are rounded as IEEE 754 has it. So every thread takes the steps that
// the CPU takes, bit for bit, and the tests demand it. A change here is a change there.
//
// Hazards.
// - Threads of a warp search for different numbers of values; the first to end waits for the last. All threads of a
//   warp evaluate the same code, so what differs is only when they are done.
// - The recursion is a chain of dependent operations of 8 to 40 cycles: what bounds it is their latency, and at many
//   series the bandwidth of the tape (16 to 64 bytes a step, there and back). Enough warps hide the first: hence at most
//   128 registers a thread.

// `models` has for each: 1 relative, 2 trend, 4 damped, 8 added or 16 multiplied season. Values of searches that
// found nothing, or were not for the series, are infinite. points[model][variable][series] of `dimension` variables.
extern "C" __global__ void __launch_bounds__(WIDTH, 8)
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
    const double own_period = model.season != NONE ? period : 1;
    model.most_beta = Real(LEAST) + Real(0.2) * (Real(MOST) - LEAST) / Real(own_period);
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
    const Real unit(facts[3 * count]), mean(facts[4 * count]), level(start[0]);
    const Real states = model.relative && level.v > 0.0 && level < unit ? level : unit;
    series.units[0] = states;
    series.units[1] = Real(0.1) * states;
    series.units[2] = model.season == MULTIPLIED ? unit / mean : states;

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

    Search search(model, scratch, (mean - series.level) / series.units[0], -series.trend / series.units[1]);
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
