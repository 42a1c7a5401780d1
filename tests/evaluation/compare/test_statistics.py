"""The statistics against scipy, plain loops and simulation."""

import itertools
import math
import random
import time
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from sfllava_plugin.evaluation.compare import statistics


@pytest.mark.parametrize(("b", "c", "p"), [(10, 2, 0.038574), (40, 25, 0.081682), (0, 0, 1.0), (7, 7, 1.0)])
def test_mcnemar_has_the_known_values(b, c, p):
    assert statistics.mcnemar(b, c) == pytest.approx(p, abs=5e-7)


def test_mcnemar_is_scipys_binomial_test():
    for b, c in itertools.product(range(0, 40, 3), range(0, 40, 3)):
        expected = stats.binomtest(min(b, c), b + c, 0.5).pvalue if b + c else 1.0
        assert statistics.mcnemar(b, c) == pytest.approx(expected, rel=1e-10)
        assert statistics.mcnemar(c, b) == statistics.mcnemar(b, c)


def test_mcnemar_of_the_largest_task_is_exact_and_quick():
    begin = time.monotonic()
    found = statistics.mcnemar(6000, 6278)
    assert time.monotonic() - begin < 2
    assert found == pytest.approx(stats.binomtest(6000, 12278, 0.5).pvalue, rel=1e-8)
    assert statistics.mcnemar(0, 2000) == float(Fraction(2, 2**2000))


def test_cluster_sums_are_those_of_a_loop():
    rng = random.Random(0)
    clusters = [rng.choice("abcdefg") for _ in range(50)]
    differences = np.array([[rng.random(), rng.random()] for _ in clusters])
    sums, sizes = statistics.cluster_sums(differences, clusters)
    order = list(dict.fromkeys(clusters))
    for place, cluster in enumerate(order):
        mine = [row for row, of in zip(differences, clusters, strict=True) if of == cluster]
        assert sizes[place] == len(mine)
        assert sums[place] == pytest.approx(sum(mine))


def test_bootstrap_means_have_the_spread_of_a_loop_over_clusters():
    rng = np.random.default_rng(1)
    sizes = rng.integers(1, 12, size=60)
    sums = np.array([rng.normal(1, 1, size=size).sum() for size in sizes])[:, None]
    means = statistics.bootstrap(sums, sizes, draws=20_000)
    assert means.shape == (20_000, 1)
    looped = []
    for _ in range(4000):
        drawn = rng.integers(0, 60, size=60)
        looped.append(sums[drawn].sum() / sizes[drawn].sum())
    assert means.std() == pytest.approx(np.std(looped), rel=0.05)
    low, high = statistics.interval(means[:, 0], 60)
    tail = stats.norm.cdf(-np.sqrt(60 / 59) * stats.t.ppf(0.975, 59))
    assert (low, high) == pytest.approx(np.quantile(looped, (tail, 1 - tail)), abs=0.15 * (high - low))


def test_bootstrap_is_scipys_where_clusters_have_one_question():
    values = np.random.default_rng(2).normal(0.3, 1, size=80)
    low, high = statistics.interval(statistics.bootstrap(values[:, None], np.ones(80, dtype=int))[:, 0], 80)
    tail = stats.norm.cdf(-np.sqrt(80 / 79) * stats.t.ppf(0.975, 79))
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=1 - 2 * tail, rng=0
    ).confidence_interval
    width = theirs.high - theirs.low
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.03 * width)


@pytest.mark.parametrize("freedom", [10, 19, 79, 500])
def test_students_t_is_scipys(freedom):
    assert statistics.student_t(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=1e-3)


def test_bootstrap_repeats_itself_whatever_the_chunks(monkeypatch):
    sums, sizes = np.random.default_rng(3).normal(size=(30, 2)), np.full(30, 3)
    whole = statistics.bootstrap(sums, sizes, draws=500)
    monkeypatch.setattr(statistics, "_CHUNK", 1000)
    assert statistics.bootstrap(sums, sizes, draws=500) == pytest.approx(whole, rel=1e-12, abs=1e-12)


def coverage(videos: int, simulations: int = 2000) -> float:
    """Share of simulated experiments whose interval holds the true difference.

    Right and wrong of two methods depend on the video: its difficulty, and its liking for one of the two.
    """
    rng = np.random.default_rng(0)
    truth, hits = 0.04, 0
    for simulation in range(simulations):
        sizes = rng.integers(2, 16, size=videos)
        index = np.repeat(np.arange(videos), sizes)
        difficulty = rng.uniform(0.3, 0.7, size=videos)[index]
        liking = (truth + rng.uniform(-0.2, 0.2, size=videos))[index]
        first = rng.random(len(index)) < difficulty
        second = rng.random(len(index)) < difficulty + liking
        differences = (second.astype(float) - first.astype(float))[:, None]
        sums, found = statistics.cluster_sums(differences, index.tolist())
        low, high = statistics.interval(statistics.bootstrap(sums, found, draws=1000, seed=simulation)[:, 0], videos)
        hits += low <= truth <= high
    return hits / simulations


@pytest.mark.parametrize("videos", [statistics.FEWEST_CLUSTERS, 80])
def test_the_interval_covers_the_truth(videos):
    assert 0.93 <= coverage(videos) <= 0.97


def test_an_interval_over_questions_would_not_cover_the_truth():
    """The simulation can tell: with questions as independent draws the interval is too narrow."""
    rng = np.random.default_rng(0)
    hits = 0
    for simulation in range(300):
        liking = rng.uniform(-0.5, 0.5, size=40)
        sums = np.repeat(liking, 10)[:, None] + rng.normal(0, 0.1, size=(400, 1))
        low, high = statistics.interval(
            statistics.bootstrap(sums, np.ones(400, dtype=int), draws=500, seed=simulation)[:, 0], 400
        )
        hits += low <= 0 <= high
    assert hits / 300 < 0.7


def test_sign_flips_are_scipys_exact_permutation_test():
    rng = np.random.default_rng(4)
    for count in (2, 5, 8, 11):
        for sums in (rng.normal(0.5, 1, size=count), rng.integers(-2, 3, size=count).astype(float)):
            theirs = stats.permutation_test(
                (sums,), np.sum, permutation_type="samples", alternative="two-sided", n_resamples=np.inf
            )
            # scipy doubles the smaller tail; the distribution is symmetric, so that is the same.
            assert statistics.sign_flip(sums) == pytest.approx(min(1.0, theirs.pvalue))


def test_random_sign_flips_are_near_the_exact_ones():
    sums = np.random.default_rng(5).normal(0.4, 1, size=13)
    exact = statistics.sign_flip(sums)
    assert statistics.sign_flip(sums, draws=8000) == pytest.approx(exact, abs=0.02)
    padded = np.concatenate([sums, np.zeros(100)])
    assert statistics.sign_flip(padded) == exact


def test_nothing_differs():
    assert statistics.sign_flip(np.zeros(40)) == 1.0
    means = statistics.bootstrap(np.zeros((40, 1)), np.full(40, 2))
    assert statistics.interval(means[:, 0], 40) == (0.0, 0.0)


def test_holm_is_the_step_down_procedure():
    rng = random.Random(6)
    for count in (1, 2, 5, 12):
        values = [rng.random() ** 3 for _ in range(count)]
        corrected = statistics.holm(values)
        for alpha in (0.01, 0.05, 0.2):
            # Reject in rising order until the first p that is too large.
            rejected, order = set(), sorted(range(count), key=values.__getitem__)
            for rank, place in enumerate(order):
                if values[place] > alpha / (count - rank):
                    break
                rejected.add(place)
            assert {place for place in range(count) if corrected[place] <= alpha} == rejected
    assert statistics.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert statistics.holm([]) == []
    assert not any(math.isnan(p) for p in statistics.holm([0.5, 0.5]))
