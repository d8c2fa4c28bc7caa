"""Compares the job `agents` with statsmodels and scipy. The agents are classifiers that label the rows
of a data set, several times each.
"""

import json
from math import comb

import numpy as np
import pandas as pd
from scipy import stats
from sklearn import datasets
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.naive_bayes import GaussianNB
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

TRIES = 4
AGENTS = {
    "forest": lambda seed: RandomForestClassifier(3, random_state=seed),
    "trees": lambda seed: ExtraTreesClassifier(3, random_state=seed),
    "bayes": lambda seed: GaussianNB(),
}
WIDER = "method differs: trials of a task are no independent observations (Kish); the bound is the width if each task counts once"
SIGNS = "method differs: ours draws 10,000 random signs, or takes the sum of 100 pairs and more for normal"


def trials(tries):
    data = datasets.load_digits()
    rows, truth = data.data[:500], data.target[:500]
    for agent, make in AGENTS.items():
        for number in range(tries):
            folds = StratifiedKFold(4, shuffle=True, random_state=number)
            label = cross_val_predict(make(number), rows, truth, cv=folds)
            yield pd.DataFrame(
                {
                    "agent": agent,
                    "task": [f"row {at}" for at in range(len(rows))],
                    "kind": truth.astype(str),
                    "right": label == truth,
                    "trial": number,
                }
            )


def compare(colonnade, table):
    once, often = pd.concat(trials(1)), pd.concat(trials(TRIES))
    for name, frame in [("once", once), ("often", often)]:
        frame = frame.assign(seconds=frame.groupby("agent").cumcount() % 97 + frame["right"] * 3.0)
        colonnade.ingest(name, frame)
        params = dict(agent_column="agent", task_column="task", kind_column="kind", success='"right"', measures={"seconds": "lower"})
        colonnade.run("agents", dataset=name, **params)
        results(colonnade, table, name, frame)
    comparisons(colonnade, table, once)


def results(colonnade, table, name, frame):
    rows = {(row["agent"], row["kind"]): row for row in colonnade.query(f"SELECT * FROM agent_results WHERE source = '{name}'")}
    measures = {
        (row["agent"], row["kind"]): row
        for row in colonnade.query(f"SELECT * FROM agent_measures WHERE source = '{name}' AND measure = 'seconds'")
    }
    groups = dict(iter(frame.groupby(["agent", "kind"]))) | {(agent, "*"): own for agent, own in frame.groupby("agent")}
    data = f"digits, {name}"
    of = lambda column: {key: row[column] for key, row in rows.items()}
    table.all_equal("agents", data, "trials: pandas", of("trials"), {key: len(own) for key, own in groups.items()})
    table.all_equal("agents", data, "successes: pandas", of("successes"), {key: int(own["right"].sum()) for key, own in groups.items()})
    table.all_equal("agents", data, "success rate: pandas", of("success_rate"), {key: own["right"].mean() for key, own in groups.items()})
    passed = {key: passes(own) for key, own in groups.items()}
    for k in range(1, int(frame["trial"].max()) + 2):
        ours = {
            key: json.loads(row["all_succeed"])[k - 1] if isinstance(row["all_succeed"], str) else row["all_succeed"][k - 1]
            for key, row in rows.items()
        }
        table.all_equal("agents", data, f"pass^{k}: math.comb", ours, {key: found[k - 1] for key, found in passed.items()})
    for figure, theirs in [("mean", "mean"), ("median", "median")]:
        table.all_equal(
            "agents",
            data,
            f"seconds, {figure}: pandas",
            {key: row[figure] for key, row in measures.items()},
            {key: getattr(own["seconds"], theirs)() for key, own in groups.items()},
        )
    tasks = {key: own.groupby("task")["seconds"].mean() for key, own in groups.items()}
    interval = lambda values: stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    for side, figure in enumerate(["task_mean_lower", "task_mean_upper"]):
        table.all_equal(
            "agents",
            data,
            f"seconds, {figure}: scipy.stats.t",
            {key: row[figure] for key, row in measures.items()},
            {key: interval(values)[side] for key, values in tasks.items()},
        )
    for agent in AGENTS:
        own, row = groups[agent, "*"], rows[agent, "*"]
        ends = proportion_confint(own["right"].sum(), len(own), method="wilson")
        if name == "once":
            for figure, theirs in zip(["success_lower", "success_upper"], ends):
                table.equal("agents", f"{data}: {agent}", f"{figure}: statsmodels, Wilson", row[figure], theirs)
        else:
            tasks_alone = proportion_confint(own["right"].mean() * own["task"].nunique(), own["task"].nunique(), method="wilson")
            width, most = row["success_upper"] - row["success_lower"], tasks_alone[1] - tasks_alone[0]
            table.at_most(
                "agents",
                f"{data}: {agent}",
                "width of the interval: statsmodels, Wilson of all trials",
                width,
                ends[1] - ends[0],
                most,
                WIDER,
            )


def passes(own):
    tasks = own.groupby("task")["right"].agg(["sum", "size"])
    return [
        np.mean([comb(int(right), k) / comb(int(tried), k) for right, tried in tasks.to_numpy()])
        for k in range(1, int(tasks["size"].min()) + 1)
    ]


def comparisons(colonnade, table, once):
    rows = colonnade.query("SELECT * FROM agent_comparisons WHERE source = 'once' AND measure = 'success'")
    right = {agent: own.set_index("task")["right"] for agent, own in once.groupby("agent")}
    for row in rows:
        a, b = right[row["agent_a"]], right[row["agent_b"]]
        only = [int((a & ~b).sum()), int((~a & b).sum())]
        p = mcnemar([[0, only[0]], [only[1], 0]], exact=True).pvalue
        data = f"digits: {row['agent_a']}, {row['agent_b']}"
        table.equal("agents", data, "difference: pandas", row["difference"], b.mean() - a.mean())
        most = max(row["p_value"], p) / min(row["p_value"], p)
        table.ratio("agents", data, "p over p of McNemar's exact test, or its inverse", most, 1.0, 1.4, SIGNS)
    of_measure = colonnade.query("SELECT p_value, p_adjusted FROM agent_comparisons WHERE source = 'once' ORDER BY p_value")
    theirs = np.maximum.accumulate([min(1.0, row["p_value"] * (len(of_measure) - at)) for at, row in enumerate(of_measure)])
    table.all_equal(
        "agents", "digits, once", "p of all: Holm", dict(enumerate(row["p_adjusted"] for row in of_measure)), dict(enumerate(theirs))
    )
