"""The job `processes` on the log `receipt` a hundred times over, beside pm4py doing the same on the same model.

processes.py BINARY SCRATCH LOGS [TIMES] [ROUNDS]

Both: the graph with waiting times, what cases begin and end with, variants, and, on the model that the job discovered, the tokens of every case and
an alignment of each variant. The peer's log is in memory and its loading not counted; ours is read from its dataset, and all results are written.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time
import warnings

warnings.filterwarnings("ignore")
import pandas as pd
import pm4py

BINARY, SCRATCH, LOGS = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
TIMES = int(sys.argv[4]) if len(sys.argv) > 4 else 100
ROUNDS = int(sys.argv[5]) if len(sys.argv) > 5 else 3
CASE, ACTIVITY, END = "case:concept:name", "concept:name", "time:timestamp"


def colonnade(*arguments):
    done = subprocess.run([BINARY, "--data", str(SCRATCH / "root"), *arguments, "--log", "error"], capture_output=True, text=True)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


one = pd.read_parquet(LOGS / "receipt.parquet")[[CASE, ACTIVITY, END]]
one[END] = pd.to_datetime(one[END], utc=True).astype("datetime64[us, UTC]")
log = pd.concat([one.assign(**{CASE: one[CASE].astype(str) + f"#{at}"}) for at in range(TIMES)], ignore_index=True)
log = log.sort_values([CASE, END, ACTIVITY], kind="stable").reset_index(drop=True)
given = pd.DataFrame({"case_id": log[CASE], "activity": log[ACTIVITY], "ended_at": log[END]})
given.to_parquet(SCRATCH / "log.parquet", index=False)
colonnade("ingest", "log", str(SCRATCH / "log.parquet"), "--create")
asked = ["--param", "dataset=log", "--param", "start_column=null", "--param", "resource_column=null"]
own = []
for at in range(ROUNDS):
    began = time.perf_counter()
    # A share of its own for each, or nothing would be computed again.
    colonnade("run", "processes", *asked, "--param", f"model_share={0.8 + at * 1e-9}")
    own.append(time.perf_counter() - began)
[model] = [json.loads(line) for line in colonnade("sql", "SELECT pnml, cases FROM process_models", "--format", "ndjson").splitlines()]
(SCRATCH / "model.pnml").write_text(model["pnml"])
net, begin, end = pm4py.read_pnml(str(SCRATCH / "model.pnml"))
peer = pm4py.format_dataframe(log.copy(), case_id=CASE, activity_key=ACTIVITY, timestamp_key=END)
steps = {
    "graph": lambda: (pm4py.discover_dfg(peer), pm4py.discover_performance_dfg(peer)),
    "variants": lambda: pm4py.get_variants(peer),
    "model": lambda: pm4py.discover_process_tree_inductive(peer),
    "tokens": lambda: pm4py.conformance_diagnostics_token_based_replay(peer, net, begin, end),
    "alignments": lambda: pm4py.conformance_diagnostics_alignments(peer, net, begin, end),
}
theirs = {}
for name, step in steps.items():
    began = time.perf_counter()
    step()
    theirs[name] = time.perf_counter() - began
took, all_of_theirs = statistics.median(own), sum(theirs.values())
print(f"{len(log):,} events, {model['cases']:,} cases: {took:.2f} s (of {', '.join(f'{of:.2f}' for of in own)}); pm4py {all_of_theirs:.1f} s:", end=" ")
print(", ".join(f"{name} {of:.1f}" for name, of in theirs.items()), f"; {all_of_theirs / took:.1f} times")
