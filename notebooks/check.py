"""Executes notebooks anew, each against a fresh server on a fresh root, and holds what comes out against what is committed.

With ``--write`` what comes out takes the place of what is committed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError
from traitlets.config import Config

from figures import MIME

HERE = Path(__file__).resolve().parent
NOTEBOOK_BYTES_MAX = 600_000
#: What a page shows without a scroll bar.
CODE_COLUMNS_MAX = 112
#: A notebook takes two minutes on two cores that nobody else uses; a busy machine gets more.
CELL_SECONDS_MAX = 600
SERVER_SECONDS_MAX = 60

#: What is another on the next machine, or the next day: addresses, folders, ids of runs.
_OF_A_MACHINE = {
    "an address": re.compile(r"127\.0\.0\.1|localhost"),
    "a folder of a machine": re.compile(r"(?<![\w.)])/(?:home|root|tmp|work|usr|opt|Users|var|private)/"),
    "the id of a run": re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"),
}
_BOLD = re.compile(r"\*\*(.+?)\*\*", re.DOTALL)
#: Code, links' targets and formulas.
_NOT_PROSE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|\$[^$]*\$", re.DOTALL)
_FIGURE = re.compile(r"\d[\d,]*\.\d+|\d{1,3}(?:,\d{3})+|\d+ ?%")


def figures_of(notebook: nbformat.NotebookNode) -> list[dict]:
    """What `prove` held against the data in an executed notebook."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            found += output.get("data", {}).get(MIME, [])
    return found


def faults_of(notebook: nbformat.NotebookNode) -> list[str]:
    """What is wrong with an executed notebook by itself."""
    faults = []
    prose = "\n\n".join(_NOT_PROSE.sub(" ", c.source) for c in notebook.cells if c.cell_type == "markdown")
    bold = {re.sub(r"\s+", " ", text) for text in _BOLD.findall(prose)}
    proven = {figure["text"] for figure in figures_of(notebook)}
    if not proven:
        faults.append("no cell proves figures")
    faults += [f"the text has {text!r} in bold, and no cell proves it" for text in sorted(bold - proven)]
    faults += [f"{text!r} is proven, and the text does not have it in bold" for text in sorted(proven - bold)]
    faults += [f"the text has {text!r}, which is not in bold" for text in _FIGURE.findall(_BOLD.sub(" ", prose))]
    for at, cell in enumerate(notebook.cells):
        longest = max((len(line) for line in cell.source.splitlines()), default=0)
        if cell.cell_type == "code" and longest > CODE_COLUMNS_MAX:
            faults.append(f"cell {at} has a line of {longest} letters; a page shows {CODE_COLUMNS_MAX}")
        for output in cell.get("outputs", []):
            if output.output_type == "stream" and output.name == "stderr":
                faults.append(f"cell {at} prints to stderr: {output.text.strip()[:300]}")
            if output.output_type == "error":
                faults.append(f"cell {at} fails: {output.ename}: {output.evalue}")
            texts = [output.get("text", "")] + [str(v) for k, v in output.get("data", {}).items() if not k.startswith("image/png")]
            for what, pattern in _OF_A_MACHINE.items():
                found = next((m for text in texts if (m := pattern.search(text))), None)
                if found:
                    faults.append(f"cell {at} shows {what}: {found[0]!r}")
    size = len(nbformat.writes(notebook).encode())
    if size > NOTEBOOK_BYTES_MAX:
        faults.append(f"{size} bytes; at most {NOTEBOOK_BYTES_MAX}")
    return faults


def differences(committed: list[dict], fresh: list[dict]) -> list[str]:
    """Where figures of two executions are not the same, within what the notebook states."""
    before = {figure["text"]: figure for figure in committed}
    after = {figure["text"]: figure for figure in fresh}
    found = [f"figure {text!r} is committed, and not made anew" for text in before if text not in after]
    found += [f"figure {text!r} is made anew, and not committed" for text in after if text not in before]
    for text in before.keys() & after.keys():
        old, new, within = before[text]["value"], after[text]["value"], after[text]["within"]
        is_same = old == new if isinstance(old, str) or isinstance(new, str) else abs(old - new) <= within
        if not is_same:
            found.append(f"figure {text!r}: {old!r} is committed, {new!r} made anew; they may be {within:g} apart")
        if before[text]["within"] != within:
            found.append(f"figure {text!r}: may be {before[text]['within']:g} apart as committed, {within:g} as made anew")
    return sorted(found)


def has_same_sources(one: nbformat.NotebookNode, other: nbformat.NotebookNode) -> bool:
    """Whether two notebooks have the same cells, whatever came out of them."""
    return [(c.cell_type, c.source) for c in one.cells] == [(c.cell_type, c.source) for c in other.cells]


def made_plain(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Without what says nothing of the result: times, tools, and how output was cut into pieces."""
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}, "language_info": {"name": "python"}}
    )
    for at, cell in enumerate(notebook.cells):
        cell.metadata = nbformat.from_dict({})
        cell.id = f"cell-{at:02}"
        joined = []
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = nbformat.from_dict({})
            is_more = joined and output.output_type == "stream" == joined[-1].output_type and output.name == joined[-1].name
            if is_more:
                joined[-1].text += output.text
            else:
                joined.append(output)
        if cell.cell_type == "code":
            cell.outputs = joined
    return notebook


@contextmanager
def server(binary: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A server on a fresh root, and the environment of who asks it."""
    tools = folder / "bin"
    tools.mkdir()
    (tools / "colonnade").symlink_to(binary)
    models = os.environ.get("COLONNADE_MODELS")
    shared = os.environ.get("COLONNADE_SHARED_DATA", str(HERE / "../../shared/data"))
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COLONNADE_", "JUPYTER", "IPYTHON", "PYTHON", "MPL"))}
    environment |= {
        "PATH": f"{tools}{os.pathsep}{environment['PATH']}",
        "COLONNADE_DATA": str(folder / "data"),
        "COLONNADE_SHARED_DATA": str(Path(shared).resolve()),
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    if models:
        environment["COLONNADE_MODELS"] = str(Path(models).resolve())
    process = subprocess.Popen(
        [binary, "serve", "--listen", "127.0.0.1:0"], cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    # A server that says nothing is not waited for for ever.
    alarm = threading.Timer(SERVER_SECONDS_MAX, process.kill)
    alarm.start()
    try:
        said = []
        for line in process.stdout:
            said.append(line)
            if line.startswith("listening on "):
                break
        else:
            raise SystemExit(f"{binary} does not serve:\n{''.join(said)}")
        alarm.cancel()
        # What it says later must not fill the pipe.
        threading.Thread(target=lambda: [None for _ in process.stdout], daemon=True).start()
        yield environment | {"COLONNADE_URL": said[-1].split()[-1]}
    finally:
        alarm.cancel()
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def execute(notebook: nbformat.NotebookNode, binary: Path) -> nbformat.NotebookNode:
    """The notebook with what comes out of it today."""
    fresh = nbformat.from_dict(json.loads(json.dumps(notebook)))
    for cell in fresh.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    with tempfile.TemporaryDirectory(prefix="colonnade-notebook-") as folder, server(binary, Path(folder)) as environment:
        # By TCP anybody on the machine could listen to the kernel, of which it warns.
        sockets = {"transport": "ipc", "ip": str(Path(folder) / "kernel")}
        client = NotebookClient(
            fresh,
            kernel_name="python3",
            config=Config({"ConnectionFileMixin": sockets}),
            timeout=CELL_SECONDS_MAX,
            resources={"metadata": {"path": str(HERE)}},
        )
        client.execute(env=environment)
    return made_plain(fresh)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", type=Path, help="the product's binary")
    parser.add_argument("--write", action="store_true", help="write what comes out back into the notebooks")
    parser.add_argument("notebooks", nargs="*", help="those alone whose names begin so")
    arguments = parser.parse_intermixed_args()
    binary = arguments.binary.resolve()
    if not os.access(binary, os.X_OK):
        parser.error(f"{arguments.binary}: expected the product's binary")
    paths = [p for p in sorted(HERE.glob("*.ipynb")) if not arguments.notebooks or p.name.startswith(tuple(arguments.notebooks))]
    if not paths:
        parser.error(f"no notebook begins with {' or '.join(arguments.notebooks) or 'anything'}")
    wrong = []
    for path in paths:
        committed = nbformat.read(path, as_version=4)
        began = time.monotonic()
        try:
            fresh = execute(committed, binary)
        except (CellExecutionError, CellTimeoutError) as error:
            faults = [re.sub(r"\x1b\[[0-9;]*m", "", str(error))[-3000:]]
        else:
            faults = faults_of(fresh)
            if arguments.write:
                nbformat.write(fresh, path)
            else:
                faults += [f"as committed: {fault}" for fault in faults_of(committed)]
                faults += differences(figures_of(committed), figures_of(fresh))
        seconds = time.monotonic() - began
        print(f"{path.name}: {seconds:.0f} s, {'as it should be' if not faults else 'wrong'}", flush=True)
        for fault in faults:
            print(f"  {fault}", flush=True)
        wrong += faults
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
