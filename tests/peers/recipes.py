"""Runs the recipes of docs/without-us.md, each as it stands there, and compares what it counts with ours.

recipes.py BINARY SCRATCH
"""

import pathlib
import re
import subprocess
import sys

BINARY, SCRATCH = sys.argv[1], pathlib.Path(sys.argv[2])
PAGE = pathlib.Path(__file__).parents[2] / "docs/without-us.md"
ROOT = SCRATCH / "data"


def colonnade(*arguments):
    command = [BINARY, "--data", str(ROOT), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def main():
    colonnade("demo", "--rows", "3000", "--no-serve", "--log", "error")
    path = colonnade("datasets", "model_calls", "--path")
    export = SCRATCH / "calls"
    colonnade("export", "model_calls", "--to", str(export), "--columns", "id,model,cost", "--partition-by", "model")
    expected = int(colonnade("sql", "SELECT count(*) AS n FROM model_calls", "--format", "csv").splitlines()[-1])
    recipes = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.S | re.M)
    assert len(recipes) >= 8, recipes
    for number, recipe in enumerate(recipes, 1):
        names = {"PATH": path, "EXPORT": str(export)}
        exec(compile(recipe, f"{PAGE.name}, recipe {number}", "exec"), names)
        found = names["RESULT"]
        assert found == expected, (recipe, found, expected)
    print(f"{len(recipes)} recipes, each with {expected} rows, as ours")


main()
