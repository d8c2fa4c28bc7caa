"""How datasets and columns are called in GraphQL, and their values as Python has them."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from typing import Any


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
