"""A way to a server that breaks off, loses answers and falls silent."""

import random
import socket
import threading

#: Every so many-th answer to rows that were sent is lost, after the server took them.
ANSWERS_BETWEEN = 7
#: A WebSocket is cut after at most so many bytes.
SOCKET_BYTES_MAX = 60_000


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Breaking:
    def __init__(self, to: int, chance: random.Random) -> None:
        self._to = to
        self._random: random.Random | None = chance
        self._lock = threading.Lock()
        self._answers = 0
        self._sockets: list[Passing] = []
        self.answers_lost = self.sockets_cut = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()

    def freeze(self, count: int) -> bool:
        """Where so many WebSockets are open, they stay so, and nothing passes on them any more. Later ones are whole."""
        with self._lock:
            is_open = [passing for passing in self._sockets if not passing.has_ended]
            if len(is_open) != count:
                return False
            for passing in is_open:
                passing.is_frozen = True
            self._random = None
            return True

    def _serve(self) -> None:
        while True:
            client, _ = self._listener.accept()
            threading.Thread(target=Passing(self, client).run, daemon=True).start()

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._to))

    def loses_answer(self) -> bool:
        with self._lock:
            self._answers += 1
            is_lost = self._answers % ANSWERS_BETWEEN == 0
            self.answers_lost += is_lost
            return is_lost

    def opens_socket(self, passing: "Passing") -> int | None:
        """After how many bytes it is cut."""
        with self._lock:
            self._sockets.append(passing)
            return self._random and self._random.randrange(SOCKET_BYTES_MAX)

    def cuts_socket(self) -> None:
        with self._lock:
            self.sockets_cut += 1


class Passing:
    """One connection."""

    def __init__(self, way: Breaking, client: socket.socket) -> None:
        self._way, self._client = way, client
        self._sends_rows = self._is_socket = False
        self._left: int | None = None
        self.is_frozen = self.has_ended = False

    def run(self) -> None:
        try:
            server = self._way.connect()
        except OSError:
            self._client.close()
            return
        threading.Thread(target=self._forth, args=(server,), daemon=True).start()
        try:
            while data := server.recv(65536):
                if not self._passes(data):
                    break
        except OSError:
            pass
        # On a frozen one its client is not told that the server went, either.
        if not self.is_frozen:
            self._end(server)

    def _passes(self, data: bytes) -> bool:
        if self.is_frozen:
            return True
        if self._sends_rows and data.startswith(b"HTTP/1.1 200") and self._way.loses_answer():
            return False
        if self._left is not None:
            data, self._left = data[: self._left], self._left - len(data)
        self._client.sendall(data)
        if self._left is not None and self._left <= 0:
            self._way.cuts_socket()
            return False
        return True

    def _forth(self, server: socket.socket) -> None:
        try:
            while data := self._client.recv(65536):
                if data.startswith(b"GET /graphql"):
                    self._left = self._way.opens_socket(self)
                self._sends_rows = self._sends_rows or data.startswith(b"POST /v1/ingest/")
                if not self.is_frozen:
                    server.sendall(data)
        except OSError:
            pass
        self._end(server)

    def _end(self, server: socket.socket) -> None:
        self.has_ended = True
        for end in (self._client, server):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()
