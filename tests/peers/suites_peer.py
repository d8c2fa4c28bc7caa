"""JSONTestSuite and csv-spectrum through every door: the command line, HTTP and the Python package.

    suites_peer.py BINARY FOLDER ADDRESS DATA

FOLDER is the data folder of the server at ADDRESS, and DATA has the two suites. Each document of JSONTestSuite is
the value of a `json` column: those that begin with y_ are stored, those with n_ are not, and the doors agree about
those with i_. Each table of csv-spectrum is stored as its JSON says.
"""

import collections
import json
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

import colonnade

# csv-spectrum's JSON has another telephone number than its CSV.
UNLIKE = "Contact Phone Number"
SPEC = 'name = "{name}"\ncolumns = [{{name = "v", type = "json", nullable = true}}, {{name = "w", type = "text"}}]\n'
TYPES = {".ndjson": "application/x-ndjson", ".csv": "text/csv"}


class Doors:
    """Three ways into a server's datasets, each with datasets of its own."""

    def __init__(self, binary, folder, address):
        self.binary, self.folder, self.address = binary, folder, address
        self.client = colonnade.connect(address)

    def create(self, name, spec):
        path = pathlib.Path(tempfile.mkdtemp(dir=self.folder)) / "spec.toml"
        path.write_text(spec)
        empty = path.with_name("empty.ndjson")
        empty.write_text("")
        self.command(name, [empty], "--spec", str(path))

    def command(self, name, files, *more):
        command = [self.binary, "--data", str(self.folder), "ingest", name, *map(str, files), "--json", *more]
        done = subprocess.run(command, capture_output=True, text=True)
        answer = json.loads(done.stdout)
        found = [(file["accepted"], file["causes"]) for file in answer.get("files", [])]
        if "error" in answer:
            # A broken array ends the command. The files after it are loaded by another one.
            found.append((0, answer["error"]["message"]))
            found += self.command(name, files[len(found) :], *more) if len(found) < len(files) else []
        return found

    def http(self, name, files, *_):
        found = []
        for file in files:
            url = f"{self.address}/v1/ingest/{name}?on_conflict=add"
            request = urllib.request.Request(url, file.read_bytes(), {"Content-Type": TYPES[file.suffix]})
            try:
                with urllib.request.urlopen(request) as answer:
                    found.append((json.load(answer)["accepted"], None))
            except urllib.error.HTTPError as refused:
                found.append((0, refused.read().decode()))
        return found

    def package(self, name, files, *_):
        found = []
        for file in files:
            try:
                found.append((self.client.ingest_file(name, file, on_conflict="add").accepted, None))
            except colonnade.ColonnadeError as refused:
                found.append((0, str(refused)))
        return found

    def rows(self, name):
        command = [self.binary, "--data", str(self.folder), "sql", f"SELECT * FROM {name}", "--format", "ndjson"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return [json.loads(line) for line in done.stdout.split("\n") if line]


def json_suite(doors, door, enter, data, folder):
    """Which documents are stored."""
    name = f"documents_of_{door}"
    doors.create(name, SPEC.format(name=name))
    paths, files = [], sorted(data.glob("*.json"))
    for at, file in enumerate(files):
        path, document = folder / f"{door}{at}.ndjson", file.read_bytes()
        row = b'{"w": "%s", "v": ' % file.name.encode("ascii", "replace") + document + b"}"
        # A document with line ends needs an array.
        path.write_bytes(b"[%s]" % row if b"\n" in document or b"\r" in document else row + b"\n")
        paths.append(path)
    outcomes = enter(name, paths, "--on-conflict", "add")
    values = {row["w"]: row["v"] for row in doors.rows(name)}
    wrong, stored = [], set()
    counts = collections.Counter()
    for file, (accepted, problem) in zip(files, outcomes, strict=True):
        kind, as_stored = file.name[0], file.name.encode("ascii", "replace").decode()
        is_stored = as_stored in values
        counts[f"{kind} {'stored' if is_stored else 'refused'}"] += 1
        if is_stored:
            stored.add(file.name)
        if is_stored != (accepted == 1) or is_stored != (kind == "y") and kind != "i":
            wrong.append(f"{file.name}: accepted {accepted}, {'stored' if is_stored else 'not stored'}: {problem}")
        if is_stored and kind == "y" and values[as_stored] != json.loads(file.read_bytes()):
            wrong.append(f"{file.name}: found {values[as_stored]!r}")
    print(f"JSONTestSuite, {door}: {dict(sorted(counts.items()))}, {len(wrong)} wrong")
    return stored, wrong


def cell(value):
    """A value of any type as it is compared: the text `1` may be stored as a number, and an empty one as null."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            pass
    return json.dumps("" if value is None else value, sort_keys=True)


def csv_suite(doors, door, enter, data, folder):
    """Which tables differ from the JSON next to the CSV."""
    wrong, files = [], sorted((data / "csvs").glob("*.csv"))
    for original in files:
        file, content = folder / original.name, original.read_bytes()
        # The copies of the suite have the line ends of Unix.
        file.write_bytes(content.replace(b"\n", b"\r\n") if "crlf" in file.stem and b"\r" not in content else content)
        expected = json.loads((data / "json" / f"{file.stem}.json").read_text())
        expected = expected if isinstance(expected, list) else [expected]
        name = f"{file.stem}_of_{door}"
        # The command line creates the dataset. The other doors load the same file into it.
        outcomes = doors.command(name, [file], "--create")
        if door != "command":
            outcomes += enter(name, [file])
        if [accepted for accepted, _ in outcomes] != [len(expected)] * len(outcomes):
            wrong.append(f"{file.name}: {outcomes}")
            continue
        found = collections.Counter(
            tuple(cell(value) for value, column in zip(row.values(), expected[0], strict=True) if column != UNLIKE)
            for row in doors.rows(name)
        )
        wanted = [tuple(cell(value) for column, value in row.items() if column != UNLIKE) for row in expected]
        if found != collections.Counter(wanted * len(outcomes)):
            wrong.append(f"{file.name}: expected {wanted}, found {found}")
    print(f"csv-spectrum, {door}: {len(files)} tables, {len(wrong)} wrong")
    return wrong


def main():
    binary, folder, address, data = sys.argv[1:]
    data, doors = pathlib.Path(data), Doors(binary, pathlib.Path(folder), address)
    work = pathlib.Path(tempfile.mkdtemp(dir=folder))
    wrong, stored = [], {}
    for door, enter in {"command": doors.command, "http": doors.http, "python": doors.package}.items():
        stored[door], found = json_suite(doors, door, enter, data / "json_test_suite", work)
        wrong += found + csv_suite(doors, door, enter, data / "csv_spectrum", work)
    for door, names in stored.items():
        wrong += [f"{name}: {door} differs from the command line" for name in sorted(names ^ stored["command"])]
    print("\n".join(wrong[:40]))
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
