"""Runs that do next to nothing, through our queue and through Celery's, on SQLite and on PostgreSQL.

bench.py BINARY SCRATCH. RUNS=200 in a burst, SINGLE=50 one after the other on an idle queue, WORKERS=8, RECORDS=100000 (0: not);
PEERS=0: ours alone.
"""

import concurrent.futures
import datetime
import http.client
import json
import os
import pathlib
import re
import sqlite3
import subprocess
import sys
import time
import uuid

from postgres import Postgres, programs

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
RUNS, SINGLE = int(os.environ.get("RUNS", 200)), int(os.environ.get("SINGLE", 50))
WORKERS = int(os.environ.get("WORKERS", 8))
RECORDS, ASKED = int(os.environ.get("RECORDS", 100_000)), 50
PATIENCE_S = 600


def quantile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def told(by, on, latencies, rate):
    p50, p99 = (1e3 * quantile(latencies, share) for share in (0.5, 0.99))
    print(f"| {by} | {on} | {p50:,.1f} | {p99:,.1f} | {rate:,.1f} |", flush=True)


class Ours:
    def __init__(self, root, control):
        self.root, self.control = root, control
        self.start()

    def start(self):
        names = [name for name in os.environ if name.startswith("COLONNADE_")]
        environment = {name: value for name, value in os.environ.items() if name not in names}
        if self.control:
            environment["COLONNADE_CONTROL"] = self.control
        command = [BINARY, "--data", str(self.root), "serve", "--listen", "127.0.0.1:0", "--gpu", "off"]
        log = open(f"{self.root}.log", "a+")
        begin = log.tell()
        self.server = subprocess.Popen([*command, "--workers", str(WORKERS)], stderr=log, env=environment)
        until = time.time() + 120
        while time.time() < until:
            log.seek(begin)
            found = re.search(r"listening on http://(\S+)", log.read())
            if found:
                self.address = found[1]
                return
            assert self.server.poll() is None, f"the server ended; see {self.root}.log"
            time.sleep(0.02)
        raise TimeoutError("the server did not start")

    def stop(self):
        self.server.terminate()
        self.server.wait(60)

    def request(self, path, body=None):
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_S)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, {"content-type": "application/json"})
            return connection.getresponse().read()
        finally:
            connection.close()

    def answer(self, query, **variables):
        return json.loads(self.request("/graphql", json.dumps({"query": query, "variables": variables})))

    def ask(self, query, **variables):
        answer = self.answer(query, **variables)
        assert "errors" not in answer, answer
        return answer["data"]

    def enqueue(self, n):
        """Answers the run and when it was asked for."""
        params = {"query": "SELECT $n AS n", "values": {"n": n}, "output": "answers", "mode": "append"}
        query = 'mutation($params: JSON) { runJob(job: "sql", params: $params) { id } }'
        while True:
            asked = time.time()
            answer = self.answer(query, params=params)
            if "errors" not in answer:
                return answer["data"]["runJob"]["id"], asked
            # So many may wait; then it says to come again.
            assert answer["errors"][0]["extensions"]["code"] == "LIMIT_EXCEEDED", answer
            time.sleep(0.05)

    def ended(self, run):
        """When it began and ended, once it has."""
        until = time.time() + PATIENCE_S
        while time.time() < until:
            found = self.ask("query($id: ID!) { run(id: $id) { state startedAt finishedAt } }", id=run)["run"]
            if found["finishedAt"]:
                assert found["state"] == "SUCCEEDED", found
                return seconds(found["startedAt"]), seconds(found["finishedAt"])
            time.sleep(0.02)
        raise TimeoutError(f"run {run} did not end")


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


class Celery:
    def __init__(self, url, results):
        os.environ.update(PEER_URL=url, PEER_RESULTS=results)
        sys.modules.pop("tasks", None)
        import tasks

        self.tasks = tasks
        log = open(SCRATCH / "celery.log", "a")
        command = [sys.executable, "-m", "celery", "-A", "tasks", "worker", "-c", str(WORKERS), "-l", "WARNING"]
        here = pathlib.Path(__file__).parent
        self.worker = subprocess.Popen(
            [*command, "--without-gossip", "--without-mingle", "--without-heartbeat"], cwd=here, stdout=log, stderr=log
        )

    def stop(self):
        self.worker.terminate()
        try:
            self.worker.wait(30)
        except subprocess.TimeoutExpired:
            self.worker.kill()

    def enqueue(self, n):
        asked = time.time()
        return self.tasks.answer.delay(n), asked

    def ended(self, run):
        started, _, finished = run.get(timeout=PATIENCE_S, interval=0.02)
        return started, finished


def measure(by, on, queue):
    # The first ones find what is not made yet.
    for n in range(2 * WORKERS):
        queue.ended(queue.enqueue(-1 - n)[0])
    latencies = []
    for n in range(SINGLE):
        run, asked = queue.enqueue(n)
        latencies.append(queue.ended(run)[0] - asked)
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as clients:
        asked = list(clients.map(queue.enqueue, range(SINGLE, SINGLE + RUNS)))
    ends = [queue.ended(run)[1] for run, _ in asked]
    told(by, on, latencies, RUNS / (max(ends) - min(at for _, at in asked)))


def records(ours, connect, mark):
    """Puts copies of a record that ended beside it, and asks with so many there."""
    ours.stop()
    database = connect()
    cursor = database.cursor()
    cursor.execute("SELECT * FROM runs WHERE state = 'succeeded' ORDER BY id DESC LIMIT 1")
    names, row = [column[0] for column in cursor.description], cursor.fetchone()
    of = dict(zip(names, row))
    began = int(of["id"].replace("-", "")[:12], 16) - RECORDS
    rows = []
    for n in range(RECORDS):
        tail = uuid.uuid4().hex[15:]
        digits = f"{began + n:012x}7{tail[:3]}8{tail[3:6]}{uuid.uuid4().hex[:12]}"
        run = str(uuid.UUID(digits))
        copy = {**of, "id": run, "document": of["document"].replace(of["id"], run), "projection": 0}
        copy["run_key"] = uuid.uuid4().hex + uuid.uuid4().hex
        rows.append(tuple(copy.values()))
    marks = ", ".join([mark] * len(names))
    cursor.executemany(f"INSERT INTO runs ({', '.join(names)}) VALUES ({marks})", rows)
    database.commit()
    ours.start()
    until = time.time() + PATIENCE_S
    while time.time() < until:
        cursor.execute("SELECT count(*) FROM runs WHERE is_open = 0 AND projection <> 1")
        left = cursor.fetchone()[0]
        database.commit()
        if left == 0:
            break
        time.sleep(0.5)
    database.close()
    some = str(uuid.UUID(rows[RECORDS // 2][names.index("id")]))
    questions = {
        "runs": lambda: ours.ask("{ runs(first: 20) { id job state requestedAt finishedAt } }"),
        "run(id)": lambda: ours.ask("query($id: ID!) { run(id: $id) { id job state } }", id=some)["run"]["id"],
        "/metrics": lambda: ours.request("/metrics"),
        "__typename": lambda: ours.ask("{ __typename }"),
    }
    print(f"\n{RECORDS:,} records, {left:,} of them not in the ledger yet\n")
    print("| question | p50, ms | p99, ms |\n|---|---|---|")
    for name, question in questions.items():
        times = []
        for _ in range(ASKED + 3):
            asked = time.perf_counter()
            assert question()
            times.append(1e3 * (time.perf_counter() - asked))
        print(f"| {name} | {quantile(times[3:], 0.5):.1f} | {quantile(times[3:], 0.99):.1f} |", flush=True)
    print()


def main():
    header = f"| by | on | from asked to begun: p50, ms | p99 | runs/s, {WORKERS} at a time |"
    print(f"{SINGLE} runs one by one on an idle queue, then {RUNS} at once\n\n{header}\n|---|---|---|---|---|", flush=True)
    peers = os.environ.get("PEERS", "1") != "0"
    root = SCRATCH / "sqlite"
    ours = Ours(root, None)
    try:
        measure("ours", "SQLite", ours)
        if peers:
            queue = f"sqlite:///{SCRATCH}/queue.db?timeout=60"
            peer = Celery(queue, f"sqlite:///{SCRATCH}/results.db?timeout=60")
            try:
                measure("Celery 5.7", "SQLite", peer)
            finally:
                peer.stop()
        postgres = Postgres() if programs() else print("not on PostgreSQL: it is not installed")
        if postgres:
            try:
                on_postgres(postgres, peers)
            finally:
                postgres.stop()
        if RECORDS:
            records(ours, lambda: sqlite3.connect(root / ".colonnade.control.db", timeout=60), "?")
    finally:
        ours.stop()


def on_postgres(postgres, peers):
    address = postgres.database("control")
    ours = Ours(SCRATCH / "postgres", f"postgres://{address}")
    try:
        measure("ours", "PostgreSQL", ours)
    finally:
        ours.stop()
    if peers:
        url = f"postgresql+psycopg2://{postgres.database('peer')}"
        peer = Celery(url, url)
        try:
            measure("Celery 5.7", "PostgreSQL", peer)
        finally:
            peer.stop()


main()
