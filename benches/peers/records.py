"""What recordlinkage and Splink find in FEBRL's data sets: pairs and clusters beside the truth.

Both without labels, with the comparisons that their documentation uses for these fields, and with the blocks that ours
chooses by itself: pairs that agree in any field but the state. A pair is taken from a probability of 0.9 on, as with ours;
recordlinkage's ECM classifier has no such choice and takes 0.5.
"""

import itertools
import os
import time
import warnings
from pathlib import Path

import pandas as pd
import recordlinkage
from recordlinkage.index import Block

warnings.filterwarnings("ignore")

DATA = Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data")) / "febrl"
FIELDS = [
    "given_name",
    "surname",
    "street_number",
    "address_1",
    "address_2",
    "suburb",
    "postcode",
    "state",
    "date_of_birth",
    "soc_sec_id",
]
BLOCKED = [field for field in FIELDS if field != "state"]


def read(name):
    frame = pd.read_csv(DATA / f"{name}.csv", sep=", ", engine="python", dtype=str, keep_default_na=False)
    frame = frame.apply(lambda column: column.str.strip()).replace("", None)
    frame["person"] = frame["rec_id"].str.split("-").str[1]
    return frame


def pairs_of(groups):
    return {pair for members in groups for pair in itertools.combinations(sorted(members), 2)}


def clusters_of(pairs):
    parent = {}

    def root(node):
        parent.setdefault(node, node)
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in pairs:
        parent[root(a)] = root(b)
    groups = {}
    for node in list(parent):
        groups.setdefault(root(node), []).append(node)
    return groups.values()


def score(truth, found):
    right = len(truth & found)
    precision = right / max(len(found), 1)
    recall = right / len(truth)
    return precision, recall, 2 * right / (len(truth) + len(found))


def with_recordlinkage(frame):
    frame = frame.set_index("rec_id")
    indexer = recordlinkage.Index()
    for field in BLOCKED:
        indexer.add(Block(field))
    candidates = indexer.index(frame)
    compare = recordlinkage.Compare()
    for field in ["given_name", "surname", "address_1", "address_2", "suburb"]:
        compare.string(field, field, method="jarowinkler", threshold=0.85, label=field, missing_value=0)
    for field in ["street_number", "postcode", "state", "date_of_birth", "soc_sec_id"]:
        compare.exact(field, field, label=field, missing_value=0)
    vectors = compare.compute(candidates, frame)
    matches = recordlinkage.ECMClassifier().fit_predict(vectors)
    pair = lambda index: {tuple(sorted(pair)) for pair in index}
    return pair(candidates), pair(matches)


def with_splink(frame):
    import splink.comparison_library as cl
    from splink import DuckDBAPI, Linker, SettingsCreator, block_on

    settings = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="rec_id",
        blocking_rules_to_generate_predictions=[block_on(field) for field in BLOCKED],
        comparisons=[
            cl.NameComparison("given_name"),
            cl.NameComparison("surname"),
            cl.LevenshteinAtThresholds("street_number", [1]),
            cl.JaroWinklerAtThresholds("address_1", [0.9, 0.7]),
            cl.JaroWinklerAtThresholds("address_2", [0.9, 0.7]),
            cl.JaroWinklerAtThresholds("suburb", [0.9, 0.7]),
            cl.LevenshteinAtThresholds("postcode", [1, 2]),
            cl.ExactMatch("state"),
            cl.DamerauLevenshteinAtThresholds("date_of_birth", [1, 2]),
            cl.DamerauLevenshteinAtThresholds("soc_sec_id", [1, 2]),
        ],
    )
    linker = Linker(frame.drop(columns="person"), settings, db_api=DuckDBAPI())
    rules = [block_on("soc_sec_id"), block_on("given_name", "surname", "date_of_birth")]
    linker.training.estimate_probability_two_random_records_match(rules, recall=0.8)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1)
    for rule in [block_on("date_of_birth"), block_on("soc_sec_id"), block_on("surname")]:
        linker.training.estimate_parameters_using_expectation_maximisation(rule)
    scored = linker.inference.predict(threshold_match_probability=1e-9).as_pandas_dataframe()
    pair = lambda rows: {tuple(sorted(pair)) for pair in zip(rows["rec_id_l"], rows["rec_id_r"])}
    return None, pair(scored[scored["match_probability"] >= 0.9])


def main():
    print("| data | by | P pairs | R pairs | F1 pairs | P clusters | R clusters | F1 clusters | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for name in ["dataset1", "dataset2", "dataset3"]:
        frame = read(name)
        truth = pairs_of(frame.groupby("person")["rec_id"].apply(list))
        for by, run in [("recordlinkage, ECM", with_recordlinkage), ("Splink", with_splink)]:
            began = time.perf_counter()
            candidates, found = run(frame)
            seconds = time.perf_counter() - began
            figures = score(truth, found) + score(truth, pairs_of(clusters_of(found)))
            print(f"| {name} | {by} | " + " | ".join(f"{figure:.4f}" for figure in figures) + f" | {seconds:.1f} |")
            if candidates is not None:
                print(f"  {len(candidates)} candidates, completeness {len(truth & candidates) / len(truth):.4f}")


main()
