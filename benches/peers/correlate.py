import numpy as np
import pandas as pd
from scipy import stats

MAX_LAG = 24
STRONGEST = 1_000


def load(folder, sizes):
    x = np.fromfile(f"{folder}/x.f64").reshape(sizes["rows"], sizes["cols"])
    x32 = x.astype(np.float32)
    few = x[: min(sizes["few"], len(x))]
    gappy = pd.DataFrame(np.fromfile(f"{folder}/gappy.f64").reshape(few.shape).T)

    def best_lags():
        best = np.zeros((len(few), len(few)))
        length = few.shape[1]
        for shift in range(min(MAX_LAG, length // 4) + 1):
            heads, tails = few[:, : length - shift], few[:, shift:]
            heads = heads - heads.mean(axis=1, keepdims=True)
            tails = tails - tails.mean(axis=1, keepdims=True)
            heads /= np.linalg.norm(heads, axis=1, keepdims=True)
            tails /= np.linalg.norm(tails, axis=1, keepdims=True)
            ahead = heads @ tails.T
            for r in (ahead, ahead.T):
                np.copyto(best, r, where=np.abs(r) > np.abs(best))
        return best

    def strongest():
        r = np.corrcoef(x)
        r = r[np.triu_indices(len(r), 1)]
        size = np.abs(r)
        best = np.argpartition(size, -STRONGEST)[-STRONGEST:] if len(r) > STRONGEST else np.arange(len(r))
        return r[best[np.argsort(-size[best])]]

    return {
        ("strongest pairs f64", "numpy, then argpartition"): strongest,
        ("correlate f64", "numpy"): lambda: np.corrcoef(x),
        ("correlate f32", "numpy, dtype=float32"): lambda: np.corrcoef(x32, dtype=np.float32),
        ("correlate f32", "numpy, as called by default"): lambda: np.corrcoef(x32),
        ("Spearman f64", "scipy"): lambda: stats.spearmanr(x, axis=1).statistic,
        ("pairwise f64, few rows", "pandas"): lambda: gappy.corr(min_periods=2).to_numpy(),
        ("best lags f64, few rows", "numpy, a product for each lag"): best_lags,
    }


def sample(case, result):
    if case == "strongest pairs f64":
        return result
    step = max(1, len(result) // 16)
    # A series has no lag with itself.
    rows = result[:-1] if case == "best lags f64, few rows" else result
    return rows[::step, -1]
