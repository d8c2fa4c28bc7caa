"""How datasets and columns are called in GraphQL, and their values as Python has them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Sequence
from datetime import date, datetime
from decimal import Decimal
from operator import index
from typing import Any

from ._errors import BadInput


def field_name(name: str) -> str:
    """``model_calls`` as ``modelCalls``; an underscore before a digit stays."""
    return re.sub(r"_([a-z])", lambda found: found.group(1).upper(), name)


def literal(value: Any) -> str:
    """A value as GraphQL writes it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {literal(of)}" for name, of in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(literal(of) for of in value) + "]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Decimal):
        return quoted(str(value))
    if isinstance(value, datetime):
        return quoted(instant(value))
    if isinstance(value, date):
        return quoted(value.isoformat())
    if isinstance(value, str):
        return quoted(value)
    raise TypeError(f"expected a value that GraphQL has, found {type(value).__name__}")


def quoted(text: str) -> str:
    """A text as GraphQL writes it."""
    out = []
    for letter in text:
        if letter in '"\\':
            out.append("\\" + letter)
        elif letter < " " or letter == "\x7f":
            out.append(f"\\u{ord(letter):04x}")
        else:
            out.append(letter)
    return '"' + "".join(out) + '"'


def instant(at: datetime) -> str:
    """As RFC 3339 has it; one without a zone is refused, as nobody knows when it is."""
    if at.tzinfo is None:
        raise ValueError(f"{at!r} has no time zone; expected one, such as timezone.utc")
    return at.isoformat()


def sql_name(name: str) -> str:
    """A name as SQL quotes it."""
    return '"' + name.replace('"', '""') + '"'


_DIRECTIONS = {"asc": "ASC", "desc": "DESC"}

#: A column to order by: its name, or its name and ``"asc"`` or ``"desc"``.
Order = str | tuple[str, str]


def names(what: str, given: Sequence[str] | None) -> list[str] | None:
    """Column names as a list. A single text is refused, because its letters would become names."""
    if given is None:
        return None
    if isinstance(given, str):
        raise BadInput(f"{what}: expected a list of names, such as [{given!r}], found {given!r}")
    listed = list(given)
    for name in listed:
        if not isinstance(name, str):
            raise BadInput(f"{what}: expected names of columns, found {name!r}")
    if not listed:
        raise BadInput(f"{what}: expected at least one name, found an empty list; leave it out for all columns")
    return listed


def text(what: str, given: str | None) -> str | None:
    """Checks that a text, if given, is not empty."""
    if given is None:
        return None
    if not isinstance(given, str) or not given.strip():
        raise BadInput(f"{what}: expected a text such as \"cost > 0.01\", found {given!r}; leave it out for none")
    return given


def filled(what: str, given: Any, example: str) -> None:
    """An empty collection is refused: it would do nothing."""
    if given is not None and not given:
        raise BadInput(f"{what}: expected {example}, found {given!r}; leave it out for none")


def whole(what: str, given: int | None, least: int = 0) -> int | None:
    """Checks that a number, if given, is whole and at least ``least``."""
    if given is None:
        return None
    # NumPy's integers are not `int`.
    if not isinstance(given, bool) and hasattr(given, "__index__") and (number := index(given)) >= least:
        return number
    raise BadInput(f"{what}: expected a whole number of at least {least}, found {given!r}")


def ordering(given: str | Sequence[Order] | None) -> str | None:
    """The text after ``ORDER BY``: SQL unchanged, or quoted column names."""
    if given is None or isinstance(given, str):
        return text("order_by", given)
    pair = tuple(given)
    if isinstance(given, tuple) and len(pair) == 2 and _direction(pair[1]):
        return _ordered(pair)
    ordered = [_ordered(one) for one in given]
    if not ordered:
        raise BadInput("order_by: expected at least one column, found an empty list; leave it out for any order")
    return ", ".join(ordered)


def _direction(given: Any) -> str | None:
    return _DIRECTIONS.get(given.lower()) if isinstance(given, str) else None


def _ordered(given: Any) -> str:
    if isinstance(given, str):
        name, _, direction = given.rpartition(" ")
        if name and _direction(direction):
            raise BadInput(f"order_by: expected ({name!r}, {direction.lower()!r}) in a list, found {given!r}")
        return sql_name(given)
    pair = tuple(given) if isinstance(given, (tuple, list)) else ()
    if len(pair) == 2 and isinstance(pair[0], str) and (known := _direction(pair[1])):
        return f"{sql_name(pair[0])} {known}"
    raise BadInput(f'order_by: expected a name or a pair such as ("at", "desc"), found {given!r}')


def decoder(kind: str) -> Callable[[Any], Any]:
    """What makes a Python value of one of this column type, as GraphQL answers it."""
    base = kind.split("(")[0].split("<")[0].strip().lower()
    if base in {"int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}:
        return _known(int)
    if base.startswith("decimal"):
        return _known(lambda value: Decimal(str(value)))
    if base.startswith("timestamp"):
        return _known(_instant)
    if base == "date":
        return _known(date.fromisoformat)
    if base == "binary":
        return _known(base64.b64decode)
    if base.startswith("float"):
        return _known(float)
    return lambda value: value


def _known(read: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else read(value)


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def is_plain(kind: str) -> bool:
    """Whether a column of this type is asked for without saying what of it."""
    return "struct" not in kind.lower()
