"""The figures that a notebook's text names, held against the data.

What is bold in a text is a figure. The last cell of each notebook lists them all, each as the text has it, beside what the data say.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import re
import subprocess
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import Any

from IPython.display import display

#: Carries the figures from a notebook to `check.py`.
MIME = "application/vnd.colonnade.figures+json"
#: What the results of the notebooks depend on.
PACKAGES = ("colonnade", "matplotlib", "numpy", "pandas", "pyarrow")

_NUMBER = re.compile(r"[-−]?\d[\d,]*(?:\.\d+)?")


def number_of(text: str) -> float:
    """The first number of a text: ``"92.8 %"`` is 92.8."""
    found = _NUMBER.search(text)
    if found is None:
        raise ValueError(f"{text!r}: expected a text with a number")
    return float(found[0].replace(",", "").replace("−", "-"))


def rounding_of(text: str) -> float:
    """How far a number may be from what it was rounded to: half a unit of its last place, nothing of whole numbers."""
    found = _NUMBER.search(text)
    if found is None or "." not in found[0]:
        return 0.0
    # A little more, since half a unit itself has no exact float.
    return 0.5 * 10.0 ** -len(found[0].split(".")[1]) + 1e-9


def prove(said: Iterable[tuple[Any, ...]]) -> None:
    """Holds what the text says against the data, and fails with all that is not so.

    Each is ``(text, value)`` or ``(text, value, within)``. A number may be away from the value by ``within``: when absent by as much as
    rounding takes, and whole numbers not at all. A value that is a text has to be the same text.
    """
    figures, wrong = [], []
    for text, value, *rest in said:
        if isinstance(value, str):
            within, is_so = 0.0, value == text
        else:
            # The last digits of a sum depend on the order of its parts.
            value = float(f"{float(value):.10g}")
            within = float(rest[0]) if rest else rounding_of(text)
            # NaN is never so.
            is_so = abs(value - number_of(text)) <= within
        figures.append({"text": text, "value": value, "within": within})
        if not is_so:
            wrong.append(f"the text says {text!r} (within {within:g}), the data say {value!r}")
    texts = [figure["text"] for figure in figures]
    wrong += [f"{text!r} is said twice" for text in sorted(set(texts)) if texts.count(text) > 1]
    if wrong:
        raise AssertionError("\n".join(wrong))
    if not figures:
        raise AssertionError("expected figures, found none")
    display({MIME: figures, "text/html": _table(figures), "text/plain": _plain(figures)}, raw=True)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else f"{value:,.6g}" if value != int(value) else f"{int(value):,}"


def _table(figures: list[dict[str, Any]]) -> str:
    rows = "".join(
        f"<tr><td>{escape(f['text'])}</td><td>{escape(_shown(f['value']))}</td><td>{f['within']:.2g}</td></tr>" for f in figures
    )
    return f"<table><thead><tr><th>the text says</th><th>the data say</th><th>within</th></tr></thead><tbody>{rows}</tbody></table>"


def _plain(figures: list[dict[str, Any]]) -> str:
    return "\n".join(f"{f['text']}: {_shown(f['value'])}, within {f['within']:.2g}" for f in figures)


def pinned(client: Any, datasets: Iterable[str], files: Iterable[Path]) -> dict[str, str]:
    """What the results come from, by version: the product, the packages (which have to be those of requirements.txt), the datasets,
    and the files that were loaded (SHA-256 over all of them, in the order of their names)."""
    wanted = dict(
        line.strip().split("==") for line in Path("requirements.txt").read_text().splitlines() if "==" in line
    )
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    others = [f"{name} {found[name]}, not {wanted[name]}" for name in found if wanted.get(name, found[name]) != found[name]]
    if others:
        raise AssertionError("packages are not those of requirements.txt: " + "; ".join(others))
    product = subprocess.run(["colonnade", "--version"], capture_output=True, text=True, check=True).stdout
    digest = hashlib.sha256()
    files = sorted(files, key=lambda file: file.name)
    for file in files:
        digest.update(file.read_bytes())
    there = client.datasets()
    return {
        "product": product.splitlines()[0],
        "packages": ", ".join(f"{name} {version}" for name, version in found.items()),
        "datasets": ", ".join(f"{name}@{there[name]['version']}" for name in datasets),
        "files": f"{len(files)} files, sha256 {digest.hexdigest()[:16]}",
    }


def shared_data(folder: str) -> Path:
    """A folder of the public data sets that the notebooks read: COLONNADE_SHARED_DATA, or beside the checkout."""
    root = Path(os.environ.get("COLONNADE_SHARED_DATA", "../../shared/data"))
    if not (root / folder).is_dir():
        raise FileNotFoundError(f"{folder} is not in the folder of public data; COLONNADE_SHARED_DATA says where that is")
    return root / folder
