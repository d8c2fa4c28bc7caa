"""Real series that packages of PyPI ship."""

import dataclasses
import warnings

import numpy as np
import pandas as pd
import pmdarima.datasets as pmdarima
import statsmodels.datasets as statsmodels
from vega_datasets import local_data as vega


@dataclasses.dataclass
class Series:
    """Values one interval apart. `seasons` are the usual ones, in intervals, the shortest first."""

    name: str
    at: pd.DatetimeIndex
    values: np.ndarray
    interval: str
    seasons: tuple
    horizon: int

    def frame(self, name=None):
        return pd.DataFrame({"series": name or self.name, "at": self.at, "value": self.values.astype(float)})


def of(name, values, start, frequency, interval, seasons, horizon):
    values = np.asarray(values, dtype=float)
    at = pd.date_range(start, periods=len(values), freq=frequency, tz="UTC")
    return Series(name, at, values, interval, seasons, horizon)


def monthly(name, values, start, seasons=(12,), horizon=12):
    return of(name, values, start, "MS", "1mo", seasons, horizon)


def quarterly(name, values, start, seasons=(4,), horizon=4):
    return of(name, values, start, "QS", "1q", seasons, horizon)


def yearly(name, values, start, horizon=10):
    return of(name, values, f"{start}-01-01", "YS", "1y", (1,), horizon)


def everything():
    """All series. Horizons are the last season, or ten values of a series without one."""
    warnings.simplefilter("ignore")
    load = lambda name: getattr(statsmodels, name).load_pandas().data
    yield of("taylor", pmdarima.load_taylor(), "2000-06-05", "30min", "30m", (48, 336), 336)
    yield monthly("airpassengers", pmdarima.load_airpassengers(), "1949-01-01")
    yield quarterly("ausbeer", pmdarima.load_ausbeer()[:-1], "1956-01-01")
    yield quarterly("austres", pmdarima.load_austres(), "1971-04-01")
    yield monthly("wineind", pmdarima.load_wineind(), "1980-01-01")
    yield quarterly("woolyrnq", pmdarima.load_woolyrnq(), "1965-01-01")
    yield of("heartrate", pmdarima.load_heartrate(), "2000-01-01", "500ms", "500ms", (1,), 10)
    yield yearly("lynx", pmdarima.load_lynx(), 1821)
    yield monthly("sunspots by month", pmdarima.load_sunspots(), "1749-01-01", (1,))
    yield yearly("sunspots by year", load("sunspots")["SUNACTIVITY"], 1700)
    yield yearly("nile", load("nile")["volume"], 1871)
    elnino = load("elnino").drop(columns="YEAR").to_numpy().ravel()
    yield monthly("elnino", elnino, "1950-01-01")
    co2 = statsmodels.co2.load_pandas().data["co2"]
    yield monthly("co2 by month", co2.resample("MS").mean().interpolate(), "1958-03-01")
    macro = load("macrodata")
    for column in ["realgdp", "realcons", "realinv", "cpi", "unemp", "tbilrate", "infl"]:
        yield quarterly(column, macro[column], "1959-01-01")
    inflation = load("interest_inflation")
    yield quarterly("german inflation", inflation["Dp"], "1972-04-01")
    yield quarterly("german interest", inflation["R"], "1972-04-01")
    weather = vega("seattle-weather")
    for column in ["temp_max", "wind"]:
        yield of(f"seattle {column}", weather[column], "2012-01-01", "D", "1d", (7,), 7)
    yield of("san francisco temp", vega("sf-temps")["temp"].to_numpy()[:4000], "2010-01-01", "h", "1h", (24,), 24)
    employment = vega("us-employment")
    for column in ["construction", "retail_trade", "leisure_and_hospitality"]:
        yield monthly(f"us {column}", employment[column], "2006-01-01")
    stocks = vega("stocks")
    for symbol in ["MSFT", "IBM"]:
        yield monthly(f"stock {symbol}", stocks[stocks["symbol"] == symbol]["price"], "2000-01-01")
    # Days without trading are filled: a business day is a place on the grid.
    msft = pmdarima.load_msft()
    close = pd.Series(msft["Close"].to_numpy(), index=pd.to_datetime(msft["Date"])).asfreq("B").ffill()[-1000:]
    yield of("msft by day", close, close.index[0], "B", "1bd", (1,), 10)


def by_name():
    return {one.name: one for one in everything()}
