"""Exports of model calls to every format, beside DuckDB's COPY of the same rows; what was written is read back by others.

bench.py BINARY SCRATCH. ROWS=10000000 (of the demo's generator), ROUNDS=3 of each, FORMATS=parquet,csv,ndjson,arrow,xlsx. Both begin with
Delta's files of one dataset and end with files on the same disk; DuckDB reads those files, and has as many threads. Peak memory is the
resident set of the process at its largest, as the system counts it.
"""

import os
import pathlib
import shutil
import statistics
import subprocess
import sys

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc as ipc

from lake import ENVIRONMENT, files_of, lake

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ROWS, ROUNDS = int(os.environ.get("ROWS", 10_000_000)), int(os.environ.get("ROUNDS", 3))
FORMATS = os.environ.get("FORMATS", "parquet,csv,ndjson,arrow,xlsx").split(",")
SHEET_ROWS = 1_048_575
COLUMNS = (
    "id,at,user_id,agent_id,workflow_id,provider,model,operation,input_tokens,output_tokens,latency_ms,status,error,cost".split(",")
)
COPY = {
    "parquet": "(FORMAT parquet, COMPRESSION zstd)",
    "csv": "(FORMAT csv, HEADER)",
    "ndjson": "(FORMAT json)",
}


# Runs a command, and says its seconds and peak memory. A process of its own, since what it had before a command began in it counts, too.
TIMED = """
import resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
sys.exit(code)
"""


def timed(command):
    """Seconds and peak memory of a command."""
    run = [sys.executable, "-S", "-E", "-c", TIMED, *command]
    done = subprocess.run(run, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    seconds, peak = done.stdout.split()
    return float(seconds), float(peak)


def digest(relation):
    """What tells the rows apart from others, in any order."""
    return duckdb.sql(
        "SELECT count(*), sum(hash(id, epoch_us(\"at\"::TIMESTAMPTZ), model)::HUGEINT), sum(cost::DECIMAL(38, 9)) "
        f"FROM ({relation})"
    ).fetchall()[0]


def read_back(form, folder, expected):
    """Reads what was written by others' readers, and holds it against the rows of the lake."""
    if form == "xlsx":
        return read_sheets(folder)
    if form == "arrow":
        tables = [ipc.open_file(path).read_all() for path in sorted(folder.glob("*.arrow"))]
        whole = pa.concat_tables(tables)
        duckdb.register("written", whole)
        found = digest("SELECT * FROM written")
    else:
        reader = {"parquet": "read_parquet", "csv": "read_csv", "ndjson": "read_json"}[form]
        found = digest(f"SELECT * FROM {reader}('{folder}/*.{form}')")
    assert found == expected, (form, found, expected)
    if form == "parquet":
        assert ds.dataset(folder, exclude_invalid_files=False).count_rows() == expected[0]
    return f"all {found[0]:,} rows equal"


def read_sheets(folder):
    """Cells of every workbook, against the rows that the lake has under the same ids."""
    found = {"id": [], "input_tokens": [], "cost": [], "model": [], "error": []}
    paths = sorted(folder.glob("*.xlsx"))
    for path in paths:
        rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)
        assert list(next(rows)) == COLUMNS
        for row in rows:
            named = dict(zip(COLUMNS, row))
            for name, values in found.items():
                values.append(named[name])
    table = pa.table(found)
    duckdb.register("sheet", table)
    differing = duckdb.sql(
        f"SELECT count(*) FROM sheet s JOIN ({SOURCE}) l USING (id) WHERE s.model <> l.model OR s.input_tokens <> l.input_tokens "
        f"OR s.cost::DECIMAL(18, 9) <> l.cost OR s.error IS DISTINCT FROM l.error"
    ).fetchall()[0][0]
    joined = duckdb.sql(f"SELECT count(*) FROM sheet s JOIN ({SOURCE}) l USING (id)").fetchall()[0][0]
    assert (differing, joined) == (0, table.num_rows), (differing, joined)
    assert table.num_rows == min(SHEET_ROWS, ROWS), table.num_rows
    return f"all {table.num_rows:,} rows of {len(paths)} workbooks equal, by openpyxl"


def main():
    root = SCRATCH / "data"
    lake(BINARY, root, ROWS)
    files = files_of(root)
    shown = ", ".join(f'"{column}"' for column in COLUMNS)
    source = f"SELECT {shown} FROM read_parquet({files!r})"
    global SOURCE
    SOURCE = source
    expected = digest(source)
    print(f"{expected[0]:,} model calls in {len(files)} files, {sum(os.path.getsize(f) for f in files):,} bytes")
    print("| format | rows/s | peak MiB | bytes | DuckDB rows/s | peak MiB | ratio | read back |")
    print("|---|---|---|---|---|---|---|---|")
    for form in FORMATS:
        ours, theirs, read = [], [], ""
        bytes_written = 0
        for _ in range(1 if form == "xlsx" else ROUNDS):
            folder = SCRATCH / form
            shutil.rmtree(folder, ignore_errors=True)
            command = [BINARY, "--data", str(root), "export", "--to", str(folder), "--format", form]
            if form == "xlsx":
                # As many as a sheet holds.
                command += ["--sql", f"SELECT {shown} FROM model_calls LIMIT {SHEET_ROWS}"]
            else:
                command += ["model_calls", "--columns", ",".join(COLUMNS)]
            ours.append(timed(command))
            bytes_written = sum(path.stat().st_size for path in folder.glob("part-*"))
            if not read:
                read = read_back(form, folder, expected)
            shutil.rmtree(folder, ignore_errors=True)
            if form in COPY:
                target = SCRATCH / f"duckdb.{form}"
                script = (
                    f"import duckdb; c = duckdb.connect(); c.execute('SET threads = {os.cpu_count()}'); "
                    f"c.execute('SET preserve_insertion_order = false'); "
                    f"c.execute({f'COPY ({source}) TO {str(target)!r} {COPY[form]}'!r})"
                )
                theirs.append(timed([sys.executable, "-c", script]))
                target.unlink()
        seconds = statistics.median(s for s, _ in ours)
        rows = min(SHEET_ROWS, expected[0]) if form == "xlsx" else expected[0]
        line = f"| {form} | {rows / seconds:,.0f} | {max(m for _, m in ours):,.0f} | {bytes_written:,} |"
        if theirs:
            other = statistics.median(s for s, _ in theirs)
            line += f" {expected[0] / other:,.0f} | {max(m for _, m in theirs):,.0f} | {other / seconds:.2f}x |"
        else:
            line += " | | |"
        print(f"{line} {read} |", flush=True)


main()
