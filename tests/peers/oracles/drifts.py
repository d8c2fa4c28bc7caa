"""Compares the job `drift` with scipy and pandas."""

import numpy as np
import pandas as pd
from scipy import stats
from scipy.spatial.distance import cdist, pdist
from sklearn import datasets
from vega_datasets import local_data as vega

from . import series

REFERENCE = 28
FEATURES = "128 random features stand for the kernel of Gauss (Rahimi & Recht)"


def tables():
    """A table with its columns and the length of a period."""
    taylor = series.by_name()["taylor"]
    demand = pd.DataFrame({"at": taylor.at, "demand": taylor.values, "level": pd.cut(taylor.values, 5, labels=list("abcde")).astype(str)})
    yield "taylor", demand, ["demand"], ["level"], "day", "D"
    weather = vega("seattle-weather").rename(columns={"date": "at"})
    weather["at"] = pd.to_datetime(weather["at"], utc=True)
    yield "seattle weather", weather, ["precipitation", "temp_max", "wind"], ["weather"], "week", "W-MON"


def compare(colonnade, table):
    vectors(colonnade, table)
    for name, frame, numbers, texts, period, frequency in tables():
        dataset = name.replace(" ", "_")
        colonnade.ingest(dataset, frame)
        colonnade.run(
            "drift",
            dataset=dataset,
            time_column="at",
            group_column=None,
            columns=numbers + texts,
            period=period,
            reference=REFERENCE,
            min_rows=5,
        )
        scores = pd.DataFrame(colonnade.query(f"SELECT * FROM drift_scores WHERE source = '{dataset}' ORDER BY column_name, at"))
        begin = frame["at"].dt.floor("D") - (pd.to_timedelta(frame["at"].dt.weekday, unit="D") if period == "week" else pd.Timedelta(0))
        periods = dict(iter(frame.groupby(begin)))
        for column in numbers + texts:
            one_column(table, name, column, column in texts, scores[scores["column_name"] == column], periods)


def vectors(colonnade, table):
    """Images of digits, of which later days have other ones."""
    digits = datasets.load_digits()
    random = np.random.default_rng(0)
    early = random.permutation(np.flatnonzero(digits.target < 8))
    late = random.permutation(np.flatnonzero(digits.target >= 8))
    places = np.concatenate([early[:1200], late[:320]])
    at = pd.date_range("2026-01-01", periods=len(places), freq="36min", tz="UTC")
    frame = pd.DataFrame({"at": at, "vector": (digits.data[places] / 16).tolist()})
    colonnade.ingest("images", frame)
    colonnade.run("drift", dataset="images", time_column="at", group_column=None, columns=["vector"], reference=20, min_rows=5)
    rows = pd.DataFrame(
        colonnade.query("SELECT at, distance, is_reference, is_beyond FROM drift_scores WHERE source = 'images' ORDER BY at")
    )
    days = [digits.data[places][at.floor("D") == pd.Timestamp(day)] / 16 for day in rows["at"]]
    reference = np.concatenate([day for day, own in zip(days, rows["is_reference"]) if own])
    width = np.median(pdist(reference))
    ours, theirs = {}, {}
    for day, row in zip(days, rows.itertuples()):
        if not row.is_reference:
            ours[row.at], theirs[row.at] = row.distance, mmd(day, reference, width)
    table.all_equal("drift", "digits.vector", "distance: MMD by scipy", ours, theirs, 0.15, FEATURES)
    drifts = colonnade.query("SELECT started_at FROM drifts WHERE source = 'images'")
    began = at[1200].ceil("D")
    table.equal(
        "drift", "digits.vector", "first day of other digits: planted", [row["started_at"][:10] for row in drifts], [f"{began:%Y-%m-%d}"]
    )


def mmd(a, b, width):
    """The maximum mean discrepancy for Gauss's kernel."""
    kernel = lambda x, y: np.exp(-cdist(x, y, "sqeuclidean") / (2 * width**2)).mean()
    return np.sqrt(max(kernel(a, a) + kernel(b, b) - 2 * kernel(a, b), 0))


def one_column(table, name, column, is_text, scores, periods):
    scores = scores.assign(at=pd.to_datetime(scores["at"], utc=True, format="ISO8601"))
    reference = [periods[at][column] for at in scores["at"][scores["is_reference"]]]
    table.equal("drift", f"{name}.{column}", "periods of the reference", len(reference), REFERENCE)
    together = pd.concat(reference)
    names = pd.concat([period[column] for period in periods.values()]).unique() if is_text else []
    counts = lambda values: counts_of(names, values)
    of_texts = lambda values: index_of_shares(counts(values), counts(together))
    ks, psi, own, rows = ({}, {}), ({}, {}), ({}, {}), ({}, {})
    for _, score in scores.iterrows():
        at, values = score["at"], periods[score["at"]][column]
        rows[0][at], rows[1][at] = score["rows"], len(values)
        if score["is_reference"]:
            rest = pd.concat([part for part in reference if part is not values])
            own[0][at], own[1][at] = score["distance"], (
                index_of_shares(counts(values), counts(rest)) if is_text else stats.ks_2samp(values, rest).statistic
            )
        else:
            ks[0][at], ks[1][at] = score["distance"], (
                of_texts(values) if is_text else stats.ks_2samp(values, together).statistic
            )
            psi[0][at], psi[1][at] = score["stability_index"], (
                of_texts(values) if is_text else index_of_numbers(values, together)
            )
    distance = "PSI: pandas" if is_text else "distance: ks_2samp"
    table.all_equal("drift", f"{name}.{column}", "rows of a period: pandas", *rows)
    table.all_equal("drift", f"{name}.{column}", f"{distance}, in the reference", *own)
    table.all_equal("drift", f"{name}.{column}", f"{distance}, after it", *ks)
    table.all_equal("drift", f"{name}.{column}", "stability index: pandas", *psi)


def index_of_shares(own, others):
    """The population stability index of counts by name. A share of nothing counts as half a row."""
    is_known = (own + others) > 0
    shares = [np.maximum(counts[is_known], 0.5) / counts.sum() for counts in (own, others)]
    return float(((shares[0] - shares[1]) * np.log(shares[0] / shares[1])).sum())


def counts_of(names, values):
    return values.value_counts().reindex(names, fill_value=0).to_numpy(dtype=float)


def index_of_numbers(values, others):
    """By tenths of the reference."""
    ordered = np.sort(others.to_numpy())
    edges = np.unique([ordered[tenth * len(ordered) // 10] for tenth in range(1, 10)])
    tenths = lambda values: counts_of(range(len(edges) + 1), pd.Series(pd.cut(values, [-np.inf, *edges, np.inf], labels=False)))
    return index_of_shares(tenths(values), tenths(others))
