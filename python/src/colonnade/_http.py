"""Requests, and when they are sent again."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx

from ._errors import ColonnadeError, Unavailable, error_of, error_of_graphql

T = TypeVar("T")

#: Answers after which the same request may be sent again.
AGAIN = {429, 502, 503, 504}
#: Longest wait between two tries, in seconds.
WAIT_MAX = 10.0


def wait_before(attempt: int, told: str | None = None) -> float:
    """How long to wait before the next try: what the server said, or twice as long each time."""
    try:
        return min(float(told), WAIT_MAX) if told else _doubled(attempt)
    except ValueError:
        return _doubled(attempt)


def _doubled(attempt: int) -> float:
    return min(0.1 * 2.0**attempt, WAIT_MAX) * random.uniform(0.5, 1.0)


class Http:
    """A server, and who asks it."""

    def __init__(self, url: str, key: str | None, timeout: float, patience: float) -> None:
        headers = {"User-Agent": "colonnade-python"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self.url = url.rstrip("/")
        self.headers = headers
        self.patience = patience
        self._client = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(timeout, read=None)
        )

    def close(self) -> None:
        self._client.close()

    def request(self, method: str, path: str, *, again: bool, **options: Any) -> httpx.Response:
        """An answer whose status is no error. `again`: whether it does no harm to send it twice."""

        def once() -> httpx.Response:
            response = self._client.request(method, path, **options)
            _require(response)
            return response

        return self.tried(once) if again else told(once)

    @contextmanager
    def stream(self, method: str, path: str, **options: Any) -> Iterator[httpx.Response]:
        """An answer that comes bit by bit; for use in :meth:`tried` or :func:`told`."""
        with self._client.stream(method, path, **options) as response:
            if response.is_error:
                response.read()
            _require(response)
            yield response

    def tried(self, once: Callable[[], T]) -> T:
        """Tries again what may pass, for as long as `patience` says."""
        until = time.monotonic() + self.patience
        attempt = 0
        while True:
            try:
                return once()
            except httpx.TransportError as error:
                failed: ColonnadeError = Unavailable(_said(self.url, error))
                failed.__cause__ = error
                told = None
            except _Busy as busy:
                failed, told = busy.error, busy.told
            wait = wait_before(attempt, told)
            if time.monotonic() + wait > until:
                raise failed
            attempt += 1
            time.sleep(wait)


class _Busy(Exception):
    """The server says that it may be asked again."""

    def __init__(self, error: ColonnadeError, told: str | None) -> None:
        super().__init__(str(error))
        self.error, self.told = error, told


def told(once: Callable[[], T]) -> T:
    """Once, and what goes wrong as it is told."""
    try:
        return once()
    except _Busy as busy:
        raise busy.error from None
    except httpx.TransportError as error:
        raise Unavailable(f"the server can not be reached: {error}") from error


def _said(url: str, error: Exception) -> str:
    return f"{url} can not be reached: {error or type(error).__name__}"


def _require(response: httpx.Response) -> None:
    if not response.is_error:
        return
    error = error_of_response(response)
    if response.status_code in AGAIN:
        raise _Busy(error, response.headers.get("Retry-After"))
    raise error


def error_of_response(response: httpx.Response) -> ColonnadeError:
    """What an answer says is wrong."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict):
        errors = body.get("errors")
        if isinstance(errors, list) and errors:
            return error_of_graphql(errors[0])
        told = body.get("error", body)
        if isinstance(told, dict) and "message" in told:
            request = told.get("requestId") or told.get("request_id")
            return error_of(str(told.get("code", "")), str(told["message"]), request)
    text = response.text.strip() or response.reason_phrase
    return error_of("", f"status {response.status_code}: {text[:500]}")


def ask(http: Http, query: str, variables: Mapping[str, Any] | None = None, *, again: bool = False) -> Any:
    """What GraphQL answers; the first error of it, where there is one."""
    body = {"query": query, "variables": dict(variables or {})}
    answer = http.request("POST", "/graphql", again=again, json=body).json()
    if answer.get("errors"):
        raise error_of_graphql(answer["errors"][0])
    return answer["data"]
