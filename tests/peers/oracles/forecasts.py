"""Compares the job `forecast` with statsforecast. The last seasons of each series are held out, one at
a time.
"""

import warnings

import numpy as np
import pandas as pd
from statsforecast import models

from . import changes, series

# Seasons that are held out of each series, one at a time.
ORIGINS = 4
HISTORY = 2016
METHOD = "method differs: an ensemble chosen by backtests"


def tasks():
    for one in series.everything():
        origins = 1 if one.horizon > 100 else ORIGINS
        for origin in range(origins):
            known = len(one.values) - (origin + 1) * one.horizon
            if known >= max(30, 4 * one.seasons[0]):
                yield f"{one.name}, {origin}", one, known


def naive(values, season, horizon):
    return np.array([values[len(values) - season + step % season] for step in range(horizon)])


def errors(values, season, actual, mean):
    """MASE and sMAPE."""
    scale = np.abs(values[season:] - values[:-season]).mean()
    size = np.abs(actual) + np.abs(mean)
    smape = np.where(size > 0, 200 * np.abs(actual - mean) / np.where(size > 0, size, 1), 0).mean()
    return np.abs(actual - mean).mean() / scale, smape


def peer(name, values, seasons, horizon):
    season = seasons[0]
    make = {
        "AutoETS": lambda: models.AutoETS(season_length=season),
        "AutoTheta": lambda: models.AutoTheta(season_length=season),
        "MSTL": lambda: models.MSTL(season_length=list(seasons)) if season > 1 else models.AutoETS(season_length=1),
        "seasonal naive": lambda: models.SeasonalNaive(season_length=season),
    }
    found = make[name]().forecast(values, horizon, level=[95])
    return found["mean"], found["lo-95"], found["hi-95"]


PEERS = ["AutoETS", "AutoTheta", "MSTL", "seasonal naive"]


def ours(colonnade):
    """The rows of the job by task: one run for each horizon."""
    groups, found = {}, {}
    for name, one, known in tasks():
        groups.setdefault(one.horizon, []).append(one.frame(name)[:known])
    for horizon, frames in groups.items():
        dataset = f"held_out_{horizon}"
        colonnade.ingest(dataset, pd.concat(frames))
        colonnade.run("forecast", dataset=dataset, horizon=horizon, history=HISTORY, may_be_negative=True)
        columns = "series, at, value, lower_95, upper_95, method, interval_seconds, season_seconds"
        rows = pd.DataFrame(colonnade.query(f"SELECT {columns} FROM forecasts WHERE source = '{dataset}' ORDER BY series, step"))
        found |= dict(iter(rows.groupby("series")))
    return found


def compare(colonnade, table):
    sums(colonnade, table)
    past(colonnade, table)
    by_peers(colonnade, table)


def sums(colonnade, table):
    """Forecasts of sectors, of the parts of the economy that they are in, and of all agree."""
    frame = changes.employment().rename(columns={"sector": "series", "persons": "value"})
    colonnade.ingest("sectors", frame)
    for reconcile in ["mint", "bottom_up"]:
        colonnade.run("forecast", dataset="sectors", horizon=12, hierarchy=["part"], reconcile=reconcile)
        rows = pd.DataFrame(colonnade.query("SELECT series, step, value, sum_of FROM forecasts WHERE source = 'sectors'"))
        wide = rows.pivot(index="step", columns="series", values="value")
        part_of = frame.groupby("series")["part"].first()
        for part, names in part_of.groupby(part_of):
            table.all_equal(
                "forecast",
                f"us employment, {reconcile}",
                f"part={part}: sum by pandas",
                wide[f"part={part}"].to_dict(),
                wide[list(names.index)].sum(axis=1).to_dict(),
            )
        table.all_equal(
            "forecast",
            f"us employment, {reconcile}",
            "all: sum by pandas",
            wide["all"].to_dict(),
            wide[list(part_of.index)].sum(axis=1).to_dict(),
        )


def past(colonnade, table):
    """Forecasts as of an earlier instant, and the values that followed."""
    one = series.by_name()["seattle temp_max"]
    colonnade.ingest("days", one.frame())
    colonnade.run("forecast", dataset="days", horizon=30, to=one.at[-30].isoformat())
    own = {pd.Timestamp(row["at"]): row for row in colonnade.query("SELECT * FROM forecasts WHERE source = 'days'")}
    colonnade.run("forecast", dataset="days", horizon=30)
    rows = {pd.Timestamp(row["at"]): row for row in colonnade.query("SELECT * FROM forecast_accuracy WHERE source = 'days'")}
    came = dict(zip(one.at[-30:], one.values[-30:]))
    figures = {
        "actual": lambda at, row: came[at],
        "error": lambda at, row: came[at] - row["value"],
        "within_80": lambda at, row: bool(row["lower_80"] <= came[at] <= row["upper_80"]),
        "within_95": lambda at, row: bool(row["lower_95"] <= came[at] <= row["upper_95"]),
    }
    for name, of in figures.items():
        table.all_equal(
            "forecast",
            "seattle temp_max, a month ago",
            f"{name} of what came: pandas",
            {at: row[name] for at, row in rows.items()},
            {at: of(at, row) for at, row in own.items()},
        )


def by_peers(colonnade, table):
    warnings.simplefilter("ignore")
    found, scores, calendar = ours(colonnade), [], {}
    for name, one, known in tasks():
        values, actual = one.values[max(0, known - HISTORY) : known], one.values[known : known + one.horizon]
        own = found[name]
        instants = pd.to_datetime(own["at"], utc=True, format="ISO8601").tolist()
        calendar[name] = instants == one.at[known : known + one.horizon].tolist()
        answers = {"ours": (own["value"], own["lower_95"], own["upper_95"])}
        answers |= {by: peer(by, values, one.seasons, one.horizon) for by in PEERS}
        for by, (mean, low, high) in answers.items():
            mase, smape = errors(values, one.seasons[0], actual, np.asarray(mean))
            inside = np.mean((actual >= np.asarray(low)) & (actual <= np.asarray(high)))
            scores.append((one.name, by, mase, smape, inside, own["method"].iloc[0]))
    table.all_equal("forecast", "all series", "instants of forecasts: pandas.date_range", calendar, dict.fromkeys(calendar, True))
    scores = pd.DataFrame(scores, columns=["series", "by", "mase", "smape", "inside", "method"])
    for name, part in scores.groupby("series", sort=False):
        own = part[part["by"] == "ours"]
        others = part[part["by"].isin(PEERS[:3])].groupby("by")["mase"].mean()
        chosen = ", ".join(own["method"].unique())
        why = f"method differs: ours chose {chosen} by eight backtests; {others.idxmin()} has the least of them, {others.min():.3g}"
        table.ratio(
            "forecast", f"{name}, {len(own)} x", "MASE: median of AutoETS, AutoTheta, MSTL", own["mase"].mean(), others.median(), WORST, why
        )
    means = scores.groupby(["by", "series"])[["mase", "smape", "inside"]].mean().groupby("by").mean()
    for by in PEERS:
        for figure in ["mase", "smape"]:
            table.ratio("forecast", "all series", f"mean {figure}: {by}", means.loc["ours", figure], means.loc[by, figure], 1.0, METHOD)
        gaps = [abs(means.loc[of, "inside"] - 0.95) for of in ("ours", by)]
        table.at_most(
            "forecast",
            "all series",
            f"coverage of 95 % off by: {by}",
            *gaps,
            COVERAGE,
            "method differs: conformal intervals of past errors",
        )


# A season of one series is short: ours may be this number of times as far off as the median of three.
WORST = 1.6
# Of the share of values in intervals of 95 %.
COVERAGE = 0.04
