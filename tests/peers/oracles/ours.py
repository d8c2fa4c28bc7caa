"""The command line of Colonnade on a root of its own."""

import json
import subprocess


class Colonnade:
    """One root: data frames in, runs, and rows of queries out."""

    def __init__(self, binary, root):
        self.binary, self.root = str(binary), root
        root.mkdir(parents=True, exist_ok=True)

    def command(self, *arguments):
        command = [self.binary, "--data", str(self.root / "data"), *map(str, arguments), "--log", "error"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{command}: {done.stdout}{done.stderr}")
        return done.stdout

    def ingest(self, dataset, frame):
        """Creates a dataset of the rows of a frame."""
        path = self.root / f"{dataset}.parquet"
        frame.to_parquet(path, index=False, coerce_timestamps="us")
        self.command("ingest", dataset, path, "--create")

    def run(self, job, **params):
        """Runs a job and returns the summary of the run."""
        asked = [part for name, value in params.items() for part in ("--param", f"{name}={json.dumps(value)}")]
        return json.loads(self.command("run", job, "--gpu", "off", "--json", *asked))["summary"]

    def query(self, sql):
        """The rows of a query, each a dictionary."""
        return json.loads(self.command("sql", sql, "--format", "json"))

    def value(self, sql):
        """The one value of a query."""
        [row] = self.query(sql)
        [value] = row.values()
        return value
