"""Random filters, orders and groups through the API, beside DuckDB over the same rows; and walks through pages while others commit.

    random_peer.py ADDRESS

Makes a dataset `samples` there: see run-random.sh. COLONNADE_RANDOM_QUERIES says how many queries (5,000),
COLONNADE_RANDOM_WALKS how many walks (100), COLONNADE_TEST_SEED which.
"""

import datetime
import decimal
import http.client
import json
import math
import os
import random
import sys
import threading

import duckdb
import pyarrow
import pyarrow.parquet

from cases_peer import flat, same

UTC = datetime.timezone.utc
BEGIN = datetime.datetime(2026, 2, 20, tzinfo=UTC)
# Over the change to summer time, in both halves of the world.
MINUTES = 60 * 24 * 60
MODELS = ["alpha", "beta", "gamma", "Beta", "ß", "50%_off\\", '"quoted"', "", "données"]
WORDS = ["a", "b", "x y", "y, z", "ß", "%"]
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Kiritimati"]
FILES = 7
ROWS = 4_000
QUANTILES = ("median", "p90", "p99")
# Behind the name of a quantile, the column of DuckDB's with the distance of the largest and smallest value of its group.
SPREAD = " spread"

SCHEMA = pyarrow.schema(
    [
        pyarrow.field("id", pyarrow.string(), nullable=False),
        pyarrow.field("at", pyarrow.timestamp("us", "UTC"), nullable=False),
        ("model", pyarrow.string()),
        ("tokens", pyarrow.int64()),
        ("retries", pyarrow.int32()),
        ("latency_ms", pyarrow.float64()),
        ("cost", pyarrow.decimal128(12, 6)),
        ("is_ok", pyarrow.bool_()),
        ("day", pyarrow.date32()),
        ("tags", pyarrow.list_(pyarrow.string())),
    ]
)
SPEC = {
    "name": "samples",
    "key": ["id"],
    "time_column": "at",
    "columns": [
        {"name": field.name, "type": kind, "nullable": field.nullable}
        for field, kind in zip(
            SCHEMA,
            "text timestamp text int64 int32 float64 decimal(12,6) bool date list(text)".split(),
        )
    ],
}
FIELDS = {"latency_ms": "latencyMs", "is_ok": "isOk"}


def field(column):
    return FIELDS.get(column, column)


class Rows:
    """Random rows, whose ids, times and places in files are three different orders."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.count = 0

    def make(self, count):
        r, rows = self.random, []
        maybe = lambda value: None if r.random() < 0.15 else value
        for _ in range(count):
            self.count += 1
            # No two are of one time: which of them was last would be anybody's choice.
            at = BEGIN + datetime.timedelta(minutes=r.randrange(MINUTES), microseconds=self.count)
            rows.append(
                {
                    "id": f"{r.randrange(10**6):06}-{self.count}",
                    "at": at,
                    "model": maybe(r.choice(MODELS)),
                    "tokens": maybe(r.choice([r.randrange(-50, 200), r.randrange(2**60)])),
                    "retries": maybe(r.randrange(4)),
                    "latency_ms": maybe(round(r.uniform(-5, 500), r.randrange(6))),
                    "cost": maybe(decimal.Decimal(r.randrange(-(10**6), 10**8)).scaleb(-6)),
                    "is_ok": maybe(r.random() < 0.7),
                    "day": maybe(at.date()),
                    "tags": maybe(r.sample(WORDS, r.randrange(4))),
                }
            )
        return rows


def instant(at):
    return at.isoformat().replace("+00:00", "Z")


def text(value):
    return "'" + value.replace("'", "''") + "'"


class Asker:
    def __init__(self, address):
        host, port = address.removeprefix("http://").rsplit(":", 1)
        self.connection = http.client.HTTPConnection(host, int(port))

    def post(self, path, body, content_type):
        self.connection.request("POST", path, body, {"content-type": content_type})
        answer = self.connection.getresponse()
        return json.loads(answer.read())

    def __call__(self, query, variables=None):
        body = json.dumps({"query": query, "variables": variables or {}})
        return self.post("/graphql", body.encode(), "application/json")


class Enum(str):
    """A word of GraphQL, which has no quotation marks."""


def literal(value):
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    return str(value) if isinstance(value, Enum) else json.dumps(value, ensure_ascii=False)


class Maker:
    """Random questions, each in both languages."""

    def __init__(self, seed, rows):
        self.random = random.Random(seed)
        self.rows = rows

    def value(self, column):
        """One that is there, or one beside it: for the API and for SQL."""
        r = self.random
        found = r.choice([row[column] for row in self.rows if row[column] is not None])
        if column == "at":
            found += datetime.timedelta(microseconds=r.choice([-1, 0, 0, 1]))
            return instant(found), f"TIMESTAMPTZ {text(found.isoformat())}"
        if column == "day":
            return found.isoformat(), f"DATE {text(found.isoformat())}"
        if column == "cost":
            return str(found), f"CAST({text(str(found))} AS DECIMAL(12, 6))"
        if column == "tokens":
            return (str(found) if r.random() < 0.5 else found), f"CAST({found} AS BIGINT)"
        if column in ("model", "id"):
            return found, text(found)
        if column == "latency_ms":
            return found, f"CAST({found!r} AS DOUBLE)"
        return found, str(found)

    def condition(self):
        r = self.random
        column = r.choice(["id", "at", "model", "model", "tokens", "retries", "latency_ms", "cost", "is_ok", "day", "tags"])
        name = field(column)
        quoted = f'"{column}"'
        if r.random() < 0.1 and column not in ("id", "at"):
            is_null = r.random() < 0.5
            return {name: {"isNull": is_null}}, f"{quoted} IS {'' if is_null else 'NOT '}NULL"
        if column == "tags":
            word = r.choice(WORDS)
            return {name: {"has": word}}, f"list_contains({quoted}, {text(word)})"
        if column == "is_ok":
            value = r.random() < 0.5
            operator, sql = r.choice([("eq", "="), ("ne", "<>")])
            return {name: {operator: value}}, f"{quoted} {sql} {value}"
        if column == "model" and r.random() < 0.5:
            part = r.choice(["a", "B", "ta", "", "%", "_", "\\", "ß", "é", '"', "50%"])
            plain = part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
            pattern = r.choice(["%", "", "_", plain]) + plain + r.choice(["%", "", "_"])
            expression = r.choice(["^a", "a$", "^(al|ga)", "[0-9]+", "(?i)^b", "t.", "\\\\", "^$", "ß|é"])
            escaped = f"{text(pattern)} ESCAPE '\\'"
            return r.choice(
                [
                    ({name: {"contains": part}}, f"contains({quoted}, {text(part)})"),
                    ({name: {"startsWith": part}}, f"starts_with({quoted}, {text(part)})"),
                    ({name: {"endsWith": part}}, f"ends_with({quoted}, {text(part)})"),
                    ({name: {"like": pattern}}, f"{quoted} LIKE {escaped}"),
                    ({name: {"ilike": pattern}}, f"{quoted} ILIKE {escaped}"),
                    ({name: {"regex": expression}}, f"regexp_matches({quoted}, {text(expression)})"),
                ]
            )
        kind = r.random()
        if kind < 0.2:
            ours, theirs = zip(*(self.value(column) for _ in range(r.randrange(1, 6))))
            operator, sql = r.choice([("in", "IN"), ("notIn", "NOT IN")])
            return {name: {operator: list(ours)}}, f"{quoted} {sql} ({', '.join(theirs)})"
        if kind < 0.35:
            low, high = self.value(column), self.value(column)
            return {name: {"between": [low[0], high[0]]}}, f"{quoted} BETWEEN {low[1]} AND {high[1]}"
        operators = [("eq", "="), ("ne", "<>"), ("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")]
        chosen = r.sample(operators, r.choice([1, 1, 1, 2]))
        pairs = [(operator, sql, self.value(column)) for operator, sql in chosen]
        ours = {operator: value[0] for operator, _, value in pairs}
        return {name: ours}, " AND ".join(f"{quoted} {sql} {value[1]}" for _, sql, value in pairs)

    def where(self, depth=3):
        r = self.random
        kind = r.random()
        if depth == 0 or kind < 0.45:
            ours, theirs = self.condition()
            return ours, f"({theirs})"
        if kind < 0.6:
            ours, theirs = self.where(depth - 1)
            return {"not": ours}, f"(NOT {theirs})"
        parts = [self.where(depth - 1) for _ in range(r.randrange(1, 4))]
        word = r.choice(["and", "or"])
        return {word: [ours for ours, _ in parts]}, "(" + f" {word.upper()} ".join(theirs for _, theirs in parts) + ")"

    def order(self):
        r = self.random
        columns = r.sample(["at", "model", "tokens", "retries", "latency_ms", "cost", "is_ok", "day", "id"], r.randrange(4))
        ours, theirs = [], []
        for column in columns:
            direction = r.choice(["ASC", "DESC", "ASC_NULLS_FIRST", "DESC_NULLS_FIRST"])
            ours.append({field(column): Enum(direction)})
            nulls = "FIRST" if direction.endswith("FIRST") else "LAST"
            theirs.append(f'"{column}" {direction.split("_")[0]} NULLS {nulls}')
        return ours, ", ".join([*theirs, '"id"'])

    def rows_question(self):
        """The query, the SQL, and where the rows are."""
        r = self.random
        arguments, condition = {}, "true"
        if r.random() < 0.9:
            arguments["where"], condition = self.where()
        ours, order = self.order()
        if ours:
            arguments["orderBy"] = ours
        first = r.choice([1, 3, 10, 50, 1000])
        arguments["first"] = first
        columns = r.sample(SCHEMA.names, r.randrange(1, len(SCHEMA)))
        shown = ", ".join(f'"{column}" AS "{field(column)}"' for column in columns)
        names = " ".join(map(field, columns))
        given = ", ".join(f"{name}: {literal(value)}" for name, value in arguments.items())
        query = f"{{ samples({given}) {{ totalCount nodes {{ {names} }} }} }}"
        sql = f"SELECT {shown} FROM samples WHERE {condition} ORDER BY {order} LIMIT {first}"
        return query, sql, "samples", f"SELECT count(*) FROM samples WHERE {condition}"

    def measure(self, index):
        r = self.random
        name = r.choice(["count", "sum", "avg", "min", "max", "median", "p90", "p99", "stddev", "variance", "countDistinct", "first", "last"])
        ours, condition = self.where(1) if r.random() < 0.3 else (None, None)
        alias, beside = f"m{index}", ""
        given = f"(where: {literal(ours)})" if ours else ""
        only = f" FILTER (WHERE {condition})" if condition else ""
        if name == "count":
            return f"{alias}: count{given}", f'count(*){only} AS "{alias}"'
        numbers = ["tokens", "retries", "latency_ms", "cost"]
        ordered = [*numbers, "at", "day"]
        every = [*ordered, "model", "is_ok"]
        of = {"min": ordered, "max": ordered, "countDistinct": every, "first": every, "last": every}
        column = r.choice(of.get(name, numbers))
        quoted = f'"{column}"'
        if name in ("first", "last"):
            which = "min" if name == "first" else "max"
            only = f" FILTER (WHERE {quoted} IS NOT NULL" + (f" AND {condition}" if condition else "") + ")"
            sql = f'arg_{which}({quoted}, "at"){only}'
        elif name == "countDistinct":
            sql = f"count(DISTINCT {quoted}){only}"
        elif name in ("sum", "min", "max"):
            sql = f"{name}({quoted}){only}"
        else:
            double = f"CAST({quoted} AS DOUBLE)"
            if name in QUANTILES:
                spread = f"max({double}){only} - min({double}){only}"
                beside = f', {spread} AS "{alias}.{field(column)}{SPREAD}"'
            sql = {
                "avg": f"avg({double})",
                "median": f"quantile_cont({double}, 0.5)",
                "p90": f"quantile_cont({double}, 0.9)",
                "p99": f"quantile_cont({double}, 0.99)",
                "stddev": f"stddev_samp({double})",
                "variance": f"var_samp({double})",
            }[name] + only
        return f"{alias}: {name}{given} {{ {field(column)} }}", f'{sql} AS "{alias}.{field(column)}"{beside}'

    def every(self):
        r = self.random
        if r.random() < 0.4:
            width, step = r.choice([("15m", "15 minutes"), ("1h", "1 hour"), ("6h", "6 hours")])
            return {"width": width}, f"time_bucket(INTERVAL '{step}', \"at\", TIMESTAMPTZ '2000-01-01 00:00:00+00')"
        width, unit = r.choice([("1d", "day"), ("1w", "week"), ("1mo", "month"), ("1q", "quarter"), ("1y", "year")])
        if r.random() < 0.3:
            return {"width": width}, f"date_trunc('{unit}', \"at\")"
        zone = r.choice(ZONES)
        local = f"date_trunc('{unit}', \"at\" AT TIME ZONE '{zone}') AT TIME ZONE '{zone}'"
        return {"width": width, "timezone": zone}, local

    def groups_question(self):
        r = self.random
        arguments, condition = {}, "true"
        if r.random() < 0.6:
            arguments["where"], condition = self.where(2)
        keys = r.sample(["model", "retries", "is_ok", "day"], r.randrange(3))
        shown, names, order = [], [], []
        if r.random() < 0.4:
            arguments["every"], bucket = self.every()
            shown.append(f'{bucket} AS "at"')
            names.append("at")
            order.append('"at" NULLS LAST')
        if keys:
            arguments["groupBy"] = [Enum(key.upper()) for key in keys]
        for key in keys:
            shown.append(f'"{key}" AS "{field(key)}"')
            names.append(field(key))
            order.append(f'"{field(key)}" NULLS LAST')
        by = f"GROUP BY {', '.join(str(n + 1) for n in range(len(shown)))}" if shown else ""
        having = ""
        if by and r.random() < 0.3:
            most = r.randrange(1, 30)
            arguments["having"], having = r.choice(
                [
                    ({"count": {"gt": most}}, f"HAVING count(*) > {most}"),
                    ({"sum": {"retries": {"lte": most}}}, f"HAVING sum(retries) <= {most}"),
                    ({"countDistinct": {"model": {"gte": most % 5}}}, f"HAVING count(DISTINCT model) >= {most % 5}"),
                    ({"avg": {"retries": {"lt": most / 17}}}, f"HAVING avg(retries) < {most / 17!r}"),
                    ({"max": {"tokens": {"gt": most}}}, f"HAVING max(tokens) > {most}"),
                ]
            )
        if by and r.random() < 0.3:
            direction = r.choice(["ASC", "DESC"])
            sort, sql = r.choice(
                [
                    ({"count": Enum(direction)}, "count(*)"),
                    ({"max": {"cost": Enum(direction)}}, "max(cost)"),
                    ({"countDistinct": {"day": Enum(direction)}}, "count(DISTINCT day)"),
                    ({"sum": {"retries": Enum(direction)}}, "sum(retries)"),
                ]
            )
            arguments["orderBy"] = [sort]
            order.insert(0, f"{sql} {direction} NULLS LAST")
        measures = [self.measure(n) for n in range(r.randrange(1, 5))]
        first = r.choice([1, 5, 1000, 1000])
        arguments["first"] = first
        given = ", ".join(f"{name}: {literal(value)}" for name, value in arguments.items())
        asked = " ".join([*names, *(ours for ours, _ in measures)])
        selected = ", ".join([*shown, *(theirs for _, theirs in measures)])
        grouped = f"FROM samples WHERE {condition} {by} {having}"
        ordered = f" ORDER BY {', '.join(order)}" if order else ""
        query = f"{{ samplesGroups({given}) {{ totalCount nodes {{ {asked} }} }} }}"
        sql = f"SELECT {selected} {grouped}{ordered} LIMIT {first}"
        return query, sql, "samplesGroups", f"SELECT count(*) FROM (SELECT {selected} {grouped})"


def without_spreads(row):
    """The row, and how far the values of its group lie apart, by the name of the quantile that is between them."""
    spreads = {key.removesuffix(SPREAD): far or 0.0 for key, far in row.items() if key.endswith(SPREAD)}
    return {key: value for key, value in row.items() if not key.endswith(SPREAD)}, spreads


def alike(key, ours, theirs, spreads):
    if isinstance(theirs, float) and isinstance(ours, (int, float)) and not isinstance(ours, bool):
        # Between two values is interpolated to a millionth of their distance, which is that of all of them at most.
        slack = 1e-6 * spreads.get(key, 0.0)
        # Sums in another order differ by rounding, in addition to that.
        rounding = 1e-9 * max(1.0, abs(ours), abs(theirs))
        return ours == theirs or abs(ours - theirs) <= slack + rounding
    return same(ours, theirs)


def compare(ask, database, question):
    query, sql, name, counted = question
    answer = ask(query)
    if answer.get("errors"):
        return f"{answer['errors'][0]['message']}\n  {query}\n  {sql}"
    found = answer["data"][name]
    theirs = [without_spreads(row) for row in database.sql(sql).to_arrow_table().to_pylist()]
    ours = [dict(flat(row)) for row in found["nodes"]]

    def are_alike(row, other, spreads):
        return row.keys() == other.keys() and all(alike(key, row[key], other[key], spreads) for key in row)

    is_alike = len(ours) == len(theirs) and all(are_alike(row, *other) for row, other in zip(ours, theirs))
    count = database.sql(counted).fetchall()[0][0]
    if is_alike and int(found["totalCount"]) == count:
        return None
    differ = next(((row, other) for row, other in zip(ours, theirs) if not are_alike(row, *other)), None)
    return f"{len(ours)} of {found['totalCount']} rows, DuckDB {len(theirs)} of {count}; first {differ}\n  {query}\n  {sql}"


def ndjson(rows):
    def plain(value):
        if isinstance(value, datetime.datetime):
            return instant(value)
        return str(value) if isinstance(value, (decimal.Decimal, datetime.date)) else value

    return "".join(json.dumps({name: plain(value) for name, value in row.items()}) + "\n" for row in rows).encode()


def walk(ask, maker, begun):
    """Goes from page to page, one way or the other, over the version that was the newest at the first."""
    r = maker.random
    backward = r.random() < 0.5
    rows, cursor = ("last", "before") if backward else ("first", "after")
    end, more = ("startCursor", "hasPreviousPage") if backward else ("endCursor", "hasNextPage")
    where, condition = maker.where(2) if r.random() < 0.6 else ({}, "true")
    ours, order = maker.order()
    query = (
        "query($from: String, $rows: Int!) { samples(where: %s, orderBy: %s, %s: $rows, %s: $from) "
        "{ version nodes { id } pageInfo { %s %s } } }" % (literal(where), literal(ours), rows, cursor, end, more)
    )
    seen, at, version = [], None, None
    while True:
        answer = ask(query, {"from": at, "rows": r.choice([1, 7, 50, 400])})
        if answer.get("errors"):
            return f"{answer['errors'][0]['message']}\n  {query}"
        page = answer["data"]["samples"]
        if version is None:
            version = page["version"]
        if page["version"] != version:
            return f"from version {version} to {page['version']}\n  {query}"
        ids = [node["id"] for node in page["nodes"]]
        seen += reversed(ids) if backward else ids
        at, has_more = page["pageInfo"][end], page["pageInfo"][more]
        # Some are left before their end.
        if not has_more or len(seen) > 2_000:
            break
    begun.append((version, condition, order, backward, seen, has_more, query))
    return None


def main(address):
    seed = int(os.environ.get("COLONNADE_TEST_SEED") or random.SystemRandom().randrange(2**32))
    queries = int(os.environ.get("COLONNADE_RANDOM_QUERIES") or 5_000)
    walks = int(os.environ.get("COLONNADE_RANDOM_WALKS") or 100)
    print(f"COLONNADE_TEST_SEED={seed}")
    source, ask = Rows(seed), Asker(address)
    made = ask("mutation($spec: JSON!) { createDataset(spec: $spec) { name } }", {"spec": SPEC})
    assert not made.get("errors"), made
    rows = source.make(ROWS)
    versions = []
    for part in range(FILES):
        of = rows[part * ROWS // FILES : (part + 1) * ROWS // FILES]
        answer = ask.post("/v1/ingest/samples", ndjson(of), "application/x-ndjson")
        assert answer.get("accepted") == len(of), answer
        versions += [answer["version"]] * len(of)
    database = duckdb.connect()
    database.execute("SET TimeZone = 'UTC'")
    database.register("samples", pyarrow.Table.from_pylist(rows, schema=SCHEMA))
    maker, wrong = Maker(seed + 1, rows), []
    for number in range(queries):
        question = maker.rows_question() if number % 2 else maker.groups_question()
        problem = compare(ask, database, question)
        if problem:
            wrong.append(problem)
            print(problem)
    print(f"{queries} random queries, {len(wrong)} of them not as DuckDB's {duckdb.__version__}")

    # While walks go on, others commit.
    ended, news = threading.Event(), []

    def send():
        asker = Asker(address)
        while not ended.is_set():
            more = source.make(20)
            answer = asker.post("/v1/ingest/samples", ndjson(more), "application/x-ndjson")
            if answer.get("accepted") != len(more):
                news.append(answer)
                return
            news.append((answer["version"], more))
            ended.wait(0.05)

    sender = threading.Thread(target=send)
    sender.start()
    done = []
    for _ in range(walks):
        problem = walk(ask, maker, done)
        if problem:
            wrong.append(problem)
            print(problem)
    ended.set()
    sender.join()
    for version, more in news:
        rows += more
        versions += [version] * len(more)
    table = pyarrow.Table.from_pylist(rows, schema=SCHEMA).append_column("version", pyarrow.array(versions, pyarrow.int64()))
    database.register("all_samples", table)
    for version, condition, order, backward, seen, has_more, query in done:
        sql = f"SELECT id FROM all_samples WHERE version <= {version} AND {condition} ORDER BY {order}"
        expected = [row[0] for row in database.sql(sql).fetchall()]
        if backward:
            expected.reverse()
        if seen != (expected[: len(seen)] if has_more else expected):
            problem = f"a walk over version {version} saw {len(seen)} rows of {len(expected)}\n  {query}\n  {sql}"
            wrong.append(problem)
            print(problem)
    print(f"{len(done)} walks over {len({of[0] for of in done})} versions beside {len(news)} commits, {len(wrong)} problems in all")
    return 1 if wrong or len(done) + len(wrong) < walks else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
