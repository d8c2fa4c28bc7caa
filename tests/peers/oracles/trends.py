"""Compares the job `trends` and `changepoints` of SQL with scipy, pymannkendall and ruptures."""

import dataclasses

import numpy as np
import pandas as pd
import pymannkendall
import ruptures
from scipy import stats
from statsmodels.tsa.seasonal import STL

from . import series

DAY = 86400.0
CORRECTED = (
    "method differs: ours corrects the variance (Hamed & Rao) up to the first insignificant lag, and for the bias of the autocorrelations"
)
PLACES = "method differs: ours draws outliers in, and charges for autocorrelated noise"


def compare(colonnade, table):
    every = [without_season(one) for one in series.everything() if len(one.values) <= 2016]
    colonnade.ingest("series", pd.concat(one.frame() for one in every))
    reported = findings(colonnade, "reported", max_q=0.01)
    fitted = findings(colonnade, "fitted", max_q=1, min_difference=0)
    for one in every:
        of = lambda found, kind: found[(found["series"] == one.name) & (found["kind"] == kind)]
        for _, row in of(reported, "slope").iterrows():
            since = one.at.get_loc(row["from_at"])
            steps = of(reported, "level")
            steps = steps[steps["at"] > row["from_at"]]
            values = one.values - sum((one.at >= at) * step for at, step in zip(steps["at"], steps["after"] - steps["before"]))
            slope(one, row, values[since:], f"{one.name}, from {since}, less {len(steps)} levels", table)
        levels(one, of(fitted, "level"), of(fitted, "slope"), table)
    changepoints(colonnade, every, table)


def findings(colonnade, output, **params):
    colonnade.run("trends", dataset="series", seasons=[], record_intervals=0, output=output, **params)
    found = pd.DataFrame(colonnade.query(f"SELECT * FROM {output} ORDER BY series, at"))
    for name in ["at", "from_at", "until_at"]:
        found[name] = pd.to_datetime(found[name], utc=True, format="ISO8601")
    return found


def without_season(one):
    """The series less its season by STL, so that both sides see the same values."""
    if one.seasons[0] == 1:
        return one
    values = one.values - STL(one.values, period=one.seasons[0], robust=True).fit().seasonal
    return dataclasses.replace(one, name=f"{one.name}, STL", values=values)


def slope(one, row, values, name, table):
    """A line through values, less the changes of level that are reported with it."""
    line = stats.theilslopes(values, np.arange(len(values)), alpha=0.95)
    per_day = DAY / row["interval_seconds"]
    for figure, ours, theirs in [
        ("slope", row["per_day"], line.slope),
        ("slope, lower", row["per_day_lower"], line.low_slope),
        ("slope, upper", row["per_day_upper"], line.high_slope),
    ]:
        table.equal("trends", name, f"{figure}: theilslopes", ours / per_day, theirs)
    table.equal("trends", name, "start of the line: theilslopes", row["before"], line.intercept)
    tau = stats.kendalltau(np.arange(len(values)), values).statistic
    table.equal("trends", name, "direction: kendalltau", np.sign(row["score"]), np.sign(tau))
    table.equal("trends", name, "p of z: scipy.stats.norm", row["p_value"], 2 * stats.norm.sf(abs(row["score"])))
    table.ratio("trends", name, "z: pymannkendall, Hamed & Rao", abs(row["score"]), hamed_rao(values), 1.0, CORRECTED)


def hamed_rao(values):
    return abs(pymannkendall.hamed_rao_modification_test(values, lag=run_of_significant(values)).z)


def run_of_significant(values):
    """The number of first lags with autocorrelation in the ranks of the series less its slope."""
    rest = values - stats.theilslopes(values, np.arange(len(values))).slope * np.arange(1, len(values) + 1)
    ranks = stats.rankdata(rest) - (len(values) + 1) / 2
    limit, total = stats.norm.ppf(0.975) / np.sqrt(len(values)), (ranks**2).sum()
    lag = 1
    while lag < min(len(values) // 4, 100) and abs(ranks[lag:] @ ranks[:-lag]) / total > limit:
        lag += 1
    return lag


def levels(one, own, slope, table):
    """Compares the fitted changes with the best segmentation of as many changes."""
    if own.empty:
        return
    line = slope["per_day"].iloc[0] * slope["interval_seconds"].iloc[0] / DAY if len(slope) else 0.0
    # A slope since the last change is no part of the fit.
    is_common = len(slope) and slope["from_at"].iloc[0] == one.at[0]
    values = one.values - (line * np.arange(len(one.values)) if is_common else 0.0)
    cuts = ruptures.KernelCPD(kernel="linear", min_size=12).fit(values).predict(n_bkps=len(own))[:-1]
    places = [one.at.get_loc(at) for at in own["at"]]
    figure = f"squares that {len(own)} changes leave: ruptures"
    table.ratio("trends", one.name, figure, cost(values, places, 0), cost(values, cuts, 0), 1.5, PLACES)


def changepoints(colonnade, every, table):
    """PELT with the penalty in variances of the noise."""
    rows = colonnade.query(
        "SELECT series, changepoints(at, value) AS bic, changepoints(at, value, 200) AS large FROM series GROUP BY series ORDER BY series"
    )
    for row in rows:
        one = next(one for one in every if one.name == row["series"])
        noise = (1.4826 * np.median(np.abs(np.diff(one.values)))) ** 2 / 2
        search = ruptures.KernelCPD(kernel="linear", min_size=5).fit(one.values)
        for name, penalty in [("bic", 2 * np.log(len(one.values))), ("large", 200.0)]:
            ours = [one.at.get_loc(pd.Timestamp(change["at"])) for change in row[name]]
            theirs = [int(at) for at in search.predict(pen=penalty * noise)[:-1]]
            figure = f"places, penalty {penalty:.4g}: ruptures"
            if ours != theirs:
                costs = [cost(one.values, cuts, penalty * noise) for cuts in [ours, theirs]]
                table.ratio(
                    "changepoints",
                    one.name,
                    figure.replace("places", "cost"),
                    *costs,
                    1.0,
                    "ruptures prunes cuts that a least length forbids for now; ours costs less",
                )
            else:
                table.all_equal("changepoints", one.name, figure, dict(enumerate(ours)), dict(enumerate(theirs)), may_be_none=True)


def cost(values, cuts, penalty):
    return sum(((part - part.mean()) ** 2).sum() for part in np.split(values, cuts)) + penalty * len(cuts)
