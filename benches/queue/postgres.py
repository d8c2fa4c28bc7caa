"""A PostgreSQL server of the bench's own, which syncs what it commits and is gone with it."""

import os
import pathlib
import shutil
import socket
import subprocess
import tempfile


def programs():
    """The folder that has all that is needed: of Debian's packages the newest."""
    folders = [pathlib.Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    folders += sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    has_all = lambda folder: all((folder / name).exists() for name in ("initdb", "pg_ctl", "psql"))
    return next(filter(has_all, folders), None)


class Postgres:
    def __init__(self):
        self.programs = programs()
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="colonnade-bench-postgres-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if os.geteuid() == 0:
            # It refuses to run as root.
            shutil.chown(self.folder, "nobody")
        self.run("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "postgres")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-l", self.folder / "log", "-o", options, "start")

    def database(self, name):
        address = ["-h", "127.0.0.1", "-p", self.port, "-U", "postgres"]
        self.run("psql", *address, "-d", "postgres", "-c", f"CREATE DATABASE {name}")
        return f"postgres@127.0.0.1:{self.port}/{name}"

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, program, *arguments):
        command = [str(self.programs / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", "nobody", "--", *command]
        subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL)
