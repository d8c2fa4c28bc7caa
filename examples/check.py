"""Runs the programs of docs/clients.md while the server is killed and their connections break: no row is lost, and none is there twice."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Callable

from breaking import Breaking, free_port

KEY = "key-of-the-example-0001"
MODELS = ["aurora-large", "aurora-small", "embed-3"]
FIRST_ROWS = 500
BATCHES, BATCH_ROWS = 200, 20
#: The server is ended whenever so many batches more were taken, and so are the clients, at two of these times.
BATCHES_BETWEEN = 40
PATIENCE_SECONDS = 120


def call(number: int) -> dict[str, Any]:
    minute, second = divmod(number, 60)
    return {
        "id": f"call-{number:06}",
        "at": f"2026-01-{1 + minute // 1440:02}T{minute // 60 % 24:02}:{minute % 60:02}:{second:02}Z",
        "model": MODELS[number % 3],
        "input_tokens": number,
        "cost": str(Decimal(number).scaleb(-6)),
    }


def write(path: Path, first: int, count: int) -> Path:
    path.write_text("".join(json.dumps(call(number)) + "\n" for number in range(first, first + count)))
    return path


def until(is_so: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(0.05)


class Server:
    def __init__(self, binary: str, data: Path) -> None:
        self.binary, self.data, self.port = binary, data, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.ended = 0
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, *arguments: str) -> str:
        command = [self.binary, "--data", str(self.data), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def start(self) -> None:
        log = self.data.parent / "serve.log"
        with open(log, "wb") as out:
            command = [self.binary, "--data", str(self.data), "serve", "--listen", f"127.0.0.1:{self.port}"]
            self._process = subprocess.Popen(command, stderr=out, env={**os.environ, "COLONNADE_API_KEY": KEY})
        is_up = lambda: b"listening on" in log.read_bytes()
        until(lambda: is_up() or self._process.poll() is not None, "the server starts")
        assert is_up(), log.read_text()

    def end(self, by: signal.Signals) -> None:
        self._process.send_signal(by)
        self._process.wait(timeout=PATIENCE_SECONDS)
        self.ended += 1

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.end(signal.SIGKILL)

    def sql(self, query: str, version: int | None = None) -> dict[str, Any]:
        body: dict[str, Any] = {"sql": query}
        if version is not None:
            body["asOf"] = {"model_calls": version}
        headers = {"Content-Type": "application/json", "Accept": "application/json", "Authorization": f"Bearer {KEY}"}
        request = urllib.request.Request(f"{self.url}/v1/sql", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request) as answer:
            (row,) = json.load(answer)
            return row


class Client:
    """The program in one language, with a follower and a sender at work."""

    def __init__(self, name: str, program: list[str], url: str, folder: Path, first: int) -> None:
        self.name, self._program, self._folder, self.first = name, program, folder, first
        self._env = {**os.environ, "COLONNADE_URL": url, "COLONNADE_API_KEY": KEY}
        self.rows = write(folder / f"{name}.ndjson", first, BATCHES * BATCH_ROWS)
        self.follower: subprocess.Popen[bytes] | None = None
        self.sender: subprocess.Popen[bytes] | None = None

    def _start(self, what: str, *arguments: str) -> subprocess.Popen[bytes]:
        with open(self._path(what), "ab") as out, open(self._path(f"{what}-errors"), "ab") as errors, open(self.rows) as rows:
            return subprocess.Popen([*self._program, *arguments], stdin=rows, stdout=out, stderr=errors, env=self._env)

    def _path(self, what: str) -> Path:
        return self._folder / f"{self.name}-{what}"

    def lines(self, what: str) -> list[dict[str, Any]]:
        text = self._path(what).read_text()
        return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]

    def errors(self, what: str) -> str:
        return self._path(f"{what}-errors").read_text()

    def follow(self, since: int) -> None:
        self.follower = self._start("follow", "follow", str(since))

    def send(self) -> None:
        self.sender = self._start("send", "send", f"{self.name}-1", str(BATCH_ROWS))

    def close(self) -> None:
        for process in (self.follower, self.sender):
            if process is not None:
                process.kill()
                process.wait()

    def begin_again(self) -> None:
        """Kills both, and starts them as whoever has what they printed would: the one behind its last whole line, the other from the start."""
        self.close()
        told = self.lines("follow")
        self._path("follow").write_text("".join(json.dumps(change) + "\n" for change in told))
        self.follow(told[-1]["version"])
        self.send()

    def run(self, *arguments: str, rows: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
        with open(rows or os.devnull) as given:
            return subprocess.run(
                [*self._program, *arguments], stdin=given, capture_output=True, text=True, env={**self._env, **env}, timeout=PATIENCE_SECONDS
            )

    def require_alive(self) -> None:
        assert self.follower.poll() is None, f"{self.name}: the follower ended\n{self.errors('follow')}"
        assert self.sender.poll() in (None, 0), f"{self.name}: the sender failed\n{self.errors('send')}"


def follow_the_page(page: Path, checkout: Path, server: Server) -> None:
    """Types what the page says to type."""
    blocks = [block.split("```")[0] for block in page.read_text().split("```console\n")[1:]]
    lines = [line[2:] for block in blocks for line in ["$ cd $CHECKOUT", *block.splitlines()] if line.startswith("$ ")]
    write(checkout / "calls.ndjson", FIRST_ROWS, 100)
    env = {**os.environ, "CHECKOUT": str(checkout), "COLONNADE_DATA": str(server.data), "COLONNADE_URL": server.url, "COLONNADE_API_KEY": KEY}
    env["PATH"] = f"{Path(server.binary).parent}:{env['PATH']}"
    done = subprocess.run(["bash", "-euxo", "pipefail", "-c", "\n".join(lines)], cwd=checkout, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout
    print(f"{page.name}: {len(lines)} commands of the page did what they say")


def main(binary: str, checkout: Path, page: Path, folder: Path, ends: ExitStack) -> None:
    seed = int(os.environ.get("COLONNADE_TEST_SEED", random.randrange(1 << 32)))
    print(f"COLONNADE_TEST_SEED={seed}")
    server = Server(binary, folder / "data")
    ends.callback(server.close)
    server.data.mkdir()
    server.command("ingest", "model_calls", str(write(folder / "first.ndjson", 0, FIRST_ROWS)))
    server.start()
    follow_the_page(page, checkout, server)
    breaking = Breaking(server.port, random.Random(seed))
    url = f"http://127.0.0.1:{breaking.port}"
    programs = {
        "typescript": ["node", str(checkout / "examples/typescript/dist/main.js")],
        "rust": [os.environ["CARGO_TARGET_DIR"] + "/debug/colonnade-example"],
    }
    begin = 10_000
    clients = [
        Client(name, program, url, folder, begin + at * BATCHES * BATCH_ROWS) for at, (name, program) in enumerate(programs.items())
    ]
    for client in clients:
        ends.callback(client.close)
    before = server.sql("SELECT count(*) AS rows, sum(input_tokens) AS numbers FROM model_calls")
    first_version = server_version(server)
    for client in clients:
        client.follow(first_version)
        client.send()
    end_again_and_again(server, clients)
    sent = {call(number)["id"]: call(number) for client in clients for number in range(client.first, client.first + BATCHES * BATCH_ROWS)}
    # A connection that stays open and on which nothing comes any more.
    until(lambda: breaking.freeze(len(clients)), "both follow")
    late = call(begin * 10)
    sent[late["id"]] = late
    (folder / "late.ndjson").write_text(json.dumps(late) + "\n")
    done = clients[0].run("send", "late", rows=folder / "late.ndjson", COLONNADE_URL=server.url)
    assert done.returncode == 0, done.stderr
    newest = server_version(server)
    for client in clients:
        until(lambda: client.require_alive() or client.lines("follow")[-1]["version"] >= newest, f"{client.name} is told of version {newest}")
        client.follower.terminate()
        client.follower.wait()
    require_each_row_once(server, before, sent)
    for client in clients:
        require_each_version_once(server, client, sent, first_version, newest)
        require_pages(server, client)
        require_refusals(client, folder, first_version)
        broke = client.errors("follow").count("again after version")
        duplicates = {receipt["sequence"] for receipt in client.lines("send") if receipt["duplicate"]}
        assert broke >= server.ended and duplicates, (broke, duplicates)
        print(f"{client.name}: came back {broke} times; {len(duplicates)} of {BATCHES} batches were sent again though they had been taken")
    assert breaking.answers_lost > 5 and breaking.sockets_cut > 5, (breaking.answers_lost, breaking.sockets_cut)
    print(
        f"server ended {server.ended} times, {breaking.answers_lost} answers lost, {breaking.sockets_cut} sockets cut, {len(clients)} frozen: "
        f"{len(sent)} rows of {newest - first_version} versions, each once"
    )


def server_version(server: Server) -> int:
    return json.loads(server.command("datasets", "model_calls", "--json"))["version"]


def end_again_and_again(server: Server, clients: list[Client]) -> None:
    taken = lambda: sum(len({receipt["sequence"] for receipt in client.lines("send")}) for client in clients)
    everything = BATCHES * len(clients)
    for at, batches in enumerate(range(BATCHES_BETWEEN, everything, BATCHES_BETWEEN)):
        def reached() -> bool:
            for client in clients:
                client.require_alive()
            return taken() >= batches

        until(reached, f"{batches} batches")
        server.end([signal.SIGKILL, signal.SIGTERM][at % 2])
        if at in (2, 5):
            for client in clients:
                client.begin_again()
        server.start()
    for client in clients:
        assert client.sender.wait(timeout=PATIENCE_SECONDS) == 0, client.errors("send")
        accepted = {r["sequence"]: r["accepted"] for r in client.lines("send") if not r["duplicate"]}
        assert set(accepted.values()) == {BATCH_ROWS}, accepted


def require_each_row_once(server: Server, before: dict[str, Any], sent: dict[str, Any]) -> None:
    query = "SELECT count(*) AS rows, count(DISTINCT id) AS ids, sum(input_tokens) AS numbers, CAST(sum(cost) AS VARCHAR) AS cost FROM model_calls"
    rest = "input_tokens >= 10000"
    found = server.sql(f"{query} WHERE {rest}")
    cost = sum(Decimal(row["cost"]) for row in sent.values())
    numbers = sum(row["input_tokens"] for row in sent.values())
    assert (int(found["rows"]), int(found["ids"]), int(found["numbers"])) == (len(sent), len(sent), numbers), (found, len(sent), numbers)
    assert Decimal(found["cost"]) == cost, (found, cost)
    all_rows = server.sql("SELECT count(*) AS rows, sum(input_tokens) AS numbers FROM model_calls")
    assert int(all_rows["rows"]) == int(before["rows"]) + len(sent), all_rows


def require_each_version_once(server: Server, client: Client, sent: dict[str, Any], first: int, newest: int) -> None:
    changes = client.lines("follow")
    times = Counter(row["id"] for change in changes for row in change["added"]["nodes"])
    twice = [row for row, count in times.items() if count > 1]
    assert not twice, f"{client.name}: {len(twice)} rows were told more than once, as {twice[:3]}"
    lost = sent.keys() - times.keys()
    assert not lost and len(times) == len(sent), f"{client.name}: {len(lost)} rows were never told, as {sorted(lost)[:3]}"
    then, rows, numbers = first, *at_version(server, first)
    for change in changes:
        assert change["previousVersion"] == then and change["removed"]["count"] == "0", f"{client.name}: {then}, then {change}"
        then = change["version"]
        told = change["added"]["nodes"]
        for row in told:
            asked = {"id": row["id"], "at": row["at"], "model": row["model"], "input_tokens": int(row["inputTokens"])}
            assert {**sent[row["id"]], **asked} == sent[row["id"]] and Decimal(row["cost"]) == Decimal(sent[row["id"]]["cost"]), row
        rows_then, numbers_then = at_version(server, then)
        came = (rows_then - rows, numbers_then - numbers)
        assert came == (len(told), sum(int(row["inputTokens"]) for row in told)), f"{client.name}: version {then} has {came}"
        rows, numbers = rows_then, numbers_then
    assert then == newest, (then, newest)
    collapsed = sum(change["collapsed"] for change in changes)
    print(f"{client.name}: {len(changes)} changes ({collapsed} net of several) of {newest - first} versions, {len(times)} rows, each once")


def at_version(server: Server, version: int) -> tuple[int, int]:
    found = server.sql("SELECT count(*) AS rows, sum(input_tokens) AS numbers FROM model_calls", version)
    return int(found["rows"]), int(found["numbers"])


def require_pages(server: Server, client: Client) -> None:
    ids: list[str] = []
    for model in MODELS:
        done = client.run("page", model)
        assert done.returncode == 0, done.stderr
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert {row["model"] for row in rows} == {model} and len(rows) > 2_000
        ids += [row["id"] for row in rows]
    count = int(server.sql("SELECT count(*) AS rows FROM model_calls")["rows"])
    assert len(ids) == len(set(ids)) == count, (len(ids), len(set(ids)), count)


def require_refusals(client: Client, folder: Path, first_version: int) -> None:
    other = write(folder / "other.ndjson", 900_000, BATCH_ROWS)
    cases = [
        (client.run("page", "aurora-small", COLONNADE_API_KEY="wrong-key-of-some-length"), "401"),
        (client.run("follow", "1", COLONNADE_API_KEY="wrong-key-of-some-length"), "4403"),
        (client.run("follow", "999999"), "BAD_INPUT"),
        # More versions than are told one by one, and more rows than come with a change.
        (client.run("follow", str(first_version)), f"createExport(since: {first_version})"),
        (client.run("send", "late", rows=other), "CONFLICT"),
        (client.run("send", "late", "many"), "many"),
        (client.run("sing"), "expected page MODEL"),
    ]
    for done, says in cases:
        assert done.returncode == 1 and says in done.stderr, (client.name, done)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        with ExitStack() as ends:
            main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), Path(scratch), ends)
