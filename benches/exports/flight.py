"""Rows to pandas by Flight SQL, beside reading the files that they lie in by pyarrow.

flight.py BINARY SCRATCH. ROWS=10000000, ROUNDS=3 of each in turn. Both give the same pandas frame of all columns; what is compared is the
time until it is there, with the client and the server on the same cores.
"""

import os
import pathlib
import statistics
import subprocess
import sys
import threading
import time

import adbc_driver_flightsql.dbapi as flight
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from lake import ENVIRONMENT, files_of, lake

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
COLUMNS = "id at user_id agent_id workflow_id provider model operation input_tokens output_tokens latency_ms status error cost".split()
ROWS, ROUNDS = int(os.environ.get("ROWS", 10_000_000)), int(os.environ.get("ROUNDS", 3))


def serve(root):
    """A server, and where Flight SQL is spoken."""
    command = [BINARY, "--data", str(root), "serve", "--listen", "127.0.0.1:0", "--flight", "127.0.0.1:0"]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    for line in process.stderr:
        if "Flight SQL on " in line:
            threading.Thread(target=process.stderr.read, daemon=True).start()
            return process, line.split("Flight SQL on ")[1].strip()
    raise SystemExit("the server did not say where it is")


def timed(read):
    began = time.perf_counter()
    table = read()
    arrived = time.perf_counter() - began
    frame = table.to_pandas()
    return arrived, time.perf_counter() - began, table, frame


def digest(table, frame):
    """What tells frames apart: names and types of columns, and of each how many values there are and what they add up to."""
    assert len(frame) == table.num_rows
    found = {}
    for name in COLUMNS:
        column = table[name]
        if pa.types.is_string(column.type):
            column = pc.binary_length(column)
        elif pa.types.is_timestamp(column.type):
            column = column.cast(pa.int64())
        total = pc.sum(column.cast(pa.float64(), safe=False)).as_py()
        # Rows come in another order, and floats are added in it.
        found[name] = (str(table[name].type), str(frame[name].dtype), pc.count(column).as_py(), f"{total:.9e}")
    return found


def main():
    root = SCRATCH / "data"
    lake(BINARY, root, ROWS)
    files = files_of(root)
    process, url = serve(root)
    try:
        with flight.connect(url, autocommit=True) as connection, connection.cursor() as cursor:

            def by_flight():
                cursor.execute(f"SELECT {', '.join(COLUMNS)} FROM model_calls")
                return cursor.fetch_arrow_table()

            def by_pyarrow():
                return ds.dataset(files, format="parquet").to_table(columns=COLUMNS)

            times = {by_flight: [], by_pyarrow: []}
            expected = None
            for round in range(ROUNDS):
                # Each is the first as often as the other.
                for read in list(times)[:: 1 if round % 2 == 0 else -1]:
                    arrived, whole, table, frame = timed(read)
                    times[read].append((arrived, whole))
                    found = digest(table, frame)
                    assert expected in (None, found), (read.__name__, found, expected)
                    expected = found
                    shape = frame.shape
                    del table, frame
    finally:
        process.terminate()
        process.wait()
    middle = lambda read, at: statistics.median(pair[at] for pair in times[read])
    print(f"{shape[0]:,} rows, {shape[1]} columns, alike by both; pyarrow {pa.__version__}; medians of {ROUNDS}")
    print("| to | Flight SQL s | pyarrow s | ratio |")
    print("|---|---|---|---|")
    for name, at in (("Arrow", 0), ("pandas", 1)):
        one, other = middle(by_flight, at), middle(by_pyarrow, at)
        print(f"| {name} | {one:.2f} | {other:.2f} | {one / other:.2f}x |")


main()
