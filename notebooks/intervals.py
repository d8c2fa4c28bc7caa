"""How sure a figure is."""

from __future__ import annotations

import numpy as np

#: Standard deviations of a normal distribution on either side that hold 95 % of it.
Z95 = 1.959963984540054


def wilson(count, of):
    """The interval of 95 % of a share `count / of`: Wilson, "Probable inference", 1927."""
    count, of = np.asarray(count, float), np.asarray(of, float)
    share = count / of
    centre = (share + Z95**2 / (2 * of)) / (1 + Z95**2 / of)
    half = Z95 / (1 + Z95**2 / of) * np.sqrt(share * (1 - share) / of + Z95**2 / (4 * of**2))
    # At 0 and 1 rounding may leave the share outside.
    return np.minimum(centre - half, share), np.maximum(centre + half, share)


def by_bootstrap(statistic, groups, draws=1000, seed=1):
    """The interval of 95 % of `statistic(chosen)`, where `chosen` are as many of `groups` as there are, drawn with replacement."""
    rng = np.random.default_rng(seed)
    groups = np.asarray(groups)
    drawn = [statistic(groups[rng.integers(0, len(groups), len(groups))]) for _ in range(draws)]
    return np.percentile(drawn, [2.5, 97.5], axis=0)
