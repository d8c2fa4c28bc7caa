// Fits models of exponential smoothing: one thread searches the best point of one model for one series at a time.
//
//   grid      x: as many blocks as run at once. A warp begins with one model, its threads with the next series each of
//             that model's queue; one that is done takes the next, and a warp without any goes on to the next model
//   input     samples[series][t]  floats where that loses nothing, and missing up to the end of the last stretch
//             facts[f][series]    observed, floor of Σe², the same for relative errors, unit, mean, which models (bits),
//             and for each kind of season: level, line at 0, slope, season[period]
//   scratch   seasons[stretch][thread][STRETCH]  states[stretch][thread][2] on the way there; and [place][thread]:
//             inverse[d · d]; x, gradient, direction, trial, product, slopes, kept [d each]
//   shared    for each thread: the season of its series [period][thread], and what the way back asks of the steps of
//             one stretch [4 · STRETCH][thread]
//
// The same machine as search.rs and the same recursion as likelihood.rs, operation by operation: sums and products are
// never contracted (`Real`), quotients and roots are rounded as IEEE 754 has it. So every thread takes the steps that
// the CPU takes, bit for bit, and the tests demand it. A change here is a change there.
//
// Hazards.
// - All threads of a warp evaluate the same code for as many samples; searches take from some tens to some hundreds of
//   values, so that a thread that would wait for its neighbours takes another series.
// - The recursion is a chain of dependent operations of 8 to 40 cycles. Enough warps hide that: hence at most 128
//   registers a thread.
// - What the way back asks of the way there is more than the device's memory can bring in the time (16 to 64 bytes a
//   step). So only the states before each stretch are kept and, as a season forgets what it was, the seasons; the
//   steps of a stretch are taken once more on the way back.

// `models` has for each: 1 relative, 2 trend, 4 damped, 8 added or 16 multiplied season; `queues` for each the next
// series, 0 at first. Values of searches that found nothing, or were not for the series, are infinite.
// points[model][variable][series] of `dimension` variables. There is scratch for the first `slots` threads.
extern "C" __global__ void __launch_bounds__(WIDTH, 8)
fit(const char* input, const int* models, int* queues, double* memory, double* values, double* points,
    int slots, int model_count, int series_count, int samples, int are_floats, int period, int dimension) {
    const i64 count = series_count, threads = slots, thread = (i64)blockIdx.x * WIDTH + threadIdx.x;
    const i64 stretches = (samples + STRETCH - 1) / STRETCH;
    Scratch scratch;
    scratch.to_next_seasons = threads * STRETCH;
    scratch.to_next_states = threads * 2;
    {
        scratch.seasons = memory + thread * STRETCH;
        memory += stretches * scratch.to_next_seasons;
        scratch.states = memory + thread * 2;
        memory += stretches * scratch.to_next_states;
        Column next{memory + thread, threads};
        scratch.inverse = next;
        next = next.from((i64)dimension * dimension);
        Column* vectors[7] = {&scratch.x,       &scratch.gradient, &scratch.direction, &scratch.trial,
                              &scratch.product, &scratch.slopes,   &scratch.kept};
        for (int at = 0; at < 7; ++at) {
            *vectors[at] = next;
            next = next.from(dimension);
        }
    }
    Model model;
    Series series;
    series.stride = count;
    series.steps = samples;
    series.period = period;
    series.are_floats = are_floats;
    const i64 row = stretches * STRETCH * (are_floats ? sizeof(float) : sizeof(double));
    Search search(model, scratch);

    const u32 begin = common::multiprocessor() % model_count;
    for (int turn = 0; turn < model_count; ++turn) {
        const int number = (int)((begin + turn) % model_count);
        model = Model::of(models[number], period);
        int column = -1;
        for (bool is_left = thread < threads;;) {
            while (column < 0 && is_left) {
                const int next = atomicAdd(queues + number, 1);
                is_left = next < series_count;
                if (!is_left) {
                    break;
                }
                values[number * count + next] = INFINITY;
                const double* facts = (const double*)(input + count * row) + next;
                if ((u64)facts[5 * count] >> number & 1) {
                    column = next;
                    series.samples = input + next * row;
                    series.read(model, facts);
                    const Real mean(facts[4 * count]);
                    search.begin((mean - series.level) / series.units[0], -series.trend / series.units[1]);
                }
            }
            if (!__any_sync(common::ALL_LANES, column >= 0)) {
                break;
            }
            if (column < 0) {
                continue;
            }
            search.tell(evaluate(model, series, scratch));
            if (search.phase == DONE) {
                if (search.value.v - search.value.v == 0.0) {
                    values[number * count + column] = search.value.v;
                    for (int at = 0; at < model.dimension; ++at) {
                        points[((i64)number * dimension + at) * count + column] = scratch.x.get(at).v;
                    }
                }
                column = -1;
            }
        }
    }
}
