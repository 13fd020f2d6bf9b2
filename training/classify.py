"""Classify simulated and deposited maps by statistics of their cubes, and find what accuracy chance gives when maps are few."""

from __future__ import annotations

import numpy as np

#: Number of random draws behind each reference accuracy.
DRAWS = 20


def accuracy(
    rng: np.random.Generator,
    real: list[np.ndarray],
    fake: list[np.ndarray],
    groups: list[str],
    fake_groups: list[str] | None = None,
    makers: list[str] | None = None,
) -> tuple[float, dict[str, float], np.ndarray]:
    """Tell simulated from deposited cubes by logistic regression, cross-validated by leaving out one protein at a time.

    `real` and `fake` hold the statistics (cubes, statistics) of each map; `groups` holds the protein of each map of `real`.
    Without `fake_groups`, each map of `fake` is a group of its own. An equal share of the groups of `fake` is held out with each
    protein. If the `makers` of `real` are given, all maps by a maker of a held-out map are excluded from training too.

    Returns
    -------
    tuple
        Accuracy (mean of both kinds), share of each protein's cubes recognised as deposited, mean weight of each statistic.
    """
    names = sorted(set(groups))
    fake_groups = fake_groups or [str(i) for i in range(len(fake))]
    fold = {g: i % len(names) for i, g in enumerate(rng.permutation(sorted(set(fake_groups))))}
    makers = makers or groups
    right, right_fake, weights = {}, [], []
    for k, name in enumerate(names):
        left_out = {m for m, g in zip(makers, groups, strict=True) if g == name}
        train = [s for s, g, m in zip(real, groups, makers, strict=True) if g != name and m not in left_out]
        held = np.concatenate([s for s, g in zip(real, groups, strict=True) if g == name])
        train_fake = [s for s, g in zip(fake, fake_groups, strict=True) if fold[g] != k]
        held_fake = [s for s, g in zip(fake, fake_groups, strict=True) if fold[g] == k]
        predict, weight = _logistic(train, train_fake)
        right[name] = float((predict(held) > 0).mean())
        right_fake += [float((predict(np.concatenate(held_fake)) < 0).mean())] if held_fake else []
        weights.append(weight)
    return float(0.5 * (np.mean(list(right.values())) + np.mean(right_fake))), right, np.mean(weights, axis=0)


def references(
    rng: np.random.Generator, real: list[np.ndarray], fake: list[np.ndarray], groups: list[str]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the accuracies, (`DRAWS`,) each, of two comparisons between maps of the same kind, in which only chance differs.

    Returns
    -------
    tuple
        Simulated maps, as many as there are proteins, in place of the deposited ones; and one half of the deposited proteins
        against the other half.
    """
    names = sorted(set(groups))
    stand_ins, halves = [], []
    for _ in range(DRAWS):
        order = rng.permutation(len(fake))
        chosen, rest = ([fake[i] for i in part] for part in (order[: len(names)], order[len(names) :]))
        stand_ins.append(accuracy(rng, chosen, rest, names)[0])
        first = set(rng.permutation(names)[: len(names) // 2])
        parts = [[(s, g) for s, g in zip(real, groups, strict=True) if (g in first) == side] for side in (True, False)]
        (one, one_groups), (other, other_groups) = ([list(x) for x in zip(*part, strict=True)] for part in parts)
        halves.append(accuracy(rng, one, other, one_groups, other_groups)[0])
    return np.array(stand_ins), np.array(halves)


def _logistic(real: list[np.ndarray], fake: list[np.ndarray], ridge: float = 1e-2):
    """Fit a logistic regression by Newton's method.

    All maps of one kind have the same weight, and both kinds have the same total weight. Returns the log-odds as a function of
    statistics (cubes, statistics), and the weights of the standardised statistics.
    """
    x = np.concatenate([*real, *fake])
    y = np.repeat([1.0, 0.0], [sum(map(len, real)), sum(map(len, fake))])
    w = np.concatenate([np.full(len(s), 0.5 / len(kind) / len(s)) for kind in (real, fake) for s in kind])
    middle, scale = np.nanmean(x, axis=0), np.nanstd(x, axis=0) + 1e-6

    def design(values: np.ndarray) -> np.ndarray:
        z = np.clip(np.nan_to_num((values - middle) / scale), -4, 4)
        return np.hstack([z, z * z - 1, np.ones((len(z), 1))])

    a = design(x)
    beta = np.zeros(a.shape[1])
    penalty = ridge * np.eye(a.shape[1])
    penalty[-1, -1] = 0
    for _ in range(12):
        p = 1 / (1 + np.exp(-np.clip(a @ beta, -30, 30)))
        hessian = (a * (w * np.maximum(p * (1 - p), 1e-4))[:, None]).T @ a + penalty
        beta += np.linalg.solve(hessian, a.T @ (w * (y - p)) - penalty @ beta)
    return (lambda values: design(values) @ beta), beta[: x.shape[1]]
