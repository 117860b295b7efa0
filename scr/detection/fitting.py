"""Fitting the detector: gradient boosting and its calibration, written as plain numbers.

Needs scikit-learn (the `eval` extra); running a fitted detector does not.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from scr.detection.detector import possible
from scr.detection.features import (
    DIRECTIONS,
    NAMES,
    READ_DIRECTIONS,
    READ_NAMES,
    with_readings,
)
from scr.detection.reader import Reader
from scr.detection.trees import Calibration, Trees

if TYPE_CHECKING:
    from numpy.typing import NDArray

FOLDS = 4  # of the calibration
TREES = 120
LEAVES = 12
LEARNING_RATE = 0.1
LEAST_ROWS = 40  # training rows in a leaf
RIDGE = 5.0
TAIL = 0.05  # probability from which false fires are kept one by one
SURE = 0.001  # no probability is nearer to 0 or 1 than this


class Samples(NamedTuple):
    """Candidates of many queries as training rows."""

    rows: "NDArray[np.float64]"
    """`(n, len(NAMES))` features."""

    labels: "NDArray[np.int64]"
    """`(n,)` 1 where the candidate answers its query."""

    queries: "NDArray[np.int64]"
    """`(n,)` number of the query; one query's rows share it."""

    groups: "NDArray[np.int64]"
    """`(n,)` fold unit: rows about one fact share it, so that no fact is in two folds."""

    weights: "NDArray[np.float64]"
    """`(n,)` how much a row counts."""

    subjects: "NDArray[np.int64]"
    """`(n,)` number of the candidate's subject."""

    pairs: "NDArray[np.object_]"
    """`(n, 2)` what the reader reads: question and fact."""

    def take(self, chosen: "NDArray[np.bool_]") -> "Samples":
        """Return the chosen rows."""
        return Samples._make(column[chosen] for column in self)


def folds_of(groups: "NDArray[np.int64]", folds: int, seed: int) -> "NDArray[np.int64]":
    """Return the fold of each row, equal for equal groups, in `[0, folds)`."""
    distinct, inverse = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(distinct))
    return np.asarray(order % folds)[inverse]


def fit(samples: Samples, reader: Reader, *, seed: int = 0) -> dict[str, Any]:
    """Return a fitted detector as the weights file holds it, without version and card.

    The second stage learns from the rows that a first stage which did not see them leaves
    possible, as it will meet them.
    """
    first, unseen = _fit_stage(samples, NAMES, DIRECTIONS, seed)
    alone = Calibration.load(first["calibration"])(unseen)
    chosen = possible(samples.queries, unseen, alone)
    read = samples.take(chosen)
    readings = reader([(asked, told) for asked, told in read.pairs])
    rows = with_readings(read.rows, readings, read.queries, read.subjects)
    second, reread = _fit_stage(read._replace(rows=rows), READ_NAMES, READ_DIRECTIONS, seed)
    both = alone.copy()
    both[chosen] = Calibration.load(second["calibration"])(reread)
    return {
        "features": first,
        "reading": second,
        "unanswered": {
            "features": _false_fires(samples, alone),
            "reading": _false_fires(samples, both),
        },
    }


def _false_fires(samples: Samples, probabilities: "NDArray[np.float64]") -> dict[str, Any]:
    """Return what thresholds for a rate of false fires are taken from.

    The probabilities of the queries that nothing answers, those beyond `TAIL` one by one, and the
    number of those below it.
    """
    best, labels, _ = by_query(samples, probabilities)
    without = best[labels == 0]
    above = sorted(round(float(p), 4) for p in without if p >= TAIL)
    return {"probabilities": above, "below": int((without < TAIL).sum())}


def _fit_stage(
    samples: Samples, names: Sequence[str], directions: Sequence[int], seed: int
) -> tuple[dict[str, Any], "NDArray[np.float64]"]:
    """Return a fitted stage, and the log-odds of each row by trees that did not see it.

    The calibration is fitted on those log-odds, and on queries: the best candidate's against
    whether any candidate answers the query.
    """
    unseen = np.zeros(len(samples.labels))
    folds = folds_of(samples.groups, FOLDS, seed)
    for fold in range(FOLDS):
        trees = Trees.load(_boost(samples.take(folds != fold), directions, seed))
        unseen[folds == fold] = trees.log_odds(samples.rows[folds == fold])
    stage = {
        "features": list(names),
        "ensemble": _boost(samples, directions, seed),
        "calibration": calibrate(samples, unseen),
    }
    return stage, unseen


def calibrate(samples: Samples, log_odds: "NDArray[np.float64]") -> dict[str, list[float]]:
    """Return the knots of an isotonic map from a query's best log-odds to its probability."""
    from sklearn.isotonic import IsotonicRegression

    best, labels, weights = by_query(samples, log_odds)
    isotonic = IsotonicRegression(y_min=SURE, y_max=1 - SURE, out_of_bounds="clip")
    isotonic.fit(best, labels, sample_weight=weights)
    return {
        "log_odds": [round(float(x), 5) for x in isotonic.X_thresholds_],
        "probability": [round(float(y), 5) for y in isotonic.y_thresholds_],
    }


def by_query(
    samples: Samples, log_odds: "NDArray[np.float64]"
) -> tuple["NDArray[np.float64]", "NDArray[np.int64]", "NDArray[np.float64]"]:
    """Return each query's best log-odds, whether a candidate answers it, and its weight."""
    distinct, inverse = np.unique(samples.queries, return_inverse=True)
    best = np.full(len(distinct), -np.inf)
    np.maximum.at(best, inverse, log_odds)
    labels = np.zeros(len(distinct), dtype=np.int64)
    np.maximum.at(labels, inverse, samples.labels)
    weights = np.zeros(len(distinct))
    np.maximum.at(weights, inverse, samples.weights)
    return best, labels, weights


def _boost(samples: Samples, directions: Sequence[int], seed: int) -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier

    model = HistGradientBoostingClassifier(
        max_iter=TREES,
        max_leaf_nodes=LEAVES,
        learning_rate=LEARNING_RATE,
        min_samples_leaf=LEAST_ROWS,
        l2_regularization=RIDGE,
        monotonic_cst=list(directions),
        early_stopping=False,
        random_state=seed,
    )
    model.fit(samples.rows, samples.labels, sample_weight=samples.weights)
    trees, baseline = [], float(model._baseline_prediction.ravel()[0])
    for (predictor,) in model._predictors:
        tree = _written(predictor.nodes)
        baseline += tree["value"][0]
        trees.append(tree)
    return {"baseline": round(baseline, 6), "trees": trees}


def _written(nodes: "NDArray[Any]") -> dict[str, list[Any]]:
    """Return a tree as lists; inner nodes get the mean of their children by training rows."""
    values = [float(value) for value in nodes["value"]]
    for at in range(len(nodes) - 1, -1, -1):  # children come after their parents
        node = nodes[at]
        if not node["is_leaf"]:
            left, right = int(node["left"]), int(node["right"])
            a, b = float(nodes[left]["count"]), float(nodes[right]["count"])
            values[at] = (a * values[left] + b * values[right]) / (a + b)
    leaf = nodes["is_leaf"].astype(bool)
    return {
        "feature": [
            -1 if end else int(f) for f, end in zip(nodes["feature_idx"], leaf, strict=True)
        ],
        "threshold": [
            0.0 if end else round(float(t), 6)
            for t, end in zip(nodes["num_threshold"], leaf, strict=True)
        ],
        "left": [int(x) for x in nodes["left"]],
        "right": [int(x) for x in nodes["right"]],
        "value": [round(value, 6) for value in values],
    }
