"""Whether the answers in tests/cases/graphql are those that DuckDB gives over the same rows.

    cases_peer.py ROWS CASES

ROWS is the file of rows that the cases are asked of (Arrow IPC), with those of other datasets beside it (`rows.notes.arrow`), CASES
the folder of cases. A case has parts like

    ---- duckdb data.calls.nodes
    SELECT id FROM calls WHERE retries > 1 ORDER BY id

whose rows must be what stands at that place of the answer, in this order: a column `sum.retries` is the field `retries` of the
field `sum`, and a list of structures one of objects. Numbers are compared as numbers, wherever they are texts in JSON because JSON's are too small.
"""

import base64
import datetime
import decimal
import json
import math
import pathlib
import sys

import duckdb
import pyarrow


def parts(text):
    request, answer = text.split("\n----\n", 1)
    query, *others = request.split("\n---- ")
    for other in others:
        name, _, body = other.partition("\n")
        if name.startswith("duckdb "):
            yield name.removeprefix("duckdb "), body, json.loads(answer)


def at(value, path):
    for name in path.split("."):
        value = value[name]
    return value


def same(ours, theirs):
    if ours is None or theirs is None:
        # JSON has no NaN and no infinity.
        return ours is None and (theirs is None or isinstance(theirs, float) and not math.isfinite(theirs))
    if isinstance(theirs, bool) or isinstance(ours, bool):
        return ours is theirs
    if isinstance(theirs, datetime.datetime):
        return datetime.datetime.fromisoformat(ours) == theirs.astimezone(datetime.timezone.utc)
    if isinstance(theirs, datetime.date):
        return ours == theirs.isoformat()
    if isinstance(theirs, float):
        return isinstance(ours, (int, float)) and math.isclose(ours, theirs, rel_tol=1e-12, abs_tol=1e-15)
    if isinstance(theirs, (int, decimal.Decimal)):
        return decimal.Decimal(str(ours)) == theirs
    if isinstance(theirs, bytes):
        return base64.b64decode(ours) == theirs
    if isinstance(theirs, dict):
        return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in theirs)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same, ours, theirs))
    return ours == theirs


def flat(value, before=""):
    for name, inner in value.items():
        if isinstance(inner, dict):
            yield from flat(inner, f"{before}{name}.")
        else:
            yield before + name, inner


def main(rows, cases):
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.register("calls", pyarrow.ipc.open_file(rows).read_all())
    for beside in pathlib.Path(rows).parent.glob(f"{pathlib.Path(rows).stem}.*.arrow"):
        connection.register(beside.stem.rsplit(".", 1)[1], pyarrow.ipc.open_file(beside).read_all())
    checked, wrong = 0, []
    for file in sorted(pathlib.Path(cases).glob("*.txt")):
        for path, sql, answer in parts(file.read_text()):
            theirs = connection.sql(sql).to_arrow_table().to_pylist()
            if answer.get("errors"):
                wrong.append(f"{file.name} {path}\n  ours    {answer['errors'][0]['message']}\n  duckdb  {theirs}")
                continue
            ours = at(answer, path)
            if isinstance(ours, dict):
                # Of what is asked of all, as a total, beside lists.
                ours = [{name: value for name, value in ours.items() if not isinstance(value, list)}]
            ours, theirs = ([dict(flat(row)) for row in rows] for rows in (ours, theirs))
            checked += 1
            alike = len(ours) == len(theirs) and all(
                row.keys() == other.keys() and all(same(row[name], other[name]) for name in row)
                for row, other in zip(ours, theirs)
            )
            if not alike:
                wrong.append(f"{file.name} {path}\n  ours    {ours}\n  duckdb  {theirs}")
    print("\n".join(wrong))
    print(f"{checked} answers, {len(wrong)} of them not as DuckDB's {duckdb.__version__}")
    return 1 if wrong or not checked else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
