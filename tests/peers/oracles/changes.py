"""Compares the jobs `explain` and `quality` with pandas."""

import json

import numpy as np
import pandas as pd
from scipy.special import rel_entr
from vega_datasets import local_data as vega


def employment():
    """Persons by month and sector, and the part of the economy that a sector is of."""
    frame = vega("us-employment")
    goods = {"mining_and_logging", "construction", "manufacturing"}
    services = {
        "wholesale_trade",
        "retail_trade",
        "transportation_and_warehousing",
        "utilities",
        "information",
        "financial_activities",
        "professional_and_business_services",
        "education_and_health_services",
        "leisure_and_hospitality",
        "other_services",
        "government",
    }
    long = frame.melt(id_vars="month", value_vars=sorted(goods | services), var_name="sector", value_name="persons")
    part = np.where(long["sector"].isin(goods), "goods", "services")
    return pd.DataFrame(
        {"at": pd.to_datetime(long["month"], utc=True), "sector": long["sector"], "part": part, "persons": long["persons"].astype(float)}
    )


def weather():
    frame = vega("seattle-weather").rename(columns={"date": "at"})
    frame["at"] = pd.to_datetime(frame["at"], utc=True)
    frame["quarter"] = frame["at"].dt.quarter.map("Q{}".format)
    return frame


def compare(colonnade, table):
    sums, ratios = employment(), weather()
    colonnade.ingest("employment", sums)
    colonnade.ingest("weather", ratios)
    for year in (2008, 2009, 2014):
        explain(colonnade, table, "employment", sums, "sum(persons)", year, ["sector", "part"])
    for measure in ["count(*)", "sum(precipitation) / count(*)", "avg(temp_max)", "sum(wind)"]:
        for year in (2013, 2014, 2015):
            explain(colonnade, table, "weather", ratios, measure, year, ["weather", "quarter"])
    quantile(colonnade, table, ratios)
    quality(colonnade, table, ratios)


def explain(colonnade, table, dataset, frame, measure, year, dimensions):
    """A year compared with the year before."""
    start, end, began = (pd.Timestamp(year=of, month=1, day=1, tz="UTC") for of in (year, year + 1, year - 1))
    periods = {"from": start.isoformat(), "to": end.isoformat(), "before_from": began.isoformat(), "before_to": start.isoformat()}
    colonnade.run(
        "explain",
        dataset=dataset,
        time_column="at",
        measure=measure,
        dimensions=dimensions,
        findings_max=30,
        significance=0.5,
        explained=1.0,
        **periods,
    )
    found = colonnade.query(f"SELECT * FROM explanations WHERE source = '{dataset}' AND from_at = '{start.isoformat()}' ORDER BY rank")
    rows = [row for row in found if row["question"].startswith(f"{measure} of")]
    assert rows, (measure, year)
    earlier, later = frame[(frame["at"] >= began) & (frame["at"] < start)], frame[(frame["at"] >= start) & (frame["at"] < end)]
    for row in rows:
        group = json.loads(row["by_column"]) if isinstance(row["by_column"], str) else row["by_column"]
        name = f"{dataset}: {measure}, {year}, {row['finding'] or 'all'}"
        for figure, theirs in by_pandas(measure, earlier, later, group or {}).items():
            if row[figure] is not None or figure in ("before", "after", "contribution"):
                table.equal("explain", name, f"{figure}: pandas", row[figure], theirs)


def by_pandas(measure, earlier, later, group):
    """The figures of a group of rows, by the formulas of docs/explain.md."""
    is_ratio = "/" in measure or measure.startswith("avg")
    column = measure.split("(")[1].split(")")[0]
    of = lambda frame: np.array([frame[column].sum() if column != "*" else len(frame), len(frame)], dtype=float)
    select = lambda frame: frame[np.logical_and.reduce([frame[name] == value for name, value in group.items()])] if group else frame
    all_before, all_after = of(earlier), of(later)
    before, after = of(select(earlier)), of(select(later))
    found = {"rows_before": int(before[1]), "rows_after": int(after[1])} if group else {}
    terms = lambda at: jensen_shannon(before[at] / all_before[at], after[at] / all_after[at])
    if not is_ratio:
        found |= {"before": before[0], "after": after[0], "contribution": after[0] - before[0]}
        change = all_after[0] - all_before[0]
        return found | ({"share": found["contribution"] / change, "surprise": terms(0)} if change and group else {})
    whole_before, whole_after = all_before[0] / all_before[1], all_after[0] / all_after[1]
    beyond = lambda part, whole: (part[0] - whole_before * part[1]) / whole[1]
    contribution = beyond(after, all_after) - beyond(before, all_before)
    ratio = lambda part: part[0] / part[1] if part[1] else None
    found |= {"before": ratio(before), "after": ratio(after), "contribution": contribution}
    found |= {"share": contribution / (whole_after - whole_before), "surprise": terms(0) + terms(1)}
    if not before[1] or not after[1]:
        # A group that is absent in one period had the same ratio there.
        return found | {"by_rate": 0.0, "by_mix": contribution, "by_both": 0.0}
    moved, part_before = ratio(after) - ratio(before), before[1] / all_before[1]
    share_moved = after[1] / all_after[1] - part_before
    return found | {"by_rate": part_before * moved, "by_mix": share_moved * (ratio(before) - whole_before), "by_both": share_moved * moved}


def jensen_shannon(before, after):
    """The term of a group in the Jensen-Shannon divergence of the shares of both periods."""
    middle = (before + after) / 2
    return 0.5 * (rel_entr(before, middle) + rel_entr(after, middle))


def quality(colonnade, table, frame):
    """Each check of each week."""
    frame = frame.assign(id=np.arange(len(frame)) // 2, station=frame["weather"].where(frame["weather"] != "snow"))
    frame.loc[frame["wind"] > 7, "wind"] = np.nan
    places = pd.DataFrame({"weather": ["sun", "rain", "fog", "drizzle"]})
    colonnade.ingest("days", frame)
    colonnade.ingest("kinds", places)
    end = frame["at"].max() + pd.Timedelta(hours=1)
    colonnade.run(
        "quality",
        dataset="days",
        time_column="at",
        period="week",
        periods=120,
        min_rows=1,
        unique=["id"],
        references={"weather": "kinds.weather"},
        as_of=end.isoformat(),
    )
    rows = colonnade.query("SELECT * FROM quality_checks WHERE source = 'days' AND check_name <> 'distribution'")
    weeks = dict(iter(frame.groupby(frame["at"].dt.floor("D") - pd.to_timedelta(frame["at"].dt.weekday, unit="D"))))
    checks = {}
    for row in rows:
        ours, theirs = checks.setdefault((row["check_name"], row["column_name"]), ({}, {}))
        at = pd.Timestamp(row["at"])
        ours[at], theirs[at] = row["value"], measured(row["check_name"], row["column_name"], at, weeks, end)
    for (check, column), (ours, theirs) in sorted(checks.items()):
        table.all_equal("quality", f"seattle weather by week, {column or 'rows'}", f"{check}: pandas", ours, theirs)


def measured(check, column, at, weeks, end):
    week = weeks[at]
    values = week[column] if column else None
    match check:
        case "rows":
            return len(week)
        case "gap":
            return (week["at"].diff().max()).total_seconds()
        case "nulls":
            return values.isna().mean()
        case "empty":
            return (values.dropna().str.strip() == "").mean()
        case "least" | "greatest" | "mean":
            return float({"least": values.min, "greatest": values.max, "mean": values.mean}[check]())
        case "shortest" | "longest":
            return float(getattr(values.dropna().str.len(), "min" if check == "shortest" else "max")())
        case "repeated":
            return values.duplicated().mean()
        case "orphans":
            return (~values.dropna().isin(["sun", "rain", "fog", "drizzle"])).mean()
    raise ValueError(check)


def quantile(colonnade, table, frame):
    """Of a quantile, the share of rows above the earlier one is explained."""
    years = [frame[frame["at"].dt.year == year] for year in (2012, 2015)]
    periods = {
        "before_from": "2012-01-01T00:00:00Z",
        "before_to": "2013-01-01T00:00:00Z",
        "from": "2015-01-01T00:00:00Z",
        "to": "2016-01-01T00:00:00Z",
    }
    colonnade.run(
        "explain",
        dataset="weather",
        time_column="at",
        measure="approx_percentile_cont(temp_max, 0.9)",
        dimensions=["quarter"],
        significance=0.5,
        explained=1.0,
        depth=1,
        output="quantiles",
        **periods,
    )
    rows = colonnade.query("SELECT * FROM quantiles ORDER BY rank")
    edge = rows[0]["before"]
    for figure, year in zip(["before", "after"], years):
        table.equal(
            "explain",
            "weather: 90 %, all",
            f"{figure}: numpy",
            rows[0][figure],
            np.quantile(year["temp_max"], 0.9),
            0.02,
            "the measure is near by its name: a t-digest",
        )
    above = [year.assign(above=(year["temp_max"] > edge).astype(float)) for year in years]
    whole = [year["above"].mean() for year in above]
    for row in rows[1:]:
        of = [year[year["quarter"] == row["finding"].split(" = ")[1]] for year in above]
        beyond = [(part["above"].sum() - whole[0] * len(part)) / len(year) for part, year in zip(of, above)]
        scale = (rows[0]["after"] - rows[0]["before"]) / (whole[1] - whole[0])
        name = f"weather: 90 %, {row['finding']}"
        for figure, theirs in [
            ("before", of[0]["above"].mean()),
            ("after", of[1]["above"].mean()),
            ("contribution", (beyond[1] - beyond[0]) * scale),
        ]:
            table.equal("explain", name, f"{figure}: pandas", row[figure], theirs)
