"""The job `anomalies` beside other detectors on NAB's real series with labels: `detectors.py BINARY SCRATCH`.

Each detector gives every sample a score, without the labels, and VUS-PR says how well scores tell the labelled windows from the rest:
`range_precision.rs` says what that is, and it is taken as in `nab_tests.rs`, of the samples after the probation, over the widths 0 to 20,
as the mean of the series that have a label. Of the product it is what a user gets: a sample has the highest severity of the findings
that hold it, and less than any where none does. Severity and not score, which is of another unit for each kind.

Where a detector has choices (how long a window, raw or normalised, which sample a window's score is for) all of them run, and the
summary has the best by these labels, which none could know beforehand, and what comes of choosing on the other folder of NAB.
ONLY=stumpy,colonnade: only detectors whose names begin so. SCRATCH/detectors.csv has each choice of each detector on each series.
"""

import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(os.environ.get("COLONNADE_SHARED_DATA", "../shared/data")) / "nab"
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("COLONNADE_")}
ONLY = tuple(os.environ.get("ONLY", "").split(","))
WIDTH_MAX = 20
HOURS_2 = 24  # Samples, where one comes every 5 minutes.
NOISES = 10
RARITIES = np.arange(0.5, 8.1, 0.5)


# The measure.


def softened(labels, width):
    soft = labels.astype(float)
    ends = np.flatnonzero(labels[:-1] & ~labels[1:])
    starts = np.flatnonzero(~labels[:-1] & labels[1:]) + 1
    for distance in range(1, width // 2 + 1):
        at = np.concatenate([ends + distance, starts - distance])
        at = at[(at >= 0) & (at < len(soft))]
        soft[at] = np.maximum(soft[at], np.sqrt(1 - distance / width))
    return soft


def vus_pr(scores, labels, width_max, width_min=0):
    """NaN without labels or with nothing else."""
    if len(scores) != len(labels) or labels.all() or not labels.any():
        return np.nan
    scores = np.where(np.isnan(scores), -np.inf, scores)
    order = np.argsort(-scores, kind="stable")
    sorted_scores = scores[order]
    last = np.append(np.flatnonzero(sorted_scores[1:] != sorted_scores[:-1]), len(scores) - 1)
    areas = []
    for width in range(width_min, width_max + 1):
        soft = softened(labels, width)
        inside = soft > 0
        begins = inside & ~np.append(False, inside[:-1])
        ranges = np.where(inside, np.cumsum(begins) - 1, -1)[order]
        # The place in the order where each range is found.
        found, first = np.unique(ranges, return_index=True)
        first = np.sort(first[found >= 0])
        positives = (labels.sum() + soft.sum()) / 2
        hits = np.cumsum(soft[order])[last]
        recall = np.minimum(hits / positives, 1) * np.searchsorted(first, last, side="right") / len(first)
        areas.append(np.sum(np.diff(recall, prepend=0) * hits / (last + 1)))
    return np.mean(areas)


def check_measure():
    """The values that the tests of `range_precision.rs` hold."""

    def labels(text):
        return np.array([c == "1" for c in text])

    def area(scores, text, width):
        return vus_pr(np.array(scores, dtype=float), labels(text), width, width)

    def near(found, expected):
        assert np.allclose(found, expected, rtol=0, atol=1e-12), (found, expected)

    half, three = 0.5**0.5, 0.75**0.5
    near(softened(labels("0001100000"), 4), [0, half, three, 1, 1, three, half, 0, 0, 0])
    near(softened(labels("010010"), 4), [three, 1, three, three, 1, three])
    near(softened(labels("010"), 1), [0, 1, 0])
    near(softened(labels("010"), 0), [0, 1, 0])
    scores = [0.1, 0.9, 0.8, 0.3, 0.7]
    near(area(scores, "01001", 0), 0.25 + 0.75 * 2 / 3)
    near(area(scores, "01100", 0), 1)
    near(area(scores, "00110", 0), 0.5 * 0.5 + 0.5 * 2 / 4)
    scores, positives = [0, 0.9, 0.8, 0.7, 0], 1 + half
    recalls = [half / positives, (1 + half) / positives, 1]
    expected = recalls[0] * half
    expected += (recalls[1] - recalls[0]) * (1 + half) / 2 + (recalls[2] - recalls[1]) * (1 + 2 * half) / 3
    near(area(scores, "00100", 2), expected)
    near(area(scores, "00100", 0), 0.5)
    near(vus_pr(np.array(scores), labels("00100"), 2), (0.5 + 0.5 + expected) / 3)
    near(area([0.5] * 8, "00110000", 0), 0.25)
    near(area([np.nan, 0, 1, -np.inf], "0010", 0), 1)
    near(area([np.nan, 0, 1, -np.inf], "1000", 0), 0.25)
    for text in ("000", "111", "01"):
        assert np.isnan(area([0.5] * 3, text, 2))


# The series.


class Series:
    def __init__(self, name, windows, instants):
        frame = pd.read_csv(DATA / "data" / name, parse_dates=["timestamp"])
        self.folder, self.name = Path(name).parent.name, Path(name).stem
        self.at = frame["timestamp"].to_numpy().astype("datetime64[us]")
        self.values = frame["value"].to_numpy(dtype=float)
        self.labels = np.zeros(len(self.values), dtype=bool)
        # The last of a window is the first sample at or after its end, as `nab_tests.rs` has it. No search by halves: times of one series
        # go back once.
        self.windows = [[np.argmax(self.at >= np.datetime64(text)) for text in window] for window in windows]
        self.instants = np.array([np.argmax(self.at >= np.datetime64(text)) for text in instants], dtype=int)
        for start, end in self.windows:
            self.labels[start : end + 1] = True
        interval = np.median(np.diff(self.at)).astype(float) / 1e6
        self.day = round(86400 / interval)
        self.probation = int(np.ceil(min(np.floor(0.15 * len(self.values)), 750)))

    def around(self, days_before, days_after):
        """1 about the instants that the labelled windows were made of, 0 elsewhere."""
        away = np.arange(len(self.values))[:, None] - self.instants
        return ((away >= -days_before * self.day) & (away <= days_after * self.day)).any(axis=1).astype(float)

    def before_instants(self):
        """Of each window the days, the place of its first instant in it, the samples that count, and those of them before that instant."""
        for start, end in self.windows:
            # One instant is in no window; its window counts from its start.
            first = min((at for at in self.instants if start <= at <= end), default=start)
            counted = max(start, self.probation)
            if counted <= end:
                yield (end - start + 1) / self.day, (first - start) / (end - start + 1), end - counted + 1, max(first - counted, 0)

    def vus_pr(self, scores):
        return vus_pr(np.asarray(scores, dtype=float)[self.probation :], self.labels[self.probation :], WIDTH_MAX)


def all_series():
    windows, instants = (json.loads((DATA / "labels" / f"combined_{of}.json").read_text()) for of in ("windows", "labels"))
    return [Series(name, windows[name], instants[name]) for name in sorted(windows)]


# The product.


class Product:
    def __init__(self, binary, scratch):
        self.command = [binary, "--data", str(scratch / "data")]
        shutil.rmtree(scratch / "data", ignore_errors=True)
        paths = [str(path) for path in sorted((DATA / "data").glob("*/*.csv"))]
        start = time.perf_counter()
        self.call("ingest", "metrics", *paths, "--format", "nab", "--on-conflict", "add")
        print(f"ingested in {time.perf_counter() - start:.1f} s", file=sys.stderr)

    def call(self, *arguments):
        run = subprocess.run([*self.command, *arguments], env=ENVIRONMENT, capture_output=True, text=True)
        assert run.returncode == 0, (arguments, run.stderr)
        return run.stdout

    def sql(self, query, *times):
        frame = pd.read_csv(io.StringIO(self.call("sql", query, "--format", "csv")))
        for name in times:
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601").dt.tz_localize(None).astype("datetime64[us]")
        return frame

    def anomalies(self, **parameters):
        pairs = [word for name, value in parameters.items() for word in ("--param", f"{name}={value}")]
        self.call("run", "anomalies", *pairs)
        return self.sql("SELECT series, severity, started_at, ended_at FROM anomalies", "started_at", "ended_at")

    def scores(self, series, findings):
        scores = {one.name: np.full(len(one.values), -1.0) for one in series}
        times = {one.name: one.at for one in series}
        for found in findings.itertuples():
            at = (times[found.series] >= found.started_at.to_datetime64()) & (times[found.series] <= found.ended_at.to_datetime64())
            scores[found.series][at] = np.maximum(scores[found.series][at], found.severity)
        return [scores[one.name] for one in series]

    def asked_at(self, series, rarities, rest):
        """The highest rarity at which a sample is in a finding, and how severe that is."""
        scores = [np.full(len(one.values), -1.0) for one in series]
        for rarity in rarities:
            findings = self.anomalies(method="online", rarity=rarity, rest_samples=rest)
            for old, new in zip(scores, self.scores(series, findings)):
                old[new >= 0] = 1000 * rarity + new[new >= 0]
        return scores

    def moving(self, series):
        """`anomaly_score` of SQL."""
        whole = []
        for day in sorted({one.day for one in series}):
            names = ", ".join(f"'{one.name}'" for one in series if one.day == day)
            score = f"abs(anomaly_score(value, {day}) OVER (PARTITION BY series ORDER BY at)) AS score"
            whole.append(self.sql(f"SELECT series, at, {score} FROM metrics WHERE series IN ({names})", "at"))
        by_name = dict(list(pd.concat(whole).groupby("series")))
        found = []
        for one in series:
            # Samples of one instant have the higher score.
            of_instant = by_name[one.name].groupby("at")["score"].max()
            found.append(of_instant.reindex(one.at).to_numpy())
        return found


# The others.


def lagged(values, length):
    return np.lib.stride_tricks.sliding_window_view(values, length)


def windows_of(one, length, form):
    windows = lagged(one.values, length)
    if form == "raw":
        return windows
    deviation = windows.std(axis=1, keepdims=True)
    return (windows - windows.mean(axis=1, keepdims=True)) / np.where(deviation > 1e-9, deviation, np.inf)


def placed(scores, length, samples):
    """Scores of windows as those of samples: of the window that a sample is the last of, or the middle, or the mean of all that hold it."""
    last = np.concatenate([np.full(length - 1, scores.min()), scores])
    before = length // 2
    middle = np.pad(scores, (before, samples - len(scores) - before), mode="edge")
    sums = np.cumsum(np.concatenate([[0], scores]))
    ends = np.minimum(np.arange(samples), len(scores) - 1) + 1
    starts = np.maximum(np.arange(samples) - length + 1, 0)
    return {"last": last, "middle": middle, "mean": (sums[ends] - sums[starts]) / (ends - starts)}


def forest(one, length, form):
    from sklearn.ensemble import IsolationForest

    windows = windows_of(one, length, form)
    return -IsolationForest(random_state=0).fit(windows).score_samples(windows), None


def forest_of_the_past(one, length, form):
    """One that learnt from the probation alone."""
    from sklearn.ensemble import IsolationForest

    windows = windows_of(one, length, form)
    return None, -IsolationForest(random_state=0).fit(windows[: one.probation - length + 1]).score_samples(windows)


def discords(one, length, form):
    """The distance to the nearest other window, and to the nearest before."""
    import stumpy

    found = stumpy.stump(one.values, length, normalize=form == "normalised")
    # The profile has the place of the nearest before, and not the distance.
    nearest = found[:, 2].astype(int)
    windows = windows_of(one, length, form)
    before = np.where(nearest < 0, 0, np.linalg.norm(windows - windows[nearest], axis=1))
    distances = found[:, 0].astype(float)
    return np.where(np.isfinite(distances), distances, 0), before


def z_score(one, length):
    past = lagged(one.values, length)[:-1]
    deviation = past.std(axis=1)
    away = np.abs(one.values[length:] - past.mean(axis=1))
    # Of a flat past any other value is as far as can be.
    floor = 1e-9 * max(np.abs(one.values).max(), 1)
    return np.concatenate([np.zeros(length), np.where(away > floor, away / np.maximum(deviation, floor), 0)])


def drawn_out(series, scores):
    """The scores, and the same drawn out over their neighbours, as those of a window are."""
    before = [pd.Series(of).rolling(one.day // 4, min_periods=1).max().to_numpy() for of, one in zip(scores, series)]
    around = [pd.Series(of).rolling(one.day, min_periods=1, center=True).mean().to_numpy() for of, one in zip(scores, series)]
    return {
        ("", "past", ""): scores,
        (", highest of a quarter day", "past", ""): before,
        (", mean of the day around", "half a day ahead", ""): around,
    }


def noise(series, seed, smooth):
    random = np.random.default_rng(seed)
    scores = [random.random(len(one.values)) for one in series]
    return [placed(of[: len(of) - one.day + 1], one.day, len(of))["mean"] if smooth else of for of, one in zip(scores, series)]


LENGTHS = {"24 samples": lambda one: HOURS_2, "a quarter day": lambda one: max(one.day // 4, 6), "a day": lambda one: one.day}


WINDOWED = (
    ("scikit-learn, IsolationForest", forest),
    ("scikit-learn, IsolationForest", forest_of_the_past),
    ("stumpy, discords", discords),
)


def detectors(series, product):
    """(name, what it looks at, choice, what gives the scores of each series). It may also give several scores, by what is added to the
    name, what those look at, and a last choice."""
    for rarity in (0.5, 1, 1.5, 2.3):
        for rest in (1, 12, 144):
            parameters = {"method": "online", "rarity": rarity, "rest_samples": rest}
            choice = "defaults" if (rarity, rest) == (2.3, 144) else f"rarity {rarity}, rest_samples {rest}"
            yield "Colonnade, online", "past", choice, lambda p=parameters: product.scores(series, product.anomalies(**p))
    for rest in (1, 12, 144):
        choice = f"rarity 0.5, 1, … 8, rest_samples {rest}"
        yield "Colonnade, online, 16 runs", "past", choice, lambda r=rest: drawn_out(series, product.asked_at(series, RARITIES, r))
    for threshold in (1, 2, 3, 6):
        for rare in (1, 2000):
            parameters = {"threshold": threshold, "shift_threshold": threshold, "rare_samples": rare}
            choice = "defaults" if (threshold, rare) == (6, 2000) else f"thresholds {threshold}, rare_samples {rare}"
            yield "Colonnade, windows", "whole", choice, lambda p=parameters: product.scores(series, product.anomalies(**p))
    yield "Colonnade, SQL anomaly_score", "past", "a day", lambda: product.moving(series)
    for name, of in WINDOWED:
        for length in LENGTHS:
            for form in ("raw", "normalised"):

                def windowed(of=of, length=length, form=form):
                    places, past = {}, []
                    for one in series:
                        samples = LENGTHS[length](one)
                        whole, before = of(one, samples, form)
                        if whole is not None:
                            for place, scores in placed(whole, samples, len(one.values)).items():
                                places.setdefault(("", "whole", place), []).append(scores)
                        if before is not None:
                            # Only at the last sample of a window all of it is past.
                            past.append(placed(before, samples, len(one.values))["last"])
                    if past:
                        of_past = drawn_out(series, past).items()
                        places |= {(f", of the past{how}", sees, "last"): scores for (how, sees, _), scores in of_past}
                    return places

                yield name, "", f"{length}, {form}", windowed
    yield "moving z-score", "past", "a day", lambda: drawn_out(series, [z_score(one, one.day) for one in series])
    for name, before, after in (("alone", 0, 0), ("and a day after", 0, 1), ("and half a day to both sides", 0.5, 0.5)):
        yield f"labels: the instant {name}", "labels", "", lambda b=before, a=after: [one.around(b, a) for one in series]
    for smooth in (False, True):
        for seed in range(NOISES):
            yield "noise" + (", means of a day" if smooth else ""), "nothing", f"seed {seed}", lambda s=smooth, n=seed: noise(series, n, s)


def chosen_elsewhere(frame):
    """The mean over the series of each folder with the choice that is best on the other folder."""
    areas = []
    for folder in frame["folder"].unique():
        there = frame["folder"] == folder
        choice = frame[~there].groupby("choice", sort=False)["vus_pr"].mean().idxmax()
        areas.extend(frame[there & (frame["choice"] == choice)]["vus_pr"])
    return np.nanmean(areas)


def table(header, rows):
    print(f"| {' | '.join(header)} |\n|{'---|' * len(header)}")
    for row in rows:
        print(f"| {' | '.join(f'{cell:.3f}' if isinstance(cell, float) else str(cell) for cell in row)} |")
    print()


def main():
    check_measure()
    series = all_series()
    labelled = sum(one.labels[one.probation :].any() for one in series)
    print(f"{len(series)} series, {sum(len(one.values) for one in series):,} samples, {labelled} with labels", file=sys.stderr)
    days, place, counted, before = np.array([window for one in series for window in one.before_instants()]).T
    print(
        f"{len(days)} windows, {np.median(days):.2f} days long, their instants at {np.median(place):.2f} of them (medians), "
        f"{before.sum() / counted.sum():.3f} of the {counted.sum():,.0f} labelled samples before these"
    )
    product = Product(sys.argv[1], Path(sys.argv[2]))
    asked = [detector for detector in detectors(series, product) if detector[0].lower().startswith(ONLY)]
    for start, of in WINDOWED:
        if any(name == start for name, *_ in asked):
            # Imported and compiled before they are timed.
            [of(series[0], HOURS_2, form) for form in ("raw", "normalised")]
    rows = []
    for name, sees, choice, detect in asked:
        start = time.perf_counter()
        found = detect()
        seconds = time.perf_counter() - start
        for (suffix, looks_at, place), scores in (found if isinstance(found, dict) else {("", sees, ""): found}).items():
            whole = f"{choice}, {place}" if place else choice
            for one, of in zip(series, scores):
                thresholds = len(np.unique(of[one.probation :]))
                labels, above = one.labels[one.probation :], (of > np.nanmin(of))[one.probation :]
                held = (labels.sum(), (~labels).sum(), (labels & above).sum(), (~labels & above).sum())
                rows.append((name + suffix, looks_at, whole, seconds, one.folder, one.name, one.vus_pr(of), thresholds, *held))
    columns = "name,sees,choice,seconds,folder,series,vus_pr,thresholds,labelled,others,labelled_above,others_above"
    frame = pd.DataFrame(rows, columns=columns.split(","))
    frame.to_csv(Path(sys.argv[2]) / "detectors.csv", index=False)
    choices, summary, best = [], [], {}
    for (name, sees), own in frame.groupby(["name", "sees"], sort=False):
        of = own.groupby("choice", sort=False).agg({"vus_pr": "mean", "seconds": "first", "thresholds": "median"})
        is_noise = name.startswith("noise")
        top = of.mean().rename(f"mean of {len(of)}") if is_noise else of.loc[of["vus_pr"].idxmax()]
        elsewhere = chosen_elsewhere(own) if len(of) > 1 and not is_noise else ""
        lowest = f"{of['vus_pr'].min():.3f}" if len(of) > 1 else ""
        summary.append((name, sees, top.name, top["vus_pr"], elsewhere, lowest, f"{top['seconds']:.1f}", f"{top['thresholds']:.0f}"))
        if not is_noise:
            held = own.groupby("choice", sort=False)[["labelled", "others", "labelled_above", "others_above"]].sum()
            for row, count in zip(of.itertuples(), held.itertuples()):
                above = f"{count.labelled_above / count.labelled:.3f} | {count.others_above / count.others:.3f}"
                choices.append((name, row.Index, row.vus_pr, f"{row.seconds:.1f}", f"{row.thresholds:.0f}", above))
        if sees in ("past", "whole") and ", highest" not in name:
            best[name] = own[own["choice"] == top.name].set_index("series")["vus_pr"]
    # Above the lowest score: of ours, in a finding.
    table(["detector", "choice", "VUS-PR", "s", "thresholds", "labelled above the lowest", "others above it"], choices)
    table(["detector", "looks at", "best choice", "VUS-PR", "chosen on the other folder", "worst choice", "s", "thresholds"], summary)
    by_series = pd.DataFrame(best).dropna()
    table(["series", *by_series.columns], by_series.itertuples())


if __name__ == "__main__":
    main()
