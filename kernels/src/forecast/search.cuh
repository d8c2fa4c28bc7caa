// The search for the best point, one thread each: as search.rs, step by step.

namespace {

__device__ NEVER_INLINED Real dot(const Column& a, const Column& b, int n) {
    Real sum(0.0);
    for (int at = 0; at < n; ++at) {
        sum = sum + a.get(at) * b.get(at);
    }
    return sum;
}

struct Search {
    const Model& model;
    const Scratch& scratch;
    // The variables of a level that is the mean of all samples, and of no trend.
    Real flat_level, flat_trend;
    int phase = STARTS, values = 0, tries = 0, small = 0;
    bool updated = false;
    int stage = 0;
    Real kept = Real(INFINITY), value = Real(INFINITY), step, near, far, slope;

    __device__ Search(const Model& model, const Scratch& scratch) : model(model), scratch(scratch) {}

    __device__ void begin(Real level, Real trend) {
        flat_level = level;
        flat_trend = trend;
        stage = 0;
        kept = Real(INFINITY);
        restart();
    }

    __device__ NEVER_INLINED void restart() {
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

    __device__ NEVER_INLINED void start(int index) {
        const bool is_flat = index == STARTS_OF_ONE;
        const double alpha = is_flat ? -0.95 : index == 0 ? -0.63 : index == 1 ? -0.2 : 0.4;
        const double others = is_flat ? -0.95 : stage == 1 ? 0.0 : -0.63;
        scratch.trial.set(0, alpha);
        int at = 1;
        if (model.trend) {
            scratch.trial.set(at++, others);
        }
        if (model.season != NONE) {
            scratch.trial.set(at++, others);
        }
        if (model.damped) {
            scratch.trial.set(at++, 0.4);
        }
        if (is_flat) {
            scratch.trial.set(at, flat_level);
            if (model.trend) {
                scratch.trial.set(at + 1, flat_trend);
            }
        }
    }

    __device__ int starts() const { return stage == 0 ? STARTS_OF_ONE + 1 : stage == 1 ? STARTS_OF_ONE : 1; }

    __device__ NEVER_INLINED void end() {
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

    __device__ NEVER_INLINED void tell_start(Real found) {
        if (found < value) {
            value = found;
            for (int at = 0; at < model.dimension; ++at) {
                scratch.x.set(at, scratch.trial.get(at));
                scratch.gradient.set(at, scratch.slopes.get(at));
            }
        }
        if (values < starts()) {
            start(values);
        } else if (value.v < INFINITY) {
            phase = ALONG;
            steepest();
        } else {
            end();
        }
    }

    __device__ NEVER_INLINED void tell_along(Real found) {
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

    __device__ NEVER_INLINED void accept(Real found) {
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

    __device__ NEVER_INLINED void update() {
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

    __device__ NEVER_INLINED void steepest() {
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

    __device__ NEVER_INLINED void go() {
        for (int at = 0; at < model.dimension; ++at) {
            scratch.trial.set(at, scratch.x.get(at) + step * scratch.direction.get(at));
        }
    }
};

}  // namespace
