"""The peers, in one process that stays: reads `case peer` lines, answers with one JSON line each.

Started by the benchmark with the data's file, its shape and the window; threads are set by environment
variables before anything is imported. Each answer holds the seconds of one run and a sample of the result,
so that the benchmark can check that both computed the same thing.
"""

import json
import sys
import time

import bottleneck
import numbagg
import numpy as np
import polars as pl

path, rows, cols, window, few = sys.argv[1], *map(int, sys.argv[2:6])
x = np.fromfile(path, dtype=np.float64).reshape(rows, cols)
x32 = x.astype(np.float32)
frame = pl.DataFrame({str(row): x[row] for row in range(rows)})


def sliding_mad(values):
    windows = np.lib.stride_tricks.sliding_window_view(values, window, axis=1)
    result = np.full_like(values, np.nan)
    for row in range(values.shape[0]):
        centre = np.median(windows[row], axis=1)
        result[row, window - 1 :] = np.median(np.abs(windows[row] - centre[:, None]), axis=1)
    return result


def polars_rolling(name):
    return lambda: frame.select(getattr(pl.all(), name)(window))


CASES = {
    ("correlate f64", "numpy"): lambda: np.corrcoef(x),
    ("correlate f32", "numpy, dtype=float32"): lambda: np.corrcoef(x32, dtype=np.float32),
    ("correlate f32", "numpy, as called by default"): lambda: np.corrcoef(x32),
    ("rolling median", "bottleneck"): lambda: bottleneck.move_median(x, window, axis=1),
    ("rolling median", "polars"): polars_rolling("rolling_median"),
    ("rolling mean", "bottleneck"): lambda: bottleneck.move_mean(x, window, axis=1),
    ("rolling mean", "numbagg"): lambda: numbagg.move_mean(x, window=window),
    ("rolling mean", "polars"): polars_rolling("rolling_mean"),
    ("rolling std", "bottleneck"): lambda: bottleneck.move_std(x, window, axis=1, ddof=1),
    ("rolling std", "numbagg"): lambda: numbagg.move_std(x, window=window),
    ("rolling std", "polars"): polars_rolling("rolling_std"),
    ("rolling MAD, few rows", "numpy, sliding windows"): lambda: sliding_mad(x[:few]),
}


def sample(result):
    """Every 9973rd value of the last column block, row by row."""
    if isinstance(result, pl.DataFrame):
        columns = [result[str(row)].to_numpy() for row in range(0, rows, max(1, rows // 16))]
        return [float(column[-1]) for column in columns]
    return [float(result[row, -1]) for row in range(0, result.shape[0], max(1, result.shape[0] // 16))]


for line in sys.stdin:
    case, _, peer = line.strip().partition(" / ")
    run = CASES[case, peer]
    start, cpu = time.perf_counter(), time.process_time()
    result = run()
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu_seconds": cpu_seconds, "sample": sample(result)}), flush=True)
