"""The table format is a promise: any Delta reader sees what we see, and we see what others wrote.

Usage: delta_peers.py BINARY SCRATCH. Every table is compared row by row, as sorted lists of values.
"""

import datetime
import decimal
import json
import math
import pathlib
import random
import subprocess
import sys
import urllib.parse

import deltalake
import duckdb
import polars
import pyarrow

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ROOT = SCRATCH / "data"
TENANT = ROOT / "default"

SPEC = """
name = "every_type"
key = ["id"]
time_column = "at"
evolution = "add_nullable"
partition_by = [{ column = "day", from = "at", transform = "day" }, { column = "site" }]
columns = [
  { name = "id", type = "int64" },
  { name = "at", type = "timestamp" },
  { name = "site", type = "text" },
  { name = "flag", type = "bool", nullable = true },
  { name = "small", type = "int32", nullable = true },
  { name = "ratio", type = "float64", nullable = true },
  { name = "price", type = "decimal(18,6)", nullable = true },
  { name = "born", type = "date", nullable = true },
  { name = "note", type = "text", nullable = true },
  { name = "tags", type = "list(int64)", nullable = true },
  { name = "detail", type = "json", nullable = true },
  { name = "address", type = "struct(city: text, price: decimal(9,2), geo: struct(lat: float64, at: timestamp), lines: list(text))", nullable = true },
  { name = "items", type = "list(struct(sku: text, count: int64))", nullable = true },
  { name = "sizes", type = "map(text, int64)", nullable = true },
]
"""


def colonnade(*arguments):
    """Runs the command line on the root; answers stdout's bytes."""
    command = [BINARY, "--data", str(ROOT), *arguments]
    done = subprocess.run(command, capture_output=True, cwd=SCRATCH, timeout=600)
    if done.returncode != 0:
        raise SystemExit(f"{command}: exit {done.returncode}\n{done.stdout.decode()}{done.stderr.decode()}")
    return done.stdout


def ours(query, *arguments):
    """A query's answer as an Arrow table."""
    answer = colonnade("sql", query, "--format", "arrow", *arguments)
    return pyarrow.ipc.open_stream(answer).read_all()


def plain(value):
    """A value in the one form that all readers' values are brought to."""
    match value:
        case datetime.datetime():
            at = value if value.tzinfo else value.replace(tzinfo=datetime.timezone.utc)
            return "t" + at.astimezone(datetime.timezone.utc).isoformat()
        case datetime.date():
            return "d" + value.isoformat()
        case decimal.Decimal():
            return "n" + format(value.normalize(), "f")
        case float() if math.isnan(value):
            return "nan"
        case bytes():
            return "b" + value.hex()
        # A map, which readers give as pairs, as entries or as what Python calls one.
        case list() if value and all(isinstance(item, tuple) for item in value):
            return plain(dict(value))
        case list() if value and all(isinstance(item, dict) and set(item) == {"key", "value"} for item in value):
            return plain({item["key"]: item["value"] for item in value})
        case list():
            return [plain(item) for item in value]
        case dict() if not value:
            return []
        # Fields of others are shown under names as columns have them.
        case dict():
            return {name.lower(): plain(item) for name, item in value.items()}
        case _:
            return value


def rows(records, columns):
    """Records as sorted lists of values in the order of the columns."""
    listed = [[plain(record[column]) for column in columns] for record in records]
    return sorted(listed, key=lambda row: json.dumps(row, sort_keys=True))


def active_files(table):
    """The files of a table's newest version with their partition values, from its log alone."""
    files = {}
    checkpoint = table / "_delta_log" / "_last_checkpoint"
    first = 0
    if checkpoint.exists():
        first = json.loads(checkpoint.read_text())["version"] + 1
        saved = deltalake.DeltaTable(str(table), version=first - 1).get_add_actions(flatten=False)
        for add in pyarrow.table(saved).to_pylist():
            files[urllib.parse.unquote(add["path"])] = add.get("partition", {})
    for log in sorted((table / "_delta_log").glob("*.json")):
        if int(log.stem) < first:
            continue
        for line in log.read_text().splitlines():
            action = json.loads(line)
            if add := action.get("add"):
                files[urllib.parse.unquote(add["path"])] = add.get("partitionValues", {})
            if remove := action.get("remove"):
                files.pop(urllib.parse.unquote(remove["path"]), None)
    return {str(table / path): values for path, values in files.items()}


def read_with_deltalake(table):
    return deltalake.DeltaTable(str(table)).to_pyarrow_table().to_pylist()


def read_with_polars(table):
    return polars.read_delta(str(table)).to_dicts()


def read_with_duckdb(table):
    """With the Delta extension where it can be had, otherwise the active files as Parquet."""
    connection = duckdb.connect()
    try:
        connection.execute("INSTALL delta; LOAD delta;")
        read = connection.sql(f"SELECT * FROM delta_scan('{table}')")
        read_with_duckdb.way = "delta_scan"
        return read.to_arrow_table().to_pylist()
    except (duckdb.IOException, duckdb.HTTPException):
        read_with_duckdb.way = "parquet_scan of the active files"
    records = []
    fields = {field.name: field.type for field in pyarrow.schema(deltalake.DeltaTable(str(table)).schema())}
    for file, partition in active_files(table).items():
        read = connection.sql("SELECT * FROM parquet_scan(?, hive_partitioning = false)", params=[file])
        for record in read.to_arrow_table().to_pylist():
            for column, text in partition.items():
                record[column] = partition_value(text, fields[column])
            # A column that came after the file.
            record.update({name: None for name in fields if name not in record})
            records.append(record)
    return records


def partition_value(text, kind):
    """Partition values stand in the log as text."""
    if text is None or not isinstance(text, str):
        return text
    if pyarrow.types.is_date(kind):
        return datetime.date.fromisoformat(text)
    return int(text) if pyarrow.types.is_integer(kind) else text


READERS = {"deltalake": read_with_deltalake, "polars": read_with_polars, "duckdb": read_with_duckdb}


def assert_equal(name, expected, found):
    assert len(expected) == len(found), f"{name}: {len(found)} rows, expected {len(expected)}"
    for index, (one, other) in enumerate(zip(expected, found)):
        assert one == other, f"{name}: row {index}\n  expected {one}\n  found    {other}"


def records_of_every_type(first, count):
    chance = random.Random(first)
    records = []
    for n in range(first, first + count):
        maybe = lambda value: value if chance.random() > 0.2 else None
        at = datetime.datetime(2026, 1, 1 + n % 5, n % 24, tzinfo=datetime.timezone.utc)
        records.append(
            {
                "id": n,
                "at": at + datetime.timedelta(microseconds=n),
                "site": ["Köln", "a b", "x=y/z", "100%"][n % 4],
                "flag": maybe(n % 2 == 0),
                "small": maybe(chance.randint(-(2**31), 2**31 - 1)),
                "ratio": maybe(chance.uniform(-1e9, 1e9)),
                "price": maybe(decimal.Decimal(chance.randint(-(10**12), 10**12)).scaleb(-6)),
                "born": maybe(datetime.date(1900, 1, 1) + datetime.timedelta(days=chance.randint(0, 50000))),
                "note": maybe("".join(chance.choices('aä€😀 "\\\n,;', k=chance.randint(0, 9)))),
                "tags": maybe([chance.randint(-(2**62), 2**62) for _ in range(chance.randint(0, 4))]),
                "detail": maybe(json.dumps({"n": n, "s": "ü"})),
                "address": maybe(
                    {
                        "city": maybe("Köln"),
                        "price": maybe(decimal.Decimal(chance.randint(-(10**9) + 1, 10**9 - 1)).scaleb(-2)),
                        "geo": maybe({"lat": maybe(chance.uniform(-90, 90)), "at": at}),
                        "lines": maybe([maybe("a"), maybe("")]),
                    }
                ),
                "items": maybe([maybe({"sku": f"s{i}", "count": maybe(n * i)}) for i in range(chance.randint(0, 3))]),
                "sizes": maybe([(key, maybe(n)) for key in "SML"[: chance.randint(0, 3)]]),
            }
        )
    return records


def as_ndjson(record):
    def text(value):
        return format(value, "f") if isinstance(value, decimal.Decimal) else value.isoformat()

    sizes = record.get("sizes")
    sizes = dict(sizes) if sizes is not None else None
    line = dict(record, detail=json.loads(record["detail"]) if record["detail"] else None, sizes=sizes)
    return json.dumps(line, default=text)


def our_table_of_every_type():
    """Rows made here, ingested by us in three commits, read back by everyone."""
    spec = SCRATCH / "every_type.toml"
    spec.write_text(SPEC)
    expected = []
    for commit in range(3):
        records = records_of_every_type(commit * 500, 500)
        file = SCRATCH / f"part-{commit}.ndjson"
        file.write_text("".join(as_ndjson(record) + "\n" for record in records))
        receipt = json.loads(colonnade("ingest", "every_type", str(file), "--spec", str(spec), "--json"))
        assert (receipt["accepted"], receipt["quarantined"]) == (500, 0), receipt
        expected.extend(records)
    for record in expected:
        record["day"] = record["at"].date()
        # A JSON column is a document, not a spelling.
        record["detail"] = record["detail"] and json.loads(record["detail"])
    every_reader_has("ingested", expected)
    write_again()
    for name, arguments, changed in CHANGES:
        colonnade(*arguments)
        expected = changed(expected)
        every_reader_has(name, expected)


# What is done to rows and files that are there, and what it leaves of them.
CHANGES = [
    ("put together", ["compact", "every_type"], lambda records: records),
    (
        "changed",
        ["update", "every_type", "--set", "ratio = id / 2.0", "--set", "note = NULL", "--where", "site = 'x=y/z'"],
        lambda records: [
            dict(record, ratio=record["id"] / 2, note=None) if record["site"] == "x=y/z" else record for record in records
        ],
    ),
    (
        "deleted",
        ["delete", "every_type", "--where", "id % 7 = 3 or flag"],
        lambda records: [record for record in records if record["id"] % 7 != 3 and record["flag"] is not True],
    ),
    ("put together again", ["compact", "every_type"], lambda records: records),
    (
        "replaced by key",
        ["ingest", "every_type", "again.ndjson", "--on-conflict", "replace"],
        lambda records: [record for record in records if record["id"] not in AGAIN] + again("replaced"),
    ),
    (
        "skipped by key",
        ["ingest", "every_type", "skipped.ndjson", "--on-conflict", "skip"],
        lambda records: records + [record for record in again("skipped") if record["id"] not in {r["id"] for r in records}],
    ),
    (
        "with a column more",
        ["alter", "every_type", "--add", "extra=text"],
        lambda records: [dict(record, extra=None) for record in records],
    ),
    (
        "with a column of another name",
        ["alter", "every_type", "--rename", "note=remark"],
        lambda records: [renamed(record, "note", "remark") for record in records],
    ),
    (
        "with a key of another name",
        ["alter", "every_type", "--rename", "id=number"],
        lambda records: [renamed(record, "id", "number") for record in records],
    ),
    (
        "with a column of another type",
        ["alter", "every_type", "--retype", "small=int64"],
        lambda records: records,
    ),
    (
        "with a column made from others",
        ["alter", "every_type", "--retype", "flag=text", "--using", "CASE WHEN flag THEN site ELSE 'no' END"],
        lambda records: [dict(record, flag=record["site"] if record["flag"] else "no") for record in records],
    ),
    (
        "with a column less",
        ["alter", "every_type", "--drop", "tags"],
        lambda records: [{name: value for name, value in record.items() if name != "tags"} for record in records],
    ),
    ("put together at last", ["compact", "every_type"], lambda records: records),
]
# Keys of rows that come again, some of which are there, some were deleted, and some are new.
AGAIN = range(1400, 1600)


def renamed(record, column, name):
    return {name if of == column else of: value for of, value in record.items()}


def again(word):
    """Rows of those keys, in the form that they are expected in."""
    first, count = (AGAIN.start, len(AGAIN)) if word == "replaced" else (1500, 200)
    records = records_of_every_type(first, count)
    for record in records:
        record["note"] = word
        record["day"] = record["at"].date()
        record["detail"] = record["detail"] and json.loads(record["detail"])
    return records


def write_again():
    for word in ("replaced", "skipped"):
        lines = []
        for record in again(word):
            line = {name: value for name, value in record.items() if name != "day"}
            lines.append(as_ndjson(dict(line, detail=line["detail"] and json.dumps(line["detail"]))) + "\n")
        (SCRATCH / f"{'again' if word == 'replaced' else word}.ndjson").write_text("".join(lines))


def every_reader_has(step, expected):
    columns = list(expected[0])
    readers = dict(READERS, ours=lambda _: ours("SELECT * FROM every_type").to_pylist())
    for name, read in readers.items():
        found = read(TENANT / "every_type")
        for record in found:
            record["detail"] = record["detail"] and json.loads(record["detail"])
        assert_equal(f"every_type, {step}, by {name}", rows(expected, columns), rows(found, columns))
    print(f"every_type, {step}: {len(expected)} rows of {len(columns)} columns equal in {', '.join(readers)}")


def our_demo_tables():
    """Everything the demo leaves, inputs and results, read by everyone."""
    colonnade("demo", "--rows", "50000", "--no-serve", "--json")
    for table in sorted(TENANT.iterdir()):
        if not (table / "_delta_log").is_dir() or table.name == "every_type":
            continue
        mine = ours(f'SELECT * FROM "{table.name}"')
        columns = mine.column_names
        expected = rows(mine.to_pylist(), columns)
        for name, read in READERS.items():
            assert_equal(f"{table.name} by {name}", expected, rows(read(table), columns))
        print(f"{table.name}: {len(expected)} rows equal in ours, {', '.join(READERS)}")


def their_table():
    """Written by deltalake in every way it has, read by us at each version."""
    path = str(TENANT / "theirs")
    at = datetime.datetime(2026, 5, 1, tzinfo=datetime.timezone.utc)

    def batch(first, count):
        numbers = range(first, first + count)
        return pyarrow.table(
            {
                "id": pyarrow.array(numbers, pyarrow.int64()),
                "region": pyarrow.array([f"r {n % 3}" for n in numbers]),
                "at": pyarrow.array([at + datetime.timedelta(hours=n) for n in numbers], pyarrow.timestamp("us", "UTC")),
                "price": pyarrow.array([decimal.Decimal(n).scaleb(-2) for n in numbers], pyarrow.decimal128(10, 2)),
                "place": pyarrow.array([{"City": f"c{n}", "geo": {"Lat": n / 4}} if n % 3 else None for n in numbers]),
                "stops": pyarrow.array([[{"at": n, "Who": "x"}, None] if n % 4 else [] for n in numbers]),
                "tags": pyarrow.array([[("a", n), ("b", None)] for n in numbers], pyarrow.map_(pyarrow.string(), pyarrow.int32())),
                "scores": pyarrow.array([[n / 2, None] if n % 2 else None for n in numbers], pyarrow.list_(pyarrow.float64())),
            }
        )

    deltalake.write_deltalake(path, batch(0, 100), partition_by=["region"])
    deltalake.write_deltalake(path, batch(100, 50), mode="append")
    deltalake.DeltaTable(path).delete("id % 10 = 3")
    deltalake.DeltaTable(path).create_checkpoint()
    wider = batch(200, 10).append_column("note", pyarrow.array([f"n{n}" for n in range(10)]))
    deltalake.write_deltalake(path, wider, mode="append", schema_mode="merge")
    deltalake.DeltaTable(path).optimize.compact()
    deltalake.write_deltalake(path, batch(500, 7), mode="append", schema_mode="merge")
    newest = deltalake.DeltaTable(path).version()
    for version in range(newest + 1):
        expected = deltalake.DeltaTable(path, version=version).to_pyarrow_table()
        found = ours("SELECT * FROM theirs", "--as-of", f"theirs@{version}")
        columns = expected.column_names
        assert sorted(columns) == sorted(found.column_names), (columns, found.column_names)
        assert_equal(f"theirs@{version}", rows(expected.to_pylist(), columns), rows(found.to_pylist(), columns))
    print(f"theirs: {newest + 1} versions by deltalake, each equal in ours")


if __name__ == "__main__":
    our_table_of_every_type()
    our_demo_tables()
    their_table()
    print(f"duckdb read by {read_with_duckdb.way}")
