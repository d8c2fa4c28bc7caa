"""Exports of model calls to every format, beside DuckDB's COPY of the same rows; what was written is read back by others.

bench.py BINARY SCRATCH. ROWS=10000000 (of the demo's generator), ROUNDS=3 of each, FORMATS=parquet,csv,ndjson,arrow,xlsx. Both begin with
Delta's files of one dataset and end with files on the same disk; DuckDB reads those files, and has as many threads. Peak memory is the
resident set of the process at its largest, as the system counts it (wait4).
"""

import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.ipc as ipc

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ROWS, ROUNDS = int(os.environ.get("ROWS", 10_000_000)), int(os.environ.get("ROUNDS", 3))
FORMATS = os.environ.get("FORMATS", "parquet,csv,ndjson,arrow,xlsx").split(",")
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
SHEET_ROWS = 1_048_575
COLUMNS = (
    "id,at,user_id,agent_id,workflow_id,provider,model,operation,input_tokens,output_tokens,latency_ms,status,error,cost".split(",")
)
COPY = {
    "parquet": "(FORMAT parquet, COMPRESSION zstd)",
    "csv": "(FORMAT csv, HEADER)",
    "ndjson": "(FORMAT json)",
}


def timed(command):
    """Seconds and peak memory of a command."""
    began = time.perf_counter()
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    assert status == 0, (command, said.decode())
    return seconds, usage.ru_maxrss / 1024


def lake(root):
    """The dataset, made once: DuckDB makes the rows, and `ingest` takes them."""
    if (root / "default/model_calls").exists():
        return
    made = SCRATCH / "made.parquet"
    duckdb.sql(
        f"COPY (SELECT 'call-' || lpad(i::VARCHAR, 9, '0') AS id, "
        f"TIMESTAMPTZ '2026-01-01 00:00:00Z' + INTERVAL (i * 240) MILLISECOND + INTERVAL ((hash(i) % 1000)::BIGINT) MICROSECOND AS at, "
        f"'user-' || (hash(i, 1) % 5000) AS user_id, 'agent-' || (hash(i, 2) % 40) AS agent_id, "
        f"CASE WHEN hash(i, 3) % 3 = 0 THEN NULL ELSE 'flow-' || (hash(i, 3) % 900) END AS workflow_id, "
        f"['north', 'south', 'east'][(1 + hash(i, 4) % 3)::BIGINT] AS provider, "
        f"['aurora-small', 'aurora-large', 'embed-3', 'small-1', 'vision-2'][(1 + hash(i, 5) % 5)::BIGINT] AS model, 'chat' AS operation, "
        f"(hash(i, 6) % 4000)::BIGINT AS input_tokens, (hash(i, 7) % 900)::BIGINT AS output_tokens, "
        f"(hash(i, 8) % 100000) / 7.0 + 20000 AS latency_ms, "
        f"CASE WHEN hash(i, 9) % 50 = 0 THEN 'error' ELSE 'ok' END AS status, "
        f"CASE WHEN hash(i, 9) % 50 = 0 THEN 'quota, \"daily\"' END AS error, "
        f"((hash(i, 10) % 9000000)::DECIMAL(18, 9) / 1000000000)::DECIMAL(18, 9) AS cost "
        f"FROM range({ROWS}) rows(i)) TO '{made}' (FORMAT parquet)"
    )
    command = [BINARY, "--data", str(root), "ingest", "model_calls", str(made)]
    subprocess.run(command, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    made.unlink()


def files_of(root):
    """The data files of the newest version, as any reader of Delta's log finds them."""
    table, live = root / "default/model_calls", {}
    for entry in sorted((table / "_delta_log").glob("*.json")):
        for line in entry.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                live[action["add"]["path"]] = True
            if "remove" in action:
                live.pop(action["remove"]["path"], None)
    return [str(table / name) for name in live]


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
    """Every cell of the one sheet, against the rows that the lake has under the same ids."""
    [path] = sorted(folder.glob("*.xlsx"))
    rows = openpyxl.load_workbook(path, read_only=True).active.iter_rows(values_only=True)
    assert list(next(rows)) == COLUMNS
    found = {"id": [], "input_tokens": [], "cost": [], "model": [], "error": []}
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
    return f"all {table.num_rows:,} rows of one sheet equal, by openpyxl"


def main():
    root = SCRATCH / "data"
    lake(root)
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
