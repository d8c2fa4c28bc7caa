"""GraphQL requests over model calls: ours beside DuckDB and DataFusion on the same files, and PostGraphile on PostgreSQL.

bench.py BINARY SCRATCH MODULES. ROWS=10000000 (of the demo's generator), TIMES=200 of each short request, CLIENTS=4 at once for the
rate; PEERS=0: ours alone, POSTGRES=0: without PostGraphile. Every answer of a peer is compared with ours before it is timed.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

BINARY, SCRATCH, MODULES = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3]
ROWS, TIMES = int(os.environ.get("ROWS", 10_000_000)), int(os.environ.get("TIMES", 200))
CLIENTS, PEERS = int(os.environ.get("CLIENTS", 4)), os.environ.get("PEERS", "1") != "0"
MODEL, USER = "small-1", "user"


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


class Door:
    """GraphQL over HTTP, one connection for each thread."""

    def __init__(self, port):
        self.port, self.local = port, threading.local()

    def ask(self, query, variables):
        # One that was idle while another engine was made ready is closed by its server.
        if not hasattr(self.local, "connection") or time.time() - self.local.asked > 3:
            self.local.connection = http.client.HTTPConnection("127.0.0.1", self.port)
        self.local.asked = time.time()
        body = json.dumps({"query": query, "variables": variables})
        self.local.connection.request("POST", "/graphql", body, {"Content-Type": "application/json"})
        answer = json.loads(self.local.connection.getresponse().read())
        assert "errors" not in answer, (query, answer["errors"])
        return answer["data"]


class Ours(Door):
    name = "Colonnade"

    def __init__(self, root):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
        # Each answer is made: the same one that is asked again would only be handed over.
        environment["COLONNADE_LIMITS_KEEP_ANSWERS"] = "false"
        # All groups by model and hour are one page.
        environment["COLONNADE_LIMITS_PAGE_ROWS_MAX"] = "20000"
        command = [BINARY, "--data", str(root), "serve", "--listen", "127.0.0.1:0", "--gpu", "off"]
        log = open(f"{root}.log", "w+")
        self.server = subprocess.Popen(command, stderr=log, env=environment)
        until = time.time() + 120
        while not (found := re.search(r"listening on http://127.0.0.1:(\d+)", pathlib.Path(log.name).read_text())):
            assert time.time() < until and self.server.poll() is None, f"see {log.name}"
            time.sleep(0.05)
        super().__init__(int(found[1]))

    def point(self, id):
        fields = "id at model inputTokens outputTokens latencyMs status"
        query = "query ($id: String!) { modelCalls(where: {id: {eq: $id}}) { nodes { %s } } }" % fields
        return [node["id"] for node in self.ask(query, {"id": id})["modelCalls"]["nodes"]]

    def page(self, least):
        query = """query ($model: String!, $least: Float!) { modelCalls(first: 50, where: {model: {eq: $model}, latencyMs: {gt: $least}},
            orderBy: [{at: DESC}]) { nodes { id at model inputTokens outputTokens latencyMs status } } }"""
        return [node["id"] for node in self.ask(query, {"model": MODEL, "least": least})["modelCalls"]["nodes"]]

    def groups(self, _):
        query = """{ modelCallsGroups(groupBy: [MODEL], every: {column: AT, width: "1h"}, first: 10000) { nodes { model at count
            sum { inputTokens } avg { latencyMs } } } }"""
        nodes = self.ask(query, {})["modelCallsGroups"]["nodes"]
        return sorted((n["model"] or "", n["at"][:13], int(n["count"]), int(n["sum"]["inputTokens"])) for n in nodes)

    def top(self, _):
        query = """{ modelCallsGroups(groupBy: [USER_ID], orderBy: [{sum: {outputTokens: DESC}}], first: 10) { nodes { userId count
            sum { outputTokens } } } }"""
        nodes = self.ask(query, {})["modelCallsGroups"]["nodes"]
        return [(n["userId"], int(n["sum"]["outputTokens"])) for n in nodes]


COLUMNS = 'id, "at", model, input_tokens, output_tokens, latency_ms, status'


class Sql:
    """The same questions as SQL."""

    def point(self, id):
        return [row[0] for row in self.rows(f"SELECT {COLUMNS} FROM model_calls WHERE id = '{id}'")]

    def page(self, least):
        where = f"model = '{MODEL}' AND latency_ms > {least}"
        return [row[0] for row in self.rows(f"SELECT {COLUMNS} FROM model_calls WHERE {where} ORDER BY \"at\" DESC, id LIMIT 50")]

    def groups(self, _):
        rows = self.rows(
            "SELECT model, date_trunc('hour', \"at\") AS hour, count(*), sum(input_tokens), avg(latency_ms) FROM model_calls GROUP BY 1, 2"
        )
        return sorted((row[0] or "", row[1].strftime("%Y-%m-%dT%H"), int(row[2]), int(row[3])) for row in rows)

    def top(self, _):
        rows = self.rows(
            "SELECT user_id, count(*), sum(output_tokens) AS tokens FROM model_calls GROUP BY 1 ORDER BY tokens DESC NULLS LAST, user_id LIMIT 10"
        )
        return [(row[0], int(row[2])) for row in rows]


class Duck(Sql):
    name = "DuckDB"

    def __init__(self, files):
        import duckdb

        self.connection = duckdb.connect()
        self.connection.execute("SET threads = 2; SET TimeZone = 'UTC'; SET parquet_metadata_cache = true")
        listed = ", ".join(f"'{file}'" for file in files)
        self.connection.execute(f"CREATE VIEW model_calls AS SELECT * FROM read_parquet([{listed}])")
        self.local = threading.local()

    def rows(self, query):
        if not hasattr(self.local, "cursor"):
            self.local.cursor = self.connection.cursor()
        return self.local.cursor.execute(query).fetchall()


class Fusion(Sql):
    name = "DataFusion"

    def __init__(self, files):
        import datafusion

        config = datafusion.SessionConfig().with_target_partitions(2)
        config = config.set("datafusion.execution.parquet.pushdown_filters", "true")
        self.context = datafusion.SessionContext(config)
        folder = SCRATCH / "links"
        folder.mkdir(exist_ok=True)
        for n, file in enumerate(files):
            link = folder / f"{n:05}.parquet"
            link.unlink(missing_ok=True)
            link.symlink_to(file)
        self.context.register_parquet("model_calls", str(folder))

    def rows(self, query):
        batches = self.context.sql(query).collect()
        return [tuple(row.values()) for batch in batches for row in batch.to_pylist()]


class Postgraphile(Door):
    name = "PostGraphile"

    def __init__(self, files):
        import duckdb
        import psycopg2
        from postgres import Postgres

        self.postgres = Postgres()
        self.url = self.postgres.database("calls")
        connection = psycopg2.connect(f"postgres://{self.url}")
        connection.autocommit = True
        cursor = connection.cursor()
        for setting, value in [("shared_buffers", "4GB"), ("effective_cache_size", "12GB"), ("work_mem", "256MB"), ("max_wal_size", "8GB")]:
            cursor.execute(f"ALTER SYSTEM SET {setting} = '{value}'")
        self.postgres.run("pg_ctl", "-D", self.postgres.folder / "data", "-w", "-m", "fast", "-l", self.postgres.folder / "log", "restart")
        connection = psycopg2.connect(f"postgres://{self.url}")
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(
            "CREATE TABLE model_calls (id text NOT NULL, at timestamptz, user_id text, model text, input_tokens bigint, "
            "output_tokens bigint, latency_ms double precision, status text)"
        )
        columns = "id, \"at\", user_id, model, input_tokens, output_tokens, latency_ms, status"
        listed = ", ".join(f"'{file}'" for file in files)
        text = SCRATCH / "calls.csv"
        duck = duckdb.connect()
        duck.execute("SET TimeZone = 'UTC'")
        duck.execute(f"COPY (SELECT {columns} FROM read_parquet([{listed}])) TO '{text}' (HEADER false)")
        with open(text) as rows:
            cursor.copy_expert(f"COPY model_calls ({columns}) FROM STDIN (FORMAT csv)", rows)
        text.unlink()
        cursor.execute("ALTER TABLE model_calls ADD PRIMARY KEY (id)")
        cursor.execute("CREATE INDEX ON model_calls (model, at DESC, id)")
        cursor.execute("CREATE INDEX ON model_calls (at)")
        cursor.execute("VACUUM ANALYZE model_calls")
        command = ["node", f"{MODULES}/postgraphile.js", f"postgres://{self.url}"]
        environment = {**os.environ, "NODE_ENV": "production", "GRAPHILE_ENV": "production"}
        self.server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=MODULES)
        super().__init__(int(self.server.stdout.readline()))

    def point(self, id):
        query = "query ($id: String!) { modelCallById(id: $id) { id at model inputTokens outputTokens latencyMs status } }"
        return [self.ask(query, {"id": id})["modelCallById"]["id"]]

    def page(self, least):
        query = """query ($model: String!, $least: Float!) { allModelCalls(first: 50, filter: {model: {equalTo: $model}, latencyMs:
            {greaterThan: $least}}, orderBy: [AT_DESC, ID_ASC]) { nodes { id at model inputTokens outputTokens latencyMs status } } }"""
        return [node["id"] for node in self.ask(query, {"model": MODEL, "least": least})["allModelCalls"]["nodes"]]

    def groups(self, _):
        query = """{ allModelCalls { groupedAggregates(groupBy: [MODEL, AT_TRUNCATED_TO_HOUR]) { keys distinctCount { id }
            sum { inputTokens } average { latencyMs } } } }""".replace("distinctCount { id }", "")
        groups = self.ask(query, {})["allModelCalls"]["groupedAggregates"]
        return sorted((g["keys"][0] or "", g["keys"][1][:13].replace(" ", "T"), None, int(g["sum"]["inputTokens"])) for g in groups)

    top = None

    def stop(self):
        self.server.terminate()
        self.postgres.stop()


def timed(engine, case, values, times):
    ask = getattr(engine, case)
    ask(next(values))
    latencies = []
    for _ in range(times):
        begun = time.perf_counter()
        ask(next(values))
        latencies.append(time.perf_counter() - begun)
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        asked = [next(values) for _ in range(times)]
        begun = time.perf_counter()
        list(pool.map(ask, asked))
        rate = times / (time.perf_counter() - begun)
    return latencies, rate


def same(ours, theirs):
    """A peer that has no number of rows in a group has `None` there."""
    strip = lambda rows, like: [tuple(v if w is not None else None for v, w in zip(r, l)) if isinstance(l, tuple) else r for r, l in zip(rows, like)]
    return len(ours) == len(theirs) and strip(ours, theirs) == list(theirs)


def main():
    root = SCRATCH / "root"
    if not root.exists():
        command = [BINARY, "--data", str(root), "demo", "--rows", str(ROWS), "--no-serve", "--log", "error"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    ours = Ours(root)
    models = ours.ask("{ modelCallsGroups(groupBy: [MODEL], orderBy: [{count: DESC}], first: 1) { nodes { model } } }", {})
    global MODEL
    MODEL = models["modelCallsGroups"]["nodes"][0]["model"]
    ids = [n["id"] for n in ours.ask("{ modelCalls(first: 1000, where: {id: {endsWith: \"777\"}}) { nodes { id } } }", {})["modelCalls"]["nodes"]]
    engines = [ours]
    if PEERS:
        from deltalake import DeltaTable

        files = DeltaTable(str(root / "default/model_calls")).file_uris()
        engines += [Duck(files), Fusion(files)]
        if os.environ.get("POSTGRES", "1") != "0":
            engines.append(Postgraphile(files))
    print("| case | by | p50, ms | p99, ms | requests/s |\n|---|---|---|---|---|")
    try:
        for case, times in [("point", TIMES), ("page", TIMES), ("groups", max(5, TIMES // 20)), ("top", max(5, TIMES // 20))]:
            for engine in engines:
                if getattr(engine, case) is None:
                    continue
                chosen = random.Random(7)
                draw = {"point": lambda: chosen.choice(ids), "page": lambda: round(chosen.uniform(100, 3_000), 1)}.get(case, lambda: None)
                value = draw()
                expected, found = getattr(ours, case)(value), getattr(engine, case)(value)
                assert same(expected, found), (case, engine.name, expected[:3], found[:3])
                latencies, rate = timed(engine, case, iter(draw, object()), times)
                p50, p99 = (1e3 * quantile(latencies, share) for share in (0.5, 0.99))
                print(f"| {case} | {engine.name} | {p50:,.2f} | {p99:,.2f} | {rate:,.1f} |", flush=True)
    finally:
        ours.server.terminate()
        if isinstance(engines[-1], Postgraphile):
            engines[-1].stop()


main()
