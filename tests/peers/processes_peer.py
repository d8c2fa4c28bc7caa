"""Holds what the job `processes` says of real event logs against pm4py.

processes_peer.py BINARY SCRATCH LOGS

Of each log: the directly-follows graph with waiting times, what cases begin and end with, variants, durations; the model that the
inductive miner finds, as a language; and, on a model of a part of the cases, which both read from the same file, the cost of each
case's alignment and the tokens of its replay. Events of one instant are in the order that docs/processes.md states, for both.
"""

import collections
import json
import os
import pathlib
import subprocess
import sys
import time
import warnings

os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")
import pandas as pd
import pm4py
from pm4py.objects.bpmn.exporter import exporter as bpmn_exporter

BINARY, SCRATCH, LOGS = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
CASE, ACTIVITY, END, START = "case:concept:name", "concept:name", "time:timestamp", "start_timestamp"
FILES = ["running-example.csv", "roadtraffic100traces.csv", "reviewing.xes.gz", "interval_event_log.csv.gz", "receipt.parquet"]


root = SCRATCH


def colonnade(*arguments):
    command = [BINARY, "--data", str(root), *arguments, "--log", "error"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


def query(sql):
    out = colonnade("sql", sql, "--rows", "0", "--format", "ndjson")
    return [json.loads(line) for line in out.splitlines()]


def read(name):
    path = str(LOGS / name)
    frame = pd.read_parquet(path) if name.endswith("parquet") else pm4py.read_xes(path) if ".xes" in name else pd.read_csv(path)
    frame[CASE] = frame[CASE].astype(str)
    for column in [END, START]:
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True).astype("datetime64[us, UTC]")
    order = [CASE, END] + ([START] if START in frame else []) + [ACTIVITY]
    return frame.sort_values(order, kind="stable").reset_index(drop=True)


def ours(frame, more):
    given = pd.DataFrame({"case_id": frame[CASE], "activity": frame[ACTIVITY], "ended_at": frame[END]})
    params = {"dataset": "log", "start_column": None, "resource_column": None}
    if START in frame:
        given["started_at"], params["start_column"] = frame[START], "started_at"
    path = SCRATCH / "log.parquet"
    given.to_parquet(path, index=False)
    colonnade("ingest", "log", str(path), "--create")
    began = time.perf_counter()
    run(params | more)
    return params, time.perf_counter() - began


def run(params, *more):
    asked = [*(f"{name}={json.dumps(value)}" for name, value in params.items()), *more]
    colonnade("run", "processes", *(part for param in asked for part in ("--param", param)))


def costs_of(log, ids, model):
    """The cost of each case's alignment with a net, by pm4py."""
    aligned = pm4py.conformance_diagnostics_alignments(log, *model)
    return {case: of["cost"] // 10000 for case, of in zip(ids, aligned)}


def net_of(diagram):
    return pm4py.convert_to_petri_net(pm4py.read_bpmn(str(diagram)))


def normal(tree):
    """The same language in one form: children without an order sorted, blocks within blocks of their kind theirs."""
    text = str(tree)
    place = 0

    def parse():
        nonlocal place
        for symbol in ["->", "X", "+", "*"]:
            if text.startswith(symbol + "( ", place):
                place += len(symbol) + 2
                parts = [parse()]
                while text.startswith(", ", place):
                    place += 2
                    parts.append(parse())
                assert text.startswith(" )", place), text[place:]
                place += 2
                return symbol, parts
        if text.startswith("tau", place):
            place += 3
            return "tau"
        end = text.index("'", place + 1)
        name, place = text[place + 1 : end], end + 1
        return ("leaf", name)

    def flat(node):
        if node == "tau" or node[0] == "leaf":
            return node
        symbol, parts = node[0], [flat(part) for part in node[1]]
        out = []
        for at, part in enumerate(parts):
            if part != "tau" and part[0] == symbol and symbol != "*":
                out += part[1]
            elif part != "tau" and part[0] == "X" and symbol == "*" and at > 0:
                out += part[1]
            elif part == "tau" and symbol in ["->", "+"]:
                continue
            else:
                out.append(part)
        if symbol in ["X", "+"]:
            out.sort(key=repr)
        if symbol == "*":
            out[1:] = sorted(out[1:], key=repr)
        if symbol == "X":
            out = [part for at, part in enumerate(out) if part not in out[:at]]
        if not out:
            return "tau"
        return out[0] if len(out) == 1 and symbol != "*" else (symbol, out)

    return flat(parse())


def held(what, name, ours, theirs):
    assert ours == theirs, f"{name}: {what}: {ours} beside {theirs}"


def compare(name):
    global root
    root = SCRATCH / name.split(".")[0]
    frame = read(name)
    params, seconds = ours(frame, {"model_share": 1.0})
    began = time.perf_counter()
    start = {"start_timestamp_key": START} if START in frame else {}
    log = pm4py.format_dataframe(frame.copy(), case_id=CASE, activity_key=ACTIVITY, timestamp_key=END, **start)
    graph, begins, ends = pm4py.discover_dfg(log)
    waits, _, _ = pm4py.discover_performance_dfg(log)
    ways = pm4py.get_variants(log)
    theirs = time.perf_counter() - began
    edges = query("SELECT * FROM process_edges")
    # With starts pm4py orders its graph by them; ours is by ends, and then the two say different things.
    if START not in frame:
        held("graph", name, {(e["from_activity"], e["to_activity"]): e["count"] for e in edges}, dict(graph))
        for edge in edges:
            theirs_of = waits[edge["from_activity"], edge["to_activity"]]
            for ours_of, of in [("mean", "mean"), ("median", "median"), ("total", "sum")]:
                mine, other = edge[f"waiting_{ours_of}_seconds"], theirs_of[of]
                assert abs(mine - other) <= 1e-3 * max(1.0, abs(other)), (name, edge, theirs_of)
    did = query("SELECT activity, starts, ends FROM process_activities")
    if START not in frame:
        held("starts", name, {a["activity"]: a["starts"] for a in did if a["starts"]}, dict(begins))
        held("ends", name, {a["activity"]: a["ends"] for a in did if a["ends"]}, dict(ends))
        mine = {tuple(way["activities"]): way["cases"] for way in query("SELECT activities, cases FROM process_variants")}
        held("variants", name, mine, {tuple(way): count for way, count in ways.items()})
    groups = frame.groupby(CASE)
    first = groups[START if START in frame else END].min()
    lasts = (groups[END].max() - first).dt.total_seconds().to_dict()
    cases = query("SELECT case_id, duration_seconds FROM process_cases")
    held("cases", name, len(cases), len(lasts))
    for case in cases:
        assert abs(case["duration_seconds"] - lasts[case["case_id"]]) < 1e-3, (name, case)
    by_end = frame.drop(columns=[START]) if START in frame else frame
    by_end = pm4py.format_dataframe(by_end, case_id=CASE, activity_key=ACTIVITY, timestamp_key=END)
    [model] = query("SELECT tree FROM process_models")
    held("inductive miner", name, normal(model["tree"]), normal(pm4py.discover_process_tree_inductive(by_end)))
    # A model of the most frequent ways, which some cases do not fit.
    run(params | {"model_share": 0.5})
    [model] = query("SELECT pnml, bpmn, fitness FROM process_models")
    path = SCRATCH / "model.pnml"
    path.write_text(model["pnml"])
    net = pm4py.read_pnml(str(path))
    traces = pm4py.convert_to_event_log(by_end)
    ids = [trace.attributes["concept:name"] for trace in traces]
    began = time.perf_counter()
    costs = costs_of(by_end, ids, net)
    took = time.perf_counter() - began
    mine = {case["case_id"]: case for case in query("SELECT case_id, cost, fitness FROM process_cases")}
    held("alignments", name, {case: of["cost"] for case, of in mine.items()}, costs)
    # The same model as a diagram, as pm4py reads it; and one of pm4py's own, as we do.
    diagram = SCRATCH / "ours.bpmn"
    diagram.write_text(model["bpmn"])
    held("alignments of our BPMN", name, costs_of(by_end, ids, net_of(diagram)), costs)
    diagram = SCRATCH / "theirs.bpmn"
    way_of = {case: tuple(events[ACTIVITY]) for case, events in by_end.groupby(CASE)}
    three = [way for way, _ in collections.Counter(way_of.values()).most_common(3)]
    some = by_end[[way_of[case] in three for case in by_end[CASE]]]
    bpmn_exporter.apply(pm4py.discover_bpmn_inductive(some), str(diagram))
    run(params, f"model=@{diagram}")
    found = {case["case_id"]: case["cost"] for case in query("SELECT case_id, cost FROM process_cases")}
    theirs_of_diagram = costs_of(by_end, ids, net_of(diagram))
    held("alignments of pm4py's BPMN", name, found, theirs_of_diagram)
    do_not_fit = sum(cost > 0 for cost in theirs_of_diagram.values())
    replayed = pm4py.conformance_diagnostics_token_based_replay(by_end, *net)
    fitness = {case: of["trace_fitness"] for case, of in zip(ids, replayed)}
    same = sum(abs(mine[case]["fitness"] - fitness[case]) < 1e-9 for case in ids)
    fit = [case for case in ids if costs[case] == 0]
    assert all(mine[case]["fitness"] == 1.0 for case in fit), name
    worse = sum(fitness[case] < 1.0 for case in fit)
    print(
        f"{name}: {len(frame)} events, {len(ids)} cases: equal; {len(ids) - len(fit)} do not fit half of it, alignments equal, also of it as BPMN; "
        f"{do_not_fit} do not fit pm4py's BPMN of three ways, alignments equal; tokens of {same} of {len(ids)} cases equal, {worse} that fit are less than 1 by pm4py; "
        f"{seconds:.2f} s with all that is beside pm4py's {theirs:.2f} s of graph and variants, and {took:.2f} s of alignments",
        flush=True,
    )


for file in FILES:
    compare(file)
