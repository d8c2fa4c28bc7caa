"""What goes wrong, by the code that the server gives it."""

from __future__ import annotations

from typing import Any


class ColonnadeError(Exception):
    """An error that the server told, or that kept it from answering."""

    code = "INTERNAL"

    def __init__(self, message: str, *, request_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        #: What the server's log calls the request.
        self.request_id = request_id

    def __str__(self) -> str:
        told = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.code}: {self.message}{told}"


class BadInput(ColonnadeError):
    """What was asked makes no sense to the server; the message says what would."""

    code = "BAD_INPUT"


class NotFound(ColonnadeError):
    """There is no such thing, or it is not shown to who asks."""

    code = "NOT_FOUND"


class Conflict(ColonnadeError):
    """Something else is there already, or came in between."""

    code = "CONFLICT"


class Unauthenticated(ColonnadeError):
    """No key was shown, or one that is of no use."""

    code = "UNAUTHENTICATED"


class Forbidden(ColonnadeError):
    """The key does not open this."""

    code = "FORBIDDEN"


class LimitExceeded(ColonnadeError):
    """It is more than may be asked for, at once or altogether."""

    code = "LIMIT_EXCEEDED"


class Unavailable(ColonnadeError):
    """The server can not be reached, or can not answer now. To ask again may help."""

    code = "STORAGE_UNAVAILABLE"


class Broken(ColonnadeError):
    """An answer ended before its end, or holds other bytes than were written."""

    code = "BROKEN"


class RunFailed(ColonnadeError):
    """A run ended without a result."""

    code = "FAILED"


_BY_CODE: dict[str, type[ColonnadeError]] = {
    kind.code: kind
    for kind in (BadInput, NotFound, Conflict, Unauthenticated, Forbidden, LimitExceeded)
}
for _code in ("STORAGE_UNAVAILABLE", "RESOURCES_EXHAUSTED", "DEVICE_UNAVAILABLE", "TIMEOUT"):
    _BY_CODE[_code] = Unavailable


def error_of(code: str, message: str, request_id: str | None = None) -> ColonnadeError:
    """The error of a code."""
    error = _BY_CODE.get(code, ColonnadeError)(message, request_id=request_id)
    error.code = code or error.code
    return error


def error_of_graphql(error: dict[str, Any]) -> ColonnadeError:
    """The error that stands in an answer of GraphQL."""
    extensions = error.get("extensions") or {}
    path = ".".join(str(part) for part in error.get("path") or [])
    message = str(error.get("message", "an error without a message"))
    if path:
        message = f"{path}: {message}"
    return error_of(str(extensions.get("code", "")), message, extensions.get("requestId"))
