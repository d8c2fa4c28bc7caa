"""The table of our figures and the peers', and the verdict on each."""

import math

# Equal figures differ by rounding at most.
ROUNDING = 1e-9
# Smaller figures differ by no more than parts of this.
LEAST = 1e-12


def difference(ours, theirs):
    """The relative difference of two figures. Infinite if only one is a number."""
    if ours is None or theirs is None or isinstance(ours, (str, bool, list)) or isinstance(theirs, (str, bool, list)):
        return 0.0 if ours == theirs else math.inf
    ours, theirs = float(ours), float(theirs)
    if math.isnan(ours) or math.isnan(theirs):
        return 0.0 if math.isnan(ours) and math.isnan(theirs) else math.inf
    if ours == theirs:
        return 0.0
    return abs(ours - theirs) / max(LEAST, abs(theirs))


def shown(value):
    if isinstance(value, float):
        return f"{value:.6g}"
    return "-" if value is None else str(value)


class Table:
    """Rows of job, data, figure, ours, theirs, how they compare and why they may differ."""

    def __init__(self):
        self.rows, self.defects = [], []

    def add(self, job, data, figure, ours, theirs, comparison, is_fine, why):
        verdict = comparison if is_fine else f"DEFECT: {comparison}"
        self.rows.append((job, data, figure, shown(ours), shown(theirs), verdict, why))
        if not is_fine:
            self.defects.append(f"{job}, {data}, {figure}: ours {ours!r}, theirs {theirs!r}, {comparison}")

    def equal(self, job, data, figure, ours, theirs, within=ROUNDING, why=""):
        """An exact figure. A bound above rounding needs a reason."""
        apart = difference(ours, theirs)
        is_equal = apart <= ROUNDING
        assert within <= ROUNDING or why, f"{figure}: a bound without a reason"
        comparison = "equal" if is_equal else f"{apart:.2g} apart, bound {within:.2g}"
        self.add(job, data, figure, ours, theirs, comparison, apart <= within, "" if is_equal else why)

    def all_equal(self, job, data, figure, ours, theirs, within=ROUNDING, why="", may_be_none=False):
        """Figures by key. Shows the number of keys, or the key with the largest difference.

        Without any key the row is a defect, unless `may_be_none`.
        """
        keys = sorted(set(ours) | set(theirs), key=str)
        apart = {key: difference(ours.get(key), theirs.get(key)) for key in keys}
        worst = max(keys, key=apart.get, default=None)
        if worst is None or apart[worst] <= ROUNDING:
            self.add(job, data, f"{figure} (n)", len(ours), len(theirs), "equal", bool(keys) or may_be_none, "")
        else:
            self.equal(job, data, f"{figure} [{worst}]", ours.get(worst), theirs.get(worst), within, why)

    def ratio(self, job, data, figure, ours, theirs, most, why):
        """An error of another method: ours is at most a number of times theirs."""
        ratio = ours / theirs if theirs else (1.0 if ours == theirs else math.inf)
        self.add(job, data, figure, ours, theirs, f"ratio {ratio:.3f}, at most {most:g}", ratio <= most, why)

    def least(self, job, data, figure, ours, theirs, less, why):
        """A score of another method: ours is at most so much below theirs."""
        comparison = f"{ours - theirs:+.3f}, at least {-less:+g}"
        self.add(job, data, figure, ours, theirs, comparison, ours >= theirs - less, why)

    def at_most(self, job, data, figure, ours, theirs, most, why):
        """A figure of another method, with a bound of its own."""
        self.add(job, data, figure, ours, theirs, f"at most {most:g}", ours <= most, why)

    def place(self, job, data, figure, ours, theirs, within, why):
        """A place in a series: at most `within` places apart."""
        apart = abs(ours - theirs)
        comparison = "equal" if apart == 0 else f"{apart} places apart, at most {within}"
        self.add(job, data, figure, ours, theirs, comparison, apart <= within, why if apart else "")

    def text(self):
        heads = ("job", "data", "figure", "ours", "theirs", "verdict", "why they differ")
        rows = [heads, *self.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(heads) - 1)]
        line = lambda row: "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths)), row[-1]]).rstrip()
        return "\n".join(map(line, rows))
