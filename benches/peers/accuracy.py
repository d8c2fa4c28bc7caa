"""Ours beside the peers on real series: `accuracy.py BINARY [COLLECTION...]`.

Forecasts: statsforecast's AirPassengers, and windows of ETT and NAB from the shared data, the last season held out.
Correlations: NumPy in f64 (ranks: SciPy). Matrix profiles: stumpy. Prints tables, and ends with an error where a
correlation is off by more than 1e-6, or a discord is another.
"""

import gzip
import json
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.stats
import stumpy
from statsforecast.models import AutoETS
from statsforecast.utils import AirPassengers

DATA = Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data"))


def ett():
    with gzip.open(DATA / "ett" / "ETTh1.csv.gz", "rt") as file:
        frame = pd.read_csv(file, index_col="date", parse_dates=True)
    return frame


def nab():
    for path in sorted((DATA / "nab" / "data").glob("*/*.csv")):
        frame = pd.read_csv(path, index_col="timestamp", parse_dates=True)
        yield path.stem, frame["value"]


def windows(collection, name, values, season, length):
    """Consecutive windows, with the season after each to be forecast."""
    values = np.asarray(values, dtype=float)
    step = length + season
    for start in range(0, len(values) - step + 1, step):
        window = values[start : start + step]
        # A constant has no model, and a season of zeros no sMAPE.
        if np.isfinite(window).all() and np.ptp(window[:length]) > 0 and np.any(window[length:] != 0):
            yield {
                "collection": collection,
                "name": f"{name}+{start}",
                "season": season,
                "horizon": season,
                "values": window[:length].tolist(),
                "actual": window[length:],
            }


def series():
    yield from windows("AirPassengers", "AirPassengers", AirPassengers, 12, len(AirPassengers) - 12)
    frame = ett()
    for name in frame:
        yield from windows("ETT, hours", name, frame[name], 24, 14 * 24)
        yield from windows("ETT, days", name, frame[name].resample("D").mean(), 7, 98)
    for name, values in nab():
        yield from windows("NAB, hours", name, values.resample("h").mean(), 24, 12 * 24)
        yield from windows("NAB, 5 minutes", name, values.resample("5min").mean(), 1, 288)


def smape(forecast, actual):
    total = np.abs(forecast) + np.abs(actual)
    return np.mean(np.divide(200 * np.abs(forecast - actual), total, out=np.zeros_like(total), where=total > 0))


def theirs(one):
    warnings.simplefilter("ignore")
    model = AutoETS(season_length=one["season"])
    model.fit(np.array(one["values"]))
    mean = model.predict(h=one["horizon"])["mean"]
    fit = model.model_
    components = fit["components"]
    trend = components[1] + ("d" if components[3] == "D" else "")
    # Parameters are named in the order of the smoothing: level, trend, season, damping.
    found = fit["par"][: fit["n_params"]] if "n_params" in fit else fit["par"]
    return {"model": f"ETS({components[0]},{trend},{components[2]})", "aicc": fit["aicc"], "mean": mean, "par": found}


def compare_forecasts(all_series, ours):
    table = {}
    for one, our in zip(all_series, ours):
        their = theirs(one)
        actual = one["actual"]
        row = {
            "ours": smape(np.array(our["mean"]), actual),
            "theirs": smape(np.asarray(their["mean"]), actual),
            "same": our["model"] == their["model"],
            "aicc": our["aicc"] - their["aicc"],
            "name": one["name"],
            "models": (our["model"], their["model"]),
        }
        if row["same"]:
            scale = np.abs(our["mean"]).max()
            row["apart"] = np.abs(np.array(our["mean"]) - their["mean"]).max() / scale
            row["alpha"] = abs(our["parameters"][0] - their["par"][0])
        table.setdefault(one["collection"], []).append(row)
        if os.environ.get("EACH"):
            print(one["collection"], row, flush=True)
    table["all"] = [row for rows in table.values() for row in rows]
    draw = np.random.default_rng(0)
    print("| series | count | sMAPE ours | statsforecast | ratio (95 % of resamples) | median of the ratios | better, worse by 1 % | same model "
          "| AICc lower, equal, higher | same model: AICc, alpha apart (median) |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, rows in table.items():
        us, them = (np.array([row[who] for row in rows]) for who in ("ours", "theirs"))
        ratio = us / np.maximum(them, 1e-9)
        picked = draw.integers(0, len(rows), (2_000, len(rows)))
        low, high = np.quantile(us[picked].mean(axis=1) / them[picked].mean(axis=1), [0.025, 0.975])
        aicc = np.array([row["aicc"] for row in rows])
        same = [row for row in rows if row["same"]]
        apart = [abs(row["aicc"]) for row in same]
        alpha = [row["alpha"] for row in same]
        print(f"| {name} | {len(rows)} | {us.mean():.2f} | {them.mean():.2f} | {us.mean() / them.mean():.3f} ({low:.2f} to {high:.2f}) "
              f"| {np.median(ratio):.3f} | {np.sum(ratio < 0.99)}, {np.sum(ratio > 1.01)} | {len(same)} "
              f"| {np.sum(aicc < -0.01)}, {np.sum(np.abs(aicc) <= 0.01)}, {np.sum(aicc > 0.01)} "
              f"| {np.median(apart) if same else float('nan'):.3g}, {np.median(alpha) if same else float('nan'):.3g} |")


def compare_correlations(matrices, ours):
    worst = 0.0
    print("\n| matrix | what | pairs | largest difference |\n|---|---|---|---|")
    for matrix, our in zip(matrices, ours):
        rows = np.array(matrix["rows"])
        upper = np.triu_indices(len(rows), 1)
        # Centred before: NumPy's own sums lose digits at an offset.
        centred = rows - rows.mean(axis=1, keepdims=True)
        expected = {"pearson": np.corrcoef(centred)[upper], "spearman": scipy.stats.spearmanr(rows, axis=1)[0][upper]}
        for what, found in our.items():
            # What f32 input can't hold is no error of the sums.
            want = expected[what.split(",")[0]]
            if what.endswith("f32"):
                narrow = rows.astype(np.float32).astype(float)
                want = np.corrcoef(narrow - narrow.mean(axis=1, keepdims=True))[upper]
            off = np.abs(np.array(found) - want).max()
            worst = max(worst, off)
            print(f"| {matrix['name']} | {what} | {len(found)} | {off:.2e} |")
    return worst <= 1e-6


def compare_profiles(all_series, ours):
    equal = True
    print("\n| series | samples, window | largest difference of a distance | discords ours | stumpy |\n|---|---|---|---|---|")
    for one, our in zip(all_series, ours):
        values, window = np.array(one["values"], dtype=float), one["window"]
        distances = stumpy.stump(values, window)[:, 0].astype(float)
        discords, left, zone = [], distances.copy(), int(np.ceil(window / 4))
        for _ in range(3):
            at = int(np.argmax(np.where(np.isfinite(left), left, -1)))
            discords.append(at)
            left[max(0, at - zone) : at + zone + 1] = -1
        off = np.abs(np.array(our["distances"]) - distances).max()
        equal &= discords == our["discords"]
        print(f"| {one['name']} | {len(values)}, {window} | {off:.2e} | {our['discords']} | {discords} |", flush=True)
    return equal


def main():
    binary = sys.argv[1]
    frame = ett()
    taken = [one for one in series() if not sys.argv[2:] or one["collection"] in sys.argv[2:]]
    offset = 1e6 + 0.1 * np.random.default_rng(0).standard_normal((20, 5_000))
    matrices = [
        {"name": "ETT", "rows": frame.to_numpy().T.tolist()},
        {"name": "near 1e6, variance 1e-2", "rows": offset.tolist()},
    ]
    profiles = [
        {"name": name, "values": values.tolist(), "window": 288 if len(values) > 10_000 else 64}
        for name, values in nab()
    ]
    doubles = []

    def place(values):
        doubles.extend(values)
        return [len(doubles) - len(values), len(values)]

    given = {
        "forecast": [
            {"values": place(one["values"]), "season": one["season"], "horizon": one["horizon"]} for one in taken
        ],
        "profile": [{"values": place(one["values"]), "window": one["window"]} for one in profiles],
        "correlate": [{"rows": [place(row) for row in matrix["rows"]]} for matrix in matrices],
    }
    with tempfile.NamedTemporaryFile() as file:
        np.array(doubles, dtype="<f8").tofile(file.name)
        answer = subprocess.run([binary, file.name], input=json.dumps(given), stdout=subprocess.PIPE, text=True, check=True)
    ours = json.loads(answer.stdout)
    fine = compare_correlations(matrices, ours["correlate"])
    fine &= compare_profiles(profiles, ours["profile"])
    print()
    compare_forecasts(taken, ours["forecast"])
    if not fine:
        sys.exit("a correlation is off by more than 1e-6, or a discord is another")


main()
