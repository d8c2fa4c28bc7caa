"""Compares the jobs `triage_train` and `triage` with scikit-learn, on BANKING77 of the shared data folder."""

import os
import pathlib
import warnings

import numpy as np
import pandas as pd
from sklearn import metrics
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from statsmodels.stats.proportion import proportions_ztest

CLASSES = 30
SPLITS = "two random parts of the texts"
PEER = "method differs: hashed n-grams and a linear head, instead of TF-IDF of n-grams and logistic regression"


def compare(colonnade, table):
    warnings.simplefilter("ignore")
    path = pathlib.Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data")) / "banking77" / "train.csv"
    if not path.exists():
        print(f"skipped: {path} does not exist; COLONNADE_SHARED_DATA names the folder")
        return
    frame = pd.read_csv(path).rename(columns={"category": "label"})
    frame = frame[frame["label"].isin(sorted(frame["label"].unique())[:CLASSES])].reset_index(drop=True)
    frame["id"] = [f"text {at:05}" for at in frame.index]
    known, new = train_test_split(frame, test_size=0.25, random_state=1, stratify=frame["label"])
    colonnade.ingest("known", known)
    colonnade.ingest("new", new.drop(columns="label"))
    summary = colonnade.run("triage_train", dataset="known", text_columns=["text"], embedder="ngram", dimension=1024)
    of_evaluation(colonnade, table, summary)
    colonnade.run("promote")
    colonnade.run("triage", dataset="new", text_columns=["text"], label_column=None)
    rows = {row["id"]: row for row in colonnade.query("SELECT id, label, confidence FROM triage WHERE source = 'new'")}
    table.equal("triage", "banking77", "texts that have an answer: pandas", len(rows), len(new))
    ours = np.array([rows[of]["label"] for of in new["id"]])
    sure = np.array([rows[of]["confidence"] for of in new["id"]])
    peer = make_pipeline(TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True), LogisticRegression(C=30, max_iter=300))
    theirs = peer.fit(known["text"], known["label"]).predict(new["text"])
    for figure, of in [("accuracy", metrics.accuracy_score), ("macro F1", lambda a, b: metrics.f1_score(a, b, average="macro"))]:
        table.least("triage", "banking77", f"{figure} of new texts: TF-IDF", of(new["label"], ours), of(new["label"], theirs), 0.02, PEER)
    right = ours == new["label"].to_numpy()
    counts = [right.sum(), round(summary["accuracy"] * summary["held_out_rows"])]
    p = proportions_ztest(counts, [len(right), summary["held_out_rows"]])[1]
    table.least(
        "triage", "banking77", "p of the accuracy of held-out texts being that of new ones: proportions_ztest", p, 1.0, 0.99, SPLITS
    )
    bins = np.minimum((sure * 10).astype(int), 9)
    error = sum(abs(right[bins == of].mean() - sure[bins == of].mean()) * (bins == of).mean() for of in np.unique(bins))
    table.at_most(
        "triage",
        "banking77",
        "calibration error of new texts: that of held-out ones",
        error,
        summary["calibration_error"]["after"],
        0.05,
        "other texts",
    )


def of_evaluation(colonnade, table, summary):
    """Accuracy, F1, precision and recall of the confusion of pairs of classes."""
    rows = colonnade.query('SELECT measure, "class", other, value FROM model_evaluations')
    pairs = [(row["class"], row["other"], int(row["value"])) for row in rows if row["measure"] == "confusion"]
    truth = np.repeat([a for a, _, _ in pairs], [n for _, _, n in pairs])
    label = np.repeat([b for _, b, _ in pairs], [n for _, _, n in pairs])
    table.equal("triage_train", "banking77", "held-out rows: numpy", summary["held_out_rows"], len(truth))
    table.equal("triage_train", "banking77", "accuracy: scikit-learn", summary["accuracy"], metrics.accuracy_score(truth, label))
    table.equal("triage_train", "banking77", "macro F1: scikit-learn", summary["macro_f1"], metrics.f1_score(truth, label, average="macro"))
    names = sorted(set(truth))
    found = metrics.precision_recall_fscore_support(truth, label, labels=names, zero_division=0)
    for measure, theirs in zip(["precision", "recall", "f1", "support"], found):
        ours = {row["class"]: row["value"] for row in rows if row["measure"] == measure}
        table.all_equal("triage_train", "banking77", f"{measure} of classes: scikit-learn", ours, dict(zip(names, theirs)))
