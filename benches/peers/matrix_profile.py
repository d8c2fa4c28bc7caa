import numpy as np
import stumpy


def load(folder, sizes):
    window = sizes["window"]
    x = np.fromfile(f"{folder}/x.f64")
    few = x[: min(sizes["few"], len(x))]
    return {
        ("matrix profile", "stumpy"): lambda: stumpy.stump(x, window),
        ("matrix profile, few samples", "stumpy"): lambda: stumpy.stump(few, window),
    }


def sample(case, result):
    distances = result[:, 0].astype(float)
    step = max(1, len(distances) // 32)
    return [distances.max(), distances.min(), *distances[::step]]
