"""The job's forecasts beside statsforecast's on the real series of the shared data: `forecasts.py TEST_BINARY`.

Every series is hourly (NAB, ETT: means of the hour; of NAB also as it is sampled, every 5 or 30 minutes) or by the minute (requests of
the Azure and Mooncake traces), or by the day (arrivals of the receipt log). From each, rolling origins: the last fifth is cut into pieces as long
as the horizon, at most PIECES of them, and each is forecast from all that is before it. Three horizons. Errors: MASE and sMAPE, beside the seasonal naive
forecast's (OWA = the mean of both ratios); coverage of the intervals of 80 and 95 %. Ours finds seasons itself; statsforecast is given the
usual one. PEERS=ets,theta,mstl,ensemble.

Times are those on all processors. That of ours is of the job, by BINARY (`colonnade`), on all series of a horizon together, from the start of
the process to its end; without BINARY none is told. Those of peers are of their calls alone, one series after the other, after a first that is
not counted.
"""

import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

warnings.filterwarnings("ignore")
DATA = Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data"))
PIECES = int(os.environ.get("PIECES", "4"))
HISTORY = 1500
PEERS = os.environ.get("PEERS", "ets,theta,mstl").split(",")


def nab():
    for path in sorted((DATA / "nab" / "data").glob("*/*.csv")):
        yield path.stem, pd.read_csv(path, index_col="timestamp", parse_dates=True)["value"]


def collections():
    """(collection, name, values, interval in seconds, usual season, horizons)"""
    with gzip.open(DATA / "ett" / "ETTh1.csv.gz", "rt") as file:
        ett = pd.read_csv(file, index_col="date", parse_dates=True)
    for name in ett:
        yield "ETT, hourly", name, ett[name].to_numpy()[-3000:], 3600, 24, (6, 24, 48)
    for name, values in nab():
        hourly = values.groupby(level=0).mean().resample("1h").mean()
        if len(hourly) >= 200:
            yield "NAB, hourly", name, hourly.interpolate().to_numpy(), 3600, 24, (6, 24, 48)
        daily = values.groupby(level=0).mean().resample("1D").mean().interpolate()
        if len(daily) >= 60:
            yield "NAB, daily", name, daily.to_numpy(), 86400, 7, (1, 7, 14)
    for file in ("code", "conv"):
        frame = pd.read_csv(DATA / "azure_llm" / f"AzureLLMInferenceTrace_{file}.csv", parse_dates=["TIMESTAMP"])
        rate = frame.set_index("TIMESTAMP").resample("15s").size()
        yield "requests", f"azure {file}", rate.to_numpy(dtype=float), 15, 1, (4, 12, 20)
    for file in ("conversation", "synthetic"):
        with gzip.open(DATA / "mooncake" / f"{file}_trace.jsonl.gz", "rt") as lines:
            at = pd.to_datetime([json.loads(line)["timestamp"] for line in lines], unit="ms")
        rate = pd.Series(1.0, index=at).resample("15s").sum()
        yield "requests", f"mooncake {file}", rate.to_numpy(), 15, 1, (4, 12, 20)
    log = pd.read_parquet(DATA / "pm4py" / "receipt.parquet")
    times = pd.to_datetime(log.groupby("case:concept:name")["time:timestamp"].min(), utc=True)
    arrivals = pd.Series(1.0, index=pd.DatetimeIndex(times)).resample("1D").sum()
    yield "receipts, daily", "arrivals", arrivals.to_numpy(), 86400, 7, (1, 7, 14)


def tasks():
    for collection, name, values, interval, season, horizons in collections():
        values = np.asarray(values, dtype=float)
        for horizon in horizons:
            pieces = min(PIECES, max(1, len(values) // 5 // horizon))
            for piece in range(pieces):
                known = len(values) - (piece + 1) * horizon
                history = values[max(0, known - HISTORY) : known]
                if len(history) < max(20, 3 * season) or np.ptp(history) == 0:
                    continue
                yield {
                    "collection": collection,
                    "name": f"{name} +{known} h{horizon}",
                    "interval_us": interval * 1_000_000,
                    "season": season,
                    "horizon": horizon,
                    "values": history.tolist(),
                    "actual": values[known : known + horizon],
                }


def naive(task):
    values, season = task["values"], task["season"]
    return np.array([values[len(values) - season + step % season] for step in range(task["horizon"])])


def errors(task, mean):
    values, actual = np.array(task["values"]), task["actual"]
    season = task["season"]
    scale = np.abs(values[season:] - values[:-season]).mean()
    size = np.abs(actual) + np.abs(mean)
    smape = np.where(size > 0, 200 * np.abs(actual - mean) / np.where(size > 0, size, 1), 0).mean()
    return np.abs(actual - mean).mean() / scale if scale > 0 else np.nan, smape


def ours(binary, all_tasks):
    path = Path(os.environ.get("SCRATCH", "/tmp")) / "forecasts.ndjson"
    keys = ("name", "interval_us", "horizon", "values")
    path.write_text("".join(json.dumps({key: task[key] for key in keys}) + "\n" for task in all_tasks))
    command = [binary, "--exact", "kinds::forecast::tests::what_a_file_has", "--ignored", "--nocapture"]
    subprocess.run(command, env={**os.environ, "COLONNADE_FORECAST": str(path)}, check=True, stdout=subprocess.DEVNULL)
    answers = (json.loads(line) for line in Path(f"{path}.answers").read_text().splitlines())
    return {answer["name"]: answer for answer in answers}


def job_seconds(binary, all_tasks):
    """What runs of the job take, of all series of each horizon."""

    def used():
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    seconds, forecast = 0.0, 0
    for horizon in sorted({task["horizon"] for task in all_tasks}):
        with tempfile.TemporaryDirectory() as scratch:
            names, at, values = [], [], []
            for number, task in enumerate(task for task in all_tasks if task["horizon"] == horizon):
                count = len(task["values"])
                names.append(np.full(count, f"s{number}"))
                at.append(1_767_571_200_000_000 + np.arange(count) * task["interval_us"])
                values.append(task["values"])
            made = Path(scratch) / "metrics.parquet"
            columns = {
                "series": np.concatenate(names),
                "at": pa.array(np.concatenate(at), pa.timestamp("us", tz="UTC")),
                "value": np.concatenate(values),
            }
            pq.write_table(pa.table(columns), made)
            command = [binary, "--data", f"{scratch}/data"]
            subprocess.run([*command, "ingest", "metrics", made], check=True, stdout=subprocess.DEVNULL)
            before = used()
            run = [*command, "run", "forecast", "--json", "--param", f"horizon={horizon}"]
            record = subprocess.run(run, check=True, capture_output=True).stdout
            seconds += used() - before
            forecast += json.loads(record)["summary"]["series_forecast"]
    assert forecast == len(all_tasks), f"{forecast} of {len(all_tasks)} series have a forecast"
    return seconds


def peer(kind, task):
    from statsforecast import models

    values = np.array(task["values"])
    season, horizon = task["season"], task["horizon"]
    make = {
        "ets": lambda: models.AutoETS(season_length=season),
        "theta": lambda: models.AutoTheta(season_length=season),
        "mstl": lambda: models.MSTL(season_length=season) if season > 1 else models.AutoETS(),
    }
    found = make[kind]().forecast(values, horizon, level=[80, 95])
    bounds = [[found[f"lo-{level}"], found[f"hi-{level}"]] for level in (80, 95)]
    return {"mean": found["mean"], "bounds": bounds}


def main():
    all_tasks = list(tasks())
    answers, times = {"ours": ours(sys.argv[1], all_tasks)}, {}
    if binary := os.environ.get("BINARY"):
        times["ours"] = job_seconds(binary, all_tasks)
    for kind in PEERS:
        peer(kind, all_tasks[0])
        start, answers[kind] = time.process_time(), {}
        for task in all_tasks:
            try:
                answers[kind][task["name"]] = peer(kind, task)
            except Exception as error:
                print(kind, task["name"], repr(error)[:80], file=sys.stderr)
        times[kind] = time.process_time() - start
    rows = []
    for task in all_tasks:
        base = errors(task, naive(task))
        for kind, of in answers.items():
            answer = of.get(task["name"])
            if answer is None:
                continue
            mase, smape = errors(task, np.array(answer["mean"]))
            within = [np.mean((task["actual"] >= np.array(low)) & (task["actual"] <= np.array(high))) for low, high in answer["bounds"]]
            rows.append((task["collection"], task["name"], kind, mase, smape, *base, *within))
    frame = pd.DataFrame(rows, columns=["collection", "name", "by", "mase", "smape", "mase0", "smape0", "in80", "in95"])
    frame.to_csv(Path(os.environ.get("SCRATCH", "/tmp")) / "forecasts.csv", index=False)
    print("| series | by | forecasts | MASE | sMAPE | OWA | within 80 % | within 95 % |")
    print("|---|---|---|---|---|---|---|---|")
    groups = [(name, part) for name, part in frame.groupby("collection")] + [("all", frame)]
    for name, part in groups:
        for kind in answers:
            own = part[part.by == kind]
            owa = 0.5 * (own.mase.mean() / own.mase0.mean() + own.smape.mean() / own.smape0.mean())
            print(
                f"| {name} | {kind} | {len(own)} | {own.mase.mean():.3f} | {own.smape.mean():.1f} | {owa:.3f} "
                f"| {own.in80.mean():.3f} | {own.in95.mean():.3f} |"
            )
    print({kind: f"{seconds:.1f} s" for kind, seconds in times.items()})


if __name__ == "__main__":
    main()
