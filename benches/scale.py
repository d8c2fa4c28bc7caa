"""The jobs forecast, anomalies and explain on much data, beside statsforecast, pandas and stumpy: `scale.py BINARY SCRATCH`.

SERIES=10000 (of 1,000 hourly values, forecast), SAMPLES=10000000 (in series of 10,000, anomalies), SHAPES=SAMPLES/10 (the same, with
`shapes`), ROWS=10000000 (of six dimensions, explain), PEER_SECONDS=30 (a peer that would take longer is given a part, and its time is
scaled up), SECTIONS=forecast,anomalies,shapes,explain.

All data follows from a seed, and is in the product's tables before it is timed; peers read the same rows from one Parquet file. "process"
is all that a process takes, from its start to its end. "work" is, of ours, from the start of a run to its end by its record, results
committed; of peers from the start of reading to the last result, without imports, compilation and trials. "CPU" is on all processors: of
ours of the process, of peers of the work. "peak" is the resident set of the process at its largest, as the system counts it.
"""

import datetime
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
from scipy.signal import lfilter

BINARY, SCRATCH = sys.argv[1], Path(sys.argv[2])
SERIES, SAMPLES, ROWS = (
    int(os.environ.get(name, size)) for name, size in (("SERIES", 10_000), ("SAMPLES", 10_000_000), ("ROWS", 10_000_000))
)
SHAPES = int(os.environ.get("SHAPES", SAMPLES // 10))
PEER_SECONDS = float(os.environ.get("PEER_SECONDS", 30))
SECTIONS = os.environ.get("SECTIONS", "forecast,anomalies,shapes,explain").split(",")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
PEERS = Path(__file__).parent / "scale" / "peers.py"

BEGIN = np.datetime64("2026-01-05T00:00:00", "us")  # A Monday.
HOURS, HORIZON = 1000, 24
LENGTH, DAY = 10_000, 288  # Samples of a series, 5 minutes apart.
CARDINALITIES = {"plan": 3, "region": 5, "product": 10, "agent": 20, "country": 50, "customer": 200}
PLANTED = {"product": "product-0", "agent": "agent-1"}
over_memory = []


# Runs a command, and says its seconds and peak memory in a last line. A process of its own, since what it had before a command began in
# it counts, too.
TIMED = """
import os, subprocess, sys, time
began = time.perf_counter()
child = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(child.pid, 0)
seconds = time.perf_counter() - began
child.returncode = os.waitstatus_to_exitcode(status)
print(f"\\n{seconds} {usage.ru_utime + usage.ru_stime} {usage.ru_maxrss / 1024}")
sys.exit(child.returncode != 0)
"""


def timed(command):
    """What it printed, its seconds, those on all processors, and its peak memory in MiB: of several processes, that of the largest."""
    run = [sys.executable, "-S", "-E", "-c", TIMED, *(str(word) for word in command)]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(run[5:])} failed:\n{done.stderr}\n{done.stdout[-4000:]}")
    text, figures = done.stdout.rstrip().rsplit("\n", 1)
    return text, *(float(figure) for figure in figures.split())


def tell(line=""):
    print(line, flush=True)


def table(header, rows):
    tell(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        tell(f"| {' | '.join(row)} |")
    tell()


TIMES = ["", "process, s", "work, s", "CPU, s", "peak, MiB"]


def times(name, process, work, cpu, peak):
    return [name, f"{process:.1f}", f"{work:.1f}", f"{cpu:.1f}", f"{peak:,.0f}"]


class Product:
    def __init__(self, name, dataset, table_, *options):
        """A root of its own that has the rows."""
        self.root, self.made = SCRATCH / name, SCRATCH / f"{name}.parquet"
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        pq.write_table(table_, self.made, compression="zstd", row_group_size=1 << 20)
        text, seconds, _, peak = self.call("ingest", dataset, self.made, "--json", *options)
        accepted = json.loads(text)["accepted"]
        if accepted != table_.num_rows:
            sys.exit(f"{accepted:,} of {table_.num_rows:,} rows were ingested")
        tell(f"{accepted:,} rows ingested in {seconds:.1f} s, peak {peak:,.0f} MiB\n")

    def call(self, *words):
        return timed([BINARY, "--data", self.root, *words])

    def run(self, job, **parameters):
        """The row of a table of times, and the run's record."""
        pairs = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        text, seconds, cpu, peak = self.call("run", job, "--json", *pairs)
        record = json.loads(text)
        began, ended = (datetime.datetime.fromisoformat(record[at]) for at in ("started_at", "finished_at"))
        shown = "".join(f", {name}={value}" for name, value in parameters.items() if name in ("method", "shapes"))
        if peak > memory_limit():
            over_memory.append(f"{job}{shown}: {peak:,.0f} MiB")
        return times(f"Colonnade, {job}{shown}", seconds, (ended - began).total_seconds(), cpu, peak), record

    def sql(self, query):
        command = [BINARY, "--data", str(self.root), "sql", query, "--format", "arrow"]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True)
        if done.returncode != 0:
            sys.exit(f"{query} failed:\n{done.stderr.decode()}")
        found = ipc.open_stream(io.BytesIO(done.stdout)).read_all()
        return {name: found[name].to_numpy() for name in found.column_names}


def memory_limit():
    """MiB of `--memory`, as it is when nothing is said: half of what there is, where no group of processes has less."""
    if not hasattr(memory_limit, "value"):
        text, *_ = timed([BINARY, "config", "--json"])
        units = {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024, "TiB": 1 << 20}
        sizes = (entry["value"].split() for entry in json.loads(text) if entry["name"].startswith("memory."))
        memory_limit.value = sum(float(size) * units[unit] for size, unit in sizes)
    return memory_limit.value


def peer(name, *words):
    """What a peer says of itself, and what follows the name in a table of times."""
    text, seconds, _, peak = timed([sys.executable, "-W", "ignore", PEERS, name, *words])
    told = json.loads(text.rstrip().rsplit("\n", 1)[-1])
    return told, (seconds, told["work"], told["cpu"], peak)


def names_of(count):
    return np.char.add("s", np.char.zfill(np.arange(count).astype(str), 6))


def samples_table(values, minutes):
    """A row for each value of an array with a series in each row."""
    series, length = values.shape
    names = pa.DictionaryArray.from_arrays(np.repeat(np.arange(series, dtype=np.int32), length), names_of(series))
    at = np.tile(BEGIN + np.arange(length) * np.timedelta64(minutes, "m"), series)
    columns = {"series": names, "at": pa.array(at, pa.timestamp("us", tz="UTC")), "value": pa.array(values.ravel())}
    return pa.table(columns)


def noise(random, shape):
    """Of variance 1, each value half of the one before and something new."""
    return lfilter([0.75**0.5], [1, -0.5], random.standard_normal(shape), axis=-1)


# Forecasts.


def forecast():
    random = np.random.default_rng(1)
    hours = np.arange(HOURS + HORIZON)
    phase = random.uniform(0, 2 * np.pi, (SERIES, 2, 1))
    size = random.uniform(1, 5, (SERIES, 1))
    season = np.sin(2 * np.pi * hours / 24 + phase[:, 0]) + 0.5 * np.sin(4 * np.pi * hours / 24 + phase[:, 1])
    # Two changes of the level in each, before the last tenth of what is known.
    changes = random.integers(HOURS // 10, HOURS * 9 // 10, (SERIES, 2, 1))
    levels = ((hours >= changes) * random.normal(0, 4, (SERIES, 2, 1))).sum(axis=1)
    values = 50 + size * season + levels + noise(random, (SERIES, HOURS + HORIZON))
    known, actual = values[:, :HOURS], values[:, HOURS:]
    tell(f"## Forecasts of {SERIES:,} series of {HOURS:,} hourly values, {HORIZON} ahead\n")
    product = Product("forecast", "metrics", samples_table(known, 60))
    ours, record = product.run("forecast", horizon=HORIZON)
    found = product.sql("SELECT series, step, value, lower_95, upper_95 FROM forecasts")
    forecasts, lower, upper = np.full((3, SERIES, HORIZON), np.nan)
    place = np.char.lstrip(found["series"].astype(str), "s").astype(int), found["step"] - 1
    forecasts[place], lower[place], upper[place] = found["value"], found["lower_95"], found["upper_95"]
    if np.isnan(forecasts).any():
        sys.exit(f"{np.isnan(forecasts).any(axis=1).sum():,} series have no forecast: {record['summary']}")

    scale = np.abs(known[:, 24:] - known[:, :-24]).mean(axis=1, keepdims=True)

    def accuracy(forecasts, lower, upper, count):
        inside = (lower[:count] <= actual[:count]) & (actual[:count] <= upper[:count])
        return [f"{np.mean(np.abs(forecasts[:count] - actual[:count]) / scale[:count]):.3f}", f"{inside.mean():.3f}"]

    rows = [[*ours, f"{SERIES:,}", ours[2], *accuracy(forecasts, lower, upper, SERIES)]]
    for name, model in (("statsforecast, AutoETS(24)", "ets"), ("statsforecast, SeasonalNaive(24)", "naive")):
        told, took = peer(model, product.made, PEER_SECONDS, SCRATCH / "peer.npy")
        count = told["series"]
        whole = told["work"] * SERIES / count
        name += f", n_jobs={told['n_jobs']}"
        theirs = np.load(SCRATCH / "peer.npy")
        row = times(name, *took)
        rows.append([*row, f"{count:,}", f"{whole:,.1f}", *accuracy(*theirs, count)])
        if count < SERIES:
            rows.append(["Colonnade, of the same series", "", "", "", "", f"{count:,}", "", *accuracy(forecasts, lower, upper, count)])
    table([*TIMES, "series", "work for all, s", "MASE", "within 95 %"], rows)
    tell(f"Methods that ours took: {record['summary']['by_method']}.\n")


# Anomalies.


def days(random, series):
    """Values with a day of three harmonics, of which noise is a fifth or less."""
    at = np.arange(LENGTH)
    season = np.zeros((series, LENGTH))
    for harmonic in (1, 2, 3):
        size, phase = random.uniform(0.5, 1, (series, 1)), random.uniform(0, 2 * np.pi, (series, 1))
        season += size * np.sin(2 * np.pi * harmonic * at / DAY + phase)
    return random.uniform(5, 10, (series, 1)) * season


def to_indices(found):
    """Series, first and last sample of each finding of ours."""
    series = np.char.lstrip(found["series"].astype(str), "s").astype(int)
    first, last = (
        ((found[name].astype("datetime64[us]") - BEGIN) // np.timedelta64(5, "m")).astype(int) for name in ("started_at", "ended_at")
    )
    return np.stack([series, first, last], axis=1) if len(series) else np.zeros((0, 3), dtype=int)


def matched(planted, findings, before, after):
    """Which planted ones, (series, first, last), have a finding that begins from so many samples before the first to so many after the
    last, and how many findings are of none."""
    hit, of_some = np.zeros(len(planted), dtype=bool), np.zeros(len(findings), dtype=bool)
    for index, (series, first, last) in enumerate(planted):
        of = (findings[:, 0] == series) & (findings[:, 1] >= first - before) & (findings[:, 1] <= last + after)
        hit[index] = of.any()
        of_some |= of
    return hit, (~of_some).sum()


def anomalies():
    random = np.random.default_rng(2)
    series = max(1, SAMPLES // LENGTH)
    values = 100 + days(random, series) + noise(random, (series, LENGTH))
    chosen = random.permutation(series)[: max(2, series // 2)]
    spikes, shifts = chosen[::2], chosen[1::2]
    planted = np.stack([chosen, *[random.integers(LENGTH // 5, LENGTH * 4 // 5, len(chosen))] * 2], axis=1)
    signs = random.choice([-1, 1], len(chosen))
    sizes = signs * np.where(np.isin(chosen, spikes), random.uniform(7, 15, len(chosen)), random.uniform(2, 8, len(chosen)))
    for (one, at, _), size in zip(planted, sizes):
        values[one, at : at + 1 if one in spikes else None] += size
    tell(f"## Anomalies in {series:,} series of {LENGTH:,} values\n")
    tell(f"{len(spikes)} spikes of one sample, of 7 to 15 deviations of the noise, and {len(shifts)} level shifts of 2 to 8 that stay.\n")
    product = Product("anomalies", "metrics", samples_table(values, 5))
    of_spike = np.isin(planted[:, 0], spikes)
    rows = []

    def row(timing, findings):
        # Of a spike within an hour, of a shift within a day.
        spike, _ = matched(planted, findings, 12, 12)
        both, others = matched(planted, findings, 12, DAY)
        hits = [f"{(hit & of).sum()} of {of.sum()}" for hit, of in ((spike, of_spike), (both, ~of_spike))]
        rows.append([*timing, *hits, f"{others:,}"])

    for method in ("windows", "online"):
        timing, record = product.run("anomalies", method=method)
        row(timing, to_indices(product.sql("SELECT series, started_at, ended_at FROM anomalies")))
    told, took = peer("z_score", product.made, DAY, SCRATCH / "peer.npy")
    row(times("pandas, rolling median and MAD of a day", *took), np.load(SCRATCH / "peer.npy"))
    table([*TIMES, "spikes found", "shifts found", "others told"], rows)
    tell(
        "Found: a finding begins from an hour before to an hour after a spike, to a day after a shift. pandas: the median of each time of "
        "day is taken out, and told is what is 6 robust deviations off the last day's median, as one where no day is between.\n"
    )


def shapes():
    random = np.random.default_rng(3)
    series = max(1, SHAPES // LENGTH)
    season = days(random, series)
    chosen = random.permutation(series)[: max(2, series // 2)]
    planted = []
    for index, one in enumerate(chosen):
        first = random.integers(LENGTH // 5, LENGTH * 4 // 5)
        last = first + (DAY, DAY // 3)[index % 2]
        # A day upside down, or a third of one that is flat.
        season[one, first:last] = -season[one, first:last] if index % 2 == 0 else season[one, first]
        planted.append((one, first, last - 1))
    values = 100 + season + noise(random, (series, LENGTH))
    planted, window = np.array(planted), DAY // 4
    tell(f"## Shapes in {series:,} series of {LENGTH:,} values, a part of the above\n")
    upside_down, flat = len(planted[::2]), len(planted[1::2])
    tell(f"{upside_down} days upside down and {flat} times a third of a day that is flat, each in a series of its own.\n")
    product = Product("shapes", "metrics", samples_table(values, 5))
    timing, record = product.run("anomalies", shapes="true")
    discords = to_indices(product.sql("SELECT series, started_at, ended_at FROM anomalies WHERE kind = 'discord'"))
    others_of = f"{record['summary']['anomalies'] - len(discords):,} of other kinds"
    hit, others = matched(planted, discords, DAY, 0)
    rows = [[*timing, f"{series:,}", timing[2], f"{hit.sum()} of {len(hit)}", f"{others:,}, and {others_of}"]]
    told, took = peer("discords", product.made, window, PEER_SECONDS, SCRATCH / "peer.npy")
    count = told["series"]
    # As many as there are planted ones: those that are furthest from all others.
    findings, within = np.load(SCRATCH / "peer.npy"), planted[planted[:, 0] < count]
    hit, others = matched(within, findings[: len(within)], DAY, 0)
    row = times(f"stumpy.stump, window {window}", *took)
    rows.append([*row, f"{count:,}", f"{told['work'] * series / count:.1f}", f"{hit.sum()} of {len(hit)}", f"{others:,}"])
    table([*TIMES, "series", "work for all, s", "found", "others told"], rows)
    tell(
        "Found: a finding begins from a day before to the end. stumpy gives a profile and no findings: counted are the highest of each "
        "series, as many of them as were planted. Ours looks at windows of a day, too, and for what is unusual otherwise.\n"
    )


# Explanations.


def explain():
    random = np.random.default_rng(4)
    columns, chosen = {}, np.ones(ROWS, dtype=bool)
    for name, count in CARDINALITIES.items():
        weights = 1 / np.sqrt(np.arange(count) + 1)
        codes = random.choice(count, ROWS, p=weights / weights.sum()).astype(np.int32)
        values = [f"{name}-{index}" for index in range(count)]
        columns[name] = pa.DictionaryArray.from_arrays(codes, values)
        if name in PLANTED:
            chosen &= codes == values.index(PLANTED[name])
    week = np.timedelta64(7, "D")
    at = np.sort(random.integers(0, 2 * week.astype("timedelta64[us]").astype(int), ROWS))
    later = at >= week.astype("timedelta64[us]").astype(int)
    columns["at"] = pa.array(BEGIN + at.astype("timedelta64[us]"), pa.timestamp("us", tz="UTC"))
    # As far from noise whatever the number of rows, and as much of the whole.
    rate = 0.05 + min(0.5, 22 * np.sqrt(0.2 / max(1, (chosen & later).sum())))
    columns["failed"] = pa.array((random.random(ROWS) < np.where(chosen & later, rate, 0.05)).astype(np.int64))
    name = " and ".join(f"{column} = {value}" for column, value in PLANTED.items())
    counts = ", ".join(map(str, CARDINALITIES.values()))
    tell(f"## Why a ratio changed: {ROWS:,} rows of {len(CARDINALITIES)} dimensions of {counts} values\n")
    tell(f"Planted: of `{name}`, {chosen.mean():.2%} of the rows, {rate:.1%} fail in the later week, and 5 % of all else.\n")
    product = Product("explain", "calls", pa.table(columns), "--create", "--time", "at")
    periods = {"from": f"{BEGIN + week}Z", "to": f"{BEGIN + 2 * week}Z"}
    timing, _ = product.run("explain", dataset="calls", measure="sum(failed) / count(*)", **periods)
    query = "SELECT finding, contribution, z FROM explanations WHERE rank > 0 ORDER BY rank"
    found = [dict(zip(("finding", "contribution", "z"), row)) for row in zip(*product.sql(query).values())]
    theirs, took = peer("contributions", product.made, f"{BEGIN + week}", ",".join(CARDINALITIES))
    rows, wrong = [], []
    for timing, first, more in (
        (timing, found[0] if found else {"finding": "nothing", "z": 0, "contribution": 0}, f"{max(len(found) - 1, 0)} told after it"),
        (times("pandas, groupby of each and each pair", *took), theirs, f"of {theirs['groups']:,} groups"),
    ):
        rows.append([*timing, first["finding"], f"{first['z']:.1f}", f"{first['contribution']:.5f}", more])
        if set(first["finding"].split(" and ")) != set(name.split(" and ")):
            wrong.append(timing[0])
    table([*TIMES, "comes first", "z", "adds", ""], rows)
    tell("pandas ranks groups by how far their own ratio moved, over its standard deviation; ours looks at triples, too.\n")
    if wrong:
        sys.exit(f"another finding than the planted one came first: {', '.join(wrong)}")


def main():
    began = time.perf_counter()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    tell(f"{os.cpu_count()} processors; memory that `--memory` gives without being said: {memory_limit():,.0f} MiB\n")
    for section in SECTIONS:
        start = time.perf_counter()
        {"forecast": forecast, "anomalies": anomalies, "shapes": shapes, "explain": explain}[section]()
        tell(f"({section}: {time.perf_counter() - start:.0f} s in all, making and ingesting data among it)\n")
        shutil.rmtree(SCRATCH / section)
        (SCRATCH / f"{section}.parquet").unlink()
    tell(f"All of it took {time.perf_counter() - began:.0f} s.")
    if over_memory:
        sys.exit(f"more memory than --memory gives: {'; '.join(over_memory)}")


main()
