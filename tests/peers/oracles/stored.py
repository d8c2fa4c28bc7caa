"""The small form in tests/cases/oracles: open data as CSV, a job, one query, and the figures of the peers.

`tests/e2e/oracles.rs` runs the cases by the command line. This module runs the same cases next to the
peers, and checks that the stored figures are those of the peers.
"""

import decimal
import json
import pathlib
import warnings

import numpy as np
import pandas as pd
import pm4py
import ruptures
import statsmodels.datasets as statsmodels
from scipy import stats
from sklearn import datasets, metrics
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from statsforecast import models
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint
from statsmodels.tsa.stattools import acf

from . import answers, changes, drifts, functions, series

FOLDER = pathlib.Path(__file__).parents[2] / "cases" / "oracles"
FORECAST = "method differs: ours is an ensemble, or what was better at past instants"


def files():
    """Data by name of its file. Instants are made up where the data has none."""
    every = series.by_name()
    yield "airpassengers", every["airpassengers"].frame()
    yield "nile", every["nile"].frame()
    macro = pd.concat(every[name].frame() for name in ["realgdp", "realcons", "realinv", "unemp", "infl"])
    yield "macrodata", macro
    iris = datasets.load_iris(as_frame=True)
    rows = iris.data.set_axis(["sepal_length", "sepal_width", "petal_length", "petal_width"], axis=1)
    rows["species"] = iris.target_names[iris.target]
    rows = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    rows.insert(0, "at", pd.date_range("2026-01-05", periods=len(rows), freq="3h", tz="UTC"))
    rows.insert(0, "id", np.arange(len(rows)))
    yield "iris", rows
    copied = rows.drop(columns="at").drop(index=[3, 77]).copy()
    copied.loc[[10, 20, 30], "petal_width"] += [0.05, 0.5, 0.0]
    copied.loc[[40, 50], "species"] = "unknown"
    yield "iris_copied", copied
    yield "iris_said", said(rows)
    yield "prices", pd.DataFrame(
        [("nile", "0.00000025", "0.0000013"), ("other", "0.01", "0.01")], columns=["model", "input_cost_per_token", "output_cost_per_token"]
    )
    calls = every["nile"].frame()[["at", "value"]].astype({"value": int})
    yield "calls", pd.DataFrame(
        {
            "id": [f"year {at.year}" for at in calls["at"]],
            "at": calls["at"],
            "model": "nile",
            "input_tokens": calls["value"],
            "output_tokens": calls["value"] // 7,
        }
    )
    yield "orders", orders()
    days = changes.weather()
    yield "seattle_weather", days[days["at"].dt.year.isin([2012, 2013])][["at", "weather"]]


def said(rows):
    """Answers of two classifiers to the rows."""
    found = []
    for model, classifier in [("bayes", GaussianNB()), ("neighbours", KNeighborsClassifier(7))]:
        chances = cross_val_predict(classifier, rows[["sepal_length", "sepal_width"]], rows["species"], cv=5, method="predict_proba")
        label = np.unique(rows["species"])[chances.argmax(axis=1)]
        found.append(pd.DataFrame({"id": rows["id"], "model": model, "label": label, "confidence": chances.max(axis=1).round(6)}))
    return pd.concat(found)


def orders():
    """A log that was written for this: cases of an order, each step some hours after the last."""
    ways = [
        "order pay pack send",
        "order pack pay send",
        "order pay pack send",
        "order cancel",
        "order pay pack pack send",
        "order pay pack send return refund",
    ]
    rows = []
    for case, way in enumerate(ways):
        for step, activity in enumerate(way.split()):
            at = pd.Timestamp("2026-01-05T08:00:00Z") + pd.Timedelta(hours=24 * case + step * (3 + case))
            rows.append((f"case {case}", activity, at, ["ann", "bob", "cy"][(case + step) % 3]))
    return pd.DataFrame(rows, columns=["case_id", "activity", "ended_at", "resource"])


def read(name):
    frame = pd.read_csv(FOLDER / f"{name}.csv", dtype={"input_cost_per_token": str, "output_cost_per_token": str})
    for column in frame.columns.intersection(["at", "ended_at"]):
        frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


def case(job, data, sql, theirs, params=None):
    """A case. `theirs` has a figure for each column: an equal value, or one with a bound and a reason."""
    figures = {name: figure if isinstance(figure, dict) else {"equals": plain(figure)} for name, figure in theirs.items()}
    return {"job": job, "data": data, "params": params or {}, "sql": sql, "figures": figures}


def plain(value):
    return value.item() if isinstance(value, np.generic) else value


def at_most(theirs, times, why):
    return {"theirs": plain(theirs), "at_most": plain(theirs * times), "why": why}


def cases():
    yield from of_forecasts()
    yield from of_trends()
    yield from of_tables()
    yield from of_answers()
    yield from of_functions()
    yield of_log()


def of_forecasts():
    warnings.simplefilter("ignore")
    for name, season, horizon, to in [("airpassengers", 12, 12, "1960-01-01T00:00:00Z"), ("nile", 1, 10, "1961-01-01T00:00:00Z")]:
        values = read(name)["value"].to_numpy(dtype=float)
        known, actual = values[:-horizon], values[-horizon:]
        peers = [models.AutoETS(season_length=season), models.AutoTheta(season_length=season)]
        errors = [np.abs(peer.forecast(known, horizon)["mean"] - actual).mean() for peer in peers]
        sql = f"SELECT count(*) AS forecasts, avg(abs(f.value - a.value)) AS error FROM forecasts f JOIN {name} a ON a.at = f.at WHERE f.source = '{name}'"
        theirs = {"forecasts": horizon, "error": at_most(np.mean(errors), 1.2, f"{FORECAST}; theirs is the mean of AutoETS and AutoTheta")}
        yield case("forecast", [name], sql, theirs, {"dataset": name, "horizon": horizon, "to": to})


def of_trends():
    values = read("nile")["value"].to_numpy(dtype=float)
    [cut, _] = ruptures.KernelCPD(kernel="linear", min_size=12).fit(values).predict(n_bkps=1)
    theirs = {"findings": 1, "year": 1871 + cut, "before": values[:cut].mean(), "after": values[cut:].mean()}
    sql = "SELECT count(*) AS findings, min(date_part('year', at)) AS \"year\", min(before) AS before, min(after) AS after FROM trends WHERE source = 'nile' AND kind = 'level'"
    yield case("trends", ["nile"], sql, theirs, {"dataset": "nile", "seasons": []})
    macro = read("macrodata")
    values = macro.loc[macro["series"] == "realgdp", "value"].to_numpy()
    line = stats.theilslopes(values, np.arange(len(values)), alpha=0.95)
    per_day = "interval_seconds / 86400.0"
    sql = (
        f"SELECT per_day * {per_day} AS slope, per_day_lower * {per_day} AS lower, per_day_upper * {per_day} AS upper, before AS start "
        "FROM trends WHERE source = 'macrodata' AND kind = 'slope'"
    )
    theirs = {"slope": line.slope, "lower": line.low_slope, "upper": line.high_slope, "start": line.intercept}
    yield case("trends", ["macrodata"], sql, theirs, {"dataset": "macrodata", "series": ["realgdp"], "seasons": []})
    wide = macro.pivot(index="at", columns="series", values="value").diff().iloc[1:]
    pairs = [("realcons", "realgdp"), ("realgdp", "realinv"), ("infl", "unemp")]
    of = lambda a, b: f"max(coefficient) FILTER (WHERE series_a = '{a}' AND series_b = '{b}') AS {a}_{b}"
    sql = f"SELECT {', '.join(of(*pair) for pair in pairs)} FROM correlations"
    theirs = {f"{a}_{b}": stats.pearsonr(wide[a], wide[b]).statistic for a, b in pairs}
    params = {"dataset": "macrodata", "interval": "1q", "detrend": "difference", "clip": 0, "max_lag": 0, "min_coefficient": 0, "max_q": 1}
    yield case("correlate", ["macrodata"], sql, theirs, params)


def of_tables():
    iris = read("iris")
    days = iris.groupby(iris["at"].dt.floor("D"))
    numbers = ["petal_length", "sepal_width"]
    reference = iris[iris["at"] < iris["at"].min() + pd.Timedelta(days=14)]
    theirs = {"periods": len(days) - 14}
    for column in numbers:
        later = [day[column] for at, day in days if at >= reference["at"].max().ceil("D")]
        theirs[f"{column}_distance"] = sum(stats.ks_2samp(day, reference[column]).statistic for day in later)
        theirs[f"{column}_index"] = sum(drifts.index_of_numbers(day, reference[column]) for day in later)
    of = (
        lambda column: f"sum(distance) FILTER (WHERE column_name = '{column}') AS {column}_distance, sum(stability_index) FILTER (WHERE column_name = '{column}') AS {column}_index"
    )
    sql = f"SELECT count(DISTINCT at) AS periods, {', '.join(map(of, numbers))} FROM drift_scores WHERE NOT is_reference"
    yield case(
        "drift",
        ["iris"],
        sql,
        theirs,
        {"dataset": "iris", "time_column": "at", "group_column": None, "columns": numbers, "reference": 14, "min_rows": 1},
    )
    means = iris[iris["at"] < iris["at"].max().floor("D")].groupby(["species", iris["at"].dt.floor("D")])["petal_length"].mean()
    sql = "SELECT count(*) AS intervals, sum(value) AS means FROM metric_values"
    theirs = {"intervals": len(means), "means": means.sum()}
    yield case(
        "metric",
        ["iris"],
        sql,
        theirs,
        {"dataset": "iris", "time_column": "at", "measure": "avg(petal_length)", "dimensions": ["species"], "interval": "1d"},
    )
    weather = read("seattle_weather")
    years = [weather[weather["at"].dt.year == year]["weather"].value_counts() for year in (2012, 2013)]
    theirs = {"before": years[0].sum(), "after": years[1].sum()} | {name: years[1][name] - years[0][name] for name in ["sun", "fog"]}
    sql = (
        "SELECT max(before) FILTER (WHERE rank = 0) AS before, max(after) FILTER (WHERE rank = 0) AS after, "
        + ", ".join(f"max(contribution) FILTER (WHERE finding = 'weather = {name}') AS {name}" for name in ["sun", "fog"])
        + " FROM explanations"
    )
    params = {
        "dataset": "seattle_weather",
        "time_column": "at",
        "dimensions": ["weather"],
        "significance": 0.5,
        "before_from": "2012-01-01T00:00:00Z",
        "from": "2013-01-01T00:00:00Z",
        "to": "2014-01-01T00:00:00Z",
    }
    yield case("explain", ["seattle_weather"], sql, theirs, params)
    # What has 14 days before it; rows are not counted of the first day, which may not be whole.
    later = [day for _, day in days][14:]
    theirs = {
        "rows": sum(map(len, later[1:])),
        "means": sum(day["petal_width"].mean() for day in later),
        "least": sum(day["sepal_length"].min() for day in later),
        "longest": sum(day["species"].str.len().max() for day in later),
    }
    of = lambda check, column: f"check_name = '{check}' AND column_name = '{column}'"
    sql = (
        f"SELECT sum(value) FILTER (WHERE {of('rows', '')}) AS rows, sum(value) FILTER (WHERE {of('mean', 'petal_width')}) AS means, "
        f"sum(value) FILTER (WHERE {of('least', 'sepal_length')}) AS least, sum(value) FILTER (WHERE {of('longest', 'species')}) AS longest FROM quality_checks"
    )
    as_of = iris["at"].max().ceil("D")
    yield case(
        "quality",
        ["iris"],
        sql,
        theirs,
        {"dataset": "iris", "time_column": "at", "min_rows": 1, "distributions": False, "as_of": as_of.isoformat()},
    )
    rolled = iris.sort_values("at").set_index("at").groupby("species")["petal_length"].rolling("2D")
    theirs = {"rows": len(iris), "means": rolled.mean().sum(), "counts": rolled.count().sum()}
    features = {"mean_2d": {"measure": "avg(petal_length)", "window": "2d"}, "count_2d": {"measure": "count(*)", "window": "2d"}}
    sql = "SELECT count(*) AS rows, sum(mean_2d) AS means, CAST(sum(count_2d) AS DOUBLE) AS counts FROM features"
    yield case("features", ["iris"], sql, theirs, {"dataset": "iris", "entity": ["species"], "time_column": "at", "features": features})
    copied = read("iris_copied")
    both = iris.merge(copied, on="id", how="outer", indicator=True, suffixes=("", "_copied"))
    apart = (both["petal_width"] - both["petal_width_copied"]).abs()
    matched = both["_merge"] == "both"
    differs = matched & ((apart > 0.1) | (both["species"] != both["species_copied"]))
    theirs = {
        "matched": matched.sum(),
        "differing": differs.sum(),
        "missing_right": (both["_merge"] == "left_only").sum(),
        "missing_left": 0,
    }
    yield case(
        "reconcile",
        ["iris", "iris_copied"],
        "SELECT matched, differing, missing_right, missing_left FROM reconciliation_totals",
        theirs,
        {"left": "iris", "right": "iris_copied", "key": ["id"], "tolerances": {"petal_width": {"absolute": 0.1}}},
    )
    calls, prices = read("calls"), read("prices")
    of = prices[prices["model"] == "nile"].iloc[0]
    cost = lambda call: call.input_tokens * decimal.Decimal(of["input_cost_per_token"]) + call.output_tokens * decimal.Decimal(
        of["output_cost_per_token"]
    )
    total = sum(map(cost, calls.itertuples()))
    yield case(
        "costs",
        ["calls", "prices"],
        "SELECT count(*) AS calls, CAST(sum(cost) AS TEXT) AS cost FROM call_costs",
        {"calls": len(calls), "cost": f"{total:.18f}"},
        {"dataset": "calls", "prices": ["prices"]},
    )


def of_answers():
    iris, given = read("iris"), read("iris_said")
    right, theirs = {}, {}
    for model, own in given.groupby("model"):
        label, sure = own["label"].to_numpy(), own["confidence"].to_numpy()
        right[model] = label == iris["species"].to_numpy()
        low, high = proportion_confint(right[model].sum(), len(label), method="wilson")
        theirs |= {
            f"{model}_accuracy": metrics.accuracy_score(iris["species"], label),
            f"{model}_macro_f1": metrics.f1_score(iris["species"], label, average="macro"),
            f"{model}_lower": low,
            f"{model}_upper": high,
            f"{model}_brier": metrics.brier_score_loss(right[model], sure),
            f"{model}_calibration_error": answers.calibration_error(right[model], sure),
            f"{model}_calibration_p": answers.spiegelhalter(right[model], sure),
        }
    columns = [f"max({name.split('_', 1)[1]}) FILTER (WHERE model = '{name.split('_', 1)[0]}') AS {name}" for name in theirs]
    params = {"predictions": ["iris_said"], "truth": "iris", "truth_column": "species", "key": ["id"], "truth_time_column": "at"}
    yield case("accuracy", ["iris", "iris_said"], f"SELECT {', '.join(columns)} FROM model_scores", theirs, params)
    only = [(right[a] & ~right[b]).sum() for a, b in [("bayes", "neighbours"), ("neighbours", "bayes")]]
    theirs = {"only_a": only[0], "only_b": only[1], "p": mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue}
    yield case("accuracy", ["iris", "iris_said"], "SELECT only_a, only_b, p FROM model_comparisons", theirs, params)


def of_functions():
    values = read("airpassengers")["value"].to_numpy(dtype=float)
    x = np.arange(len(values), dtype=float)
    line = stats.linregress(x, values)
    theirs = {"steps": 12, "strength": acf(functions.detrended(values), adjusted=True, nlags=12)[-1]}
    yield case(
        None,
        ["airpassengers"],
        "SELECT s[1]['steps'] AS steps, s[1]['strength'] AS strength FROM (SELECT seasons(at, value) AS s FROM airpassengers)",
        theirs,
    )
    theirs = {
        "stddev": values.std(ddof=1),
        "median": np.median(values),
        "quartile": np.quantile(values, 0.25),
        "slope": line.slope,
        "intercept": line.intercept,
        "r2": line.rvalue**2,
    }
    sql = (
        "SELECT stddev(value) AS stddev, median(value) AS median, percentile_cont(0.25) WITHIN GROUP (ORDER BY value) AS quartile, regr_slope(value, x) AS slope, "
        "regr_intercept(value, x) AS intercept, regr_r2(value, x) AS r2 FROM (SELECT value, row_number() OVER (ORDER BY at) - 1 AS x FROM airpassengers)"
    )
    yield case(None, ["airpassengers"], sql, theirs)
    rolling = pd.Series(values).rolling(12)
    theirs = {"means": rolling.mean().sum(), "deviations": rolling.std().sum(), "medians": rolling.median().sum()}
    of = lambda name: f"rolling_{name}(value, 12) OVER (ORDER BY at)"
    yield case(
        None,
        ["airpassengers"],
        f"SELECT sum(a) AS means, sum(b) AS deviations, sum(c) AS medians FROM (SELECT {of('mean')} AS a, {of('std')} AS b, {of('median')} AS c FROM airpassengers)",
        theirs,
    )
    values = read("nile")["value"].to_numpy(dtype=float)
    noise = (1.4826 * np.median(np.abs(np.diff(values)))) ** 2 / 2
    [cut, _] = ruptures.KernelCPD(kernel="linear", min_size=5).fit(values).predict(pen=2 * np.log(len(values)) * noise)
    sql = "SELECT date_part('year', c['at']) AS \"year\", c['before'] AS before, c['after'] AS after FROM (SELECT unnest(changepoints(at, value)) AS c FROM nile)"
    yield case(None, ["nile"], sql, {"year": 1871 + cut, "before": values[:cut].mean(), "after": values[cut:].mean()})
    iris = read("iris")
    vectors = iris[["sepal_length", "sepal_width", "petal_length", "petal_width"]].to_numpy()
    apart, ids = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(vectors).kneighbors([[5.0, 3.4, 1.5, 0.2]])
    theirs = {
        "ids": int(ids.sum()),
        "scores": {"theirs": float((1 - apart).sum()), "within": 1e-6, "why": "ours takes vectors as 32-bit numbers"},
    }
    sql = (
        "SELECT CAST(sum(v['id']) AS BIGINT) AS ids, sum(v['score']) AS scores FROM (SELECT unnest(nearest(id, [sepal_length, sepal_width, petal_length, petal_width], "
        "[5.0, 3.4, 1.5, 0.2], 5)) AS v FROM iris)"
    )
    yield case(None, ["iris"], sql, theirs)


def of_log():
    frame = read("orders").rename(columns={"case_id": "case:concept:name", "activity": "concept:name", "ended_at": "time:timestamp"})
    graph, _, ends = pm4py.discover_dfg(
        pm4py.format_dataframe(frame, case_id="case:concept:name", activity_key="concept:name", timestamp_key="time:timestamp")
    )
    waits, _, _ = pm4py.discover_performance_dfg(frame)
    theirs = {
        "edges": len(graph),
        "pay_pack": graph["pay", "pack"],
        "waiting": sum(float(wait["sum"]) for wait in waits.values()),
        "send_mean": float(waits["pack", "send"]["mean"]),
    }
    edge = lambda a, b: f"FILTER (WHERE from_activity = '{a}' AND to_activity = '{b}')"
    sql = (
        f"SELECT count(*) AS edges, max(count) {edge('pay', 'pack')} AS pay_pack, sum(waiting_total_seconds) AS waiting, "
        f"max(waiting_mean_seconds) {edge('pack', 'send')} AS send_mean FROM process_edges"
    )
    return case("processes", ["orders"], sql, theirs, {"dataset": "orders", "start_column": None})


def write():
    """Writes data and figures again."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, frame in files():
        frame.to_csv(FOLDER / f"{name}.csv", index=False, date_format="%Y-%m-%dT%H:%M:%SZ")
    text = ",\n".join(json.dumps(case, indent=1) for case in cases())
    (FOLDER / "figures.json").write_text(f"[\n{text}\n]\n")


def compare(colonnade, table):
    """Ours next to the peers as they are now, and these next to those that are stored."""
    stored = json.loads((FOLDER / "figures.json").read_text())
    for name in sorted({name for case in stored for name in case["data"]}):
        colonnade.command("ingest", name, FOLDER / f"{name}.csv", "--create")
    for now, then in zip(cases(), stored, strict=True):
        if now["job"]:
            colonnade.run(now["job"], **now["params"])
        [row] = colonnade.query(now["sql"])
        what, data = f"{now['job'] or 'SQL'}, stored", ", ".join(now["data"])
        for figure, theirs in now["figures"].items():
            value = theirs.get("equals", theirs.get("theirs"))
            if "at_most" in theirs:
                table.at_most(what, data, figure, row[figure], value, theirs["at_most"], theirs["why"])
            else:
                table.equal(what, data, figure, row[figure], value, theirs.get("within", 1e-9), theirs.get("why", ""))
            kept = then["figures"][figure]
            table.equal(what, data, f"{figure} of the peer, as stored", kept.get("equals", kept.get("theirs")), value, 1e-9)
