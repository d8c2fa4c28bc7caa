"""Compares functions of SQL with scipy, numpy, pandas, statsmodels and scikit-learn."""

import warnings

import numpy as np
import pandas as pd
import statsmodels.datasets as statsmodels
from scipy import stats
from sklearn import datasets
from sklearn.neighbors import NearestNeighbors
from statsforecast import models
from statsmodels.tsa.stattools import acf

from . import forecasts, series
from .table import ROUNDING

SAME_MODEL = "of models with nearly the same AICc another one is chosen, and the optimum is found by another search"
MILLIONTH = "interpolated to a millionth of the distance of neighbours, as docs/queries.md states"


def compare(colonnade, table):
    warnings.simplefilter("ignore")
    aggregates(colonnade, table)
    windows(colonnade, table)
    seasons(colonnade, table)
    autoets(colonnade, table)
    nearest(colonnade, table)


AGGREGATES = {
    "count(y)": lambda x, y: len(y),
    "sum(y)": lambda x, y: y.sum(),
    "avg(y)": lambda x, y: y.mean(),
    "median(y)": lambda x, y: np.median(y),
    "min(y)": lambda x, y: y.min(),
    "max(y)": lambda x, y: y.max(),
    "stddev(y)": lambda x, y: y.std(ddof=1),
    "stddev_pop(y)": lambda x, y: y.std(),
    "var(y)": lambda x, y: y.var(ddof=1),
    "var_pop(y)": lambda x, y: y.var(),
    "corr(x, y)": lambda x, y: stats.pearsonr(x, y).statistic,
    "covar_samp(x, y)": lambda x, y: np.cov(x, y)[0, 1],
    "covar_pop(x, y)": lambda x, y: np.cov(x, y, ddof=0)[0, 1],
    "regr_slope(y, x)": lambda x, y: stats.linregress(x, y).slope,
    "regr_intercept(y, x)": lambda x, y: stats.linregress(x, y).intercept,
    "regr_r2(y, x)": lambda x, y: stats.linregress(x, y).rvalue ** 2,
    "percentile_cont(0.25) WITHIN GROUP (ORDER BY y)": lambda x, y: np.quantile(y, 0.25),
    "percentile_cont(0.95) WITHIN GROUP (ORDER BY y)": lambda x, y: np.quantile(y, 0.95),
    "count(DISTINCT y)": lambda x, y: len(np.unique(y)),
}


def pairs():
    engel = statsmodels.engel.load_pandas().data
    yield "engel", engel["income"], engel["foodexp"]
    macro = statsmodels.macrodata.load_pandas().data
    yield "macrodata", macro["realgdp"], macro["unemp"]
    diabetes = datasets.load_diabetes(as_frame=True)
    yield "diabetes", diabetes.data["bmi"], diabetes.target
    longley = statsmodels.longley.load_pandas().data
    yield "longley", longley["GNP"], longley["TOTEMP"]


def aggregates(colonnade, table):
    for name, x, y in pairs():
        x, y = x.to_numpy(dtype=float), y.to_numpy(dtype=float)
        colonnade.ingest(f"pairs_{name}", pd.DataFrame({"x": x, "y": y}))
        for sql, of in AGGREGATES.items():
            within, why = (1e-6, MILLIONTH) if sql.startswith("percentile_cont") else (ROUNDING, "")
            table.equal(
                "SQL", name, f"{sql}: numpy, scipy", colonnade.value(f"SELECT {sql} AS of FROM pairs_{name}"), float(of(x, y)), within, why
            )
        near = colonnade.value(f"SELECT approx_percentile_cont(y, 0.95) AS of FROM pairs_{name}")
        table.equal(
            "SQL", name, "approx_percentile_cont(y, 0.95): numpy", near, np.quantile(y, 0.95), 0.05, "a t-digest is near by definition"
        )


WINDOWS = {
    "rolling_mean(value, 12)": lambda rows: rows.mean(),
    "rolling_std(value, 12)": lambda rows: rows.std(),
    "rolling_min(value, 12)": lambda rows: rows.min(),
    "rolling_max(value, 12)": lambda rows: rows.max(),
    "rolling_median(value, 12)": lambda rows: rows.median(),
    "rolling_mad(value, 12)": lambda rows: rows.apply(lambda part: np.median(np.abs(part - np.median(part))), raw=True),
    "avg(value) OVER (ORDER BY at ROWS BETWEEN 11 PRECEDING AND CURRENT ROW)": lambda rows: rows.mean(),
    "lag(value, 12) OVER (ORDER BY at)": lambda rows: None,
}


def windows(colonnade, table):
    for name in ["airpassengers", "elnino", "sunspots by month"]:
        one = series.by_name()[name]
        dataset = "windows_" + name.replace(" ", "_")
        colonnade.ingest(dataset, one.frame())
        values = pd.Series(one.values)
        for sql, of in WINDOWS.items():
            over = sql if " OVER " in sql else f"{sql} OVER (ORDER BY at)"
            rows = colonnade.query(f"SELECT {over} AS of FROM {dataset} ORDER BY at")
            ours = {place: row["of"] for place, row in enumerate(rows) if place >= 12}
            theirs = values.shift(12) if sql.startswith("lag") else of(values.rolling(12))
            table.all_equal("SQL", name, f"{sql.split(' OVER ')[0]}: pandas", ours, {place: theirs[place] for place in ours})


def seasons(colonnade, table):
    """Searches the usual season, and compares its strength with the autocorrelation."""
    every = [one for one in series.everything() if len(one.values) <= 5000]
    colonnade.ingest("all_series", pd.concat(one.frame() for one in every))
    rows = colonnade.query("SELECT series, seasons(at, value) AS found FROM all_series GROUP BY series")
    found = {row["series"]: row["found"] for row in rows}
    for one in every:
        own = found[one.name]
        if one.name in SEASONAL:
            table.equal(
                "seasons",
                one.name,
                f"{one.seasons[0]} is among them: usual season",
                one.seasons[0] in [season["steps"] for season in own],
                True,
            )
        if own:
            theirs = acf(detrended(one.values), adjusted=True, nlags=own[0]["steps"])[-1]
            table.equal("seasons", one.name, f"autocorrelation at {own[0]['steps']}: statsmodels", own[0]["strength"], theirs)


SEASONAL = ["taylor", "airpassengers", "ausbeer", "wineind", "woolyrnq", "elnino", "co2 by month", "german inflation", "san francisco temp"]


def detrended(values):
    line = np.polyfit(np.arange(len(values)), values, 1)
    return values - np.polyval(line, np.arange(len(values)))


def autoets(colonnade, table):
    """`forecast` is AutoETS."""
    errors = []
    for name in ["airpassengers", "wineind", "woolyrnq", "ausbeer", "nile", "elnino", "co2 by month", "realgdp", "unemp", "lynx"]:
        one = series.by_name()[name]
        season, horizon = one.seasons[0], one.horizon
        dataset = "ets_" + name.replace(" ", "_")
        known = len(one.values) - horizon
        colonnade.ingest(dataset, one.frame()[:known])
        rows = colonnade.query(
            f"SELECT f['value'] AS value FROM (SELECT unnest(forecast(at, value, {horizon}, {season})) AS f FROM {dataset})"
        )
        ours = np.array([row["value"] for row in rows])
        theirs = models.AutoETS(season_length=season).forecast(one.values[:known], horizon)["mean"]
        error = [forecasts.errors(one.values[:known], season, one.values[known:], mean)[0] for mean in (ours, theirs)]
        errors.append(error)
        table.ratio("forecast of SQL", name, "MASE: AutoETS", *error, 2.5, SAME_MODEL)
    table.ratio("forecast of SQL", f"{len(errors)} series", "mean MASE: AutoETS", *np.mean(errors, axis=0), 1.05, SAME_MODEL)


def nearest(colonnade, table):
    digits = datasets.load_digits()
    vectors = digits.data / 16
    colonnade.ingest("digits", pd.DataFrame({"id": np.arange(len(vectors)), "vector": vectors.tolist()}))
    for metric, other in [("cosine", "cosine"), ("l2", "sqeuclidean")]:
        query = ", ".join(map(str, vectors[7]))
        rows = colonnade.query(
            f"SELECT v['id'] AS id, v['score'] AS score FROM (SELECT unnest(nearest(id, vector, [{query}], 20, '{metric}')) AS v FROM digits)"
        )
        apart, ids = NearestNeighbors(n_neighbors=20, metric=other, algorithm="brute").fit(vectors).kneighbors(vectors[7:8])
        theirs = 1 - apart[0] if metric == "cosine" else apart[0]
        table.all_equal(
            "nearest", "digits", f"neighbours by {metric}: scikit-learn", {row["id"]: 1 for row in rows}, {int(of): 1 for of in ids[0]}
        )
        table.all_equal(
            "nearest",
            "digits",
            f"scores by {metric}: scikit-learn",
            dict(enumerate(row["score"] for row in rows)),
            dict(enumerate(theirs)),
            1e-6,
            "ours takes vectors as 32-bit numbers",
        )
