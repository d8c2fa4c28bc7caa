"""How the plots of all notebooks look."""

from __future__ import annotations

import textwrap

import matplotlib as mpl
import matplotlib.dates
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

#: Told apart by those who see no red or no green: Okabe & Ito, "Color universal design", 2008.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9"
INK, GREY, FAINT = "#222222", "#7a7a7a", "#d9d9d9"
WIDTH_INCHES = 9.0

mpl.rcParams.update(
    {
        "figure.dpi": 100,
        "figure.figsize": (WIDTH_INCHES, 3.6),
        "figure.constrained_layout.use": True,
        "figure.facecolor": "white",
        "font.family": "DejaVu Sans",
        "font.size": 9,
        "text.color": INK,
        "axes.edgecolor": GREY,
        "axes.labelcolor": INK,
        "axes.titlesize": 10,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlepad": 8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "axes.prop_cycle": mpl.cycler(color=[BLUE, ORANGE, GREEN, RED, PURPLE, SKY]),
        "grid.color": FAINT,
        "grid.linewidth": 0.6,
        "lines.linewidth": 1.4,
        "xtick.color": GREY,
        "ytick.color": GREY,
        "xtick.labelcolor": INK,
        "ytick.labelcolor": INK,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
)


def rows(count: int, height_inches: float, **options):
    """A figure of so many plots above each other."""
    return plt.subplots(count, 1, figsize=(WIDTH_INCHES, height_inches * count), **options)


def beside(count: int, height_inches: float, **options):
    """A figure of so many plots beside each other."""
    return plt.subplots(1, count, figsize=(WIDTH_INCHES, height_inches), **options)


def short_dates(ax):
    """Dates without what the axis says anyway."""
    locator = ax.xaxis.get_major_locator()
    return mpl.dates.ConciseDateFormatter(locator, show_offset=True)


def note(ax, text, at, dx=0, dy=0, color=INK, **options):
    """A small text beside a place, so many points away from it."""
    options = {"ha": "center", "fontsize": 8, "color": color, "textcoords": "offset points"} | options
    ax.annotate(text, at, xytext=(dx, dy), **options)


#: Of a box in a flow, where neighbours are 1 apart.
BOX_WIDTH, BOX_HEIGHT = 0.74, 0.46


def flow(ax, places, counts, edges):
    """Boxes with their counts, and arrows as wide as what passes. `places` says where each box is, `edges` are from, to and count.

    In a row, what goes forward over others goes above them, and what goes back below.
    """
    most = max(count for _, _, count in edges)
    boxes = {}
    for name, (x, y) in places.items():
        corner = (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2)
        boxes[name] = FancyBboxPatch(
            corner, BOX_WIDTH, BOX_HEIGHT, boxstyle="round,pad=0,rounding_size=0.06", fc="#eaf2f8", ec=BLUE, lw=1, zorder=3
        )
        ax.add_patch(boxes[name])
        ax.text(x, y, f"{textwrap.fill(name, 15)}\n{counts[name]:,}", ha="center", va="center", fontsize=6.6, zorder=4)
    for start, end, count in edges:
        (x0, y0), (x1, y1) = places[start], places[end]
        is_over = y0 == y1 and abs(x1 - x0) > 1
        is_pair = (end, start) in {(a, b) for a, b, _ in edges} and not is_over
        bend = -0.5 if is_over else -0.25 if is_pair else 0.0
        # Over others an arrow begins and ends above or below its boxes, so that it is seen.
        side = (BOX_HEIGHT / 2 + 0.02) * (1 if x1 > x0 else -1) if is_over else 0.0
        a, b = np.array([x0, y0 + side]), np.array([x1, y1 + side])
        ax.add_patch(
            FancyArrowPatch(
                a, b, connectionstyle=f"arc3,rad={bend}", arrowstyle="-|>", mutation_scale=9, color=GREY, alpha=0.75,
                lw=0.8 + 2.4 * count / most, zorder=2, shrinkA=0, shrinkB=0,
                patchA=None if is_over else boxes[start], patchB=None if is_over else boxes[end],
            )
        )
        middle = (a + b) / 2 + bend / 2 * np.array([b[1] - a[1], a[0] - b[0]])
        if not bend and y0 == y1:
            # Between neighbours there is no room but above the arrow.
            middle = middle + (0, 0.1)
        label = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.9}
        ax.text(*middle, f"{count:,}", ha="center", va="center", fontsize=7, zorder=5, bbox=label)
    ax.set_aspect("equal")
    ax.axis("off")
    xs, ys = zip(*places.values())
    over = [abs(places[b][0] - places[a][0]) for a, b, _ in edges if places[a][1] == places[b][1]]
    room = 0.25 * max(over, default=1) + BOX_HEIGHT / 2 + 0.15
    ax.set(xlim=(min(xs) - 0.45, max(xs) + 0.45), ylim=(min(min(ys) - 0.3, -room), max(max(ys) + 0.3, room)))
