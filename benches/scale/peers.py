"""What others do of the same rows, each in a process of its own: `peers.py NAME FILE …`, started by scale.py. The last line says what."""

import json
import os
import sys
import time
from itertools import combinations

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def start():
    """Seconds now, and those on all processors, of processes that ended among them."""
    return time.perf_counter(), sum(os.times()[:4])


def tell(began, **more):
    work, cpu = (now - then for now, then in zip(start(), began))
    print(json.dumps({"work": work, "cpu": cpu, **more}))


def samples(path, columns=("series", "at", "value")):
    """The rows with the series as a category, in the order of the file: by series, then time."""
    return pq.read_table(path, columns=list(columns), read_dictionary=["series"]).to_pandas()


def forecasts(make, path, seconds, out, tries):
    """All series, or as many as take so many seconds, with the number of jobs that is faster in trials."""
    from statsforecast import StatsForecast

    whole = samples(path)
    whole = whole.rename(columns={"series": "unique_id", "at": "ds", "value": "y"})
    whole["ds"] = whole["ds"].dt.tz_localize(None)
    total = whole["unique_id"].nunique()
    length = len(whole) // total

    def run(frame, count, jobs):
        part = frame.iloc[: count * length]
        part = part.assign(unique_id=part["unique_id"].cat.remove_unused_categories())
        found = StatsForecast(models=[make()], freq="h", n_jobs=jobs).forecast(df=part, h=24, level=[95])
        name = found.columns[2]
        return [found[column].to_numpy().reshape(count, 24) for column in (name, f"{name}-lo-95", f"{name}-hi-95")]

    run(whole, 2, 1)  # Whatever is compiled.
    speeds = {}
    for jobs in tries:
        count = min(8, total)
        while True:
            tried = time.perf_counter()
            run(whole, count, jobs)
            taken = time.perf_counter() - tried
            speeds[jobs] = count / taken
            if taken > seconds / 20 or count == total:
                break
            count = min(2 * count, total)
    jobs = max(speeds, key=speeds.get)
    count = max(1, min(total, int(speeds[jobs] * seconds)))
    del whole
    began = start()
    frame = samples(path).rename(columns={"series": "unique_id", "at": "ds", "value": "y"})
    frame["ds"] = frame["ds"].dt.tz_localize(None)
    found = run(frame, count, jobs)
    tell(began, series=count, n_jobs=jobs)
    np.save(out, np.stack(found))


def ets(path, seconds, out):
    from statsforecast.models import AutoETS

    forecasts(lambda: AutoETS(season_length=24), path, float(seconds), out, (1, -1))


def naive(path, seconds, out):
    from statsforecast.models import SeasonalNaive

    forecasts(lambda: SeasonalNaive(season_length=24), path, float(seconds), out, (1, -1))


def z_score(path, window, out):
    window = int(window)
    began = start()
    frame = samples(path)
    time_of_day = frame["at"].dt.hour * 60 + frame["at"].dt.minute
    series = frame["series"].cat.codes
    usual = frame["value"].groupby([series, time_of_day]).transform("median")
    rest = frame["value"] - usual
    median = rest.groupby(series).rolling(window, min_periods=window // 2).median().to_numpy()
    away = (rest - median).abs()
    deviation = 1.4826 * away.groupby(series).rolling(window, min_periods=window // 2).median().to_numpy()
    at = np.flatnonzero((away > 6 * deviation).to_numpy())
    # What is less than a window apart is one.
    series = series.to_numpy()[at]
    begins = np.append(True, (np.diff(at) > window) | (np.diff(series) != 0))[: len(at)]
    ends = np.append(begins[1:], True)[: len(at)]
    length = len(frame) // frame["series"].nunique()
    tell(began, findings=int(begins.sum()))
    np.save(out, np.stack([series[begins], at[begins] % length, at[ends] % length], axis=1))


def discords(path, window, seconds, out):
    import stumpy

    window, seconds = int(window), float(seconds)
    stumpy.stump(np.random.default_rng(0).standard_normal(1000), window)  # Compiles it.
    began = start()
    frame = samples(path, ("series", "value"))
    total = frame["series"].nunique()
    values = frame["value"].to_numpy().reshape(total, -1)
    found = []
    for series, one in enumerate(values):
        profile = stumpy.stump(one, window)[:, 0].astype(float)
        highest = int(np.argmax(np.where(np.isfinite(profile), profile, -1)))
        found.append((profile[highest], series, highest, highest + window - 1))
        if time.perf_counter() - began[0] > seconds:
            break
    tell(began, series=len(found))
    np.save(out, np.array([of[1:] for of in sorted(found, reverse=True)]))


def contributions(path, later_from, names):
    """Of each value and each pair of values: what it adds to the change of sum(failed) / count(*), and how sure its own change is."""
    names = names.split(",")
    began = start()
    table = pq.read_table(path, read_dictionary=names)
    later = pc.greater_equal(table["at"], pa.scalar(pd.Timestamp(later_from, tz="UTC"), pa.timestamp("us", tz="UTC")))
    frame = table.select([*names, "failed"]).to_pandas()
    del table
    frame["later"] = later.to_numpy()
    rows_before, rows_after = (~frame["later"]).sum(), frame["later"].sum()
    best, groups = None, 0
    for columns in [*combinations(names, 1), *combinations(names, 2)]:
        sums = frame.groupby([*columns, "later"], observed=True)["failed"].agg(["sum", "count"]).unstack("later", fill_value=0)
        failed, count = sums["sum"], sums["count"]
        contribution = failed[True] / rows_after - failed[False] / rows_before
        rate = (failed[True] + failed[False]) / (count[True] + count[False])
        deviation = np.sqrt(rate * (1 - rate) * (1 / count[True] + 1 / count[False]))
        z = ((failed[True] / count[True] - failed[False] / count[False]) / deviation).fillna(0)
        groups += len(sums)
        first = z.abs().idxmax()
        if best is None or abs(z[first]) > abs(best["z"]):
            values = first if isinstance(first, tuple) else (first,)
            finding = " and ".join(f"{column} = {value}" for column, value in zip(columns, values))
            best = {"z": float(z[first]), "contribution": float(contribution[first]), "finding": finding}
    tell(began, groups=groups, **best)


{"ets": ets, "naive": naive, "z_score": z_score, "discords": discords, "contributions": contributions}[sys.argv[1]](*sys.argv[2:])
