"""Compares instants of forecasts, intervals of metrics and functions of time with pandas, on calendars
of real data.
"""

import numpy as np
import pandas as pd
import pmdarima.datasets as pmdarima
import statsmodels.datasets as statsmodels
from pandas.tseries.holiday import USFederalHolidayCalendar
from vega_datasets import local_data as vega

from . import series

ZONES = ["UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe"]


def compare(colonnade, table):
    forecasts(colonnade, table)
    stated(colonnade, table)
    metrics(colonnade, table)
    functions(colonnade, table)


def stamped(name, values, frequency, start):
    return (
        name,
        frequency,
        pd.Series(np.asarray(values, dtype=float), index=pd.date_range(start, periods=len(values), freq=frequency, tz="UTC")),
    )


def calendars():
    """Real values on calendars whose frequency pandas names."""
    air, beer = series.by_name()["airpassengers"].values, series.by_name()["woolyrnq"].values
    nile, weather = series.by_name()["nile"].values, vega("seattle-weather")
    yield stamped("month ends", air, "ME", "1949-01-31")
    yield stamped("middles of months", air, pd.DateOffset(months=1), "1949-01-15")
    yield stamped("quarter ends", beer, "QE", "1965-03-31")
    yield stamped("quarters from February", beer, "QS-FEB", "1965-02-01")
    yield stamped("year ends", nile, "YE", "1871-12-31")
    yield stamped("fiscal years", nile, "YS-OCT", "1871-10-01")
    yield stamped("weeks from Sunday", weather["temp_max"][:1400:7], "W-SUN", "2012-01-01")
    yield stamped("every second week", weather["temp_max"][:1400:7], "2W-MON", "2012-01-02")
    yield stamped("business days", weather["wind"][:600], "B", "2012-01-02")
    yield stamped("days at six", weather["temp_min"], "D", "2012-01-01T06:00")
    yield stamped("six hours", weather["temp_min"], "6h", "2012-01-01T03:00")
    yield stamped("half minutes", series.by_name()["heartrate"].values, "500ms", "2020-02-29T23:59:30")
    co2 = statsmodels.co2.load_pandas().data["co2"].dropna()
    co2.index = co2.index.tz_localize("UTC")
    yield "co2 by week, with gaps", "W-SAT", co2
    msft = pmdarima.load_msft()[-700:]
    close = pd.Series(msft["Close"].to_numpy(), index=pd.to_datetime(msft["Date"], utc=True))
    yield "trading days, with holidays", "B", close


def forecasts(colonnade, table):
    """The intervals are inferred."""
    every = list(calendars())
    frames = [pd.DataFrame({"series": name, "at": of.index, "value": of.to_numpy()}) for name, _, of in every]
    colonnade.ingest("stamped", pd.concat(frames))
    summary = colonnade.run("forecast", dataset="stamped", horizon=14)
    table.equal("forecast", "14 calendars", "series that have a forecast", summary["series_forecast"], len(every))
    rows = pd.DataFrame(colonnade.query("SELECT series, at, step FROM forecasts WHERE source = 'stamped' ORDER BY series, step"))
    found = {name: pd.to_datetime(own["at"], utc=True, format="ISO8601").tolist() for name, own in rows.groupby("series")}
    for name, frequency, of in every:
        theirs = pd.date_range(of.index[-1], periods=15, freq=frequency)[1:].tolist()
        ours = found.get(name, [])
        first = next((at for at, (a, b) in enumerate(zip(ours, theirs)) if a != b), None)
        table.equal(
            "forecast",
            name,
            "instants: pandas.date_range",
            "equal" if ours == theirs else f"{first}: {ours[first] if first is not None else len(ours)}",
            "equal" if ours == theirs else f"{theirs[first or 0]}",
        )


def stated(colonnade, table):
    """Intervals, zones and holidays that are stated."""
    trading = calendars_by_name()["trading days, with holidays"]
    colonnade.ingest("trading", pd.DataFrame({"series": "msft", "at": trading.index, "value": trading.to_numpy()}))
    holidays = USFederalHolidayCalendar().holidays("2014-01-01", "2019-01-01")
    colonnade.run("forecast", dataset="trading", horizon=60, interval="1bd", holidays=[f"{day:%Y-%m-%d}" for day in holidays])
    theirs = pd.date_range(trading.index[-1] + pd.Timedelta(days=1), periods=60, freq=pd.offsets.CustomBusinessDay(holidays=holidays))
    table.all_equal(
        "forecast",
        "trading days, federal holidays",
        "instants: CustomBusinessDay",
        instants(colonnade, "trading"),
        dict(enumerate(map(str, theirs))),
    )
    frame = vega("sf-temps").rename(columns={"date": "at", "temp": "value"})
    frame["at"] = frame["at"].dt.tz_localize("UTC")
    # Until a week before the clocks of Europe change.
    frame = frame[frame["at"] < pd.Timestamp("2010-10-25", tz="UTC")].assign(series="temp")
    colonnade.ingest("until_october", frame)
    for interval, frequency in [("1d", "D"), ("1w", "W-MON"), ("1mo", "MS")]:
        colonnade.run("forecast", dataset="until_october", horizon=10, interval=interval, zone="Europe/Berlin")
        local = frame["at"].dt.tz_convert("Europe/Berlin").dt.tz_localize(None)
        period = local.dt.to_period({"1d": "D", "1w": "W", "1mo": "M"}[interval]).dt.start_time
        theirs = pd.date_range(period.max(), periods=11, freq=frequency)[1:].tz_localize("Europe/Berlin").tz_convert("UTC")
        table.all_equal(
            "forecast",
            f"sf-temps by {interval} of Berlin",
            "instants: pandas",
            instants(colonnade, "until_october"),
            dict(enumerate(map(str, theirs))),
        )


def instants(colonnade, dataset):
    rows = colonnade.query(f"SELECT at FROM forecasts WHERE source = '{dataset}' ORDER BY step")
    return {place: str(pd.Timestamp(row["at"])) for place, row in enumerate(rows)}


def calendars_by_name():
    return {name: of for name, _, of in calendars()}


def metrics(colonnade, table):
    """Averages temperatures by the calendar of several zones, some with daylight saving time."""
    frame = vega("sf-temps").rename(columns={"date": "at"})
    frame["at"] = frame["at"].dt.tz_localize("UTC")
    colonnade.ingest("temperatures", frame)
    for zone in ZONES:
        local = frame["at"].dt.tz_convert(zone)
        for interval, period in [("1d", "D"), ("1w", "W"), ("1mo", "M"), ("1q", "Q")]:
            colonnade.run(
                "metric", metric="t", dataset="temperatures", time_column="at", measure="avg(temp)", interval=interval, zone=zone, full=True
            )
            rows = colonnade.query("SELECT at, value, rows FROM metric_values WHERE metric = 't'")
            begins = local.dt.tz_localize(None).dt.to_period(period).dt.start_time.dt.tz_localize(zone).dt.tz_convert("UTC")
            groups = frame[begins < begins.max()].groupby(begins)["temp"]
            table.all_equal(
                "metric",
                f"sf-temps, {zone}",
                f"mean of {interval}: pandas",
                {pd.Timestamp(row["at"]): row["value"] for row in rows},
                groups.mean().to_dict(),
            )
            table.all_equal(
                "metric",
                f"sf-temps, {zone}",
                f"rows of {interval}: pandas",
                {pd.Timestamp(row["at"]): row["rows"] for row in rows},
                groups.size().to_dict(),
            )


def functions(colonnade, table):
    for zone in ZONES:
        local = f"at AT TIME ZONE '{zone}'"
        parts = {
            "year": "year",
            "quarter": "quarter",
            "month": "month",
            "day": "day",
            "hour": "hour",
            "minute": "minute",
            "doy": "dayofyear",
        }
        select = ", ".join(f"date_part('{part}', {local}) AS {part}" for part in parts)
        bins = {"day": "D", "month": "M", "week": "W"}
        trunc = ", ".join(f"to_unixtime(date_trunc('{unit}', {local})) AS trunc_{unit}" for unit in bins)
        rows = colonnade.query(f"SELECT {select}, {trunc} FROM temperatures ORDER BY at")
        at = vega("sf-temps")["date"].sort_values(ignore_index=True).dt.tz_localize("UTC").dt.tz_convert(zone)
        for part, of in parts.items():
            theirs = getattr(at.dt, of)
            table.all_equal(
                "SQL", f"sf-temps, {zone}", f"date_part {part}: pandas", dict(enumerate(row[part] for row in rows)), dict(enumerate(theirs))
            )
        for unit, period in bins.items():
            begins = at.dt.tz_localize(None).dt.to_period(period).dt.start_time.dt.tz_localize(zone)
            theirs = begins.astype("int64") // 10**9
            table.all_equal(
                "SQL",
                f"sf-temps, {zone}",
                f"date_trunc {unit}: pandas",
                dict(enumerate(row[f"trunc_{unit}"] for row in rows)),
                dict(enumerate(theirs)),
            )
