import numpy as np
from scipy.signal import periodogram


def load(folder, sizes):
    x = np.fromfile(f"{folder}/x.f64").reshape(sizes["rows"], sizes["cols"])

    def run():
        return periodogram(x, window="hann", detrend="linear", axis=1)[1]

    return {("periodogram", "scipy"): run, ("seasons", "scipy, periodogram alone"): run}


def sample(case, result):
    if case == "seasons":
        return [len(result)]
    return result[:: max(1, len(result) // 16), 7]
