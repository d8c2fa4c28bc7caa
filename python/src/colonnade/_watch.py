"""Changes as they are committed: each version once and in order, also when the connection breaks in between."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import ConnectionClosed, InvalidHandshake, WebSocketException
from websockets.sync.client import ClientConnection
from websockets.sync.client import connect as connect_sync
from websockets.typing import Subprotocol

from ._errors import (
    ColonnadeError,
    Forbidden,
    Unauthenticated,
    Unavailable,
    error_of_graphql,
)
from ._http import Http, wait_before

_PROTOCOL = Subprotocol("graphql-transport-ws")
#: What a server closes a socket with whose client it lets in no longer.
_NOT_LET_IN: dict[int, type[ColonnadeError]] = {4401: Unauthenticated, 4403: Forbidden}
#: Longest message.
_MESSAGE_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class Change:
    """What came and went between two versions, net."""

    dataset: str
    previous_version: int
    version: int
    #: Whether it tells of several versions at once, since its reader was slower than they came.
    collapsed: bool
    #: How many rows came; `added` has the first of them.
    added_count: int
    removed_count: int
    added: list[dict[str, Any]] = field(default_factory=list)
    removed: list[dict[str, Any]] = field(default_factory=list)

    def to_arrow(self) -> pa.Table:
        """The rows that came, as an Arrow table."""
        return pa.Table.from_pylist(self.added)

    def __repr__(self) -> str:
        return f"<Change of {self.dataset} {self.previous_version} → {self.version}: +{self.added_count:,} −{self.removed_count:,}>"


class Watch:
    """Changes of a dataset, for ``for`` and for ``async for``. It goes on until it is closed, or the dataset is gone."""

    def __init__(
        self,
        http: Http,
        dataset: str,
        since: int,
        document: Callable[[int], str],
        read: Callable[[dict[str, Any]], Change],
    ) -> None:
        self._http, self._document, self._read = http, document, read
        self.dataset = dataset
        #: The last version that was told, from which another process can go on.
        self.since = since
        self._is_closed = False
        #: That of ``for``, which waits in it.
        self._socket: ClientConnection | None = None

    def close(self) -> None:
        """Ends it."""
        self._is_closed = True
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()

    def _url(self) -> str:
        return "ws" + self._http.url.removeprefix("http") + "/graphql"

    def _headers(self) -> dict[str, str]:
        return dict(self._http.headers)

    def _subscribe(self) -> str:
        payload = {"query": self._document(self.since)}
        return json.dumps({"id": "1", "type": "subscribe", "payload": payload})

    def __iter__(self) -> Iterator[Change]:
        trying = _Trying(self)
        while not self._is_closed:
            try:
                with connect_sync(
                    self._url(),
                    subprotocols=[_PROTOCOL],
                    additional_headers=self._headers(),
                    max_size=_MESSAGE_BYTES_MAX,
                ) as socket:
                    self._socket = socket
                    socket.send(json.dumps({"type": "connection_init"}))
                    while True:
                        step = self._step(json.loads(socket.recv()))
                        if step.is_connected:
                            trying.connected()
                        if step.answer is not None:
                            socket.send(step.answer)
                        if step.change is not None:
                            yield step.change
                        if step.has_ended:
                            return
            except (WebSocketException, OSError, TimeoutError) as error:
                if self._is_closed:
                    return
                time.sleep(trying.wait(error))

    async def __aiter__(self) -> AsyncIterator[Change]:
        trying = _Trying(self)
        while not self._is_closed:
            try:
                async with connect_async(
                    self._url(),
                    subprotocols=[_PROTOCOL],
                    additional_headers=self._headers(),
                    max_size=_MESSAGE_BYTES_MAX,
                ) as socket:
                    await socket.send(json.dumps({"type": "connection_init"}))
                    while not self._is_closed:
                        step = self._step(json.loads(await socket.recv()))
                        if step.is_connected:
                            trying.connected()
                        if step.answer is not None:
                            await socket.send(step.answer)
                        if step.change is not None:
                            yield step.change
                        if step.has_ended:
                            return
            except (WebSocketException, OSError, TimeoutError) as error:
                if self._is_closed:
                    return
                await asyncio.sleep(trying.wait(error))

    def _step(self, message: dict[str, Any]) -> _Step:
        kind = message.get("type")
        if kind == "connection_ack":
            return _Step(answer=self._subscribe(), is_connected=True)
        if kind == "ping":
            return _Step(answer=json.dumps({"type": "pong"}))
        if kind == "complete":
            return _Step(has_ended=True)
        if kind == "error":
            raise error_of_graphql(message["payload"][0])
        if kind != "next":
            return _Step()
        payload = message["payload"]
        if payload.get("errors"):
            raise error_of_graphql(payload["errors"][0])
        change = self._read(payload["data"])
        if change.version <= self.since:
            return _Step()
        self.since = change.version
        return _Step(change=change)


@dataclass
class _Step:
    answer: str | None = None
    change: Change | None = None
    #: Whether the server has accepted the connection.
    is_connected: bool = False
    has_ended: bool = False


class _Trying:
    """When to reconnect, and until when. The patience counts from the moment at which the last connection broke."""

    def __init__(self, watch: Watch) -> None:
        self._http, self._attempt, self._is_connected = watch._http, 0, False
        self._until = time.monotonic() + self._http.patience

    def connected(self) -> None:
        self._is_connected = True

    def wait(self, error: Exception) -> float:
        if isinstance(error, ConnectionClosed) and error.rcvd is not None:
            not_let_in = _NOT_LET_IN.get(error.rcvd.code)
            if not_let_in is not None:
                raise not_let_in(error.rcvd.reason or "the server lets this key in no longer") from error
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(error, InvalidHandshake) and status in (401, 403):
            raise Unauthenticated(f"the server refuses the connection: {error}") from error
        if self._is_connected:
            self._is_connected, self._attempt = False, 0
            self._until = time.monotonic() + self._http.patience
        if time.monotonic() > self._until:
            raise Unavailable(f"{self._http.url} can not be reached: {error}") from error
        wait = wait_before(self._attempt)
        self._attempt += 1
        return wait
