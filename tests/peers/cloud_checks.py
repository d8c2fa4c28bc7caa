"""What is checked of a store in the cloud.

cloud_checks.py demo BINARY ROOT SUMMARY ROWS: the demo's tables are there for a new process.
cloud_checks.py race BINARY ROOT SCRATCH: two processes append to one dataset at once.
"""

import json
import pathlib
import subprocess
import sys

SUBJECT, BINARY, ROOT, *REST = sys.argv[1:]
FILES, ROWS = 60, 100


def colonnade(*arguments):
    """Starts the command line on the root."""
    command = [BINARY, "--data", ROOT, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def answer(process):
    """Waits for a process; its one JSON document."""
    out, err = process.communicate(timeout=600)
    if process.returncode != 0:
        raise SystemExit(f"{process.args}: exit {process.returncode}\n{out}{err}")
    return json.loads(out)


def sql(query):
    return answer(colonnade("sql", query, "--format", "json"))


def demo(summary, rows):
    summary = json.loads(pathlib.Path(summary).read_text())
    listed = {entry["dataset"]: entry for entry in summary["datasets"]}
    assert listed["model_calls"]["rows"] == int(rows), summary
    for name, entry in listed.items():
        found = sql(f"SELECT count(*) AS n FROM {name}")
        assert found == [{"n": entry["rows"]}], (name, entry, found)
    for job in summary["jobs"]:
        found = job["found"]
        assert found["found"] > 0, job
        print(f"{job['job']}: {found['found']} of {found['planted']} found, {found['false_alarms']} false alarms")
    held = ", ".join(f"{name} {entry['rows']}" for name, entry in listed.items())
    print(f"demo: {held}; {summary['seconds']:.1f} s")


def race(scratch):
    """Each writer brings its own rows, a commit per file; making the dataset is part of the race."""
    writers = []
    for writer in ("a", "b"):
        files = []
        for file in range(FILES):
            path = pathlib.Path(scratch) / f"race-{writer}-{file}.ndjson"
            line = lambda row: json.dumps({"writer": writer, "file": file, "row": row}) + "\n"
            path.write_text("".join(line(row) for row in range(ROWS)))
            files.append(str(path))
        writers.append(colonnade("ingest", "race", *files, "--create", "--json"))
    receipts = [answer(process) for process in writers]
    assert [receipt["accepted"] for receipt in receipts] == [FILES * ROWS] * 2, receipts
    found = sql("SELECT writer, count(*) AS n, count(DISTINCT file * 1000 + row) AS d FROM race GROUP BY writer ORDER BY writer")
    assert found == [{"writer": writer, "n": FILES * ROWS, "d": FILES * ROWS} for writer in ("a", "b")], found
    versions = sorted(file["version"] for receipt in receipts for file in receipt["files"])
    assert len(set(versions)) == 2 * FILES, f"two commits with one version: {versions}"
    turns = sum(1 for a, b in zip(versions, versions[1:]) if (a in own(receipts[0])) != (b in own(receipts[0])))
    print(f"race: {2 * FILES} commits of two writers, versions {versions[0]} to {versions[-1]}, {turns} changes of turn")
    assert turns > 1, "the writers did not overlap: no race was seen"


def own(receipt):
    return {file["version"] for file in receipt["files"]}


{"demo": demo, "race": race}[SUBJECT](*REST)
