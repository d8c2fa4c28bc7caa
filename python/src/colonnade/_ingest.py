"""Rows on their way to a dataset: each batch once, however often it has to be sent."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from ._http import Http

#: Rows of one request.
BATCH_ROWS = 50_000
_ARROW = "application/vnd.apache.arrow.stream"


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

    def _and(self, more: Receipt) -> Receipt:
        return Receipt(
            self.accepted + more.accepted,
            self.quarantined + more.quarantined,
            max(self.version, more.version),
            self.duplicates + more.duplicates,
            self.added_columns + more.added_columns,
        )


class Writer:
    """Sends batches to one dataset under one name, numbered one by one: the server knows what it has."""

    def __init__(self, http: Http, dataset: str, producer: str | None, sequence: int) -> None:
        self._http, self.dataset = http, dataset
        #: The name under which batches are numbered.
        self.producer = producer or f"python-{uuid.uuid4()}"
        #: The number of the next batch. Who goes on after a restart begins with the one behind the last that was taken.
        self.sequence = sequence

    def write(self, rows: Any, *, batch_rows: int = BATCH_ROWS) -> Receipt:
        """Sends rows and returns when they are committed: a table or frame (Arrow, pandas, Polars), or dictionaries."""
        total: Receipt | None = None
        for body in _bodies(rows, batch_rows):
            receipt = self._send(body)
            self.sequence += 1
            total = total._and(receipt) if total else receipt
        return total or Receipt(0, 0, 0)

    def _send(self, body: bytes) -> Receipt:
        headers = {
            "Content-Type": _ARROW,
            "Producer": self.producer,
            "Sequence": str(self.sequence),
        }
        response = self._http.request(
            "POST", f"/v1/ingest/{self.dataset}", again=True, content=body, headers=headers
        )
        told = response.json()
        is_duplicate = bool(told["duplicate"])
        return Receipt(
            told["accepted"],
            told["quarantined"],
            told["version"],
            int(is_duplicate),
            list(told.get("added_columns", [])),
        )


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
        yield pa.Table.from_pandas(rows, preserve_index=False)
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
