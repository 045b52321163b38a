"""Predictors made of trees: boosted ones as in CLIMB and RegMix, and extremely randomised ones."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from climb_engine.search.regression import LowRank, Posterior, Trials
from climb_engine.types import FloatArray

TREES = {
    "objective": "regression",
    "metric": ["l1", "l2"],
    "learning_rate": 0.01,
    "num_threads": 1,  # a few hundred rows: threads cost more than they bring
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
CLIMB_TREES = {"max_depth": 4, "num_leaves": 16, "min_data_in_leaf": 5, "lambda_l1": 1.0, "lambda_l2": 1.0}


def lightgbm(trials: Trials, seed: int, settings: Mapping[str, Any], patience: int) -> Posterior:
    """Boosted trees, each fit with a tenth of the trials held out for early stopping.

    The mean is one such fit, as published. Ten fits, each without another tenth, give the covariance (grouped
    jackknife) and, on what they held out, the noise.
    """
    import lightgbm as boosting

    rows = np.random.default_rng(seed).permutation(len(trials.scores))
    groups = np.array_split(rows, min(10, len(rows)))
    boosters, misses = [], []
    for held in groups:
        kept = np.setdiff1d(rows, held)
        training = boosting.Dataset(trials.weights[kept], trials.scores[kept], params={"verbosity": -1})
        booster = boosting.train(
            {**TREES, **settings, "seed": seed},
            training,
            num_boost_round=1000,
            valid_sets=[boosting.Dataset(trials.weights[held], trials.scores[held], reference=training)],
            callbacks=[boosting.early_stopping(patience, verbose=False)],
        )
        boosters.append(booster)
        misses.append(booster.predict(trials.weights[held]) - trials.scores[held])

    def root(weights: FloatArray) -> FloatArray:
        members = np.array([booster.predict(weights) for booster in boosters]).T
        return np.asarray((members - members.mean(axis=1, keepdims=True)) * np.sqrt(1 - 1 / len(groups)))

    variance = np.square(np.concatenate(misses)).mean() - np.square(root(trials.weights)).sum(axis=1).mean()
    return LowRank(boosters[0].predict, root, float(np.sqrt(max(variance, 0.0))))


def extratrees(trials: Trials, seed: int) -> Posterior:
    """Extremely randomised trees; the trees' spread is the covariance, as in SMAC (Hutter et al. 2011)."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=seed).fit(trials.weights, trials.scores)

    def root(weights: FloatArray) -> FloatArray:
        members = np.array([tree.predict(weights.astype(np.float32)) for tree in forest.estimators_]).T
        return np.asarray((members - members.mean(axis=1, keepdims=True)) / np.sqrt(members.shape[1]))

    unexplained = np.square(forest.predict(trials.weights) - trials.scores).mean()
    return LowRank(forest.predict, root, float(np.sqrt(unexplained)))
