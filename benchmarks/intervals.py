"""Do the 95 % intervals of chapter `evaluation.metrics` cover? Simulated test sets whose population is known.

    python benchmarks/intervals.py [test sets a row] [processes]     # 1000 and 2; writes papers_tables/benchmarks/intervals.md
"""
import platform
import sys
from multiprocessing import Pool

import numpy as np
from scipy.special import ndtr, ndtri
from scipy.stats import expon, laplace, norm, t as student

from sslam_nb.core import git_commit, project_path
from sslam_nb.evaluation import metrics
from sslam_nb.evaluation.metrics import chance_level, confidence_interval, mean_average_precision, paired_difference
from sslam_nb.reports.results import hardware

DRAWS, SEPARATIONS = 100, (0, 0.3, 0.6, 1.2, 1.8, 2.5)
OLD = ("percentile", "basic", "bias-corrected", "jackknife of AP, 20 groups")


def by_ranks(target, score):
    "scikit-learn's average precision of one class, without its checks, which take most of the time here."
    ranked, positive = np.sort(-score), np.sort(-score[target])
    t, r = (np.searchsorted(x, positive, side="right") for x in (positive, ranked))
    return (t/r).mean()


def population(d, prevalence, noise=norm):
    "AP of infinitely many clips: mean precision over the scores of the positives."
    score = d + noise.ppf((np.arange(20_000) + 0.5)/20_000)
    found, wrong = prevalence*noise.sf(score - d), (1 - prevalence)*noise.sf(score)
    return (found/(found + wrong)).mean()


def usual(scores, targets, weights):
    "mAP of each row of clip weights (R, n), classes without positives left out; scores are all different."
    every = []
    for score, target in zip(scores.T, targets.T):
        order = np.argsort(-score)
        weight = weights[:, order]
        gained = weight*target[order]
        total = gained.sum(1)
        ap = (gained*(gained.cumsum(1)/np.maximum(weight.cumsum(1), 1))).sum(1)/np.maximum(total, 1)
        every.append(np.where(total > 0, ap, np.nan))
    return np.nanmean(every, axis=0)


def draws_of(rng, n):
    "First every clip once, then how often each resampling drew it."
    return np.concatenate([np.ones((1, n), int), rng.multinomial(n, [1/n]*n, size=DRAWS)])


def of_draws(point, values):
    "Three intervals from the metrics of resampled clips."
    low, high = np.nanpercentile(values, [2.5, 97.5])
    shift = ndtri(np.clip(np.mean(values < point), 1/(DRAWS + 1), DRAWS/(DRAWS + 1)))
    moved = np.nanpercentile(values, 100*ndtr(2*shift + np.array([-1.96, 1.96])))
    return (low, high), (2*point - high, 2*point - low), tuple(moved)


def others(rng, scores, targets):
    "The usual mAP, and the intervals that were not chosen."
    n = len(scores)
    point, *values = usual(scores, targets, draws_of(rng, n))
    without = usual(scores, targets, (np.arange(20)[:, None] != rng.permutation(n)%20).astype(int))
    error, centre = np.sqrt(19*np.nanvar(without)), 20*point - 19*np.nanmean(without)
    half = student.ppf(0.975, 19)*error
    return point, [*of_draws(point, np.array(values)), (centre - half, centre + half)]


def coverage(job):
    "Percent of test sets whose interval holds the truth (one number each interval), and holds the point."
    name, seed, repeats, draw, compare = job
    rng, inside, holds, width, done = np.random.default_rng(seed), [], [], [], 0
    while done < repeats:
        scores, targets, truth = draw(rng)
        if not targets.any(): continue
        done += 1
        old = []
        if compare: point, old = others(rng, scores, targets)
        else: point = mean_average_precision(scores, targets)
        new = confidence_interval(scores, targets)
        within = lambda x: [low - 1e-9 <= x <= high + 1e-9 for low, high in (*old, new)]
        inside.append(within(truth)); holds.append(within(point)); width.append(new[1] - new[0])
    return name, 100*np.mean(inside, axis=0), 100*np.mean(holds, axis=0), np.median(width)


class Classes:
    "Test sets of n clips whose classes occur and separate as given; the truth is over the classes that occur."
    def __init__(self, n, prevalence, separation, noise=norm, shared=0., together=0.):
        self.n, self.prevalence, self.separation = n, np.array(prevalence), np.array(separation)
        self.noise, self.shared, self.together = noise, shared, together
        self.known = np.array([population(d, p, noise) for d, p in zip(self.separation, self.prevalence)])

    def mixed(self, rng, share):
        "Normal numbers of which a share of the variance is common to all classes of a clip."
        own, common = rng.normal(size=(self.n, len(self.known))), rng.normal(size=(self.n, 1))
        return np.sqrt(1 - share)*own + np.sqrt(share)*common

    def __call__(self, rng):
        targets = ndtr(self.mixed(rng, self.together)) < self.prevalence
        noise = self.mixed(rng, self.shared) if self.noise is norm else self.noise.ppf(rng.random(targets.shape))
        scores = self.separation*targets + noise
        return scores, targets, self.known[targets.any(0)].mean() if targets.any() else None


class Rounded(Classes):
    "Scores in steps of one: many are equal."
    def __init__(self, n, prevalence, separation):
        super().__init__(n, prevalence, separation)
        edges = np.arange(-8, 16)
        for c, (d, p) in enumerate(zip(self.separation, self.prevalence)):
            reached, wrong = norm.sf(edges - 0.5 - d), norm.sf(edges - 0.5)
            mass = reached - norm.sf(edges + 0.5 - d)
            self.known[c] = (mass*p*reached/(p*reached + (1 - p)*wrong)).sum()

    def __call__(self, rng):
        scores, targets, truth = super().__call__(rng)
        return np.round(scores), targets, truth


class Degree:
    "Clips of exactly k sounds out of 24 classes, the most frequent ten times as frequent as the rarest."
    def __init__(self, n, k, d):
        self.n, self.k, self.d = n, k, d
        frequency = self.labels(np.random.default_rng(0), 200_000).mean(0)
        self.known = np.array([population(d, p) for p in frequency])

    def labels(self, rng, n):
        order = np.argsort(-np.log(np.geomspace(0.1, 1, 24)) - rng.gumbel(size=(n, 24)), axis=1)
        targets = np.zeros((n, 24), bool)
        np.put_along_axis(targets, order[:, :self.k], True, axis=1)
        return targets

    def __call__(self, rng):
        targets = self.labels(rng, self.n)
        return self.d*targets + rng.normal(size=targets.shape), targets, self.known[targets.any(0)].mean()


def equal_classes():
    for prevalence in (0.2, 0.02):
        for n in (600, 60):
            for classes in (24, 2):
                for d in SEPARATIONS:
                    yield (n, classes, prevalence, d), Classes(n, [prevalence]*classes, [d]*classes)


def other_populations():
    rare, weak_to_strong = np.geomspace(0.003, 0.3, 24), np.linspace(0.2, 2.2, 24)
    for n in (600, 60):
        yield (n, "prevalence 0.003 to 0.3, rare classes are weak"), Classes(n, rare, weak_to_strong)
        yield (n, "prevalence 0.003 to 0.3, rare classes are strong"), Classes(n, rare, weak_to_strong[::-1])
        yield (n, "scores and labels correlated within a clip, d' 1.2"), Classes(n, [0.2]*24, [1.2]*24, shared=0.5, together=0.3)
        for noise in (laplace, expon):
            for d in (0.5, 1.5): yield (n, f"{noise.name} scores, shift {d}"), Classes(n, [0.2]*24, [d]*24, noise)
        yield (n, "scores in steps of one, d' 0.5"), Rounded(n, [0.2]*24, [0.5]*24)
        yield (n, "nearly perfect, d' 3.5"), Classes(n, [0.2]*24, [3.5]*24)
        yield (n, "nearly perfect, d' 3.5, prevalence 0.02"), Classes(n, [0.02]*24, [3.5]*24)
    for n, k in ((30, 1), (60, 3), (100, 6)):
        for d in (0, 0.6, 2.5): yield (n, f"every clip has {k} of 24 sounds, d' {d}"), Degree(n, k, d)


def pairs():
    for n, classes, prevalence in ((600, 24, 0.2), (60, 24, 0.2), (60, 2, 0.2), (600, 24, 0.02)):
        for first, second in ((0, 0), (0.6, 0.6), (1.0, 1.5), (2.5, 2.5)):
            for alike in (0, 0.9): yield n, classes, prevalence, first, second, alike


def pair_coverage(job):
    "Percent of test sets whose interval of the difference holds the truth, for the bootstrap and for ours."
    (n, classes, prevalence, first, second, alike), seed, repeats = job
    rng, inside, done = np.random.default_rng(seed), [], 0
    truth = population(first, prevalence) - population(second, prevalence)
    while done < repeats:
        targets = rng.random((n, classes)) < prevalence
        if not targets.any(): continue
        done += 1
        noise = rng.normal(size=targets.shape)
        one = first*targets + noise
        two = second*targets + alike*noise + np.sqrt(1 - alike**2)*rng.normal(size=targets.shape)
        weights = draws_of(rng, n)
        _, *values = usual(one, targets, weights) - usual(two, targets, weights)
        found, low, high = paired_difference(one, two, targets)
        inside.append([a <= truth <= b for a, b in (np.nanpercentile(values, [2.5, 97.5]), (low, high))]
                      + [low <= found <= high])
    return job[0], truth, 100*np.mean(inside, axis=0)


def accuracies(job):
    "Percent of test sets whose interval holds the accuracy, and the difference to a model half as often wrong."
    (n, right), seed, repeats = job
    rng, inside, label = np.random.default_rng(seed), [], np.eye(2)[np.zeros(n, int)]
    for _ in range(repeats):
        hit = rng.random(n) < right
        better = hit | (rng.random(n) < 0.5)
        scores, others = (np.eye(2)[np.where(x, 0, 1)] for x in (hit, better))
        drawn = rng.binomial(n, hit.mean(), size=DRAWS)/n
        both = hit.mean(), better.mean()
        low, high = confidence_interval(scores, label, "accuracy")
        gap, below, above = paired_difference(others, scores, label, "accuracy")
        old = np.percentile(drawn, [2.5, 97.5])
        inside.append([old[0] <= right <= old[1], low <= right <= high, below <= (1 - right)/2 <= above])
        assert low - 1e-12 <= both[0] <= high + 1e-12 and below <= gap <= above
    return job[0], 100*np.mean(inside, axis=0)


def chances(repeats):
    "Mean mAP of random scores and what the chapter calls chance, for 24 classes of prevalence 0.2."
    rng = np.random.default_rng(0)
    for n in (20, 60, 600):
        targets = rng.random((n, 24)) < 0.2
        every = [usual(rng.random(targets.shape), targets, np.ones((1, n), int))[0] for _ in range(repeats)]
        yield n, targets[:, targets.any(0)].mean(), np.mean(every), np.std(every)/np.sqrt(repeats), chance_level(targets)


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---:|"*len(head), *("| " + " | ".join(row) + " |" for row in rows), ""]


def main(repeats=1000, processes=2):
    rng = np.random.default_rng(0)
    for score in (rng.normal(size=90), rng.integers(0, 9, 90)):
        target = rng.random(90) < 0.3
        assert abs(by_ranks(target, score) - metrics.average_precision_score(target, score)) < 1e-12
    metrics.average_precision_score = by_ranks
    text = ["# Do the intervals cover?", "",
            f"Commit {git_commit()}; {repeats} test sets a row (the standard error of a share of 95 % is {100*np.sqrt(0.95*0.05/repeats):.1f} points), "
            f"seeds 0, 1, 2 ... by row; bootstraps of {DRAWS} draws; {hardware()}, Python {platform.python_version()}, "
            f"numpy {np.__version__}; `python benchmarks/intervals.py`.", "",
            "The truth is the mAP that the same score distributions reach on infinitely many clips, over the classes that occur in the "
            "test set. *Percentile*, *basic* and *bias-corrected* are bootstraps over clips; *chosen* is `confidence_interval`. "
            "*Point inside*: share of intervals that hold the usual mAP of their test set.", ""]
    with Pool(processes) as pool:
        jobs = [(name, seed, repeats, draw, True) for seed, (name, draw) in enumerate(equal_classes())]
        rows = [[*map(str, name[:3]), str(name[3]), *(f"{x:.1f}" for x in inside), f"{holds[0]:.1f}", f"{holds[-1]:.1f}", f"{width:.3f}"]
                for name, inside, holds, width in pool.imap(coverage, jobs)]
        text += ["## Equal classes, normal scores: % that hold the truth", "",
                 *table(["clips", "classes", "prevalence", "d'", *OLD, "chosen", "point inside: percentile", "point inside: chosen",
                         "median width, chosen"], rows)]
        jobs = [(name, seed, repeats, draw, False) for seed, (name, draw) in enumerate(other_populations())]
        rows = [[str(name[0]), name[1], f"{inside[0]:.1f}", f"{holds[0]:.1f}", f"{width:.3f}"]
                for name, inside, holds, width in pool.imap(coverage, jobs)]
        text += ["## Other populations, 24 classes: % that hold the truth", "",
                 *table(["clips", "population", "chosen", "point inside", "median width"], rows)]
        rows = [[*map(str, name), f"{truth:.3f}", *(f"{x:.1f}" for x in inside)]
                for name, truth, inside in pool.imap(pair_coverage, [(name, seed, repeats) for seed, name in enumerate(pairs())])]
        text += ["## Difference of two models on the same clips: % that hold the truth", "",
                 "*Alike* is the correlation of their noise.", "",
                 *table(["clips", "classes", "prevalence", "d' of one", "d' of two", "alike", "true difference", "percentile",
                         "`paired_difference`", "point inside"], rows)]
        sizes = [((n, right), seed, 10*repeats) for seed, (n, right) in enumerate((n, x) for n in (60, 600) for x in (0.5, 0.8, 0.95, 0.99))]
        rows = [[*map(str, name), *(f"{x:.1f}" for x in inside)] for name, inside in pool.imap(accuracies, sizes)]
    text += [f"## Accuracy: % that hold the truth ({10*repeats} test sets a row)", "",
             "The difference is to a second model that is wrong half as often, on the same clips.", "",
             *table(["clips", "accuracy", "percentile", "chosen", "`paired_difference`"], rows)]
    rows = [[str(n), f"{share:.3f}", f"{mean:.4f} ± {error:.4f}", f"{chance:.4f}"] for n, share, mean, error, chance in chances(repeats)]
    text += ["## Chance: mean mAP of random scores", "", *table(["clips", "label frequency", "random scores", "`chance_level`"], rows)]
    out = project_path("papers_tables/benchmarks/intervals.md")
    out.write_text("\n".join(text).rstrip() + "\n"); print(out.read_text())


if __name__ == "__main__": main(*map(int, sys.argv[1:]))
