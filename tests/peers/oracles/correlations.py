"""Compares the job `correlate` and `corr_matrix` of SQL with scipy and pandas."""

import itertools

import numpy as np
import pandas as pd
import statsmodels.datasets as statsmodels
from scipy import signal, stats
from vega_datasets import local_data as vega

APPROXIMATE = "method differs: ours also takes the kurtosis of both series (Pitman), or random orders of blocks"
PERMUTED = "random orders differ: ours stops after 20 that are as far, or 1000"
ORDERS = 2000
# A thousand random orders cannot show less.
LEAST_P = 1e-3


def tables():
    """Columns that are compared with each other, by month or quarter."""
    employment = vega("us-employment").set_index("month")
    employment.index = pd.to_datetime(employment.index, utc=True)
    yield "us employment", "1mo", employment.drop(columns=["nonfarm_change"]).astype(float)
    stocks = vega("stocks").pivot(index="date", columns="symbol", values="price").drop(columns="GOOG").dropna()
    stocks.index = pd.to_datetime(stocks.index, utc=True)
    yield "stocks", "1mo", stocks
    macro = statsmodels.macrodata.load_pandas().data.drop(columns=["year", "quarter"])
    macro.index = pd.date_range("1959-01-01", periods=len(macro), freq="QS", tz="UTC")
    yield "macrodata", "1q", macro


def compare(colonnade, table):
    for name, interval, frame in tables():
        dataset = name.replace(" ", "_")
        frame.index.name = "at"
        colonnade.ingest(dataset, frame.melt(var_name="series", ignore_index=False).reset_index())
        for detrend in ["none", "difference"]:
            prepared = frame if detrend == "none" else frame.diff().iloc[1:]
            pairs(colonnade, table, name, dataset, interval, detrend, prepared)
        detrended(colonnade, table, name, dataset, interval, frame)
        sql = f"SELECT p['a'] AS a, p['b'] AS b, p['r'] AS r FROM (SELECT unnest(corr_matrix(series, at, value)) AS p FROM {dataset})"
        ours = {(row["a"], row["b"]): row["r"] for row in colonnade.query(sql)}
        theirs = frame.corr()
        table.all_equal(
            "corr_matrix",
            name,
            "coefficients: pandas",
            ours,
            {(a, b): theirs.loc[a, b] for a, b in itertools.combinations(sorted(frame), 2)},
        )


def detrended(colonnade, table, name, dataset, interval, frame):
    """Compares coefficients after a line and a centred mean over a third of the series are removed. No series has a season."""
    frame = frame.drop(columns="pop", errors="ignore")  # It has a season.
    colonnade.run(
        "correlate",
        dataset=dataset,
        interval=interval,
        clip=0,
        max_lag=0,
        min_coefficient=0,
        max_q=1,
        output=f"{dataset}_slow",
        leads=f"{dataset}_leads",
    )
    rows = colonnade.query(f"SELECT series_a, series_b, coefficient FROM {dataset}_slow")
    ours = {(row["series_a"], row["series_b"]): row["coefficient"] for row in rows if "pop" not in (row["series_a"], row["series_b"])}
    less_line = pd.DataFrame(signal.detrend(frame.to_numpy(dtype=float), axis=0), columns=frame.columns)
    left = less_line - less_line.rolling(len(frame) // 3, center=True, min_periods=1).mean()
    theirs = {pair: stats.pearsonr(left[pair[0]], left[pair[1]]).statistic for pair in ours}
    table.all_equal("correlate", f"{name}, line and slow mean removed", "coefficient: scipy.signal, pearsonr", ours, theirs)


def pairs(colonnade, table, name, dataset, interval, detrend, prepared):
    colonnade.run(
        "correlate", dataset=dataset, interval=interval, detrend=detrend, clip=0, max_lag=6, lag_search="all", min_coefficient=0, max_q=1
    )
    rows = colonnade.query(f"SELECT * FROM correlations WHERE source = '{dataset}'")
    data = f"{name}, {detrend}"
    ours = {(row["series_a"], row["series_b"]): row for row in rows}
    of = lambda column: {pair: row[column] for pair, row in ours.items()}
    # A pair without information, such as two lines, may be missing.
    theirs = {(a, b): stats.pearsonr(prepared[a], prepared[b]) for a, b in ours}
    table.all_equal(
        "correlate", data, "coefficient: pearsonr", of("coefficient"), {pair: found.statistic for pair, found in theirs.items()}
    )
    table.all_equal("correlate", data, "values: numpy", of("n"), {pair: len(prepared) for pair in ours})
    lags = {pair: at_lag(prepared, pair, row["lag_samples"]) for pair, row in ours.items()}
    table.all_equal("correlate", data, "coefficient at the lag: numpy", of("lag_coefficient"), lags)
    best = {pair: max(range(-6, 7), key=lambda lag: abs(at_lag(prepared, pair, lag))) for pair in ours}
    best = {pair: at_lag(prepared, pair, lag) for pair, lag in best.items()}
    table.all_equal("correlate", data, "largest coefficient of 13 lags: numpy", of("lag_coefficient"), best)
    significance(table, data, prepared, ours, theirs)


def at_lag(prepared, pair, lag):
    """Pearson's coefficient of the shared values if the second series follows by `lag`."""
    a, b = (prepared[name].to_numpy() for name in pair)
    early, late = (a[: len(a) - lag], b[lag:]) if lag >= 0 else (a[-lag:], b[: len(b) + lag])
    return np.corrcoef(early, late)[0, 1]


def significance(table, data, prepared, ours, theirs):
    """Compares p-values with a test of independent values, and with one of `effective_n` values."""
    surer = sum(row["p_value"] < theirs[pair].pvalue * (1 - 1e-9) and row["p_value"] < 0.01 for pair, row in ours.items())
    table.equal("correlate", data, "pairs surer than pearsonr's p below 0.01", surer, 0)
    both = [(row["p_value"], student(row)) for row in ours.values() if row["effective_n"] >= 8]
    apart = [abs(np.log10(max(a, LEAST_P)) - np.log10(max(b, LEAST_P))) for a, b in both]
    table.ratio(
        "correlate", data, f"10^|log p - log p of Student's t|, median of {len(both)}", 10 ** np.median(apart), 1.0, 1.5, APPROXIMATE
    )
    if data == "stocks, difference":
        for (a, b), row in ours.items():
            pearson = lambda x: stats.pearsonr(x, prepared[b]).statistic
            found = stats.permutation_test([prepared[a].to_numpy()], pearson, permutation_type="pairings", n_resamples=ORDERS, rng=1)
            most = max(row["p_value"], found.pvalue, LEAST_P) / max(min(row["p_value"], found.pvalue), LEAST_P)
            table.ratio("correlate", f"{data}: {a}, {b}", "p over p of permutation_test, or its inverse", most, 1.0, 3.0, PERMUTED)


def student(row):
    """The p of Student's t with the number of independent values that ours reports."""
    free = row["effective_n"] - 2
    return 2 * stats.t.sf(abs(row["coefficient"]) * np.sqrt(free / (1 - row["coefficient"] ** 2)), free)
