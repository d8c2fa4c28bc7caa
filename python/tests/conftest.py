"""A real server for the tests: COLONNADE_BINARY, or the one of this checkout."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import colonnade

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server that can be killed and started again on its port."""

    def __init__(self, data: Path) -> None:
        self.data, self.port = data, free_port()
        self.binary = os.environ.get("COLONNADE_BINARY", str(ROOT / "target/debug/colonnade"))
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cli(self, *arguments: str) -> str:
        command = [self.binary, "--data", str(self.data), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
        return done.stdout

    def start(self) -> None:
        command = [self.binary, "--data", str(self.data), "serve", "--listen", f"127.0.0.1:{self.port}"]
        self._process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if "listening on" in line:
                break
        else:
            raise AssertionError("".join(said))
        # What it says later must not fill the pipe.
        stderr = self._process.stderr
        threading.Thread(target=lambda: [None for _ in stderr], daemon=True).start()

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        self.kill()
        self.start()


@pytest.fixture()
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "data")
    server.start()
    yield server
    server.kill()


@pytest.fixture()
def client(server: Server) -> Iterator[colonnade.Client]:
    with colonnade.connect(server.url, patience=30) as client:
        yield client
