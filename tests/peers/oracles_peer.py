"""Compares the results of jobs on real data that packages of PyPI ship with those of statsmodels,
scipy, scikit-learn, statsforecast, ruptures, recordlinkage, pm4py and pandas.

oracles_peer.py BINARY SCRATCH [PART...]    or    oracles_peer.py BINARY SCRATCH --write

Prints a table: each row is a figure, ours next to that of another program. Figures of the same
formula are equal to about 1e-9. Where the method differs, the row states a bound and the reason.
A difference beyond its bound is printed as a defect, and fails. `--write` writes data and figures
of the small form again.
"""

import importlib
import pathlib
import sys
import time

from oracles.ours import Colonnade
from oracles.table import Table

PARTS = {
    "forecast": "forecasts",
    "calendars": "calendars",
    "trends": "trends",
    "correlate": "correlations",
    "drift": "drifts",
    "accuracy": "answers",
    "anomalies": "anomalies",
    "duplicates": "duplicates",
    "explain": "changes",
    "metric": "rows",
    "agents": "trials",
    "processes": "logs",
    "triage": "texts",
    "sql": "functions",
    "stored": "stored",
}


def main():
    binary, scratch, *wanted = sys.argv[1:]
    if wanted == ["--write"]:
        return importlib.import_module("oracles.stored").write()
    unknown = set(wanted) - set(PARTS)
    if unknown:
        sys.exit(f"oracles: no part is called {', '.join(sorted(unknown))}; parts are {', '.join(PARTS)}")
    table, began = Table(), time.monotonic()
    for part in wanted or PARTS:
        start = time.monotonic()
        importlib.import_module(f"oracles.{PARTS[part]}").compare(Colonnade(binary, pathlib.Path(scratch) / part), table)
        print(f"{part}: {time.monotonic() - start:.0f} s", file=sys.stderr)
    print(table.text())
    equal = sum(row[5] == "equal" for row in table.rows)
    print(
        f"{len(table.rows)} figures in {time.monotonic() - began:.0f} s: {equal} equal, {len(table.rows) - equal - len(table.defects)} within a stated bound, {len(table.defects)} defects"
    )
    if table.defects:
        sys.exit("\n".join(["defects:", *table.defects]))


main()
