"""Rows on their way to a dataset: each batch once, however often it has to be sent."""

from __future__ import annotations

import io
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from ._errors import BadInput
from ._http import Http
from ._names import filled, whole

#: Rows of one request.
BATCH_ROWS = 50_000
_ARROW = "application/vnd.apache.arrow.stream"
#: The content type of each format, and its file name extensions.
_FORMATS = {
    "csv": ("text/csv", {".csv", ".tsv", ".tab", ".psv"}),
    "ndjson": ("application/x-ndjson", {".ndjson", ".jsonl"}),
    "parquet": ("application/vnd.apache.parquet", {".parquet", ".parq", ".pq"}),
    "arrow": ("application/vnd.apache.arrow.file", {".arrow", ".feather", ".ipc"}),
    "arrow_stream": (_ARROW, {".arrows", ".stream"}),
    "xlsx": ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", {".xlsx", ".xlsm"}),
}

#: What happens to a row whose key the dataset already has.
OnConflict = Literal["refuse", "error", "replace", "skip", "add"]


def options(
    **given: str | bool | float | Sequence[str] | Mapping[str, str] | None,
) -> list[tuple[str, str]]:
    """Options of a load as parameters of a URL. The server checks their values."""
    parameters: list[tuple[str, str]] = []
    for name, value in given.items():
        if value is None:
            continue
        if isinstance(value, bool):
            parameters.append((name, "true" if value else "false"))
        elif isinstance(value, str):
            parameters.append((name, value))
        elif name == "rename":
            filled(name, value, 'names by those in the file, such as {"Order Id": "order_id"}')
            if not isinstance(value, Mapping):
                raise BadInput(f'rename: expected names by those in the file, such as {{"Order Id": "order_id"}}, found {value!r}')
            parameters.extend((name, f"{column}={to}") for column, to in value.items())
        elif name in ("mostly", "max_quarantined") and isinstance(value, (int, float)):
            parameters.append((name, repr(value)))
        elif name == "null" and isinstance(value, Sequence):
            filled(name, value, 'a text such as "n/a", or several')
            parameters.extend((name, null) for null in value)
        else:
            raise BadInput(f"{name}: expected a text, found {value!r}")
    return parameters


@dataclass(frozen=True)
class Receipt:
    """What became of rows that were sent. They are committed."""

    accepted: int
    #: Rows that do not fit; they are in the dataset's quarantine, with the reason.
    quarantined: int
    #: The version that has them.
    version: int
    #: Requests that had been taken before, so that nothing was written again.
    duplicates: int = 0
    #: Columns that the dataset had not before.
    added_columns: list[str] = field(default_factory=list)
    #: Stored rows that were replaced by rows with the same keys.
    replaced: int = 0
    #: Rows that were skipped because their keys already exist.
    skipped: int = 0

    def _and(self, more: Receipt) -> Receipt:
        return Receipt(
            self.accepted + more.accepted,
            self.quarantined + more.quarantined,
            max(self.version, more.version),
            self.duplicates + more.duplicates,
            self.added_columns + more.added_columns,
            self.replaced + more.replaced,
            self.skipped + more.skipped,
        )


class Writer:
    """Sends batches to one dataset under one name, numbered one by one: the server knows what it has."""

    def __init__(
        self,
        http: Http,
        dataset: str,
        producer: str | None,
        sequence: int,
        parameters: Sequence[tuple[str, str]] = (),
    ) -> None:
        if producer is not None and not producer.strip():
            raise BadInput(f"producer: expected a name, found {producer!r}; leave it out for a new one")
        whole("sequence", sequence)
        self._http, self.dataset, self._parameters = http, dataset, list(parameters)
        #: The name under which batches are numbered.
        self.producer = producer or f"python-{uuid.uuid4()}"
        #: The number of the next batch. Who goes on after a restart begins with the one behind the last that was taken.
        self.sequence = sequence

    def write(self, rows: Any, *, batch_rows: int = BATCH_ROWS) -> Receipt:
        """Sends rows and returns when they are committed: a table or frame (Arrow, pandas, Polars), or dictionaries."""
        whole("batch_rows", batch_rows, 1)
        total: Receipt | None = None
        for body in _bodies(rows, batch_rows):
            receipt = self._send(body, _ARROW)
            self.sequence += 1
            total = total._and(receipt) if total else receipt
        return total or Receipt(0, 0, 0)

    def write_file(self, path: str | os.PathLike[str], *, format: str | None = None) -> Receipt:
        """Sends a file as one request, and returns when its rows are committed."""
        file = Path(path)
        headers = {"Content-Encoding": "gzip"} if file.suffix == ".gz" else {}
        receipt = self._send(file.read_bytes(), _content_type(file, format), headers)
        self.sequence += 1
        return receipt

    def _send(self, body: bytes, content_type: str, more: Mapping[str, str] | None = None) -> Receipt:
        headers = {
            **(more or {}),
            "Content-Type": content_type,
            "Producer": self.producer,
            "Sequence": str(self.sequence),
        }
        response = self._http.request(
            "POST",
            f"/v1/ingest/{self.dataset}",
            again=True,
            content=body,
            headers=headers,
            params=self._parameters,
        )
        told = response.json()
        is_duplicate = bool(told["duplicate"])
        return Receipt(
            told["accepted"],
            told["quarantined"],
            told["version"],
            int(is_duplicate),
            list(told.get("added_columns", [])),
            int(told.get("replaced", 0)),
            int(told.get("skipped", 0)),
        )


def _content_type(file: Path, format: str | None) -> str:
    if format is not None:
        if format in _FORMATS:
            return _FORMATS[format][0]
        raise BadInput(f"format: expected one of {', '.join(_FORMATS)}, found {format!r}")
    end = Path(file.stem).suffix if file.suffix == ".gz" else file.suffix
    for content_type, ends in _FORMATS.values():
        if end.lower() in ends:
            return content_type
    raise BadInput(f"{file.name}: its name does not say its format; expected format= one of {', '.join(_FORMATS)}")


def _bodies(rows: Any, batch_rows: int) -> Iterator[bytes]:
    for batch in _batches(rows):
        for at in range(0, batch.num_rows, batch_rows):
            out = io.BytesIO()
            piece = batch.slice(at, batch_rows)
            with pa.ipc.new_stream(out, piece.schema) as writer:
                writer.write_table(piece)
            yield out.getvalue()


def _batches(rows: Any) -> Iterator[pa.Table]:
    if isinstance(rows, pa.Table):
        yield rows
    elif isinstance(rows, pa.RecordBatch):
        yield pa.Table.from_batches([rows])
    elif isinstance(rows, pa.RecordBatchReader):
        for batch in rows:
            yield pa.Table.from_batches([batch])
    elif hasattr(rows, "to_arrow") and not hasattr(rows, "iloc"):
        yield rows.to_arrow()
    elif hasattr(rows, "iloc"):
        # A named index becomes a column. Row numbers do not.
        is_named = any(name is not None for name in rows.index.names)
        yield pa.Table.from_pandas(rows.reset_index() if is_named else rows, preserve_index=False)
    elif isinstance(rows, dict):
        yield pa.Table.from_pylist([rows])
    elif isinstance(rows, Iterable):
        yield from _of_dictionaries(rows)
    else:
        raise TypeError(
            f"rows: expected a table or frame (Arrow, pandas, Polars), or dictionaries, found {type(rows).__name__}"
        )


def _of_dictionaries(rows: Iterable[Any]) -> Iterator[pa.Table]:
    held: list[dict[str, Any]] = []
    for row in rows:
        if isinstance(row, (pa.Table, pa.RecordBatch)):
            yield from _batches(row)
            continue
        if not isinstance(row, dict):
            raise TypeError(f"rows: expected dictionaries, found {type(row).__name__}")
        held.append(row)
        if len(held) >= BATCH_ROWS:
            yield _of(held)
            held = []
    if held:
        yield _of(held)


def _of(rows: list[dict[str, Any]]) -> pa.Table:
    names: dict[str, None] = {}
    for row in rows:
        names.update(dict.fromkeys(row))
    return pa.table({name: pa.array([row.get(name) for row in rows]) for name in names})
