"""Random tables in files of pandas, Polars, DuckDB and writers of Excel, each loaded twice into a dataset of its own.

    files_peer.py BINARY FOLDER

The rows of each dataset, read by the Delta library, must be those of its table twice. COUNT says how many tables
(2,000), COLONNADE_TEST_SEED which, COLONNADE_JOBS how many processes load at once (2), and KEEP=1 keeps the folder
of a failure.
"""

import collections
import concurrent.futures
import csv
import datetime
import decimal
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import sys
import traceback

import deltalake
import duckdb
import pandas
import polars
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1)
ROWS_MAX = 40
# Most failures that are printed.
SHOWN_MAX = 20
WORDS = ["red", "x y", "Größe", "naïve", "Ünïcödé", "東京", "smile 🙂", "a,b", "a;b", "a\tb", "a|b", 'say "hi"', "'tis", "O'Neill"]
WORDS += ["the dogs'", "007", "12", "1.5", "true", "2024-01-01", " padded ", "-", "=1", "line\nbreak", "cr\rhere", "crlf\r\nhere", "\x00", "a\x00b", "#", "{}", "[1]", "\\", "\\n", "null", "x" * 300]
PLAIN = ["red", "green", "x y", "007", "12", "O'Neill", "2024-01-01", "true", "Straße", "ä-ö", "café", "a.b", "é"]
NAMES = ["value", "Order Id", "orderId", "Größe", "unit price", "UnitPrice", "2nd", "a.b", "Naïve?", "SELECT", "cost in €", "x", "y"]


def stored(value):
    """Normalizes a value for comparison: sorts fields of nested values, converts instants to UTC."""
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, datetime.datetime):
        return (value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)).isoformat()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if isinstance(value, dict):
        return {key: stored(item) for key, item in sorted(value.items())}
    if isinstance(value, (list, tuple)):
        return [stored(item) for item in value]
    return value


def alike(expected, found):
    """Whether a stored value equals the written one."""
    if expected is None or found is None:
        return expected is found
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    if isinstance(expected, (int, float)) and isinstance(found, decimal.Decimal):
        return decimal.Decimal(repr(expected)) == found
    if isinstance(expected, decimal.Decimal) and isinstance(found, (int, float)):
        return float(expected) == found
    if isinstance(expected, dict):
        return isinstance(found, dict) and expected.keys() == found.keys() and all(alike(v, found[k]) for k, v in expected.items())
    if isinstance(expected, list):
        return isinstance(found, list) and len(expected) == len(found) and all(map(alike, expected, found))
    return expected == found


class Table:
    """A random table: the kinds and values of its columns, by name."""

    def __init__(self, seed, kinds, words, least=0):
        self.random = random.Random(seed)
        self.words = words
        self.rows = max(least, self.random.choice([0, 1, 2, 5, self.random.randint(3, ROWS_MAX), self.random.randint(3, ROWS_MAX)]))
        r = self.random
        names = r.sample(NAMES, r.randint(1, 6))
        self.kinds = {"id": "int"} | {name: r.choice(kinds) for name in names}
        self.values = {name: self.column(name, kind) for name, kind in self.kinds.items()}

    def column(self, name, kind):
        if name == "id":
            return list(range(self.rows))
        share = self.random.choice([0.0, 0.1, 0.5])
        draw = getattr(self, kind)
        return [None if self.random.random() < share else draw() for _ in range(self.rows)]

    def int(self):
        return self.random.choice([0, 1, -1, self.random.randint(-1000, 1000), self.random.randint(-(2**63), 2**63 - 1)])

    def small(self):
        return self.random.randint(-(2**31), 2**31 - 1)

    def float(self):
        r = self.random
        return r.choice([0.0, 0.5, -1.25, r.uniform(-1, 1), r.uniform(-1e6, 1e6), r.uniform(-1, 1) * 10 ** r.randint(-300, 300)])

    def amount(self):
        return decimal.Decimal(self.random.randint(-(10**9), 10**9)) / 100

    def text(self):
        return "".join(self.random.choice(self.words) for _ in range(self.random.randint(1, 3)))

    def bool(self):
        return self.random.random() < 0.5

    def date(self):
        return datetime.date(1900, 3, 1) + datetime.timedelta(days=self.random.randint(0, 70_000))

    def time(self):
        seconds = self.random.randint(-2_000_000_000, 4_000_000_000)
        return EPOCH + datetime.timedelta(seconds=seconds, microseconds=self.random.choice([0, 1, 500_000, self.random.randint(0, 999_999)]))

    def milli(self):
        at = self.time()
        return max(at.replace(microsecond=at.microsecond // 1000 * 1000), datetime.datetime(1900, 3, 2))

    def instant(self):
        return self.time().replace(tzinfo=UTC)

    def nanos(self):
        return self.random.choice([-1, -1_001, self.random.randint(-(10**18), 10**18)])

    def bytes(self):
        return self.random.randbytes(self.random.randint(0, 9))

    def ints(self):
        return [self.random.choice([None, self.small()]) for _ in range(self.random.randint(0, 4))]

    def texts(self):
        return [self.random.choice([None, self.text()]) for _ in range(self.random.randint(0, 4))]

    def struct(self):
        return {"city": self.random.choice([None, self.text()]), "sizes": self.random.choice([None, self.ints()])}

    def structs(self):
        return [self.random.choice([None, self.struct()]) for _ in range(self.random.randint(0, 3))]

    def map(self):
        return {word: self.random.choice([None, self.small()]) for word in self.random.sample(["a", "b c", "é"], self.random.randint(0, 3))}

    def vector(self):
        return [self.random.choice([0.5, -1.25, 3.0]) for _ in range(3)]


STRUCT = pyarrow.struct([("city", pyarrow.string()), ("sizes", pyarrow.list_(pyarrow.int32()))])
ARROW = {
    "int": pyarrow.int64(), "small": pyarrow.int32(), "float": pyarrow.float64(), "amount": pyarrow.decimal128(18, 2), "text": pyarrow.string(),
    "bool": pyarrow.bool_(), "date": pyarrow.date32(), "time": pyarrow.timestamp("us"), "milli": pyarrow.timestamp("ms"), "instant": pyarrow.timestamp("us", "Europe/Berlin"),
    "nanos": pyarrow.timestamp("ns"), "bytes": pyarrow.binary(), "ints": pyarrow.list_(pyarrow.int32()), "texts": pyarrow.list_(pyarrow.string()), "struct": STRUCT,
    "structs": pyarrow.list_(STRUCT), "map": pyarrow.map_(pyarrow.string(), pyarrow.int32()), "vector": pyarrow.list_(pyarrow.float32(), 3),
}  # fmt: skip
SCALARS = ["int", "small", "float", "amount", "text", "text", "bool", "date", "time"]
NESTED = ["instant", "nanos", "bytes", "ints", "texts", "struct", "structs", "map", "vector"]


def arrow(table):
    """The table as an Arrow table."""
    columns = []
    for name, kind in table.kinds.items():
        values = table.values[name]
        if kind == "map":
            values = [None if value is None else list(value.items()) for value in values]
        columns.append(pyarrow.array(values, ARROW[kind]))
    return pyarrow.table(columns, list(table.kinds))


class File:
    """A file of a table: its path, the options that describe its format, and the values that it holds."""

    def __init__(self, table, path):
        self.table, self.path, self.options = table, path, []
        self.expected = {name: list(values) for name, values in table.values.items()}
        self.what = ""

    def options_of(self, *options):
        self.options += options

    def types(self, *kinds):
        """Adds type options for text columns that look like other types."""
        for name, kind in self.table.kinds.items():
            if kind in kinds:
                stated = {"text": "text", "time": "timestamp", "instant": "timestamp"}[kind]
                self.options_of("--type", f"{name}={stated}")

    def nothing_for(self, *spellings):
        """Expects null for texts that the file cannot distinguish from null."""
        for name, kind in self.table.kinds.items():
            if kind == "text":
                is_null = lambda value: value is None or value == "" or value.strip() in spellings
                self.expected[name] = [None if is_null(value) else value for value in self.expected[name]]


def frame(table):
    """The table as a pandas data frame with nullable types."""
    names = {"int": "Int64", "small": "Int32", "float": "Float64", "text": "object", "bool": "boolean", "amount": "object", "date": "object", "time": "object", "milli": "object"}
    return pandas.DataFrame({name: pandas.Series(table.values[name], dtype=names[kind]) for name, kind in table.kinds.items()})


def csv_of_pandas(table, folder):
    r = table.random
    file = File(table, folder / "table.csv")
    comma = r.random() < 0.3
    separator = r.choice([";", "\t"] if comma else [",", ";", "\t", "|"])
    null = r.choice(["", "", "NA", "n/a", "NULL", "-"])
    encoding = r.choice(["utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1"] if table.words is PLAIN else ["utf-8", "utf-8-sig", "utf-16"])
    if encoding == "latin-1" and any("€" in str(name) for name in frame(table).columns):
        encoding = "cp1252"
    quoting = r.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    quote = "'" if quoting == csv.QUOTE_ALL and table.words is PLAIN and r.random() < 0.3 else '"'
    end = r.choice(["\n", "\r\n"])
    packed = r.random() < 0.2
    if packed:
        file.path = folder / "table.csv.gz"
    file.what = f"pandas CSV {separator!r} {null!r} {encoding} quoting {quoting} {quote} {end!r}{' comma' if comma else ''}{' gzip' if packed else ''}"
    data = frame(table)
    for name, kind in table.kinds.items():
        if kind == "amount" and comma:
            data[name] = [None if value is None else str(value).replace(".", ",") for value in table.values[name]]
    data.to_csv(
        file.path, sep=separator, na_rep=null, encoding=encoding, quoting=quoting, quotechar=quote, lineterminator=end, index=False,
        decimal="," if comma else ".", compression="gzip" if packed else None,
    )  # fmt: skip
    file.types("text")
    if null:
        file.options_of(f"--null={null}")
    if comma:
        file.options_of("--decimal-comma")
    if encoding in ("cp1252", "latin-1"):
        file.options_of("--encoding", "windows-1252" if encoding == "cp1252" else "iso-8859-1")
    if r.random() < 0.3:
        file.options_of("--delimiter", "tab" if separator == "\t" else separator)
    file.nothing_for(null)
    return file


def csv_of_polars(table, folder):
    r = table.random
    file = File(table, folder / "table.csv")
    separator, null = r.choice([",", ";", "\t", "|"]), r.choice(["", "NA", "null"])
    style = r.choice(["necessary", "always", "non_numeric"])
    end = r.choice(["\n", "\r\n"])
    file.what = f"Polars CSV {separator!r} {null!r} {style} {end!r}"
    polars.from_arrow(arrow(table)).write_csv(file.path, separator=separator, null_value=null, quote_style=style, line_terminator=end, include_bom=r.random() < 0.3)
    file.types("text")
    if null:
        file.options_of(f"--null={null}")
    file.nothing_for(null)
    return file


def csv_of_duckdb(table, folder):
    r = table.random
    file = File(table, folder / "table.csv")
    separator, null = r.choice([",", ";", "\t", "|"]), r.choice(["", "NA"])
    force = r.random() < 0.3
    file.what = f"DuckDB CSV {separator!r} {null!r}{' quoted' if force else ''}"
    data = arrow(table)
    quoted = ", FORCE_QUOTE *" if force else ""
    duckdb.sql(f"COPY (SELECT * FROM data) TO '{file.path}' (FORMAT csv, HEADER, DELIMITER '{separator}', NULLSTR '{null}'{quoted})")
    file.types("text")
    if null:
        file.options_of(f"--null={null}")
    file.nothing_for(null)
    return file


def parquet_of_arrow(table, folder):
    r = table.random
    file = File(table, folder / "table.parquet")
    options = {"compression": r.choice(["snappy", "zstd", "gzip", "none"]), "use_dictionary": r.random() < 0.5, "row_group_size": r.choice([1, 7, 1000])}
    options["data_page_version"] = r.choice(["1.0", "2.0"])
    file.what = f"pyarrow Parquet {options}"
    if table.rows == 0 and r.random() < 0.5:
        pyarrow.parquet.ParquetWriter(file.path, arrow(table).schema).close()
    else:
        pyarrow.parquet.write_table(arrow(table), file.path, **options)
    return floored(file)


def floored(file):
    """Expects nanoseconds to be rounded down to microseconds."""
    for name, kind in file.table.kinds.items():
        if kind == "nanos":
            of = lambda value: None if value is None else EPOCH + datetime.timedelta(microseconds=value // 1000)
            file.expected[name] = [of(value) for value in file.expected[name]]
    return file


def parquet_of_polars(table, folder):
    file = File(table, folder / "table.parquet")
    compression = table.random.choice(["zstd", "snappy", "lz4", "uncompressed"])
    file.what = f"Polars Parquet {compression}"
    polars.from_arrow(arrow(table)).write_parquet(file.path, compression=compression)
    return floored(file)


def parquet_of_duckdb(table, folder):
    file = File(table, folder / "table.parquet")
    version = table.random.choice(["V1", "V2"])
    file.what = f"DuckDB Parquet {version}"
    data = arrow(table)
    copy = f"COPY (SELECT * FROM data) TO '{file.path}' (FORMAT parquet, PARQUET_VERSION {{}})"
    duckdb.sql(copy.format(version))
    # DuckDB's V2 files may have 33-bit deltas of 32-bit integers. The Parquet format forbids them,
    # and pyarrow refuses them.
    if any(pyarrow_refuses(file.path, column) for column in data.column_names):
        file.what = "DuckDB Parquet V1"
        duckdb.sql(copy.format("V1"))
    return floored(file)


def pyarrow_refuses(path, column):
    try:
        pyarrow.parquet.read_table(path, columns=[column])
    except pyarrow.ArrowInvalid:
        # pyarrow miscounts the items of some lists that DuckDB and Colonnade can read.
        return False
    except OSError:
        return True
    return False


def parquet_of_pandas(table, folder):
    file = File(table, folder / "table.parquet")
    file.what = "pandas Parquet"
    frame(table).to_parquet(file.path, index=False)
    return file


def arrow_of_polars(table, folder):
    r = table.random
    file = File(table, folder / "table.arrow")
    is_stream = r.random() < 0.5
    file.what = f"Polars Arrow {'stream' if is_stream else 'file'}"
    data = polars.from_arrow(arrow(table))
    data.write_ipc_stream(file.path) if is_stream else data.write_ipc(file.path, compression=r.choice(["uncompressed", "lz4", "zstd"]))
    return floored(file)


def ndjson_of_polars(table, folder):
    file = File(table, folder / "table.ndjson")
    file.what = "Polars NDJSON"
    polars.from_arrow(arrow(table)).write_ndjson(file.path)
    file.types("text", "time")
    return file


def ndjson_of_duckdb(table, folder):
    file = File(table, folder / "table.json")
    is_array = table.random.random() < 0.5
    file.what = f"DuckDB JSON {'array' if is_array else 'lines'}"
    data = arrow(table)
    duckdb.sql(f"COPY (SELECT * FROM data) TO '{file.path}' (FORMAT json, ARRAY {str(is_array).lower()})")
    file.types("text", "time")
    return file


def ndjson_of_json(table, folder):
    r = table.random
    file = File(table, folder / "table.ndjson")
    is_ascii, is_sparse, is_packed = r.random() < 0.5, r.random() < 0.5, r.random() < 0.2
    file.what = f"Python NDJSON{' ascii' if is_ascii else ''}{' sparse' if is_sparse else ''}"
    lines = []
    for at in range(table.rows):
        row = {name: values[at] for name, values in table.values.items()}
        row = {name: value for name, value in row.items() if not (is_sparse and value is None)}
        lines.append(json.dumps(row, ensure_ascii=is_ascii, default=str) + "\n")
    file.path.write_text("".join(lines), encoding="utf-8", newline="")
    file.types("text", "time")
    # Columns are ordered by the row in which they first have a value. A column without any value does not exist.
    first = lambda name: next((at for at in range(table.rows) if not is_sparse or table.values[name][at] is not None), None)
    names = [name for name in table.kinds if first(name) is not None]
    file.expected = {name: file.expected[name] for name in sorted(names, key=first)}
    for name in table.kinds.keys() - set(names):
        file.options = without_type(file.options, name)
    return file


def without_type(options, name):
    pairs = list(zip(options[::2], options[1::2]))
    return [word for pair in pairs if not pair[1].startswith(f"{name}=") for word in pair]


def excel(table, folder):
    r = table.random
    file = File(table, folder / "table.xlsx")
    writer = r.choice(["openpyxl", "xlsxwriter", "polars"])
    file.what = f"Excel of {writer}"
    if writer == "polars":
        polars.from_arrow(arrow(table)).write_excel(file.path, autofit=False)
    else:
        frame(table).to_excel(file.path, index=False, engine=writer)
    for name, kind in table.kinds.items():
        if kind == "float":
            # Both libraries write 16 digits.
            file.expected[name] = [None if value is None else float(f"{value:.16G}") for value in file.expected[name]]
    file.nothing_for()
    return file


EXCEL = ["small", "float", "text", "bool", "date", "milli"]
WRITERS = [
    (csv_of_pandas, SCALARS, [WORDS, PLAIN], 4),
    (csv_of_polars, SCALARS, [WORDS], 3),
    (csv_of_duckdb, SCALARS, [WORDS], 3),
    (parquet_of_arrow, SCALARS + NESTED, [WORDS], 3),
    (parquet_of_polars, SCALARS + [kind for kind in NESTED if kind != "map"], [WORDS], 2),
    (parquet_of_duckdb, SCALARS + NESTED, [WORDS], 2),
    (parquet_of_pandas, ["int", "small", "float", "text", "bool", "date", "time"], [WORDS], 1),
    (arrow_of_polars, SCALARS + [kind for kind in NESTED if kind != "map"], [WORDS], 2),
    (ndjson_of_polars, ["int", "small", "float", "text", "bool", "date", "time", "ints", "texts", "struct", "structs"], [WORDS], 2),
    (ndjson_of_duckdb, ["int", "small", "float", "text", "bool", "date", "time", "ints", "texts", "struct", "structs"], [WORDS], 2),
    (ndjson_of_json, ["int", "small", "float", "text", "bool", "date", "time", "ints", "texts", "struct", "structs"], [WORDS], 2),
    (excel, EXCEL, [PLAIN], 3),
]


def renames(names):
    """Rename options for columns whose names would collide in a dataset."""
    taken, options = set(), []
    for name in names:
        plain = {"Order Id": "order_id", "orderId": "order_id", "unit price": "unit_price", "UnitPrice": "unit_price"}.get(name, name)
        if plain in taken:
            options += ["--rename", f"{name}={plain}_of_{len(options)}"]
        taken.add(plain)
    return options


def load(binary, data, file, more):
    renamed = renames(file.table.kinds)
    options = list(file.options)
    for at in range(0, len(renamed), 2):
        old, new = renamed[at + 1].rsplit("=", 1)
        options = [word.replace(f"{old}=", f"{new}=", 1) if word.startswith(f"{old}=") else word for word in options]
    if not more:
        options = [word for pair in pairs(options) if pair[0] != "--type" for word in pair]
    command = [binary, "--data", str(data), "ingest", "rows", str(file.path), *more, *options, *renamed, "--on-conflict", "add", "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        return f"{' '.join(command)}\n{done.stderr.strip()}"
    receipt = json.loads(done.stdout)
    if receipt["quarantined"] or receipt["accepted"] != file.table.rows:
        return f"{' '.join(command)}\naccepted {receipt['accepted']} of {file.table.rows}: {receipt['files'][0].get('causes')} {done.stderr.strip()}"
    return None


def pairs(options):
    """Options, each with its value if it has one."""
    found, at = [], 0
    while at < len(options):
        width = 1 if at + 1 == len(options) or options[at + 1].startswith("--") else 2
        found.append(options[at : at + width])
        at += width
    return found


def one(binary, root, seed):
    """Loads the table of a seed twice. Returns the writer, the kind of file, and the problem, if any."""
    r = random.Random(seed)
    folder = pathlib.Path(root) / f"t{seed}"
    folder.mkdir(parents=True)
    make, kinds, words, _ = r.choices(WRITERS, [weight for *_, weight in WRITERS])[0]
    # NDJSON without rows has no columns.
    table = Table(r.random(), kinds, r.choice(words), least=1 if make.__name__.startswith("ndjson") else 0)
    what, problem = make.__name__, None
    try:
        file = make(table, folder)
        what = file.what
        # A text file without rows has no types. Polars also writes an empty line for a single column without a value.
        problem = load(binary, folder / "data", file, ["--create"]) or load(binary, folder / "data", file, [])
        if problem is None:
            problem = compare(folder / "data", file)
    except Exception:
        problem = traceback.format_exc()
    if problem is None or os.environ.get("KEEP") != "1":
        shutil.rmtree(folder)
    return make.__name__, what, problem


def compare(data, file):
    tables = [path.parent for path in pathlib.Path(data).glob("*/rows/_delta_log")]
    found = deltalake.DeltaTable(str(tables[0])).to_pyarrow_table() if tables else None
    if found is None:
        return "no dataset was created"
    names = list(file.expected)
    if found.num_columns != len(names):
        return f"columns {found.column_names}, expected {names}"
    columns = {name: found.column(at).to_pylist() for at, name in enumerate(names)}
    order = sorted(range(found.num_rows), key=lambda row: columns["id"][row])
    rows = file.table.rows
    if found.num_rows != 2 * rows:
        return f"{found.num_rows} rows, expected {2 * rows}"
    for name, expected in file.expected.items():
        kind = file.table.kinds[name]
        for at, row in enumerate(order):
            value, wanted = columns[name][row], expected[at // 2]
            if kind in ("struct", "structs", "ints", "texts") and isinstance(value, str):
                value = json.loads(value)
            if kind == "map" and value is not None:
                value = dict(value)
            value, wanted = stored(value), stored(wanted)
            if not alike(wanted, value):
                return f"column {name!r} ({kind}), row {at // 2}: expected {wanted!r}, found {value!r} as {found.schema.field(names.index(name)).type}"
    return None


def main():
    binary, folder = sys.argv[1:]
    count = int(os.environ.get("COUNT", "2000"))
    seed = int(os.environ.get("COLONNADE_TEST_SEED", random.SystemRandom().randrange(2**32)))
    print(f"COLONNADE_TEST_SEED={seed} COUNT={count}")
    counts, failures = collections.Counter(), []
    with concurrent.futures.ProcessPoolExecutor(int(os.environ.get("COLONNADE_JOBS", "2"))) as pool:
        runs = {pool.submit(one, binary, folder, seed + at): seed + at for at in range(count)}
        for run in concurrent.futures.as_completed(runs):
            maker, what, problem = run.result()
            counts[maker] += 1
            if problem:
                failures.append((maker, runs[run]))
                if len(failures) <= SHOWN_MAX:
                    print(f"table {runs[run]} ({what}): {problem}\n", flush=True)
    failed = collections.Counter(maker for maker, _ in failures)
    for maker, tables in sorted(counts.items()):
        print(f"{maker}: {tables - failed[maker]} of {tables} tables are equal")
    print(f"{count - len(failures)} of {count} tables are stored as they were written, each twice")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
