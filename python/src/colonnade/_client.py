"""A server of Colonnade, as a notebook or program asks it."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any

import httpx
import pyarrow as pa

from ._errors import BadInput, Broken, NotFound
from ._exports import FIELDS as EXPORT_FIELDS
from ._exports import Export
from ._http import Http, ask
from ._ingest import BATCH_ROWS, OnConflict, Receipt, Writer, options
from ._names import (
    Order,
    decoder,
    field_name,
    filled,
    instant,
    is_plain,
    literal,
    names,
    ordering,
    sql_name,
    text,
    whole,
)
from ._rows import Rows, table
from ._runs import FIELDS as RUN_FIELDS
from ._runs import Run, wait
from ._watch import Change, Watch

#: A version, an instant, or of several datasets either of them.
AsOf = int | str | datetime

_ARROW = "application/vnd.apache.arrow.stream"
_LOCAL = "http://127.0.0.1:8642"
#: Rows of a change that are brought along, where nothing else is said.
CHANGED_ROWS = 1_000


def connect(
    url: str | None = None,
    key: str | None = None,
    *,
    timeout: float = 10.0,
    patience: float = 60.0,
) -> Client:
    """Connects to a server: ``url`` or ``COLONNADE_URL``, or the one of this machine; with ``key`` or ``COLONNADE_API_KEY``.

    ``timeout`` is how long a connection may take, in seconds, and ``patience`` how long a server is waited for that is busy or gone.
    """
    for what, given in (("url", url), ("key", key)):
        if given is not None and not given.strip():
            raise ValueError(f"{what}: expected a text, found {given!r}; leave it out to use the environment variable")
    if timeout <= 0 or patience < 0:
        raise ValueError(f"expected timeout above 0 and patience of at least 0, found {timeout} and {patience}")
    url = url or os.environ.get("COLONNADE_URL") or _LOCAL
    key = key or os.environ.get("COLONNADE_API_KEY")
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"url: expected http://… or https://…, found {url!r}")
    return Client(Http(url, key, timeout, patience))


class Client:
    """A server, and who asks it. It is closed by ``with``, or by :meth:`close`."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def url(self) -> str:
        """Where the server is."""
        return self._http.url

    def close(self) -> None:
        """Lets go of its connections."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"

    def graphql(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:
        """The data that GraphQL answers. An error in the answer is raised."""
        is_read = query.lstrip().startswith(("{", "query"))
        return ask(self._http, query, variables, again=is_read)

    def datasets(self) -> Datasets:
        """What there is."""
        query = "{ datasets { name rows bytes version updatedAt description columns { name type nullable unit description } } }"
        return Datasets(ask(self._http, query, again=True)["datasets"])

    def sql(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        as_of: Mapping[str, AsOf] | None = None,
    ) -> Rows:
        """The rows of a query. ``$name`` in it stands for a parameter; ``as_of`` reads datasets at versions or times."""
        body = _body(query, parameters, as_of)

        def once() -> Rows:
            with self._http.stream("POST", "/v1/sql", json=body, headers={"Accept": _ARROW}) as answer:
                versions = _versions(answer, as_of)
                with _whole(), pa.ipc.open_stream(_file(answer)) as reader:
                    arrow = reader.read_all()
            return Rows(arrow.replace_schema_metadata(None), versions)

        return self._http.tried(once)

    def sql_batches(
        self,
        query: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        as_of: Mapping[str, AsOf] | None = None,
    ) -> Iterator[pa.RecordBatch]:
        """The same, a batch at a time as they come: for more rows than there is memory for."""
        body = _body(query, parameters, as_of)
        with self._http.stream("POST", "/v1/sql", json=body, headers={"Accept": _ARROW}) as answer:
            _versions(answer, as_of)
            with _whole(), pa.ipc.open_stream(_file(answer)) as reader:
                yield from reader

    def table(
        self,
        dataset: str,
        *,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: AsOf | None = None,
        order_by: str | Sequence[Order] | None = None,
        limit: int | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> Rows:
        """The rows of a dataset.

        ``where`` is a condition in SQL: ``"cost > 0.01"``. ``order_by`` is a list of columns, ``["model", ("at", "desc")]``, or SQL:
        ``"at DESC"``.
        """
        chosen = names("columns", columns)
        shown = ", ".join(sql_name(column) for column in chosen) if chosen else "*"
        query = f"SELECT {shown} FROM {sql_name(dataset)}"
        if condition := text("where", where):
            query += f" WHERE {condition}"
        if order := ordering(order_by):
            query += f" ORDER BY {order}"
        if (most := whole("limit", limit)) is not None:
            query += f" LIMIT {most}"
        return self.sql(query, parameters, as_of=None if as_of is None else {dataset: as_of})

    def insights(self, *, where: str | None = None, limit: int = 50) -> Rows:
        """What is worth a look, as the jobs found it."""
        return self.table("insights", where=where, limit=limit)

    def watch(
        self,
        dataset: str,
        *,
        where: Mapping[str, Any] | None = None,
        columns: Sequence[str] | None = None,
        since: int | None = None,
        rows: int = CHANGED_ROWS,
    ) -> Watch:
        """Changes as they are committed, after version ``since`` or from now on; each once and in order, whatever breaks in between.

        ``where`` is a condition as GraphQL has it: ``{"team": {"eq": "billing"}}``. Of each change up to ``rows`` rows are brought along.
        """
        about = self._about(dataset)
        plain = {c["name"]: c["type"] for c in about["columns"] if is_plain(c["type"])}
        chosen = names("columns", columns) or list(plain)
        whole("since", since)
        whole("rows", rows)
        filled("where", where, 'a condition such as {"team": {"eq": "billing"}}')
        for column in chosen:
            if column not in plain:
                raise BadInput(f"columns: {dataset} has no column {column!r} that can be watched; expected some of {', '.join(plain)}")
        if not chosen:
            raise BadInput(f"{dataset} has no column that can be watched")
        readers = {field_name(c): (c, decoder(plain[c])) for c in chosen}
        root = f"{field_name(dataset)}Changed"
        side = f"{{ count nodes(first: {int(rows)}) {{ {' '.join(readers)} }} }}"
        condition = f"where: {literal(dict(where))}, " if where else ""

        def document(since: int) -> str:
            return (
                f"subscription {{ {root}({condition}since: {since}) "
                f"{{ previousVersion version collapsed added {side} removed {side} }} }}"
            )

        def read_rows(nodes: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {readers[name][0]: readers[name][1](value) for name, value in node.items() if name in readers}
                for node in nodes
            ]

        def read(data: dict[str, Any]) -> Change:
            told = data[root]
            return Change(
                dataset,
                told["previousVersion"],
                told["version"],
                told["collapsed"],
                int(told["added"]["count"]),
                int(told["removed"]["count"]),
                read_rows(told["added"]["nodes"]),
                read_rows(told["removed"]["nodes"]),
            )

        begin = int(about["version"]) if since is None else since
        return Watch(self._http, dataset, begin, document, read)

    def writer(
        self,
        dataset: str,
        *,
        producer: str | None = None,
        sequence: int = 1,
        on_conflict: OnConflict | None = None,
        add_columns: bool | None = None,
    ) -> Writer:
        """Returns a writer that sends each batch to a dataset once. ``producer`` names the sender, ``sequence`` is the first number.

        ``on_conflict`` is the policy for rows whose key exists: ``"refuse"``, ``"error"``, ``"replace"``, ``"skip"`` or ``"add"``.
        The default is the policy of the dataset. ``add_columns=True`` adds new columns, even to a dataset with fixed columns.
        """
        settings = options(on_conflict=on_conflict, add_columns=add_columns)
        return Writer(self._http, dataset, producer, sequence, settings)

    def ingest(
        self,
        dataset: str,
        rows: Any,
        *,
        producer: str | None = None,
        sequence: int = 1,
        batch_rows: int = BATCH_ROWS,
        on_conflict: OnConflict | None = None,
        add_columns: bool | None = None,
    ) -> Receipt:
        """Sends rows and returns when they are committed: a table or frame (Arrow, pandas, Polars), or dictionaries.

        A batch whose answer was lost is sent again under its number, and taken once. Who may be ended in between gives a ``producer``
        that stays the same, and continues with the ``sequence`` after the last accepted batch. ``on_conflict`` and
        ``add_columns`` are those of :meth:`writer`.
        """
        writer = self.writer(
            dataset, producer=producer, sequence=sequence, on_conflict=on_conflict, add_columns=add_columns
        )
        return writer.write(rows, batch_rows=batch_rows)

    def ingest_file(
        self,
        dataset: str,
        path: str | os.PathLike[str],
        *,
        format: str | None = None,
        producer: str | None = None,
        sequence: int = 1,
        on_conflict: OnConflict | None = None,
        add_columns: bool | None = None,
        encoding: str | None = None,
        delimiter: str | None = None,
        quote: str | None = None,
        header: bool | None = None,
        decimal_mark: str | None = None,
        thousands_mark: str | None = None,
        date_order: str | None = None,
        zone: str | None = None,
        null: str | Sequence[str] | None = None,
        rename: Mapping[str, str] | None = None,
        sheet: str | None = None,
        mostly: float | str | None = None,
        max_quarantined: int | str | None = None,
    ) -> Receipt:
        """Sends a file as one request, and returns when its rows are committed.

        ``format`` is csv, ndjson, parquet, arrow, arrow_stream or xlsx; without it the name of the file says it. How a file is
        written is stated by the same options as on the command line. The dataset stores them, and later files are read by them.

        These options hold for one file. ``rename`` says what columns of the file are called in the dataset:
        ``{"Order Id": "order_id"}``, or ``{"#3": "order_id"}`` by number. ``sheet`` is the sheet of a workbook, ``mostly`` the share
        of values that the type of a new column must fit, and ``max_quarantined`` the rows that may be rejected, as a number or as
        ``"1%"``; with more, nothing is loaded.
        """
        settings = options(
            on_conflict=on_conflict,
            add_columns=add_columns,
            encoding=encoding,
            delimiter=delimiter,
            quote=quote,
            header=header,
            decimal_mark=decimal_mark,
            thousands_mark=thousands_mark,
            date_order=date_order,
            zone=zone,
            null=null,
            rename=rename,
            sheet=sheet,
            mostly=mostly,
            max_quarantined=max_quarantined,
        )
        return Writer(self._http, dataset, producer, sequence, settings).write_file(path, format=format)

    def run(
        self,
        job: str,
        params: Mapping[str, Any] | None = None,
        *,
        wait_for_end: bool = True,
        progress: bool | None = None,
    ) -> Run:
        """Runs a job, and waits for its end with a line that says how far it is. A run that fails is raised."""
        query = f"mutation($job: String!, $params: JSON) {{ runJob(job: $job, params: $params) {{ {RUN_FIELDS} }} }}"
        about = ask(self._http, query, {"job": job, "params": dict(params or {})})["runJob"]
        if not wait_for_end:
            return Run(about)
        return Run(wait(lambda: self._run(about["id"]), job, progress)).require_success()

    def run_state(self, run: str | Run) -> Run:
        """A run as it is now."""
        return Run(self._run(run.id if isinstance(run, Run) else run))

    def export(
        self,
        dataset: str | None = None,
        *,
        sql: str | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        as_of: AsOf | None = None,
        since: int | None = None,
        format: str = "parquet",
        partition_by: Sequence[str] | None = None,
        file_rows: int | None = None,
        keep_days: int | None = None,
        to: str | os.PathLike[str] | None = None,
        progress: bool | None = None,
    ) -> Export:
        """Has a dataset or a query written to files on the server, and brings them to the folder ``to``, if that is said."""
        arguments: dict[str, Any] = {
            "dataset": dataset,
            "sql": sql,
            "where": text("where", where),
            "columns": names("columns", columns),
            "since": whole("since", since),
            "partitionBy": names("partition_by", partition_by),
            "fileRows": whole("file_rows", file_rows, 1),
            "keepDays": whole("keep_days", keep_days),
        }
        if dataset is not None and sql is not None:
            raise BadInput("expected dataset or sql, found both")
        given = {name: value for name, value in arguments.items() if value is not None}
        shown = [f"{name}: {literal(value)}" for name, value in given.items()]
        if not format.replace("_", "").isalnum():
            raise BadInput(f"format: expected parquet, csv, ndjson, json, arrow, arrow_stream or xlsx, found {format!r}")
        shown.append(f"format: {format.upper()}")
        if as_of is not None:
            at = f"version: {as_of}" if isinstance(as_of, int) else f"time: {literal(_said(as_of))}"
            shown.append(f"asOf: {{{at}}}")
        query = f"mutation {{ createExport({', '.join(shown)}) {{ {EXPORT_FIELDS} }} }}"
        about = ask(self._http, query)["createExport"]

        def look() -> dict[str, Any]:
            query = f"query($id: ID!) {{ export(id: $id) {{ {EXPORT_FIELDS} }} }}"
            about.update(ask(self._http, query, {"id": about["id"]}, again=True)["export"])
            run: dict[str, Any] = about["run"]
            return run

        Run(wait(look, "export", progress)).require_success()
        look()
        if about.get("manifest") is None:
            raise NotFound(f"export {about['id']} is whole, and not shown to this key")
        export = Export(self._http, about)
        if to is not None:
            export.download(to)
        return export

    def _run(self, run: str) -> dict[str, Any]:
        query = f"query($id: ID!) {{ run(id: $id) {{ {RUN_FIELDS} }} }}"
        about: dict[str, Any] = ask(self._http, query, {"id": run}, again=True)["run"]
        return about

    def _about(self, dataset: str) -> dict[str, Any]:
        query = "query($name: String!) { dataset(name: $name) { version columns { name type } } }"
        about: dict[str, Any] | None = ask(self._http, query, {"name": dataset}, again=True)["dataset"]
        if about is None:
            raise NotFound(f"there is no dataset {dataset!r}")
        return about


class Datasets(list[dict[str, Any]]):
    """What there is: a list of dictionaries, which a notebook shows as a table."""

    def __getitem__(self, at: Any) -> Any:
        if isinstance(at, str):
            for dataset in self:
                if dataset["name"] == at:
                    return dataset
            raise KeyError(at)
        return super().__getitem__(at)

    def names(self) -> list[str]:
        """Their names."""
        return [dataset["name"] for dataset in self]

    def _repr_html_(self) -> str:
        rows = [
            [d["name"], _count(d["rows"]), d["version"], len(d["columns"]), d["description"]] for d in self
        ]
        return table(["dataset", "rows", "version", "columns", "what it is"], rows, f"{len(self)} datasets")


def _count(rows: Any) -> str:
    return "" if rows is None else f"{int(rows):,}"


def _said(at: AsOf) -> int | str:
    return instant(at) if isinstance(at, datetime) else at


def _body(
    query: str, parameters: Mapping[str, Any] | None, as_of: Mapping[str, AsOf] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"sql": query}
    if parameters:
        body["parameters"] = {
            name: instant(value) if isinstance(value, datetime) else value for name, value in parameters.items()
        }
    if as_of is not None and not isinstance(as_of, Mapping):
        raise BadInput(f'as_of: expected versions by dataset, such as {{"model_calls": 5}}, found {as_of!r}')
    filled("as_of", as_of, 'versions by dataset, such as {"model_calls": 5}')
    if as_of:
        body["asOf"] = {name: _said(at) for name, at in as_of.items()}
    return body


def _versions(answer: httpx.Response, as_of: Mapping[str, AsOf] | None) -> dict[str, int]:
    """The versions that a query read. A dataset in ``as_of`` that it did not read is an error."""
    versions: dict[str, int] = json.loads(answer.headers.get("X-Colonnade-Versions", "{}"))
    for dataset in as_of or {}:
        if dataset not in versions:
            read = ", ".join(versions) or "no dataset"
            raise BadInput(f"as_of: the query does not read {dataset}; it reads {read}")
    return versions


@contextmanager
def _whole() -> Iterator[None]:
    """What ends before its end is told as that."""
    try:
        yield
    except (pa.ArrowInvalid, OSError) as error:
        raise Broken(f"the answer is no whole stream of Arrow: {error}") from error


def _file(answer: httpx.Response) -> io.BufferedReader:
    return io.BufferedReader(_Bytes(answer), 1 << 20)


class _Bytes(io.RawIOBase):
    """An answer as a file, which is read as it comes."""

    def __init__(self, answer: httpx.Response) -> None:
        self._pieces, self._left = answer.iter_bytes(), b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = next(self._pieces, None)
            if piece is None:
                return 0
            self._left = piece
        taken = self._left[: len(buffer)]
        buffer[: len(taken)] = taken
        self._left = self._left[len(taken) :]
        return len(taken)


__all__ = ["AsOf", "Client", "Datasets", "connect"]
