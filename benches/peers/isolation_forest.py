import os

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score

OUTLIERS = 100


def load(folder, sizes):
    x = np.fromfile(f"{folder}/x.f32", dtype=np.float32).reshape(sizes["rows"], sizes["columns"])
    global ours
    ours = f"{folder}/ours.f64"

    def forest():
        model = IsolationForest(n_estimators=100, max_samples=256, n_jobs=int(os.environ["OMP_NUM_THREADS"]), random_state=0)
        return -model.fit(x).score_samples(x)

    return {("isolation forest, fit and score", "scikit-learn"): forest}


def sample(case, scores):
    quantiles = np.quantile(scores, [0.1, 0.5, 0.9, 0.99], method="lower")
    odd = np.arange(len(scores)) % OUTLIERS == 0
    ranks = spearmanr(scores, np.fromfile(ours)).statistic
    # 1 stands for ranks that correlate by 0.9 or more, as the forests are random.
    return [scores.mean(), *quantiles, roc_auc_score(odd, scores), 1.0 if ranks >= 0.9 else ranks]
