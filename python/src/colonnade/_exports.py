"""Exports: rows as files that prove what they hold, brought here whole or not at all."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import httpx

from ._errors import Broken
from ._http import Http, ask
from ._rows import table

#: What is asked of an export.
FIELDS = """id state rows bytes expiresAt requestedAt manifest
  files { name rows bytes sha256 path }
  run { id job state progress waitsFor error { code message } }"""

_PIECE_BYTES = 1 << 20


class Export:
    """Files that hold what was asked for, and say what that is."""

    def __init__(self, http: Http, about: dict[str, Any]) -> None:
        self._http, self._about = http, about

    @property
    def id(self) -> str:
        """What it is called on the server."""
        return str(self._about["id"])

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return int(self._about["rows"])

    @property
    def manifest(self) -> dict[str, Any]:
        """What it holds: datasets at versions, condition, columns with units, who and when, and each file's digest."""
        manifest: dict[str, Any] = self._about["manifest"]
        return manifest

    @property
    def files(self) -> list[str]:
        """The names of its files."""
        return [file["name"] for file in self._about["files"]]

    def download(self, to: str | os.PathLike[str]) -> Path:
        """Brings its files to a folder. What is there already is not brought again, what was broken off goes on, and every byte is
        held against the manifest, which comes last: where it is, all is there."""
        folder = Path(to)
        folder.mkdir(parents=True, exist_ok=True)
        for file in self._about["files"]:
            self._bring(folder, file["name"], file["path"], int(file["bytes"]), file["sha256"])
        path = f"/v1/exports/{self.id}/_manifest.json"
        manifest = self._http.request("GET", path, again=True)
        _put(folder / "_manifest.json", manifest.content)
        return folder

    def _bring(self, folder: Path, name: str, path: str, size: int, sha256: str) -> None:
        target = _within(folder, name)
        if target.exists() and target.stat().st_size == size and _digest(target) == sha256:
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_name(target.name + ".part")

        def once() -> None:
            while True:
                have = part.stat().st_size if part.exists() else 0
                if have >= size:
                    return
                try:
                    self._more(path, part, have, sha256)
                except httpx.TransportError:
                    # As long as something comes each time there is nothing to wait for.
                    if (part.stat().st_size if part.exists() else 0) <= have:
                        raise

        self._http.tried(once)
        if part.stat().st_size != size or _digest(part) != sha256:
            part.unlink()
            raise Broken(f"{name} has other bytes than were written; it was removed")
        os.replace(part, target)

    def _more(self, path: str, part: Path, have: int, sha256: str) -> None:
        headers = {"If-Range": f'"{sha256}"', "Accept-Encoding": "identity"}
        if have:
            headers["Range"] = f"bytes={have}-"
        with self._http.stream("GET", path, headers=headers) as response:
            goes_on = response.status_code == httpx.codes.PARTIAL_CONTENT
            with part.open("ab" if goes_on else "wb") as out:
                # What came is written before the connection breaks.
                for piece in response.iter_raw():
                    out.write(piece)

    def delete(self) -> None:
        """Removes it from the server."""
        ask(self._http, "mutation($id: ID!) { deleteExport(id: $id) { id } }", {"id": self.id})

    def __repr__(self) -> str:
        return f"<Export {self.id}: {self.rows:,} rows in {len(self.files)} files>"

    def _repr_html_(self) -> str:
        files = [[f["name"], f"{int(f['rows']):,}", f"{int(f['bytes']):,}", f["sha256"][:12] + "…"] for f in self._about["files"]]
        read = ", ".join(f"{d['dataset']}@{d['version']}" for d in self.manifest["datasets"])
        return table(["file", "rows", "bytes", "sha256"], files, f"{self.rows:,} rows of {read}")


def _within(folder: Path, name: str) -> Path:
    target = (folder / name).resolve()
    if not target.is_relative_to(folder.resolve()):
        raise Broken(f"{name} lies outside of {folder}")
    return target


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


def _put(path: Path, data: bytes) -> None:
    part = path.with_name(path.name + ".part")
    part.write_bytes(data)
    os.replace(part, path)
