import bottleneck
import numbagg
import numpy as np
import pandas as pd
import polars as pl


def load(folder, sizes):
    window = sizes["window"]
    x = np.fromfile(f"{folder}/x.f64").reshape(sizes["rows"], sizes["cols"])
    few = x[: min(sizes["few"], sizes["rows"])]
    frame = pl.DataFrame({str(row): values for row, values in enumerate(x)})

    columns = pd.DataFrame(few.T)
    hours = pd.to_datetime(np.arange(x.shape[1]) * 3600, unit="s")
    timed = pd.DataFrame(few.T, index=hours)

    def polars(name):
        return lambda: frame.select(getattr(pl.all(), name)(window))

    def sliding_mad():
        windows = np.lib.stride_tricks.sliding_window_view(few, window, axis=1)
        result = np.full_like(few, np.nan)
        for row in range(len(few)):
            centre = np.median(windows[row], axis=1)
            result[row, window - 1 :] = np.median(np.abs(windows[row] - centre[:, None]), axis=1)
        return result

    return {
        ("rolling median", "bottleneck"): lambda: bottleneck.move_median(x, window, axis=1),
        ("rolling median", "polars"): polars("rolling_median"),
        ("rolling mean", "bottleneck"): lambda: bottleneck.move_mean(x, window, axis=1),
        ("rolling mean", "numbagg"): lambda: numbagg.move_mean(x, window=window),
        ("rolling mean", "polars"): polars("rolling_mean"),
        ("rolling std", "bottleneck"): lambda: bottleneck.move_std(x, window, axis=1, ddof=1),
        ("rolling std", "numbagg"): lambda: numbagg.move_std(x, window=window),
        ("rolling std", "polars"): polars("rolling_std"),
        ("rolling min", "bottleneck"): lambda: bottleneck.move_min(x, window, axis=1),
        ("rolling min", "polars"): polars("rolling_min"),
        ("rolling rank, few rows", "pandas"): lambda: columns.rolling(window).rank(),
        ("rolling mean by time, few rows", "pandas"): lambda: timed.rolling(f"{window}h").mean(),
        ("rolling MAD, few rows", "numpy, sliding windows"): sliding_mad,
    }


def sample(case, result):
    if isinstance(result, pl.DataFrame):
        result = [column.to_numpy() for column in result.get_columns()]
    if isinstance(result, pd.DataFrame):
        result = result.to_numpy().T
    return [row[-1] for row in result[:: max(1, len(result) // 16)]]
