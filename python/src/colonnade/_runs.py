"""Runs of jobs, and a line that says how far one is."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from ._errors import RunFailed, error_of
from ._rows import table

#: What is asked of a run.
FIELDS = """id job state progress params summary requestedAt finishedAt waitsFor
  inputs { dataset version } outputs { dataset version } error { code message }"""

_ENDED = {"SUCCEEDED", "FAILED", "CANCELLED"}


class Run:
    """One execution of a job, as it was when it was asked for last."""

    def __init__(self, about: dict[str, Any]) -> None:
        self._about = about

    @property
    def id(self) -> str:
        """What it is called."""
        return str(self._about["id"])

    @property
    def job(self) -> str:
        """The job kind."""
        return str(self._about["job"])

    @property
    def state(self) -> str:
        """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
        return str(self._about["state"]).lower()

    @property
    def progress(self) -> float:
        """Part done, 0 to 1."""
        return float(self._about.get("progress") or 0.0)

    @property
    def summary(self) -> Any:
        """What the job says of its result."""
        return self._about.get("summary")

    @property
    def inputs(self) -> dict[str, int]:
        """What it read, each dataset at its version."""
        return _versions(self._about.get("inputs"))

    @property
    def outputs(self) -> dict[str, int]:
        """What it committed."""
        return _versions(self._about.get("outputs"))

    @property
    def has_ended(self) -> bool:
        """Whether it goes on no more."""
        return self._about["state"] in _ENDED

    def require_success(self) -> Run:
        """Itself, or its error."""
        if self._about["state"] == "SUCCEEDED" or not self.has_ended:
            return self
        error = self._about.get("error") or {}
        message = f"run {self.id} of {self.job} {self.state}: {error.get('message', 'no reason was given')}"
        raised = error_of(str(error.get("code", "")), message)
        failed = RunFailed(message)
        failed.code = raised.code
        raise failed

    def __repr__(self) -> str:
        return f"<Run {self.id} of {self.job}: {self.state}>"

    def _repr_html_(self) -> str:
        rows = [["state", self.state], ["progress", f"{self.progress:.0%}"]]
        rows += [["read", f"{name}@{version}"] for name, version in self.inputs.items()]
        rows += [["committed", f"{name}@{version}"] for name, version in self.outputs.items()]
        if self.summary is not None:
            rows.append(["summary", str(self.summary)])
        error = self._about.get("error")
        if error:
            rows.append(["error", f"{error.get('code')}: {error.get('message')}"])
        return table(["run", self.id], rows, f"{self.job}")


def _versions(listed: Any) -> dict[str, int]:
    return {item["dataset"]: item["version"] for item in listed or []}


class Bar:
    """A line on a terminal or in a notebook. Elsewhere, as in a file, it says nothing."""

    def __init__(self, label: str, wanted: bool | None, to: TextIO | None = None) -> None:
        self._to = to or sys.stderr
        self._is_shown = wanted if wanted is not None else self._to.isatty() or _in_notebook()
        self._label, self._last = label, ""

    def show(self, part: float, says: str) -> None:
        """Says how far it is."""
        width = 24
        filled = int(width * max(0.0, min(part, 1.0)))
        line = f"{self._label} [{'█' * filled}{'·' * (width - filled)}] {part:4.0%} {says}"
        if self._is_shown and line != self._last:
            self._to.write("\r" + line.ljust(len(self._last)))
            self._to.flush()
            self._last = line

    def end(self) -> None:
        """Leaves the line."""
        if self._last:
            self._to.write("\n")
            self._to.flush()


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def wait(look: Callable[[], dict[str, Any]], label: str, progress: bool | None) -> dict[str, Any]:
    """Looks until the run has ended."""
    bar, pause = Bar(label, progress), 0.05
    try:
        while True:
            about = look()
            waits = about.get("waitsFor")
            says = str(about["state"]).lower() + (f": {waits}" if waits else "")
            bar.show(1.0 if about["state"] == "SUCCEEDED" else float(about.get("progress") or 0.0), says)
            if about["state"] in _ENDED:
                return about
            time.sleep(pause)
            pause = min(pause * 1.5, 1.0)
    finally:
        bar.end()
