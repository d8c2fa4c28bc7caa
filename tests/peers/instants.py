"""Writes DuckDB's results for instants from year 1 to 9999, which `engine/src/tests/instants.rs` compares with ours.

    pip install duckdb
    python tests/peers/instants.py > engine/src/tests/data/instants.csv
"""

import random

import duckdb

SEED = 55
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
# The limits of nanoseconds in 64 bits.
EDGES = [FIRST, LAST, -1, 0, 1, -9_223_372_036_854_776, 9_223_372_036_854_775]
PRECISIONS = "microsecond millisecond second minute hour day week month quarter year".split()
WIDTHS = ["15 minutes", "36 hours", "7 days", "5 months"]
PARTS = "year quarter month week day doy isodow hour minute".split()


def main() -> None:
    con = duckdb.connect()
    rng = random.Random(SEED)
    instants = EDGES + [rng.randint(FIRST, LAST) for _ in range(60)]
    columns = {"text": "strftime(t, '%Y-%m-%dT%H:%M:%S.%f')"}
    for precision in PRECISIONS:
        columns[f"trunc {precision}"] = f"epoch_us(date_trunc('{precision}', t))"
    for width in WIDTHS:
        columns[f"bin {width}"] = f"epoch_us(time_bucket(INTERVAL '{width}', t, TIMESTAMP '1970-01-01'))"
    for part in PARTS:
        columns[f"part {part}"] = f"extract({part} FROM t)"
    columns["plus"] = "epoch_us(t + INTERVAL '1 month' - INTERVAL '2 days')"
    print(",".join(["us", *columns]))
    for instant in instants:
        query = f"SELECT {', '.join(columns.values())} FROM (SELECT make_timestamp({instant}) AS t)"
        print(",".join(str(value) for value in (instant, *con.execute(query).fetchone())))


main()
