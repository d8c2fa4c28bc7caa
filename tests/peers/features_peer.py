"""A feature view of many entities: computed, put to labels as it was known then, and read by entity, beside Feast's local mode.

Feast computes no windows: it is given our view's rows, and puts them to the labels, materialises them into SQLite and reads them by entity.
pandas computes the features from the rows anew. Both have to say what we say, value by value.
"""

import http.client
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

BINARY, SCRATCH = sys.argv[1], Path(sys.argv[2])
ENTITIES = int(os.environ.get("ENTITIES", 1_000_000))
FEAST_ENTITIES = min(ENTITIES, int(os.environ.get("FEAST_ENTITIES", 100_000)))
LABELS = int(os.environ.get("LABELS", 100_000))
READS = int(os.environ.get("READS", 20_000))
DATA = SCRATCH / "data"
DAY = 86_400_000_000
BEGIN = 1_767_225_600_000_000


def ours(*arguments, check=True):
    began = time.time()
    ran = subprocess.run([BINARY, "--data", str(DATA), *arguments], capture_output=True, text=True)
    if check and ran.returncode:
        sys.exit(f"{arguments}: {ran.returncode}\n{ran.stdout}\n{ran.stderr}")
    return time.time() - began, ran.stdout


def rows_of(query):
    """The rows of a query."""
    arguments = [BINARY, "--data", str(DATA), "sql", query, "--format", "arrow"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as running:
        rows = pa.ipc.open_stream(running.stdout).read_all()
    return rows.to_pandas()


def table(path, columns):
    pq.write_table(pa.table(columns), path)


def instants(micros):
    return pa.array(micros, pa.timestamp("us", "UTC"))


def made():
    random = np.random.default_rng(7)
    # Each entity once, and half as many again at random: one in five of the rows comes up to three days late.
    entity = np.concatenate([np.arange(ENTITIES), random.integers(0, ENTITIES, ENTITIES // 2)])
    rows = len(entity)
    at = BEGIN + random.integers(0, 30 * DAY, rows)
    late = np.where(random.random(rows) < 0.2, random.integers(0, 3 * DAY, rows), 0)
    value = random.integers(0, 10_000, rows) / 4
    frame = pd.DataFrame({"number": np.arange(rows), "user": entity, "at": at, "known": at + late, "value": value})
    table(SCRATCH / "happenings.parquet", {
        "number": pa.array(frame.number),
        "user": pa.array([f"user-{user:07}" for user in entity]),
        "at": instants(at),
        "known": instants(frame.known),
        "value": pa.array(value),
    })
    # Labels are about entities that Feast has, too.
    labels = pd.DataFrame({
        "number": np.arange(LABELS),
        "user": random.integers(0, FEAST_ENTITIES, LABELS),
        "asked": BEGIN + random.integers(0, 33 * DAY, LABELS),
    })
    table(SCRATCH / "labels.parquet", {
        "number": pa.array(labels.number),
        "user": pa.array([f"user-{user:07}" for user in labels.user]),
        "asked": instants(labels.asked),
    })
    return frame, labels


def by_pandas(frame, labels):
    """The features of the labels, from the rows themselves: no view in between."""
    known = frame.sort_values(["user", "known", "number"])
    per_user = {user: rows for user, rows in known[known.user.isin(labels.user)].groupby("user")}
    found = []
    for user, asked in zip(labels.user, labels.asked):
        rows = per_user.get(user)
        rows = rows[rows.known < asked] if rows is not None else known.iloc[:0]
        if len(rows) == 0:
            found.append((None, None, None))
            continue
        since = rows.known.max()
        newest = rows.loc[rows["at"].idxmax()]
        week = rows[rows.known > since - 7 * DAY]
        found.append((newest.value, len(week), week.value.sum()))
    return pd.DataFrame(found, columns=["last_value", "rows_7d", "sum_7d"])


def same(a, b, what):
    a, b = a.astype("float64").reset_index(drop=True), b.astype("float64").reset_index(drop=True)
    differs = ~((a - b).abs().le(1e-9 * b.abs().clip(lower=1)) | (a.isna() & b.isna()))
    print(f"{what}: {len(a) - int(differs.sum())} of {len(a)} equal")
    if differs.any():
        sys.exit(f"{what} differ, first at {differs.idxmax()}: {a[differs.idxmax()]} and {b[differs.idxmax()]}")


def percentiles(times):
    times = np.array(times) * 1e3
    return f"p50 {np.percentile(times, 50):.2f} ms, p99 {np.percentile(times, 99):.2f} ms, at most {times.max():.1f} ms"


def served():
    server = subprocess.Popen(
        [BINARY, "--data", str(DATA), "serve", "--listen", "127.0.0.1:0"],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )
    for line in server.stderr:
        if line.startswith("listening on http://"):
            return server, line.split("http://")[1].split()[0].strip("/,").split("/")[0]
    sys.exit("the server did not begin")


def read_one_by_one(address):
    random = np.random.default_rng(11)
    connection = http.client.HTTPConnection(address)

    def ask(path, body=None):
        headers = {"Content-Type": "application/json"} if body else {}
        connection.request("POST" if body else "GET", path, body, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            sys.exit(f"{path}: {answer.status} {text}")
        return json.loads(text)

    began = time.time()
    ask("/v1/features/load?user=user-0000000")
    print(f"the first read takes {time.time() - began:.2f} s: {ENTITIES:,} entities are read into memory")
    times = []
    for user in random.integers(0, ENTITIES, READS):
        began = time.perf_counter()
        row = ask(f"/v1/features/load?user=user-{user:07}")["rows"][0]
        times.append(time.perf_counter() - began)
        if row["features"]["rows_7d"] is None:
            sys.exit(f"user {user}: nothing is known")
    print(f"ours by HTTP, one entity of {ENTITIES:,}: {percentiles(times)}")
    if np.percentile(times, 99) > 0.005:
        sys.exit("expected a p99 of at most 5 ms")
    times = []
    for _ in range(READS // 10):
        users = random.integers(0, ENTITIES, 100)
        body = json.dumps({"entities": [{"user": f"user-{user:07}"} for user in users]})
        began = time.perf_counter()
        ask("/v1/features/load", body)
        times.append(time.perf_counter() - began)
    print(f"ours by HTTP, 100 entities: {percentiles(times)}")
    times = []
    for user in random.integers(0, ENTITIES, READS // 10):
        query = f'{{ onlineFeatures(view: "load", entities: [{{user: "user-{user:07}"}}]) {{ rows }} }}'
        began = time.perf_counter()
        ask("/graphql", json.dumps({"query": query}))
        times.append(time.perf_counter() - began)
    print(f"ours by GraphQL, one entity: {percentiles(times)}")


def feast(view, labels):
    """The same rows in Feast: what it puts to the labels, and how long it takes to read."""
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource
    from feast.repo_config import RepoConfig
    from feast.types import Float64, Int64
    from feast.value_type import ValueType
    from datetime import datetime, timedelta, timezone

    view = view[view.user < f"user-{FEAST_ENTITIES:07}"]
    path = SCRATCH / "view.parquet"
    pq.write_table(pa.Table.from_pandas(view, preserve_index=False), path)
    (SCRATCH / "feast").mkdir()
    store = FeatureStore(config=RepoConfig(
        project="peer", provider="local", registry=str(SCRATCH / "feast/registry.db"), entity_key_serialization_version=3,
        online_store={"type": "sqlite", "path": str(SCRATCH / "feast/online.db")}, offline_store={"type": "file"},
    ))
    user = Entity(name="user", join_keys=["user"], value_type=ValueType.STRING)
    load = FeatureView(
        name="load", entities=[user], ttl=timedelta(days=0), source=FileSource(path=str(path), timestamp_field="at"),
        schema=[Field(name="last_value", dtype=Float64), Field(name="rows_7d", dtype=Int64), Field(name="sum_7d", dtype=Float64)],
    )
    store.apply([user, load])
    names = ["load:last_value", "load:rows_7d", "load:sum_7d"]
    asked = pd.DataFrame({
        "number": labels.number,
        "user": [f"user-{user:07}" for user in labels.user],
        # Feast takes what became known at the very instant, ours what was known before.
        "event_timestamp": pd.to_datetime(labels.asked - 1, unit="us", utc=True),
    })
    began = time.time()
    found = store.get_historical_features(entity_df=asked, features=names).to_df()
    print(f"Feast puts features to {LABELS:,} labels in {time.time() - began:.1f} s ({FEAST_ENTITIES:,} entities)")
    # It leaves labels out of which nothing was known.
    found = found.set_index("number").reindex(labels.number)
    began = time.time()
    end = datetime.fromtimestamp((BEGIN + 40 * DAY) / 1e6, timezone.utc)
    store.materialize(datetime.fromtimestamp(BEGIN / 1e6 - 86_400, timezone.utc), end)
    seconds = time.time() - began
    print(f"Feast materialises {FEAST_ENTITIES:,} entities into SQLite in {seconds:.1f} s: {len(view) / seconds:,.0f} rows/s")
    random = np.random.default_rng(13)
    times, values = [], []
    for one in random.integers(0, FEAST_ENTITIES, min(READS, 2_000)):
        key = f"user-{one:07}"
        began = time.perf_counter()
        row = store.get_online_features(features=names, entity_rows=[{"user": key}]).to_dict()
        times.append(time.perf_counter() - began)
        values.append((key, row["last_value"][0], row["rows_7d"][0], row["sum_7d"][0]))
    print(f"Feast in the process, one entity of {FEAST_ENTITIES:,}: {percentiles(times)}")
    return found, values


def main():
    frame, labels = made()
    ours("ingest", "happenings", str(SCRATCH / "happenings.parquet"), "--create")
    ours("ingest", "labels", str(SCRATCH / "labels.parquet"), "--create")
    (SCRATCH / "features.toml").write_text(
        '[[feature]]\nname = "load"\ndataset = "happenings"\nentity = ["user"]\ntime_column = "at"\nknown_column = "known"\n'
        "[feature.features]\nlast_value = \"value\"\n"
        'rows_7d = { measure = "count(*)", window = "7d" }\nsum_7d = { measure = "sum(value)", window = "7d" }\n'
    )
    seconds, told = ours("feature", "apply", str(SCRATCH / "features.toml"), "--json")
    made_rows = json.loads(told)[0]["run"]["summary"]["rows"]
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"ours computes and commits {made_rows:,} rows of {len(frame):,} in {seconds:.1f} s: {made_rows / seconds:,.0f} rows/s, peak {peak:,.0f} MiB")
    seconds, _ = ours(
        "run", "training_set", "--param", "dataset=labels", "--param", "time_column=asked", "--param", 'features=["load"]'
    )
    print(f"ours puts features to {LABELS:,} labels in {seconds:.1f} s ({ENTITIES:,} entities)")
    seconds, told = ours("feature", "check", "load", "--json")
    skew = json.loads(told)
    print(f"read by entity and by a query: {skew['equal']:,} of {skew['entities']:,} entities equal, in {seconds:.1f} s")
    if skew["equal"] != ENTITIES or skew["entities"] != ENTITIES or skew["not_there"]:
        sys.exit(f"skew: {skew}")
    found = rows_of("SELECT * FROM training_set ORDER BY number")
    computed = by_pandas(frame, labels)
    for name in computed:
        same(found[name], computed[name], f"{name} of the labels, ours and pandas from the rows")
    view = rows_of("SELECT \"user\", at, last_value, rows_7d, sum_7d FROM load")
    server, address = served()
    try:
        read_one_by_one(address)
        of_feast, values = feast(view, labels)
        for name in computed:
            same(found[name], of_feast[name], f"{name} of the labels, ours and Feast")
        connection = http.client.HTTPConnection(address)
        body = json.dumps({"entities": [{"user": key} for key, *_ in values[:1000]]})
        connection.request("POST", "/v1/features/load", body, {"Content-Type": "application/json"})
        rows = json.loads(connection.getresponse().read())["rows"]
        mine = [(row["entity"]["user"], *(row["features"][name] for name in computed)) for row in rows]
        equal = sum(a == b for a, b in zip(mine, values))
        print(f"read by entity, ours and Feast: {equal} of {len(mine)} equal")
        if equal != len(mine):
            sys.exit(str(next((a, b) for a, b in zip(mine, values) if a != b)))
    finally:
        server.terminate()
        server.wait()


main()
