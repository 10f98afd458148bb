"""Intervals hold what they should, on test sets whose population is known; chance is what random scores reach.

60 test sets a case in CI; `SETS=600 pytest tests/test_metrics.py` makes more, and benchmarks/intervals.py most."""
import os

import numpy as np
import pytest
from scipy.special import ndtr, ndtri

from sslam_nb.evaluation.metrics import (Scored, accuracy, by_class, by_polyphony, chance_level, confidence_interval,
                                         mean_average_precision, paired_difference, summary)

SETS = int(os.environ.get("SETS", "60"))

def population_ap(d, prevalence):
    "AP of infinitely many clips whose positives score normal numbers shifted by d."
    score = d + ndtri((np.arange(4000) + 0.5)/4000)
    found, wrong = prevalence*ndtr(d - score), (1 - prevalence)*ndtr(-score)
    return (found/(found + wrong)).mean()

def draw(rng, n, classes, prevalence, d):
    targets = np.zeros((n, classes), bool)
    while not targets.any(): targets = rng.random((n, classes)) < prevalence
    return d*targets + rng.normal(size=targets.shape), targets

def percentile_bootstrap(scores, targets, draws=60):
    "The interval that stood here before, for scores that are all different."
    n, every = len(scores), []
    drawn = np.random.default_rng(0).multinomial(n, [1/n]*n, size=draws)        # how often each clip is drawn
    for order, target in zip(np.argsort(-scores, axis=0).T, targets.T):
        weight, gained = drawn[:, order], (drawn*target)[:, order]
        precision = gained.cumsum(1)/np.maximum(weight.cumsum(1), 1)
        every.append((gained*precision).sum(1)/np.maximum(gained.sum(1), 1))
    return np.percentile(np.mean(every, axis=0), [2.5, 97.5])

def share(interval, repeats, n, classes, prevalence, d, seed=0):
    "Percent of test sets whose interval holds the population's mAP."
    rng, truth = np.random.default_rng(seed), population_ap(d, prevalence)
    ends = [interval(*draw(rng, n, classes, prevalence, d)) for _ in range(repeats)]
    return 100*np.mean([low <= truth <= high for low, high in ends])

@pytest.mark.parametrize("n, classes, prevalence, d, least", [
    (60, 24, 0.2, 0, 91), (60, 24, 0.2, 0.6, 90), (60, 24, 0.2, 2.5, 90), (600, 24, 0.2, 0, 90), (600, 24, 0.2, 0.6, 90),
    (600, 24, 0.2, 2.5, 90), (60, 2, 0.2, 1.2, 88), (600, 2, 0.02, 1.2, 88), (60, 12, 0.02, 0.6, 90)])
def test_the_interval_of_map_covers(n, classes, prevalence, d, least):
    "Of 60 test sets: 95 % give or take 2.8; of few classes, which are quick, 150."
    assert share(confidence_interval, SETS if classes > 2 else max(SETS, 150), n, classes, prevalence, d) >= least

@pytest.mark.parametrize("n, d", [(60, 0), (60, 0.6), (600, 0)])
def test_the_percentile_bootstrap_does_not(n, d):
    "Otherwise the test above would say nothing."
    assert share(percentile_bootstrap, 60, n, 24, 0.2, d) <= 50

def small_test_sets(repeats=500):
    "Few clips, classes and positives; sometimes few different scores, all right, all wrong, all equal."
    rng = np.random.default_rng(1)
    for k in range(repeats):
        n, classes = int(rng.integers(1, 40)), int(rng.integers(1, 6))
        scores, targets = draw(rng, n, classes, rng.choice([0.05, 0.2, 0.7]), rng.choice([-2, 0, 1, 4]))
        if k % 3 == 0: scores = scores.round()
        if k % 25 == 1: scores = targets.astype(float)
        if k % 25 == 2: scores = -1.*targets
        if k % 25 == 3: scores = np.zeros_like(scores)
        yield scores, targets

def test_the_reported_number_is_in_its_interval():
    for scores, targets in small_test_sets():
        low, high = confidence_interval(scores, targets)
        assert 0 <= low <= mean_average_precision(scores, targets) <= high <= 1
        assert high - low > 1e-3                                                # never sure, even if all is right

def test_the_reported_difference_is_in_its_interval():
    rng = np.random.default_rng(2)
    for scores, targets in small_test_sets(200):
        others = scores + rng.normal(size=scores.shape)
        gap, low, high = paired_difference(scores, others, targets)
        assert -1 <= low <= gap <= high <= 1 and low < high
        assert gap == mean_average_precision(scores, targets) - mean_average_precision(others, targets)

def test_a_finished_run_whose_number_lay_outside():
    "60 clips, weak scores: the old interval began above the number that it belonged to."
    rng, outside = np.random.default_rng(3), 0
    for _ in range(40):
        scores, targets = draw(rng, 60, 24, 0.2, 0)
        scored = Scored([str(c) for c in range(24)])
        scored.add(scores, targets, [str(i) for i in range(60)])
        found = summary(scored)
        assert found["low"] <= found["mAP"] <= found["high"]
        outside += percentile_bootstrap(scores, targets)[0] > found["mAP"]
    assert outside > 0

@pytest.mark.parametrize("first, second", [(0.6, 0.6), (1.0, 1.5)])
@pytest.mark.parametrize("n, classes", [(60, 8), (300, 4)])
def test_the_interval_of_a_difference_covers(first, second, n, classes):
    rng, truth, held = np.random.default_rng(4), population_ap(first, 0.2) - population_ap(second, 0.2), []
    for _ in range(SETS):
        noise, targets = draw(rng, n, classes, 0.2, 0)
        others = second*targets + 0.9*noise + np.sqrt(1 - 0.81)*rng.normal(size=noise.shape)
        _, low, high = paired_difference(first*targets + noise, others, targets)
        alone = [confidence_interval(x, targets) for x in (first*targets + noise, others)]
        held.append((low <= truth <= high, high - low < sum(b - a for a, b in alone)))
    covers, narrower = np.mean(held, axis=0)
    assert covers >= 0.88 and narrower > 0.95

@pytest.mark.parametrize("right", [0.5, 0.9, 0.98])
def test_the_interval_of_accuracy_covers(right):
    rng, label, held = np.random.default_rng(5), np.eye(2)[np.zeros(60, int)], []
    for _ in range(10*SETS):
        one = rng.random(60) < right
        two = one | (rng.random(60) < 0.5)
        one, two = (np.eye(2)[np.where(x, 0, 1)] for x in (one, two))
        low, high = confidence_interval(one, label, "accuracy")
        gap, below, above = paired_difference(two, one, label, "accuracy")
        assert low <= accuracy(one, label) <= high and below <= gap <= above and low < high
        held.append((low <= right <= high, below <= (1 - right)/2 <= above))
    assert (np.mean(held, axis=0) >= 0.92).all()

def test_one_model_against_itself():
    scores, targets = draw(np.random.default_rng(6), 60, 4, 0.2, 1)
    gap, low, high = paired_difference(scores, 3*scores + 1, targets)           # the same order
    assert gap == 0 and -0.1 < low < 0 < high < 0.1

@pytest.mark.parametrize("n", [1, 5, 60, 400])
@pytest.mark.parametrize("prevalence", [0.02, 0.2, 0.9])
def test_chance_is_what_random_scores_reach(n, prevalence):
    "Also where classes are absent and where every clip is positive; the label frequency is less."
    rng = np.random.default_rng(7)
    _, targets = draw(rng, n, 6, prevalence, 0)
    reached = [mean_average_precision(rng.random(targets.shape), targets) for _ in range(2*SETS)]
    assert abs(np.mean(reached) - chance_level(targets)) <= 3.5*np.std(reached)/np.sqrt(2*SETS) + 1e-12
    assert chance_level(targets) >= targets[:, targets.any(0)].mean() - 1e-12

def test_chance_by_degree_and_by_class():
    rng = np.random.default_rng(8)
    truth = rng.random((90, 5)) < 0.3
    truth[:, 4] = np.arange(90) == 0                                            # absent from most degrees
    degree = truth.sum(1)
    rounds = []
    for _ in range(2*SETS):
        scored = Scored("abcde")
        scored.add(rng.random(truth.shape), truth, [str(i) for i in range(90)])
        rounds.append((by_polyphony(scored, degree, interval=False), by_class(scored).loc[list("abcde")]))
    for column, tables in zip(("mAP", "AP"), zip(*rounds)):
        reached = np.array([table[column] for table in tables])
        error = reached.std(0)/np.sqrt(2*SETS)
        assert (abs(reached.mean(0) - tables[0].chance) <= 4*error + 1e-12).all(), column

def test_by_degree_every_row_holds_its_number():
    rng = np.random.default_rng(9)
    scores, targets = draw(rng, 150, 20, 0.1, 1)
    scored = Scored([str(c) for c in range(20)])
    scored.add(scores, targets, [str(i) for i in range(150)])
    table = by_polyphony(scored, targets.sum(1))                     # rows of one clip too
    assert table.clips.min() < 10 and (table.low <= table.mAP).all() and (table.mAP <= table.high).all()
    assert by_polyphony(scored, targets.sum(1), interval=False)[["low", "high"]].isna().all(axis=None)

def test_absent_classes_change_nothing():
    scores, targets = draw(np.random.default_rng(10), 60, 4, 0.2, 1)
    wider, more = np.c_[scores, scores], np.c_[targets, 0*targets] > 0
    assert confidence_interval(wider, more) == confidence_interval(scores, targets)
    assert chance_level(more) == pytest.approx(chance_level(targets))

def test_level_and_errors():
    scores, targets = draw(np.random.default_rng(11), 60, 4, 0.2, 1)
    wide, usual, narrow = (confidence_interval(scores, targets, level=level) for level in (0.99, 0.95, 0.8))
    assert wide[0] < usual[0] < narrow[0] and narrow[1] <= usual[1] <= wide[1]
    for function in (lambda *x, **k: confidence_interval(*x, **k), lambda x, y, **k: paired_difference(x, x, y, **k)):
        with pytest.raises(ValueError, match="neither mAP nor accuracy"): function(scores, targets, metric="AUC")
        with pytest.raises(ValueError, match="no class has a positive"): function(scores, 0*targets)
        with pytest.raises(ValueError, match="accuracy wants one"): function(scores, targets | True, metric="accuracy")
    with pytest.raises(ValueError, match="must both be"): paired_difference(scores, scores[:-1], targets)
