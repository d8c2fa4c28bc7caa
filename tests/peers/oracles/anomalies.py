"""Compares the job `anomalies`, and `isolation_score` and `matrix_profile` of SQL, with STL, isolation
forests and numpy.
"""

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import datasets
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from statsmodels.tsa.seasonal import STL

from . import series

SPIKES = 2
# Standard deviations of the values.
SIZES = [1, 1.5, 2, 3, 4, 6, 8, 12]
SERIES = [
    "taylor",
    "san francisco temp",
    "seattle temp_max",
    "seattle wind",
    "elnino",
    "co2 by month",
    "sunspots by month",
    "msft by day",
    "unemp",
    "wineind",
]
WINDOWS = "method differs: medians of windows less a day or a week; STL also takes out the year and the trend, and reports more that nobody planted"
FOREST = "random trees differ"
COLUMNS = "method differs: distances of decorrelated columns, and a forest"
BROKEN = 3


def compare(colonnade, table):
    spikes(colonnade, table)
    rows(colonnade, table)
    profiles(colonnade, table)
    gaps(colonnade, table)


def residual_of(one):
    """What STL leaves, or a running median of a series without a season."""
    if one.seasons[0] > 1:
        return STL(one.values, period=one.seasons[-1], robust=True).fit().resid
    return one.values - pd.Series(one.values).rolling(25, center=True, min_periods=1).median().to_numpy()


def spikes(colonnade, table):
    """Plants two spikes of several sizes in each series.

    The peer fits the series without spikes, so that they do not change its fit.
    """
    every, frames, places, signs = series.by_name(), [], {}, {}
    for seed, name in enumerate(SERIES):
        one, random = every[name], np.random.default_rng(seed)
        margin = max(30, len(one.values) // 20)
        places[name] = np.sort(random.choice(np.arange(margin, len(one.values) - margin, 25), SPIKES, replace=False))
        signs[name] = random.choice([-1, 1], SPIKES)
        for size in SIZES:
            values = one.values.copy()
            values[places[name]] += signs[name] * size * np.std(one.values)
            frames.append(pd.DataFrame({"series": f"{name} x{size}", "at": one.at, "value": values}))
    colonnade.ingest("planted", pd.concat(frames))
    colonnade.run("anomalies", dataset="planted")
    found = pd.DataFrame(colonnade.query("SELECT series, started_at, ended_at FROM anomalies WHERE source = 'planted'"))
    for name in SERIES:
        one, own = every[name], {}
        for size in SIZES:
            spans = found[found["series"] == f"{name} x{size}"]
            starts = one.at.searchsorted(pd.to_datetime(spans["started_at"], utc=True, format="ISO8601"))
            ends = one.at.searchsorted(pd.to_datetime(spans["ended_at"], utc=True, format="ISO8601"))
            is_planted = [any(start <= place <= end for place in places[name]) for start, end in zip(starts, ends)]
            is_found = [any(start <= place <= end for start, end in zip(starts, ends)) for place in places[name]]
            own[size] = (all(is_found), is_planted.count(False))
        left = residual_of(one)
        spread = 1.4826 * np.median(np.abs(left - np.median(left)))
        # The size at which the residual is 6 robust deviations from the median.
        needed = (6 * spread - signs[name] * (left[places[name]] - np.median(left))[:SPIKES]) / np.std(one.values)
        ours = min((size for size in SIZES if own[size][0]), default=np.inf)
        table.at_most(
            "anomalies", name, "smallest spikes found, SD of the values: STL", ours, float(max(needed.max(), 0)), SIZES[-1], WINDOWS
        )
        others = sum(own[size][1] for size in SIZES) / len(SIZES)
        theirs = int((np.abs(left - np.median(left)) > 6 * spread).sum())
        table.at_most("anomalies", name, "findings that nobody planted: STL", others, theirs, theirs, WINDOWS)


def rows(colonnade, table):
    """Rows in which the two columns that go together most contradict each other."""
    for name in ["wine", "breast_cancer", "diabetes"]:
        data = getattr(datasets, f"load_{name}")(as_frame=True).data.iloc[:, :10]
        data.columns = [f"c{at}" for at in range(data.shape[1])]
        together = data.corr().abs().where(~np.eye(data.shape[1], dtype=bool), 0).stack().idxmax()
        broken = np.random.default_rng(1).choice(len(data), BROKEN, replace=False)
        sign = np.sign(data.corr().loc[together])
        for at in broken:
            for column, side in zip(together, (1, -sign)):
                data.loc[at, column] = data[column].mean() + 2.5 * side * data[column].std()
        truth = np.isin(np.arange(len(data)), broken)
        frame = data.assign(at=pd.date_range("2026-01-01", periods=len(data), freq="h", tz="UTC"))
        colonnade.ingest(f"rows_{name}", frame)
        colonnade.run("anomalies", dataset=f"rows_{name}", method="columns", series_column=None, columns=list(data), output=f"odd_{name}")
        found = pd.to_datetime([row["started_at"] for row in colonnade.query(f"SELECT started_at FROM odd_{name}")], utc=True)
        ours = set(np.flatnonzero(frame["at"].isin(found)))
        scores = -IsolationForest(n_estimators=100, random_state=0).fit(data).score_samples(data)
        theirs = set(np.argsort(scores)[-max(len(ours), BROKEN) :])
        table.least(
            "anomalies",
            f"{name}, columns",
            f"broken rows among {len(ours)} findings: IsolationForest",
            len(ours & set(broken)),
            len(theirs & set(broken)),
            0,
            COLUMNS,
        )
        forest(colonnade, table, name, data, truth, scores)


def forest(colonnade, table, name, data, truth, scores):
    """The score of the forest itself."""
    values = ", ".join(data)
    sql = (
        f"SELECT s['id'] AS at, s['score'] AS score FROM (SELECT unnest(isolation_score(at, [{values}])) AS s FROM rows_{name}) ORDER BY at"
    )
    own = np.array([row["score"] for row in colonnade.query(sql)])
    table.least("isolation_score", name, "rank correlation: IsolationForest", stats.spearmanr(own, scores).statistic, 1.0, 0.1, FOREST)
    table.equal("isolation_score", name, "mean score: IsolationForest", own.mean(), scores.mean(), 0.02, FOREST)
    table.equal(
        "isolation_score", name, "AUC of broken rows: IsolationForest", roc_auc_score(truth, own), roc_auc_score(truth, scores), 0.1, FOREST
    )


def profiles(colonnade, table):
    """The matrix profile of every stretch, computed pair by pair."""
    for name, window, count in [("taylor", 48, 700), ("heartrate", 12, 150), ("elnino", 12, 732)]:
        one = series.by_name()[name]
        values = one.values[:count]
        colonnade.ingest(f"profile_{name}", one.frame()[:count])
        rows = colonnade.query(
            f"SELECT p['at'] AS at, p['nearest_at'] AS nearest, p['distance'] AS distance FROM (SELECT unnest(matrix_profile(at, value, {window})) AS p FROM profile_{name}) ORDER BY at"
        )
        stretches = np.lib.stride_tricks.sliding_window_view(values, window)
        normal = (stretches - stretches.mean(axis=1, keepdims=True)) / stretches.std(axis=1, keepdims=True)
        apart = np.sqrt(np.maximum(2 * window - 2 * normal @ normal.T, 0))
        near = np.abs(np.subtract.outer(np.arange(len(normal)), np.arange(len(normal))))
        # A stretch is not compared with those that begin within a quarter of it.
        theirs = np.where(near < EXCLUDED(window), np.inf, apart).min(axis=1)
        table.all_equal(
            "matrix_profile",
            name,
            "distances: numpy",
            dict(enumerate(row["distance"] for row in rows)),
            dict(enumerate(theirs)),
            1e-6,
            "square roots of differences near 0",
        )
        order = discords(theirs, window, 2)
        discords_found = colonnade.query(
            f"SELECT d['at'] AS at FROM (SELECT unnest(discords(at, value, {window}, 2)) AS d FROM profile_{name})"
        )
        table.all_equal(
            "discords",
            name,
            "places: numpy",
            dict(enumerate(one.at.get_loc(pd.Timestamp(row["at"])) for row in discords_found)),
            dict(enumerate(order)),
        )


# Stretches that begin nearer are alike anyway.
EXCLUDED = lambda window: -(-window // 4) + 1


def discords(distances, window, count):
    """The places of the largest distances, which do not overlap."""
    found, left = [], distances.copy()
    for _ in range(count):
        at = int(np.argmax(left))
        found.append(at)
        left[max(0, at - window + 1) : at + window] = -np.inf
    return found


def gaps(colonnade, table):
    """A stretch without samples and one with a single value, in half-hourly demand."""
    one = series.by_name()["taylor"]
    frame, hole, stuck = one.frame(), slice(1000, 1040), slice(2500, 2650)
    frame.loc[frame.index[stuck], "value"] = frame["value"].iloc[stuck.start]
    colonnade.ingest("broken", frame.drop(index=frame.index[hole]))
    for method in ["windows", "online"]:
        colonnade.run("anomalies", dataset="broken", method=method, output=f"broken_{method}")
        rows = colonnade.query(
            f"SELECT kind, started_at, ended_at FROM broken_{method} WHERE kind IN ('missing', 'stuck') ORDER BY started_at"
        )
        ours = {row["kind"]: f"{pd.Timestamp(row['started_at'])} to {pd.Timestamp(row['ended_at'])}" for row in rows}
        places = {"missing": hole, "stuck": stuck}
        theirs = {kind: f"{one.at[place.start]} to {one.at[place.stop - 1]}" for kind, place in places.items()}
        table.equal("anomalies", f"taylor, {method}", "missing and stuck stretches: pandas", len(rows), len(theirs))
        table.all_equal("anomalies", f"taylor, {method}", "their first and last instants: pandas", ours, theirs)
