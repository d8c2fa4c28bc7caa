"""Flight SQL by the ADBC driver: what a person, a notebook and a BI tool do with it, and what they are told when it goes wrong.

flight_peer.py BINARY SCRATCH. Each check asserts; the last line says how many there were.
"""

import contextlib
import datetime
import decimal
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading
import time

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight
import adbc_driver_manager
import pyarrow as pa
import pyarrow.parquet as pq

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
ROOT, ROWS = SCRATCH / "data", 200_000
AUTHORIZATION = adbc_driver_flightsql.DatabaseOptions.AUTHORIZATION_HEADER.value
BEGUN = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
CHECKS = []


def check(function):
    CHECKS.append(function)
    return function


def colonnade(*arguments):
    command = [BINARY, "--data", str(ROOT), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    return done.stdout


class Server:
    """A server that can be ended and begun again at the same address."""

    def __init__(self):
        self.flight = "127.0.0.1:0"
        self.begin()

    def begin(self):
        command = [BINARY, "--data", str(ROOT), "serve", "--listen", "127.0.0.1:0", "--flight", self.flight]
        self.process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            if "Flight SQL on " in line:
                self.url = line.split("Flight SQL on ")[1].strip()
                self.flight = self.url.removeprefix("grpc://")
                break
        threading.Thread(target=self.process.stderr.read, daemon=True).start()

    def kill(self):
        self.process.kill()
        self.process.wait()


def connect(server, key):
    return flight.connect(server.url, db_kwargs={AUTHORIZATION: f"Bearer {key}"}, autocommit=True)


@contextlib.contextmanager
def cursor(server, key):
    with connect(server, key) as connection, connection.cursor() as cursor:
        yield cursor


def refused(says, ask):
    try:
        ask()
    except adbc_driver_manager.Error as error:
        assert says in str(error), (says, str(error))
        return
    raise AssertionError(f"not refused: {says}")


@check
def rows_and_their_types(server, keys):
    with cursor(server, keys["whole"]) as at:
        at.execute("SELECT * FROM model_calls ORDER BY id LIMIT 3")
        table = at.fetch_arrow_table()
        assert table.column("id").to_pylist() == ["call-000000", "call-000001", "call-000002"]
        assert table.column("at").to_pylist()[1] == BEGUN + datetime.timedelta(seconds=1)
        assert table.column("cost").to_pylist()[2] == decimal.Decimal("0.002000000"), table.column("cost")
        at.execute("SELECT count(*) AS n, sum(input_tokens) AS tokens FROM model_calls")
        assert at.fetchall() == [(ROWS, sum(row % 4000 for row in range(ROWS)))]
        at.execute("SELECT id FROM model_calls WHERE false")
        assert at.fetchall() == [] and at.description[0][0] == "id"
        frame = at.execute("SELECT model, count(*) AS calls FROM model_calls GROUP BY model ORDER BY model").fetch_df()
        assert frame["calls"].sum() == ROWS


@check
def all_rows_come(server, keys):
    with cursor(server, keys["whole"]) as at:
        at.execute("SELECT id FROM model_calls")
        seen = set()
        for batch in at.fetch_record_batch():
            seen.update(batch.column(0).to_pylist())
        assert len(seen) == ROWS


@check
def values_are_bound(server, keys):
    with cursor(server, keys["whole"]) as at:
        at.execute("SELECT id FROM model_calls WHERE id = ?", ("call-000007",))
        assert at.fetchall() == [("call-000007",)]
        at.execute("SELECT count(*) FROM model_calls WHERE input_tokens < $1 AND model = $2", (100, "aurora-small"))
        expected = sum(1 for row in range(ROWS) if row % 4000 < 100 and row % 2 == 0)
        assert at.fetchall() == [(expected,)], expected
        at.execute("SELECT count(*) FROM model_calls WHERE id = $wanted", ("call-000007",))
        assert at.fetchall() == [(1,)]
        since = BEGUN + datetime.timedelta(seconds=ROWS - 10)
        at.execute("SELECT count(*) FROM model_calls WHERE at >= ? AND cost >= ?", (since, decimal.Decimal("0")))
        assert at.fetchall() == [(10,)]
        at.execute("SELECT count(*) FROM model_calls WHERE error IS NOT DISTINCT FROM ?", (None,))
        assert at.fetchall() == [(ROWS,)]
        at.execute("SELECT id FROM model_calls WHERE id = ?", ("' OR true --",))
        assert at.fetchall() == []


@check
def what_a_bi_tool_asks_first(server, keys):
    with connect(server, keys["whole"]) as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "Colonnade", info
        assert connection.adbc_get_table_types() == ["TABLE"]
        [catalog] = connection.adbc_get_objects(depth="all").read_all().to_pylist()
        assert catalog["catalog_name"] == "colonnade"
        [schema] = catalog["catalog_db_schemas"]
        tables = {table["table_name"]: table for table in schema["db_schema_tables"]}
        assert schema["db_schema_name"] == "datasets" and "model_calls" in tables
        columns = [column["column_name"] for column in tables["model_calls"]["table_columns"]]
        assert "input_tokens" in columns
        found = connection.adbc_get_table_schema("model_calls")
        assert found.field("input_tokens").type == pa.int64() and found.field("at").type.tz == "UTC", found
        some = connection.adbc_get_objects(depth="tables", table_name_filter="model%").read_all().to_pylist()
        names = [table["table_name"] for table in some[0]["catalog_db_schemas"][0]["db_schema_tables"]]
        assert "model_calls" in names and all(name.startswith("model") for name in names), names
        with connection.cursor() as at:
            at.execute('SELECT count(*) FROM "colonnade"."datasets"."model_calls" AS "t0"')
            assert at.fetchall() == [(ROWS,)]


@check
def a_name_with_a_key_as_password(server, keys):
    with flight.connect(server.url, db_kwargs={"username": "anybody", "password": keys["whole"]}, autocommit=True) as connection:
        with connection.cursor() as at:
            assert at.execute("SELECT count(*) FROM model_calls").fetchall() == [(ROWS,)]


@check
def strangers(server, keys):
    def ask(**options):
        with flight.connect(server.url, db_kwargs=options, autocommit=True) as connection, connection.cursor() as at:
            at.execute("SELECT 1")

    refused("UNAUTHENTICATED", lambda: ask())
    refused("UNAUTHENTICATED", lambda: ask(**{AUTHORIZATION: "Bearer nobody"}))
    refused("UNAUTHENTICATED", lambda: ask(**{AUTHORIZATION: "Basic !!!"}))
    refused("UNAUTHENTICATED", lambda: ask(username="anybody", password="nothing"))


@check
def who_sees_a_part(server, keys):
    with cursor(server, keys["narrow"]) as at:
        at.execute("SELECT count(*), min(user_id), max(user_id) FROM model_calls WHERE model = 'aurora-large'")
        assert at.fetchall() == [(0, None, None)]
        at.execute("SELECT user_id FROM model_calls ORDER BY id LIMIT 1")
        [(masked,)] = at.fetchall()
        assert masked != "user-0", masked
        at.execute("SELECT id FROM model_calls WHERE user_id = ?", ("user-0",))
        assert at.fetchall() == []
        refused("error", lambda: at.execute("SELECT error FROM model_calls"))
        refused("audit", lambda: at.execute("SELECT * FROM audit"))
    with connect(server, keys["narrow"]) as connection:
        assert "error" not in connection.adbc_get_table_schema("model_calls").names


@check
def what_is_wrong(server, keys):
    with cursor(server, keys["whole"]) as at:
        refused("did you mean model_calls?", lambda: at.execute("SELECT 1 FROM model_cals"))
        refused("input_tokens", lambda: at.execute("SELECT input_token FROM model_calls"))
        refused("SELECT", lambda: at.execute("DROP TABLE model_calls"))
        refused("2 values, and 1 were bound", lambda: at.execute("SELECT ?, ?", (1,)))
        refused("only reads", lambda: at.executemany("SELECT ?", [(1,), (2,)]))
        refused("expected one row", lambda: at.execute("SELECT ? AS a", pa.table({"a": [1, 2]})))
        refused("only reads", lambda: at.adbc_ingest("made", pa.table({"a": [1]}), mode="create"))
        at.execute("SELECT 1 AS still_here")
        assert at.fetchall() == [(1,)]


@check
def what_was_prepared_outlives_the_server(server, keys):
    with connect(server, keys["whole"]) as connection, connection.cursor() as at:
        at.adbc_prepare("SELECT id FROM model_calls WHERE id = ?")
        at.execute("SELECT id FROM model_calls WHERE id = ?", ("call-000003",))
        assert at.fetchall() == [("call-000003",)]
        server.kill()
        server.begin()
        for attempt in range(20):
            try:
                at.execute("SELECT id FROM model_calls WHERE id = ?", ("call-000004",))
                break
            except adbc_driver_manager.Error:
                time.sleep(0.2)
        assert at.fetchall() == [("call-000004",)]


@check
def broken_streams_are_nothing_to_others(server, keys):
    host, port = server.flight.rsplit(":", 1)
    sent = [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + os.urandom(4096),
        b"\x16\x03\x01" + os.urandom(512),
        os.urandom(65536),
    ]
    for bytes_sent in sent * 5:
        with socket.create_connection((host, int(port))) as stream, contextlib.suppress(OSError):
            stream.sendall(bytes_sent)
            stream.settimeout(1)
            stream.recv(1024)
    # Clients that go in the middle of rows without end: more of them than may be streamed at a time, so that none may keep its place.
    endless = "SELECT a.id, b.id FROM model_calls a CROSS JOIN model_calls b"
    for _ in range(40):
        connection = connect(server, keys["whole"])
        at = connection.cursor()
        at.execute(endless)
        assert at.fetch_record_batch().read_next_batch().num_rows > 0
        at.close()
        connection.close()
    with cursor(server, keys["whole"]) as at:
        began = time.perf_counter()
        assert at.execute("SELECT count(*) FROM model_calls").fetchall() == [(ROWS,)]
        assert time.perf_counter() - began < 10, "places of those who went were kept"
    # And a server that goes: the client is told, and takes nothing for whole.
    with connect(server, keys["whole"]) as connection, connection.cursor() as at:
        at.execute(endless)
        reader = at.fetch_record_batch()
        reader.read_next_batch()
        server.kill()
        try:
            rows = sum(batch.num_rows for batch in reader)
        except (pa.ArrowException, OSError, adbc_driver_manager.Error):
            rows = None
        assert rows is None, f"{rows} rows were taken for all"
        server.begin()
    with cursor(server, keys["whole"]) as at:
        assert at.execute("SELECT count(*) FROM model_calls").fetchall() == [(ROWS,)]


@check
def as_it_was(server, keys):
    with cursor(server, keys["whole"]) as at:
        at.execute("SELECT count(*) FROM model_calls")
        version = at.fetch_arrow_table().schema.metadata[b"colonnade.versions"]
        assert json.loads(version) == {"model_calls": 1}, version


def main():
    SCRATCH.mkdir(parents=True, exist_ok=True)
    made = SCRATCH / "calls.parquet"
    columns = {
        "id": [f"call-{row:06}" for row in range(ROWS)],
        "at": pa.array([BEGUN + datetime.timedelta(seconds=row) for row in range(ROWS)], pa.timestamp("us", "UTC")),
        "user_id": [f"user-{row % 50}" for row in range(ROWS)],
        "provider": ["north"] * ROWS,
        "model": ["aurora-small" if row % 2 == 0 else "aurora-large" for row in range(ROWS)],
        "operation": ["chat"] * ROWS,
        "input_tokens": [row % 4000 for row in range(ROWS)],
        "output_tokens": [row % 900 for row in range(ROWS)],
        "latency_ms": [row % 1000 + 0.5 for row in range(ROWS)],
        "status": ["ok"] * ROWS,
        "cost": pa.array([decimal.Decimal(row % 1000) / 1000 for row in range(ROWS)], pa.decimal128(18, 9)),
    }
    pq.write_table(pa.table(columns), made)
    colonnade("ingest", "model_calls", str(made))
    grants = SCRATCH / "grants.json"
    grants.write_text(GRANTS)
    keys = {
        "whole": colonnade("keys", "create", "whole", "--role", "reader").split()[-1],
        "narrow": colonnade("keys", "create", "narrow", "--role", "reader", "--grants-file", str(grants)).split()[-1],
    }
    server = Server()
    try:
        for run in CHECKS:
            began = time.perf_counter()
            run(server, keys)
            print(f"{run.__name__}: ok ({time.perf_counter() - began:.2f} s)", flush=True)
    finally:
        server.kill()
    print(f"{len(CHECKS)} of {len(CHECKS)} by adbc-driver-flightsql {adbc_driver_flightsql.__version__}")


GRANTS = """
{"datasets": {"model_calls": {"rows": "model = 'aurora-small'", "masks": {"user_id": "hash", "error": "hide"}}}}
"""

main()
