"""Compares the jobs `metric`, `features`, `training_set`, `costs` and `reconcile` with pandas and exact
decimals.
"""

import decimal
import json

import numpy as np
import pandas as pd
from vega_datasets import local_data as vega

from . import series
from .changes import weather


def compare(colonnade, table):
    metric(colonnade, table)
    features(colonnade, table)
    costs(colonnade, table)
    reconcile(colonnade, table)


MEASURES = {
    "count(*)": lambda rows: len(rows),
    "sum(precipitation)": lambda rows: rows["precipitation"].sum(),
    "avg(temp_max)": lambda rows: rows["temp_max"].mean(),
    "min(temp_min)": lambda rows: rows["temp_min"].min(),
    "max(wind)": lambda rows: rows["wind"].max(),
    "median(temp_max)": lambda rows: rows["temp_max"].median(),
    "stddev(temp_max)": lambda rows: rows["temp_max"].std() if len(rows) > 1 else None,
    "count(*) FILTER (WHERE precipitation > 0) / count(*)": lambda rows: (rows["precipitation"] > 0).mean(),
    "sum(precipitation) / count(*)": lambda rows: rows["precipitation"].sum() / len(rows),
    "count(DISTINCT temp_max)": lambda rows: rows["temp_max"].nunique(),
}
BEGINS = {"1d": "D", "1w": "W", "1mo": "M", "1q": "Q", "1y": "Y"}


def metric(colonnade, table):
    """Each measure by interval and kind of weather."""
    frame = weather()
    colonnade.ingest("weather_days", frame)
    for interval, period in BEGINS.items():
        begins = frame["at"].dt.tz_localize(None).dt.to_period(period).dt.start_time.dt.tz_localize("UTC")
        # The interval of the newest row has no value yet.
        is_over = begins < begins.max()
        for measure, of in MEASURES.items():
            if interval in ("1d", "1w") and measure.startswith(("median", "stddev")):
                continue
            colonnade.run(
                "metric",
                metric="m",
                dataset="weather_days",
                time_column="at",
                measure=measure,
                dimensions=["weather"],
                interval=interval,
                empty="missing",
                full=True,
            )
            rows = colonnade.query("SELECT dimensions, at, value FROM metric_values WHERE metric = 'm' AND value IS NOT NULL")
            ours = {(dimension(row), pd.Timestamp(row["at"])): row["value"] for row in rows}
            theirs = {key: of(rows) for key, rows in frame[is_over].groupby([frame["weather"], begins])}
            theirs = {key: value for key, value in theirs.items() if value is not None}
            table.all_equal("metric", f"seattle weather, {interval}", f"{measure}: pandas", ours, theirs)


def dimension(row):
    [value] = (json.loads(row["dimensions"]) if isinstance(row["dimensions"], str) else row["dimensions"]).values()
    return value


def features(colonnade, table):
    """Prices of stocks as features of symbols, and as they were known at each month's end."""
    prices = vega("stocks").rename(columns={"date": "at"})
    prices["at"] = pd.to_datetime(prices["at"], utc=True)
    colonnade.ingest("prices", prices)
    asked = {
        "last": "price",
        "mean_1y": {"measure": "avg(price)", "window": "365d"},
        "most": {"measure": "max(price)"},
        "count_1y": {"measure": "count(*)", "window": "365d"},
    }
    colonnade.run("features", dataset="prices", entity=["symbol"], time_column="at", features=asked, output="price_features")
    rows = colonnade.query("SELECT * FROM price_features")
    ours = {(row["symbol"], pd.Timestamp(row["at"])): row for row in rows}
    theirs = {}
    for symbol, own in prices.sort_values("at").groupby("symbol"):
        own = own.set_index("at")["price"]
        year = own.rolling("365D")
        for at, *values in zip(own.index, own, year.mean(), own.cummax(), year.count()):
            theirs[symbol, at] = dict(zip(asked, values))
    for name in asked:
        table.all_equal(
            "features",
            "stocks",
            f"{name}: pandas",
            {key: row[name] for key, row in ours.items()},
            {key: row[name] for key, row in theirs.items()},
        )
    labels = pd.DataFrame(
        [(symbol, at) for symbol in prices["symbol"].unique() for at in pd.date_range("2000-01-15", "2010-03-15", freq="45D", tz="UTC")],
        columns=["symbol", "asked_at"],
    )
    labels["number"] = range(len(labels))
    colonnade.ingest("labels", labels)
    colonnade.run("training_set", dataset="labels", time_column="asked_at", features=["price_features"], output="learned")
    view = pd.DataFrame([{"symbol": symbol, "at": at, **row} for (symbol, at), row in theirs.items()]).sort_values("at")
    joined = pd.merge_asof(
        labels.sort_values("asked_at"), view, left_on="asked_at", right_on="at", by="symbol", allow_exact_matches=False
    ).set_index("number")
    rows = {row["number"]: row for row in colonnade.query("SELECT * FROM learned")}
    for name in asked:
        of = {number: None if pd.isna(value) else value for number, value in joined[name].items()}
        table.all_equal("training_set", "stocks", f"{name}: merge_asof", {number: row[name] for number, row in rows.items()}, of)


def costs(colonnade, table):
    """Half-hourly demand as tokens of calls, with prices that change at noon of a day."""
    demand = series.by_name()["taylor"]
    tokens = demand.values.astype(int)
    calls = pd.DataFrame(
        {
            "id": [f"call {at:05}" for at in range(len(tokens))],
            "at": demand.at,
            "model": np.array(["small", "large", "unknown"])[tokens % 3],
            "input_tokens": tokens,
            "cached_tokens": tokens // 5,
            "output_tokens": tokens // 7,
            "user_id": np.array(["ann", "bob", "cy", "di"])[tokens % 4],
        }
    )
    noon = pd.Timestamp("2000-07-01T12:00:00Z")
    prices = {
        ("small", False): ("0.00000015", "0.000000075", "0.0000006"),
        ("large", False): ("0.0000025", "0.00000125", "0.00001"),
        ("large", True): ("0.000002", "0.0000005", "0.000008"),
    }
    names = ["input_cost_per_token", "cache_read_input_token_cost", "output_cost_per_token"]
    listed = [
        {"model": model, "valid_from": noon if is_later else pd.NaT, **dict(zip(names, of))} for (model, is_later), of in prices.items()
    ]
    colonnade.ingest("calls", calls)
    path = colonnade.root / "prices_of_models.csv"
    pd.DataFrame(listed).to_csv(path, index=False)
    colonnade.command("ingest", "prices_of_models", path, "--create")
    colonnade.run("costs", dataset="calls", prices=["prices_of_models"])
    theirs = {}
    for call in calls.itertuples():
        of = prices.get((call.model, call.model == "large" and call.at >= noon))
        if of:
            plain, cached, said = map(decimal.Decimal, of)
            theirs[call.id] = (call.input_tokens - call.cached_tokens) * plain + call.cached_tokens * cached + call.output_tokens * said
    rows = [
        json.loads(line, parse_float=decimal.Decimal)
        for line in colonnade.command(
            "sql", "SELECT call_id, cost FROM call_costs WHERE source = 'calls' AND cost IS NOT NULL", "--format", "ndjson"
        ).splitlines()
    ]
    exact = lambda values: {key: str(decimal.Decimal(value).normalize()) for key, value in values.items()}
    table.all_equal(
        "costs",
        "taylor as tokens",
        "cost of calls, every digit: decimal",
        exact({row["call_id"]: row["cost"] for row in rows}),
        exact(theirs),
    )
    calls["cost"] = calls["id"].map(theirs)
    priced = calls[calls["cost"].notna()]
    for dimension, key in [("all", lambda of: "all"), ("model", lambda of: of["model"]), ("user_id", lambda of: of["user_id"])]:
        lines = colonnade.command(
            "sql",
            f"SELECT at, value, cost FROM model_costs WHERE source = 'calls' AND dimension = '{dimension}' AND cost IS NOT NULL",
            "--format",
            "ndjson",
        ).splitlines()
        rows = [json.loads(line, parse_float=decimal.Decimal) for line in lines]
        ours = {(str(pd.Timestamp(row["at"])), row["value"] if dimension != "all" else "all"): row["cost"] for row in rows}
        sums = priced.groupby([priced["at"].dt.floor("D").astype(str), priced.apply(key, axis=1)])["cost"].sum().to_dict()
        table.all_equal("costs", "taylor as tokens", f"sums by day and {dimension}, every digit: decimal", exact(ours), exact(sums))
    missing = colonnade.value("SELECT sum(calls) FROM unpriced_calls WHERE source = 'calls'")
    table.equal("costs", "taylor as tokens", "unpriced calls: pandas", int(missing), int(calls["cost"].isna().sum()))


def reconcile(colonnade, table):
    """The airports of the United States against a copy with differences."""
    left = vega("airports")[["iata", "name", "city", "state", "latitude", "longitude"]].astype({"latitude": float, "longitude": float})
    random = np.random.default_rng(3)
    right = left.copy()
    for column, count in [("city", 40), ("state", 25), ("name", 10)]:
        at = random.choice(len(right), count, replace=False)
        right.loc[at, column] = right.loc[at, column].fillna("").str.upper() + "!"
    at = random.choice(len(right), 60, replace=False)
    right.loc[at, "latitude"] += np.where(np.arange(60) < 30, 0.0005, 0.5)
    right = pd.concat([right.drop(random.choice(len(right), 35, replace=False)), right.iloc[:4]])
    left = left.drop(random.choice(len(left), 20, replace=False))
    colonnade.ingest("airports", left)
    colonnade.ingest("copied", right)
    tolerance = 0.001
    colonnade.run("reconcile", left="airports", right="copied", key=["iata"], tolerances={"latitude": {"absolute": tolerance}})
    [total] = colonnade.query("SELECT * FROM reconciliation_totals")
    columns = {row["column_name"]: row for row in colonnade.query("SELECT * FROM reconciliation_columns")}
    twice = set(right["iata"][right["iata"].duplicated()])
    both = left[~left["iata"].isin(twice)].merge(
        right[~right["iata"].isin(twice)], on="iata", how="outer", indicator=True, suffixes=("_l", "_r")
    )
    matched = both[both["_merge"] == "both"]
    differs = {}
    for column in ["name", "city", "state", "latitude", "longitude"]:
        a, b = matched[f"{column}_l"], matched[f"{column}_r"]
        is_equal = (a == b) | (a.isna() & b.isna())
        is_near = ~is_equal & ((a - b).abs() <= tolerance) if column == "latitude" else ~is_equal & False
        differs[column] = ~is_equal & ~is_near
        for figure, theirs in [
            ("equal", is_equal.sum()),
            ("near", is_near.sum()),
            ("differing", differs[column].sum()),
            ("compared", len(matched)),
        ]:
            table.equal("reconcile", f"airports.{column}", f"{figure}: pandas", columns[column][figure], int(theirs))
    any_differs = pd.DataFrame(differs).any(axis=1)
    for figure, theirs in [
        ("matched", len(matched)),
        ("agreeing", (~any_differs).sum()),
        ("differing", any_differs.sum()),
        ("missing_right", (both["_merge"] == "left_only").sum()),
        ("missing_left", (both["_merge"] == "right_only").sum()),
        ("repeated", len(twice)),
    ]:
        table.equal("reconcile", "airports", f"{figure}: pandas.merge", total[figure], int(theirs))
