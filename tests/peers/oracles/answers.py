"""Compares the job `accuracy` with scikit-learn, scipy and statsmodels, on predictions of three
classifiers.
"""

import itertools
import warnings

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import datasets, metrics
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

SETS = {
    "digits": datasets.load_digits,
    "wine": datasets.load_wine,
    "breast cancer": datasets.load_breast_cancer,
    "iris": datasets.load_iris,
}
MODELS = {
    "logistic": make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)),
    "bayes": GaussianNB(),
    "neighbours": KNeighborsClassifier(7),
}


def answers_of(name):
    """What is so, and each model's labels and confidences."""
    warnings.simplefilter("ignore")
    data = SETS[name]()
    truth = np.array([f"class {label}" for label in data.target])
    answers = {}
    for model, classifier in MODELS.items():
        chances = cross_val_predict(classifier, data.data, truth, cv=5, method="predict_proba")
        answers[model] = (np.unique(truth)[chances.argmax(axis=1)], chances.max(axis=1).clip(0, 1))
    return truth, answers


def frames_of(name):
    truth, answers = answers_of(name)
    ids = [f"row {at:05}" for at in range(len(truth))]
    at = pd.date_range("2026-01-01", periods=len(truth), freq="6h", tz="UTC")
    so = pd.DataFrame({"id": ids, "label": truth, "at": at})
    said = [pd.DataFrame({"id": ids, "model": model, "label": label, "confidence": sure}) for model, (label, sure) in answers.items()]
    return so, pd.concat(said)


def compare(colonnade, table):
    for name in SETS:
        one_set(colonnade, table, name)


def one_set(colonnade, table, name):
    so, said = frames_of(name)
    dataset = name.replace(" ", "_")
    colonnade.ingest(f"{dataset}_so", so)
    colonnade.ingest(f"{dataset}_said", said)
    colonnade.run("accuracy", predictions=[f"{dataset}_said"], truth=f"{dataset}_so", key=["id"], truth_time_column="at")
    source = f"WHERE source = '{dataset}_so'"
    scores = {row["model"]: row for row in colonnade.query(f"SELECT * FROM model_scores {source}")}
    truth = so["label"].to_numpy()
    right = {}
    for model, own in said.groupby("model"):
        label, sure = own["label"].to_numpy(), own["confidence"].to_numpy()
        right[model] = label == truth
        of_model(table, name, model, scores[model], truth, label, sure)
        tenths(colonnade, table, name, model, source, right[model], sure)
    of_periods(colonnade, table, name, source, so, right)
    of_pairs(colonnade, table, name, source, right)


def of_model(table, name, model, score, truth, label, sure):
    data, right = f"{name}, {model}", label == truth
    lower, upper = proportion_confint(right.sum(), len(right), method="wilson")
    for figure, column, theirs in [
        ("known: numpy", "known", len(truth)),
        ("accuracy: scikit-learn", "accuracy", metrics.accuracy_score(truth, label)),
        ("macro F1: scikit-learn", "macro_f1", metrics.f1_score(truth, label, average="macro")),
        ("lower end: statsmodels, Wilson", "lower", lower),
        ("upper end: statsmodels, Wilson", "upper", upper),
        ("confidence: numpy", "confidence", sure.mean()),
        ("Brier score: scikit-learn", "brier", metrics.brier_score_loss(right, sure)),
        ("calibration error: numpy", "calibration_error", calibration_error(right, sure)),
        ("calibration p: scipy, Spiegelhalter", "calibration_p", spiegelhalter(right, sure)),
    ]:
        table.equal("accuracy", data, figure, score[column], theirs)


def bins(sure):
    return np.minimum((sure * 10).astype(int), 9)


def calibration_error(right, sure):
    parts = [(bins(sure) == tenth) for tenth in range(10)]
    return sum(abs(right[part].mean() - sure[part].mean()) * part.mean() for part in parts if part.any())


def spiegelhalter(right, sure):
    spread = ((1 - 2 * sure) ** 2 * sure * (1 - sure)).sum()
    z = ((right - sure) * (1 - 2 * sure)).sum() / np.sqrt(spread)
    return 2 * stats.norm.sf(abs(z))


def tenths(colonnade, table, name, model, source, right, sure):
    rows = colonnade.query(f"SELECT * FROM model_calibration {source} AND model = '{model}'")
    for column, of in [
        ("known", lambda part: int(part.sum())),
        ("confidence", lambda part: sure[part].mean()),
        ("accuracy", lambda part: right[part].mean()),
    ]:
        parts = {tenth + 1: bins(sure) == tenth for tenth in range(10)}
        theirs = {tenth: of(part) for tenth, part in parts.items() if part.any()}
        table.all_equal(
            "accuracy", f"{name}, {model}", f"tenths, {column}: numpy", {row["tenth"]: row[column] for row in rows if row["known"]}, theirs
        )


def of_periods(colonnade, table, name, source, so, right):
    week = so["at"].dt.floor("D") - pd.to_timedelta(so["at"].dt.weekday, unit="D")
    rows = colonnade.query(f"SELECT * FROM model_accuracy {source} ORDER BY model, at")
    ours = {(row["model"], pd.Timestamp(row["at"])): row for row in rows}
    theirs, chance = {}, {}
    for model, is_right in right.items():
        before = np.zeros(2)
        for at, part in pd.Series(is_right).groupby(week):
            if len(part) < 20:
                continue
            now = np.array([part.sum(), len(part) - part.sum()])
            theirs[model, at] = part.mean()
            if before.any():
                chance[model, at] = stats.fisher_exact([now, before], alternative="less").pvalue
            if not ours[model, at]["is_worse"]:
                before = before + now
    table.all_equal("accuracy", name, "accuracy by week: pandas", {key: row["accuracy"] for key, row in ours.items()}, theirs)
    table.all_equal(
        "accuracy", name, "p by week: fisher_exact", {key: row["p"] for key, row in ours.items() if row["p"] is not None}, chance
    )


def of_pairs(colonnade, table, name, source, right):
    rows = colonnade.query(f"SELECT * FROM model_comparisons {source}")
    ours = {(row["model_a"], row["model_b"]): row for row in rows}
    pairs = [tuple(sorted(pair)) for pair in itertools.combinations(right, 2)]
    p = {}
    for a, b in pairs:
        row, only_a, only_b = ours[a, b], (right[a] & ~right[b]).sum(), (~right[a] & right[b]).sum()
        p[a, b] = mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue
        data = f"{name}: {a}, {b}"
        table.equal("accuracy", data, "difference: numpy", row["difference"], right[b].mean() - right[a].mean())
        table.equal("accuracy", data, "only the first: numpy", row["only_a"], only_a)
        table.equal("accuracy", data, "p: statsmodels, McNemar", row["p"], p[a, b])
    order, most = sorted(p, key=p.get), 0.0
    for at, pair in enumerate(order):
        most = max(most, min(1.0, p[pair] * (len(order) - at)))
        table.equal("accuracy", f"{name}: {pair[0]}, {pair[1]}", "p of all: Holm", ours[pair]["p_adjusted"], most)
