"""Statistics of paired differences, where questions of one video are not independent.

All of it is numpy and exact integers, with a fixed seed: the same folders give the same numbers.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

DRAWS = 10_000
#: Fewer videos give no interval: their bootstrap covers the truth too rarely.
FEWEST_CLUSTERS = 20
#: A true difference of so many standard errors is seen at p < 0.05 in four of five experiments.
VISIBLE = 2.8
_SEED = 0
#: Elements of an array in one step.
_CHUNK = 2**22

Floats = NDArray[np.float64]


def cluster_sums(differences: Floats, clusters: Sequence[object]) -> tuple[Floats, NDArray[np.int64]]:
    """Sum differences by cluster.

    Args:
        differences: [questions, ...].
        clusters: the cluster of each question, anything hashable.

    Returns:
        Sums [clusters, ...] and sizes [clusters].
    """
    numbers: dict[object, int] = {}
    index = np.array([numbers.setdefault(cluster, len(numbers)) for cluster in clusters], dtype=np.int64)
    sums = np.zeros((len(numbers), *differences.shape[1:]))
    np.add.at(sums, index, differences)
    return sums, np.bincount(index, minlength=len(numbers))


def bootstrap(sums: Floats, sizes: NDArray[np.int64], draws: int = DRAWS, seed: int = _SEED) -> Floats:
    """Draw clusters with replacement; return the mean difference of each draw.

    Args:
        sums: [clusters, methods], from `cluster_sums`.
        sizes: [clusters].

    Returns:
        Means [draws, methods].
    """
    rng = np.random.default_rng(seed)
    count = len(sizes)
    step = max(1, _CHUNK // count)
    means = []
    for begin in range(0, draws, step):
        rows = min(step, draws - begin)
        drawn = rng.integers(count, size=(rows, count)) + np.arange(rows)[:, None] * count
        # How often each draw has each cluster: faster than rng.multinomial by far.
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count).astype(np.float64)
        means.append((times @ sums) / (times @ sizes)[:, None])
    return np.concatenate(means)


def interval(means: Floats, clusters: int) -> tuple[float, float]:
    """Return the 95 % interval of one method's draws.

    Expanded percentiles (Hesterberg, "What Teachers Should Know About the Bootstrap", 2015): plain ones are too narrow
    by the factor between t and the normal distribution, and by that between n and n - 1.

    Args:
        means: [draws].
        clusters: number of clusters drawn from.
    """
    tail = NormalDist().cdf(-math.sqrt(clusters / (clusters - 1)) * student_t(clusters - 1))
    low, high = np.quantile(means, (tail, 1 - tail))
    return float(low), float(high)


def student_t(freedom: int) -> float:
    """Return the 97.5 % quantile of Student's t.

    To 1e-3 from 10 degrees of freedom on (Abramowitz and Stegun, 26.7.5).
    """
    z = NormalDist().inv_cdf(0.975)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / freedom + second / freedom**2 + third / freedom**3


def mcnemar(b: int, c: int) -> float:
    """Return the exact two-sided p of McNemar's test.

    Args:
        b, c: questions that one method alone, or the other alone, answered right.
    """
    n, tail, term = b + c, 0, 1
    for i in range(min(b, c) + 1):
        tail += term
        term = term * (n - i) // (i + 1)
    # Python divides large integers exactly.
    return min(1.0, 2 * tail / (1 << n))


def sign_flip(sums: Floats, draws: int = DRAWS, seed: int = _SEED) -> float:
    """Return the two-sided p of a permutation test over videos.

    It swaps the two methods video by video: in all ways if there are at most ``draws``, otherwise in random ones.

    Args:
        sums: [clusters] of differences.
    """
    moved = sums[sums != 0]
    if not len(moved):
        return 1.0
    observed = float(abs(moved.sum())) * (1 - 1e-12)
    if 2 ** len(moved) <= draws:
        ways = np.array(np.meshgrid(*[(-1.0, 1.0)] * len(moved), indexing="ij")).reshape(len(moved), -1)
        return float(np.mean(abs(moved @ ways) >= observed))
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // len(moved))
    hits = 0
    for begin in range(0, draws, step):
        signs = rng.integers(0, 2, size=(min(step, draws - begin), len(moved))) * 2.0 - 1
        hits += int((abs(signs @ moved) >= observed).sum())
    return float((1 + hits) / (1 + draws))


def holm(values: Sequence[float]) -> list[float]:
    """Correct p values for their number, after Holm; in the order given."""
    corrected = [math.nan] * len(values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected
