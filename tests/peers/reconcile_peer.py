"""Holds what the job `reconcile` finds in large tables with planted differences against what was planted, and against pandas.

reconcile_peer.py BINARY SCRATCH [ROWS]

Two tables in different orders: of every hundred rows one has another amount, one another text, one is on the left alone, one on the right
alone; every thousandth key is there twice on the right. Amounts are decimals on the left and floats on the right.
"""

import json
import os
import pathlib
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ROWS = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
SEED = 5


def colonnade(*arguments):
    """What it says, how long it took, and the most memory that it had."""
    began = time.perf_counter()
    with open(SCRATCH / "out", "w+") as out:
        child = subprocess.Popen([BINARY, "--data", str(SCRATCH / "root"), *arguments, "--log", "error"], stdout=out)
        _, status, used = os.wait4(child.pid, 0)
        assert status == 0, arguments
        out.seek(0)
        return out.read(), time.perf_counter() - began, used.ru_maxrss / 1024


def query(sql):
    return [json.loads(line) for line in colonnade("sql", sql, "--rows", "0", "--format", "ndjson")[0].splitlines()]


noise = np.random.default_rng(SEED)
number = np.arange(ROWS)
cents = noise.integers(0, 1_000_000, ROWS)
text = np.array(["open", "paid", "late", "void"])[noise.integers(0, 4, ROWS)]
at = pd.to_datetime(noise.integers(0, 10**9, ROWS), unit="s", utc=True)
left = pd.DataFrame({"id": [f"k{n:08}" for n in number], "cents": cents, "state": text, "at": at})
right = left.copy()
part = number % 100
dearer, other, left_alone, right_alone, twice = part == 1, part == 2, part == 3, part == 4, number % 1_000 == 7
right.loc[dearer, "cents"] += 1
right.loc[other, "state"] = "lost"
right = pd.concat([right[~left_alone], right[twice]])
left = left[~right_alone]
expected = {
    "differs cents": set(left["id"][dearer[left.index]]),
    "differs state": set(left["id"][other[left.index]]),
    "missing_right ": set(left["id"][left_alone[left.index]]),
    "missing_left ": set(right["id"][right_alone[right.index]]),
    "repeated_right ": set(right["id"][twice[right.index]]),
}
for name, frame, amount in [("left", left, pa.decimal128(12, 2)), ("right", right, pa.float64())]:
    frame = frame.sample(frac=1.0, random_state=SEED)
    table = pa.Table.from_pandas(frame.drop(columns="cents"), preserve_index=False)
    values = pa.array(frame["cents"].to_numpy() / 100.0)
    if name == "left":
        values = pa.compute.round(values, 2).cast(amount)
    table = table.append_column("amount", values)
    pa.parquet.write_table(table, SCRATCH / f"{name}.parquet")
    colonnade("ingest", name, str(SCRATCH / f"{name}.parquet"), "--create")

_, seconds, mebibytes = colonnade("run", "reconcile", "--param", 'key=["id"]')
found = {}
for row in query("SELECT key, kind, column_name FROM reconciliations"):
    found.setdefault(f"{row['kind']} {row['column_name'].replace('amount', 'cents')}", set()).add(row["key"])
for kind in sorted(expected.keys() | found.keys()):
    planted, told = expected.get(kind, set()), found.get(kind, set())
    print(f"{kind}: planted {len(planted):,}, found {len(planted & told):,}, false {len(told - planted):,}")

began = time.perf_counter()
a, b = (pd.read_parquet(SCRATCH / f"{name}.parquet") for name in ["left", "right"])
merged = a.merge(b, on="id", how="outer", suffixes=("", "_right"), indicator=True)
both = merged[merged["_merge"] == "both"]
apart = sum(int((both[name].astype(float) != both[name + "_right"]).sum() if name == "amount" else (both[name] != both[name + "_right"]).sum()) for name in ["amount", "state", "at"])
pandas = time.perf_counter() - began
print(f"{len(left):,} x {len(right):,} rows: {seconds:.1f} s, {mebibytes:,.0f} MiB; pandas' outer merge and comparison {pandas:.1f} s ({apart:,} values apart)")
sys.exit(found != expected)
