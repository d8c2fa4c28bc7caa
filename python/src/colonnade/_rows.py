"""Rows, and at which versions they were read."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

#: Rows that a notebook shows.
SHOWN_ROWS = 10
#: Letters of a cell that a notebook shows.
SHOWN_LETTERS = 80


class Rows:
    """Rows of a table or a query. They are an Arrow table, and become what you like to work with."""

    def __init__(self, arrow: pa.Table, versions: Mapping[str, int]) -> None:
        self.arrow = arrow
        #: The datasets that were read, each at its version: what to state for others to find the same.
        self.versions = dict(versions)

    @property
    def version(self) -> int:
        """The version of the one dataset that was read."""
        if len(self.versions) != 1:
            raise ValueError(f"expected rows of one dataset; these are of {self.versions}")
        return next(iter(self.versions.values()))

    def to_arrow(self) -> pa.Table:
        """As an Arrow table."""
        return self.arrow

    def to_pandas(self, **options: Any) -> Any:
        """As a pandas frame."""
        return self.arrow.to_pandas(**options)

    def to_polars(self) -> Any:
        """As a Polars frame."""
        try:
            import polars
        except ImportError as error:
            raise ImportError("Polars is not there; pip install 'colonnade[polars]'") from error
        return polars.from_arrow(self.arrow)

    def to_pylist(self) -> list[dict[str, Any]]:
        """As a list of dictionaries."""
        rows: list[dict[str, Any]] = self.arrow.to_pylist()
        return rows

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """For whatever takes Arrow's streams: DuckDB, Polars, pandas."""
        return self.arrow.__arrow_c_stream__(requested_schema)

    @property
    def columns(self) -> list[str]:
        """Their names."""
        names: list[str] = self.arrow.column_names
        return names

    def __len__(self) -> int:
        rows: int = self.arrow.num_rows
        return rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.arrow.to_batches():
            yield from batch.to_pylist()

    def __repr__(self) -> str:
        return f"<Rows: {len(self):,} × {len(self.columns)}, {_said(self.versions)}>"

    def _repr_html_(self) -> str:
        shown = self.arrow.slice(0, SHOWN_ROWS).to_pylist()
        caption = f"{len(self):,} rows, {_said(self.versions)}"
        more = len(self) - len(shown)
        if more > 0:
            caption += f"; the first {len(shown)} are shown"
        types = [str(field.type) for field in self.arrow.schema]
        return table(self.columns, [[row[name] for name in self.columns] for row in shown], caption, types)


def table(
    names: list[str],
    rows: list[list[Any]],
    caption: str = "",
    types: list[str] | None = None,
) -> str:
    """A table for a notebook."""
    heads = [
        f"<th>{html.escape(name)}"
        + (f"<br><small>{html.escape(types[at])}</small>" if types else "")
        + "</th>"
        for at, name in enumerate(names)
    ]
    lines = ["<tr>" + "".join(f"<td>{_cell(value)}</td>" for value in row) + "</tr>" for row in rows]
    return (
        "<table>"
        + (f"<caption>{html.escape(caption)}</caption>" if caption else "")
        + f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    )


def _cell(value: Any) -> str:
    if value is None:
        return "<i>null</i>"
    text = str(value)
    if len(text) > SHOWN_LETTERS:
        text = text[: SHOWN_LETTERS - 1] + "…"
    return html.escape(text)


def _said(versions: Mapping[str, int]) -> str:
    said = ", ".join(f"{name}@{version}" for name, version in sorted(versions.items()))
    return said or "of no dataset"
