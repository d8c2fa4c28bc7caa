"""What the package does, against a real server."""

from __future__ import annotations

import asyncio
import random
import socket
import threading
import time
import zipfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from websockets.sync.server import Server as WebSocketServer
from websockets.sync.server import ServerConnection, serve
from websockets.typing import Subprotocol

import colonnade
from colonnade._http import Http
from colonnade._watch import Watch

from conftest import Server

BEGIN = datetime(2026, 1, 1, tzinfo=timezone.utc)


def calls(count: int, first: int = 0) -> list[dict[str, Any]]:
    return [
        {
            "id": f"c{number}",
            "at": BEGIN + timedelta(seconds=number),
            "model": "small" if number % 3 else "large",
            "input_tokens": number,
            "cost": Decimal(number).scaleb(-4),
        }
        for number in range(first, first + count)
    ]


def test_rows_come_back_as_they_were_sent(client: colonnade.Client) -> None:
    receipt = client.ingest("model_calls", calls(1_000), batch_rows=400)
    assert (receipt.accepted, receipt.quarantined, receipt.duplicates) == (1_000, 0, 0)
    rows = client.table("model_calls", order_by="input_tokens", columns=["id", "at", "model", "cost"])
    assert rows.versions == {"model_calls": receipt.version} and rows.version == receipt.version
    assert len(rows) == 1_000 and rows.columns == ["id", "at", "model", "cost"]
    for found, sent in zip(rows, calls(1_000), strict=True):
        assert found == {name: sent[name] for name in rows.columns}
    few = client.table("model_calls", where="cost > 0.09 AND model = 'large'", limit=5)
    assert len(few) == 5 and set(few.to_arrow()["model"].to_pylist()) == {"large"}
    frame = client.sql(
        "SELECT model, count(*) AS calls, sum(cost) AS cost FROM model_calls WHERE input_tokens >= $least GROUP BY model ORDER BY model",
        {"least": 500},
    ).to_pandas()
    assert frame["calls"].sum() == 500 and isinstance(frame, pd.DataFrame)
    assert isinstance(rows.to_polars(), pl.DataFrame) and rows.to_polars().height == 1_000
    assert sum(batch.num_rows for batch in client.sql_batches("SELECT * FROM model_calls")) == 1_000
    client.ingest("model_calls", calls(10, 1_000))
    assert len(client.table("model_calls", as_of=rows.version)) == 1_000
    assert len(client.table("model_calls")) == 1_010
    assert client.graphql("{ modelCalls { totalCount } }") == {"modelCalls": {"totalCount": "1010"}}
    there = client.datasets()
    assert there["model_calls"]["rows"] == "1010" and "model_calls" in there.names()
    for shown in (there._repr_html_(), rows._repr_html_(), client.run("sql", {"query": "SELECT 1 AS one", "output": "ones"})._repr_html_()):
        assert "<table>" in shown


def test_frames_and_tables_are_taken(client: colonnade.Client) -> None:
    arrow = pa.Table.from_pylist(calls(9))
    for at, rows in enumerate([arrow, arrow.to_batches()[0], pl.from_arrow(arrow), arrow.to_pandas(), iter(calls(9))]):
        receipt = client.ingest("model_calls", rows)
        assert receipt.accepted == 9, (at, receipt)
    assert len(client.table("model_calls")) == 45
    odd = client.ingest("model_calls", [{**calls(1)[0], "id": "x", "colour": "red"}])
    assert odd.added_columns == ["colour"]
    assert client.ingest("model_calls", []).accepted == 0


def test_rows_are_ordered_by_names_and_pairs(client: colonnade.Client) -> None:
    client.ingest("model_calls", calls(9))

    def tokens(**asked: Any) -> list[int]:
        found: list[int] = client.table("model_calls", **asked).to_arrow()["input_tokens"].to_pylist()
        return found

    assert tokens(order_by=["input_tokens"]) == list(range(9))
    assert tokens(order_by=[("input_tokens", "desc")]) == list(reversed(range(9)))
    assert tokens(order_by=("input_tokens", "DESC")) == list(reversed(range(9)))
    assert tokens(order_by="input_tokens DESC", limit=2) == [8, 7]
    assert tokens(order_by=["model", ("input_tokens", "desc")]) == [6, 3, 0, 8, 7, 5, 4, 2, 1]
    for wrong, says in [(["nope"], "nope"), ([("nope", "desc")], "nope"), ("nope", "nope"), ([("id", "down")], "pair")]:
        with pytest.raises(colonnade.BadInput, match=says):
            client.table("model_calls", order_by=wrong)  # type: ignore[arg-type]


def test_a_parameter_that_would_do_nothing_is_an_error(client: colonnade.Client, tmp_path: Path) -> None:
    client.ingest("model_calls", calls(3))
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: client.table("model_calls", columns=[]), "columns: expected at least one name"),
        (lambda: client.table("model_calls", columns="id"), "columns: expected a list of names"),
        (lambda: client.table("model_calls", where=""), "where: expected a text"),
        (lambda: client.table("model_calls", order_by=""), "order_by: expected a text"),
        (lambda: client.table("model_calls", order_by=[]), "order_by: expected at least one column"),
        (lambda: client.sql("SELECT 1 AS one", as_of={}), "as_of: expected versions by dataset"),
        (lambda: client.watch("model_calls", where={}), "where: expected a condition"),
        (lambda: client.ingest_file("model_calls", "calls.csv", null=[]), "null: expected a text"),
        (lambda: client.table("model_calls", limit=-1), "limit: expected a whole number of at least 0"),
        (lambda: client.table("model_calls", limit=2.5), "limit"),  # type: ignore[arg-type]
        (lambda: client.table("model_calls", parameters={"nope": 1}), "nope"),
        (lambda: client.sql("SELECT 1 AS one", {"nope": 1}), "nope"),
        (lambda: client.sql("SELECT 1 AS one", as_of={"model_calls": 1}), "the query does not read model_calls"),
        (lambda: client.sql("SELECT 1 AS one", as_of=1), "as_of: expected versions by dataset"),  # type: ignore[arg-type]
        (lambda: client.ingest("model_calls", calls(3, 3), batch_rows=-1), "batch_rows"),
        (lambda: client.ingest("model_calls", calls(3, 3), producer=""), "producer"),
        (lambda: client.ingest("model_calls", calls(3, 3), on_conflict="ignore"), "on_conflict"),  # type: ignore[arg-type]
        (lambda: client.export("model_calls", partition_by="model"), "partition_by: expected a list"),
        (lambda: client.export("model_calls", columns=[]), "columns"),
        (lambda: client.export("model_calls", file_rows=0), "file_rows"),
        (lambda: client.export("model_calls", sql="SELECT 1"), "found both"),
        (lambda: client.watch("model_calls", columns="id"), "columns"),
        (lambda: client.watch("model_calls", rows=-1), "rows"),
        (lambda: client.ingest_file("model_calls", tmp_path / "calls.xyz"), "does not say its format"),
    ]
    (tmp_path / "calls.xyz").write_text("")
    for wrong, says in cases:
        with pytest.raises(colonnade.BadInput, match=says):
            wrong()
    with pytest.raises(ValueError, match="url"):
        colonnade.connect("")
    assert len(client.table("model_calls")) == 3


def test_an_index_with_a_name_is_a_column(client: colonnade.Client) -> None:
    frame = pa.Table.from_pylist(calls(3)).to_pandas().set_index("id")
    assert client.ingest("model_calls", frame).accepted == 3
    assert client.table("model_calls", order_by=["id"]).to_arrow()["id"].to_pylist() == ["c0", "c1", "c2"]


def test_a_file_is_read_as_its_options_and_the_dataset_say(server: Server, client: colonnade.Client, tmp_path: Path) -> None:
    first = tmp_path / "first.csv"
    first.write_text("id;price;at\na;1.234,50;2025-07-01 12:00\n")
    spec = {
        "name": "orders",
        "key": ["id"],
        "columns": [
            {"name": "id", "type": "text"},
            {"name": "price", "type": "float64", "nullable": True},
            {"name": "at", "type": "timestamp", "nullable": True},
        ],
    }
    client.graphql("mutation($spec: JSON!) { createDataset(spec: $spec) { name } }", {"spec": spec})
    german = {"decimal_mark": "comma", "thousands_mark": "point", "zone": "Europe/Berlin", "null": ["n/a"]}
    assert client.ingest_file("orders", first, **german).accepted == 1  # type: ignore[arg-type]
    second = tmp_path / "second.csv"
    second.write_text("id;price;at\nb;3.000;2025-01-01 12:00\nc;n/a;2025-03-30 02:30\n")
    receipt = client.ingest_file("orders", second)
    assert (receipt.accepted, receipt.quarantined) == (1, 1)
    rows = client.table("orders", order_by=["id"]).to_arrow().to_pylist()
    assert [row["price"] for row in rows] == [1234.5, 3000.0]
    assert [row["at"].hour for row in rows] == [10, 11]
    with pytest.raises(colonnade.BadInput, match="decimal_mark"):
        client.ingest_file("orders", second, decimal_mark="point")


def write_workbook(path: Path) -> None:
    """A workbook of two sheets, whose second one has an order at noon."""
    main = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    package = "http://schemas.openxmlformats.org/package/2006"
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"

    def text(cell: str, value: str) -> str:
        return f'<c r="{cell}" t="inlineStr"><is><t>{value}</t></is></c>'

    def sheet(*rows: str) -> str:
        listed = "".join(f'<row r="{number}">{row}</row>' for number, row in enumerate(rows, 1))
        return f'<worksheet xmlns="{main}"><sheetData>{listed}</sheetData></worksheet>'

    def relations(*parts: tuple[str, str]) -> str:
        listed = "".join(
            f'<Relationship Id="rId{number}" Type="{office}/{kind}" Target="{target}"/>'
            for number, (kind, target) in enumerate(parts, 1)
        )
        return f'<Relationships xmlns="{package}/relationships">{listed}</Relationships>'

    order = '<c r="A2"><v>7</v></c><c r="B2" t="d"><v>2025-07-01T12:00:00</v></c>'
    with zipfile.ZipFile(path, "w") as parts:
        parts.writestr("[Content_Types].xml", f'<Types xmlns="{package}/content-types"/>')
        parts.writestr("_rels/.rels", relations(("officeDocument", "xl/workbook.xml")))
        sheets = '<sheet name="First" sheetId="1" r:id="rId1"/><sheet name="Second" sheetId="2" r:id="rId2"/>'
        parts.writestr("xl/workbook.xml", f'<workbook xmlns="{main}" xmlns:r="{office}"><sheets>{sheets}</sheets></workbook>')
        listed = relations(("worksheet", "worksheets/sheet1.xml"), ("worksheet", "worksheets/sheet2.xml"))
        parts.writestr("xl/_rels/workbook.xml.rels", listed)
        parts.writestr("xl/worksheets/sheet1.xml", sheet(text("A1", "note")))
        parts.writestr("xl/worksheets/sheet2.xml", sheet(text("A1", "Order No") + text("B1", "at"), order))


def test_a_file_takes_the_options_of_the_command_line(client: colonnade.Client, tmp_path: Path) -> None:
    spec = {
        "name": "orders",
        "evolution": "add_nullable",
        "columns": [{"name": "order_id", "type": "int64"}, {"name": "at", "type": "timestamp", "nullable": True}],
    }
    client.graphql("mutation($spec: JSON!) { createDataset(spec: $spec) { name } }", {"spec": spec})
    book = tmp_path / "orders.xlsx"
    write_workbook(book)
    receipt = client.ingest_file("orders", book, sheet="Second", rename={"Order No": "order_id"}, zone="Europe/Berlin")
    assert (receipt.accepted, receipt.quarantined) == (1, 0)
    stored = client.table("orders").to_arrow().to_pylist()
    assert [(row["order_id"], row["at"].hour) for row in stored] == [(7, 10)]
    lines = tmp_path / "orders.csv"
    lines.write_text("order_id,n\n" + "".join(f"{number},{number}\n" for number in range(8, 12)) + "12,many\n")
    with pytest.raises(colonnade.BadInput, match="at most 0 may"):
        client.ingest_file("orders", lines, mostly=0.5, max_quarantined=0)
    receipt = client.ingest_file("orders", lines, mostly="50%", max_quarantined="20%")
    assert (receipt.accepted, receipt.quarantined, receipt.added_columns) == (4, 1, ["n"])
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: client.ingest_file("orders", lines, sheet="Second"), "sheet is an option of Excel files"),
        (lambda: client.ingest_file("orders", lines, rename={}), "rename: expected names"),
        (lambda: client.ingest_file("orders", lines, rename={"no": "n"}), 'no column "no"'),
        (lambda: client.ingest_file("orders", lines, mostly=2), "expected a share above 0 up to 1"),
    ]
    for call, says in cases:
        with pytest.raises(colonnade.BadInput, match=says):
            call()


def test_the_policy_for_existing_keys_is_one_for_all_doors(server: Server, client: colonnade.Client, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text("id,n\n1,1\n2,2\n")
    server.kill()
    server.cli("ingest", "orders", str(file), "--create", "--key", "id")
    server.start()
    rows = [{"id": 2, "n": 20}, {"id": 3, "n": 30}]
    with pytest.raises(colonnade.Conflict, match="1 key is in orders already"):
        client.ingest("orders", rows)
    with pytest.raises(colonnade.Conflict, match="2 keys are in orders already"):
        client.ingest_file("orders", file)
    replaced = client.ingest("orders", rows, on_conflict="replace")
    assert (replaced.accepted, replaced.replaced) == (2, 1)
    skipped = client.ingest("orders", rows, on_conflict="skip")
    assert (skipped.accepted, skipped.skipped) == (0, 2)
    found = client.table("orders", order_by=["id"]).to_arrow().to_pylist()
    assert found == [{"id": 1, "n": 1}, {"id": 2, "n": 20}, {"id": 3, "n": 30}]
    with pytest.raises(colonnade.BadInput, match="colour"):
        client.ingest("orders", [{"id": 4, "colour": "red"}])
    assert client.ingest("orders", [{"id": 4, "colour": "red"}], add_columns=True).added_columns == ["colour"]


def test_errors_say_what_is_wrong(client: colonnade.Client, tmp_path: Path) -> None:
    client.ingest("model_calls", calls(3))
    cases: list[tuple[Callable[[], object], type[Exception], str]] = [
        (lambda: client.table("model_cals"), colonnade.NotFound, "model_calls"),
        (lambda: client.table("model_calls", columns=["modl"]), colonnade.BadInput, "modl"),
        (lambda: client.sql("DELETE FROM model_calls"), colonnade.BadInput, "SELECT"),
        (lambda: client.sql("SELECT $a AS b", {"c": 1}), colonnade.BadInput, "$"),
        (lambda: client.graphql("{ nothing }"), colonnade.ColonnadeError, "nothing"),
        (lambda: client.run("anomalie"), colonnade.NotFound, "anomalies"),
        (lambda: client.export("model_calls", columns=["modl"]), colonnade.RunFailed, "did you mean model?"),
        (lambda: client.export("model_calls", format="pdf"), colonnade.ColonnadeError, "PDF"),
        (lambda: client.watch("model_calls", columns=["modl"]), colonnade.BadInput, "modl"),
        (lambda: client.watch("nothing"), colonnade.NotFound, "nothing"),
        (lambda: client.insights(), colonnade.NotFound, "insights"),
    ]
    for wrong, kind, says in cases:
        with pytest.raises(kind, match=says.replace("$", r"\$").replace("?", r"\?")):
            wrong()
    with pytest.raises(ValueError, match="no time zone"):
        client.table("model_calls", as_of=datetime(2026, 1, 1))
    with pytest.raises(colonnade.Unavailable, match="can not be reached"):
        colonnade.connect("http://127.0.0.1:9", patience=0.3).datasets()
    with pytest.raises(ValueError, match="expected http"):
        colonnade.connect("127.0.0.1:8642")


def test_a_key_lets_in_and_a_wrong_one_does_not(server: Server) -> None:
    open_client = colonnade.connect(server.url)
    made = open_client.graphql('mutation { createKey(subject: "admin", roles: [ADMIN]) { secret } }')
    with pytest.raises(colonnade.Unauthenticated):
        open_client.datasets()
    client = colonnade.connect(server.url, made["createKey"]["secret"])
    assert client.graphql("{ datasets { name } }") is not None
    watch = colonnade.connect(server.url, "col_wrong_key_of_some_length", patience=2)
    with pytest.raises(colonnade.Unauthenticated):
        watch.datasets()


def test_nothing_is_lost_or_twice_when_the_server_is_killed(server: Server) -> None:
    """Rows go in and changes come out while the server is killed again and again."""
    # On a loaded machine a restart takes many seconds, and a request may meet several.
    client = colonnade.connect(server.url, patience=300)
    client.ingest("model_calls", calls(1))
    first = client.watch("model_calls", columns=["id"])
    seen: list[str] = []
    versions: list[int] = []
    total, batches = 1_200, 60

    def follow() -> None:
        for change in first:
            assert change.removed_count == 0
            assert change.added_count == len(change.added)
            versions.append(change.version)
            seen.extend(row["id"] for row in change.added)
            if len(seen) >= total:
                return

    async def follow_too(to: list[str]) -> None:
        async for change in client.watch("model_calls", columns=["id"], since=first_version):
            to.extend(row["id"] for row in change.added)
            if len(to) >= total:
                return

    first_version = first.since
    also: list[str] = []
    threads = [
        threading.Thread(target=follow, daemon=True),
        threading.Thread(target=lambda: asyncio.run(follow_too(also)), daemon=True),
    ]
    for thread in threads:
        thread.start()
    killer_ends = threading.Event()

    def kill() -> None:
        random.seed(7)
        while not killer_ends.wait(random.uniform(0.4, 1.2)):
            server.restart()

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    writer = client.writer("model_calls")
    size, duplicates = total // batches, 0
    for batch in range(batches):
        receipt = writer.write(calls(size, 1 + batch * size))
        duplicates += receipt.duplicates
        time.sleep(0.05)
    killer_ends.set()
    killer.join()
    for thread in threads:
        thread.join(timeout=60)
        assert not thread.is_alive(), (len(seen), len(also))
    expected = [f"c{number}" for number in range(1, total + 1)]
    assert sorted(seen) == sorted(expected), "each once"
    assert sorted(also) == sorted(expected), "each once"
    assert versions == sorted(set(versions))
    rows = client.table("model_calls", columns=["id"]).to_arrow()["id"].to_pylist()
    assert sorted(rows) == sorted(["c0", *expected])


def closing(times: int, after: float) -> tuple[WebSocketServer, Watch]:
    """A server that closes its first connections after a while, and a watch of it with a patience of half a second."""
    left = [times]

    def serve_one(connection: ServerConnection) -> None:
        connection.recv()
        connection.send('{"type": "connection_ack"}')
        connection.recv()
        if left[0] > 0:
            left[0] -= 1
            time.sleep(after)
            return
        connection.send('{"type": "next", "id": "1", "payload": {"data": {}}}')
        connection.recv()

    server = serve(serve_one, "127.0.0.1", 0, subprotocols=[Subprotocol("graphql-transport-ws")])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    http = Http(f"http://127.0.0.1:{server.socket.getsockname()[1]}", None, 10.0, 0.5)
    change = colonnade.Change("d", 1, 2, False, 0, 0)
    return server, Watch(http, "d", 1, lambda since: "", lambda data: change)


def test_a_watch_counts_its_patience_from_the_last_connection() -> None:
    server, watch = closing(8, 0.2)
    assert next(iter(watch)).version == 2
    watch.close()

    async def first(watch: Watch) -> int:
        async for change in watch:
            return change.version
        return 0

    server.shutdown()
    server, watch = closing(8, 0.2)
    assert asyncio.run(first(watch)) == 2
    # The client gives up on a stopped server.
    server.shutdown()
    begun = time.monotonic()
    watch.since = 1
    with pytest.raises(colonnade.Unavailable, match="can not be reached"):
        next(iter(watch))
    assert time.monotonic() - begun < 10


class Cutting:
    """A way to the server that breaks off."""

    def __init__(self, port: int, cuts: int, seed: int) -> None:
        self._to, self._left, self._random = port, cuts, random.Random(seed)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.cut = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._to))
        left: int | None = None
        if self._left > 0:
            self._left -= 1
            left = self._random.randint(0, 40_000)

        def forth() -> None:
            try:
                while data := client.recv(65536):
                    server.sendall(data)
            except OSError:
                pass

        threading.Thread(target=forth, daemon=True).start()
        try:
            while data := server.recv(16384):
                if left is not None:
                    data, left = data[:left], left - len(data)
                client.sendall(data)
                if left is not None and left <= 0:
                    self.cut += 1
                    break
        except OSError:
            pass
        for end in (client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()


def test_an_export_is_brought_whole_however_often_it_breaks_off(server: Server, client: colonnade.Client, tmp_path: Path) -> None:
    client.ingest("model_calls", calls(20_000))
    made = client.export("model_calls", file_rows=5_000, columns=["id", "at", "input_tokens", "cost"])
    assert made.rows == 20_000 and len(made.files) == 4 and "<table>" in made._repr_html_()
    cutting = Cutting(server.port, cuts=200, seed=11)
    through = colonnade.connect(f"http://127.0.0.1:{cutting.port}", patience=120)
    export, downloads = colonnade.Export(through._http, made._about), 0
    folder = tmp_path / "out"
    while cutting.cut < 200:
        downloads += 1
        assert downloads < 200
        folder = export.download(tmp_path / f"out-{downloads}")
        server.cli("export", "verify", str(folder))
    print(f"{cutting.cut} downloads broken off, {downloads} exports brought whole")
    found = pq.read_table(folder, partitioning=None).sort_by("input_tokens").to_pylist()
    assert [row["id"] for row in found] == [f"c{number}" for number in range(20_000)]
    assert not list(folder.glob("*.part"))
    # What is there is not brought again, and what was changed there is.
    (folder / "part-00000.parquet").write_bytes(b"other")
    made.download(folder)
    server.cli("export", "verify", str(folder))
    made.delete()
    with pytest.raises(colonnade.NotFound):
        made.download(tmp_path / "again")


def test_exports_of_queries_folders_and_changes(client: colonnade.Client, tmp_path: Path) -> None:
    client.ingest("model_calls", calls(30))
    first = client.table("model_calls").version
    client.ingest("model_calls", calls(3, 30))
    changed = client.export("model_calls", since=first, columns=["id"], format="csv", to=tmp_path / "changed")
    lines = (tmp_path / "changed" / changed.files[0]).read_text().splitlines()
    assert sorted(lines[1:]) == ["c30,insert", "c31,insert", "c32,insert"]
    by_model = client.export("model_calls", partition_by=["model"], to=tmp_path / "by-model")
    assert by_model.rows == 33
    import pyarrow.dataset as ds

    counted = ds.dataset(tmp_path / "by-model", partitioning="hive", exclude_invalid_files=True).to_table()
    assert sorted(set(counted["model"].to_pylist())) == ["large", "small"] and counted.num_rows == 33
    query = client.export(sql="SELECT model, count(*) AS calls FROM model_calls GROUP BY model", format="ndjson")
    assert query.rows == 2 and query.manifest["source"]["sql"].startswith("SELECT")


def test_the_lines_of_the_readme(server: Server, client: colonnade.Client, capsys: pytest.CaptureFixture[str]) -> None:
    client.ingest("model_calls", calls(200))
    client.ingest("tickets", [{"id": "t1", "created_at": BEGIN, "subject": "a bill", "body": "twice", "team": "billing"}])
    page = (Path(__file__).parents[1] / "README.md").read_text()
    blocks = [block.split("```")[0] for block in page.split("```python\n")[1:]]
    assert len(blocks) == 3 and len(blocks[0].strip().splitlines()) == 5
    names: dict[str, Any] = {}
    exec(blocks[0].replace("http://127.0.0.1:8642", server.url), names)
    exec(blocks[1], names)
    assert len(names["then"]) == 200
    watching = threading.Thread(target=lambda: exec(blocks[2], names), daemon=True)
    watching.start()
    deadline = time.monotonic() + 20
    number = 1
    while ("twice" not in (told := capsys.readouterr().out)) and time.monotonic() < deadline:
        number += 1
        client.ingest("tickets", [{"id": f"t{number}", "created_at": BEGIN, "subject": "a bill", "body": "twice", "team": "billing"}])
        time.sleep(0.3)
    assert "twice" in told
