"""Compares the job `processes` with pm4py and pandas, on event logs of the shared data folder."""

import os
import pathlib
import warnings

os.environ["TQDM_DISABLE"] = "1"
warnings.filterwarnings("ignore")
import pandas as pd
import pm4py

CASE, ACTIVITY, END = "case:concept:name", "concept:name", "time:timestamp"
LOGS = ["running-example.csv", "roadtraffic100traces.csv", "receipt.parquet"]


def logs():
    folder = pathlib.Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data")) / "pm4py"
    for name in LOGS:
        if not (folder / name).exists():
            yield name, None
            continue
        frame = pd.read_parquet(folder / name) if name.endswith("parquet") else pd.read_csv(folder / name)
        frame[CASE] = frame[CASE].astype(str)
        frame[END] = pd.to_datetime(frame[END], utc=True, format="ISO8601").astype("datetime64[us, UTC]")
        yield name.split(".")[0], frame.sort_values([CASE, END, ACTIVITY], kind="stable").reset_index(drop=True)


def compare(colonnade, table):
    for name, frame in logs():
        if frame is None:
            print(f"skipped: {name} is not in the folder that COLONNADE_SHARED_DATA names")
            continue
        dataset = name.replace("-", "_")
        resource = "org:resource"
        given = pd.DataFrame(
            {"case_id": frame[CASE], "activity": frame[ACTIVITY], "ended_at": frame[END], "resource": frame[resource].astype("string")}
        )
        colonnade.ingest(dataset, given)
        colonnade.run("processes", dataset=dataset, start_column=None, model_share=1.0)
        one_log(colonnade, table, name, f"WHERE source = '{dataset}'", frame, resource)


def one_log(colonnade, table, name, source, frame, resource):
    log = pm4py.format_dataframe(frame.copy(), case_id=CASE, activity_key=ACTIVITY, timestamp_key=END)
    graph, begins, ends = pm4py.discover_dfg(log)
    waits, _, _ = pm4py.discover_performance_dfg(log)
    edges = {(row["from_activity"], row["to_activity"]): row for row in colonnade.query(f"SELECT * FROM process_edges {source}")}
    table.all_equal("processes", name, "directly-follows counts: pm4py", {edge: row["count"] for edge, row in edges.items()}, dict(graph))
    for ours, theirs in [("mean", "mean"), ("median", "median"), ("total", "sum")]:
        of = {edge: row[f"waiting_{ours}_seconds"] for edge, row in edges.items()}
        table.all_equal("processes", name, f"waiting, {ours}: pm4py", of, {edge: float(wait[theirs]) for edge, wait in waits.items()})
    activities = {row["activity"]: row for row in colonnade.query(f"SELECT * FROM process_activities {source}")}
    counts = frame[ACTIVITY].value_counts().to_dict()
    table.all_equal("processes", name, "events of activities: pandas", {of: row["events"] for of, row in activities.items()}, counts)
    for column, theirs in [("starts", begins), ("ends", ends)]:
        table.all_equal(
            "processes", name, f"cases by {column}: pm4py", {of: row[column] for of, row in activities.items() if row[column]}, dict(theirs)
        )
    variants = {
        tuple(row["activities"]): row["cases"] for row in colonnade.query(f"SELECT activities, cases FROM process_variants {source}")
    }
    table.all_equal("processes", name, "variants: pm4py", variants, {tuple(way): count for way, count in pm4py.get_variants(log).items()})
    cases = {row["case_id"]: row for row in colonnade.query(f"SELECT case_id, events, duration_seconds FROM process_cases {source}")}
    groups = frame.groupby(CASE)[END]
    table.all_equal(
        "processes",
        name,
        "durations: pandas",
        {of: row["duration_seconds"] for of, row in cases.items()},
        (groups.max() - groups.min()).dt.total_seconds().to_dict(),
    )
    table.all_equal("processes", name, "events of cases: pandas", {of: row["events"] for of, row in cases.items()}, groups.size().to_dict())
    after = frame.groupby(CASE).shift(-1)
    pairs = pd.DataFrame({"a": frame[resource], "b": after[resource]}).dropna()
    theirs = pairs.groupby(["a", "b"]).size().to_dict()
    rows = colonnade.query(f"SELECT * FROM process_hand_overs {source}")
    ours = {(row["from_resource"], row["to_resource"]): row["count"] for row in rows}
    table.all_equal(
        "processes",
        name,
        "hand-overs: pandas",
        ours,
        {pair: count for pair, count in theirs.items() if pair[0] != pair[1]},
        may_be_none=True,
    )
    # Alignments of a thousand cases take minutes.
    if len(cases) <= 100:
        model(colonnade, table, name, source, log)


def model(colonnade, table, name, source, log):
    [row] = colonnade.query(f"SELECT pnml FROM process_models {source}")
    path = colonnade.root / "model.pnml"
    path.write_text(row["pnml"])
    net = pm4py.read_pnml(str(path))
    theirs = pm4py.fitness_alignments(log, *net)["average_trace_fitness"]
    table.equal("processes", name, "fitness of our model: pm4py's alignments", 1.0, theirs)
    own = pm4py.discover_petri_net_inductive(log)
    places = [len(pm4py.reduce_petri_net_invisibles(found).places) for found in (net[0], own[0])]
    table.equal("processes", name, "places of the inductive miner's net: pm4py", *places)
