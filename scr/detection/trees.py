"""A boosted ensemble of regression trees as plain arrays, and its calibration.

Knows nothing of queries or facts: rows of numbers in, log-odds and probabilities out.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Trees(NamedTuple):
    """All trees at once, each padded to the same number of nodes; a leaf is its own child."""

    feature: "NDArray[np.int64]"
    """`(trees, nodes)` column that a node asks about; -1 for a leaf."""

    threshold: "NDArray[np.float64]"
    """`(trees, nodes)` value up to which a row goes left."""

    left: "NDArray[np.int64]"
    right: "NDArray[np.int64]"

    value: "NDArray[np.float64]"
    """`(trees, nodes)` log-odds of a leaf; of an inner node the mean over its training rows."""

    baseline: float
    """Log-odds before the first tree, the roots' values included."""

    @classmethod
    def load(cls, written: Mapping[str, Any]) -> "Trees":
        """Read an ensemble as the weights file holds it."""
        trees: Sequence[Mapping[str, Any]] = written["trees"]
        size = max(len(tree["feature"]) for tree in trees)
        own = np.tile(np.arange(size), (len(trees), 1))

        def stacked(name: str, padding: float) -> "NDArray[np.float64]":
            return np.array(
                [[*tree[name], *[padding] * (size - len(tree[name]))] for tree in trees]
            )

        feature = stacked("feature", -1).astype(np.int64)
        leaf = feature < 0
        return cls(
            feature=feature,
            threshold=stacked("threshold", 0.0),
            left=np.where(leaf, own, stacked("left", 0)).astype(np.int64),
            right=np.where(leaf, own, stacked("right", 0)).astype(np.int64),
            value=stacked("value", 0.0),
            baseline=float(written["baseline"]),
        )

    def log_odds(self, rows: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return the log-odds of each of `(n, k)` rows."""
        contributions = self.contributions(rows)
        return np.asarray(self.baseline + contributions.sum(axis=1))

    def contributions(self, rows: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return `(n, k)` shares of the features in the log-odds over the baseline.

        Each step from a node to its child changes the expected log-odds; the change is credited
        to the feature that the node asked about, so that a row's shares add up to its log-odds.

        Source:
            Saabas 2014, "Interpreting random forests" (path contributions).
        """
        count, width = rows.shape
        shares = np.zeros((count, width + 1))  # the last column takes the leaves' idle steps
        if not count:
            return shares[:, :width]
        trees = np.arange(len(self.feature))[:, None]  # (T, 1)
        node = np.zeros((len(self.feature), count), dtype=np.int64)  # (T, n)
        columns = np.broadcast_to(np.arange(count), node.shape)
        while True:
            feature = self.feature[trees, node]
            if (feature < 0).all():
                return shares[:, :width]
            goes_left = rows[columns, np.maximum(feature, 0)] <= self.threshold[trees, node]
            after = np.where(goes_left, self.left[trees, node], self.right[trees, node])
            change = self.value[trees, after] - self.value[trees, node]
            np.add.at(shares, (columns, np.where(feature < 0, width, feature)), change)
            node = after


class Calibration(NamedTuple):
    """A monotone map from log-odds to probabilities, linear between its knots.

    Source:
        Zadrozny and Elkan 2002, "Transforming classifier scores into accurate multiclass
        probability estimates" (isotonic regression).
    """

    log_odds: "NDArray[np.float64]"
    probability: "NDArray[np.float64]"

    @classmethod
    def load(cls, written: Mapping[str, Any]) -> "Calibration":
        """Read the knots as the weights file holds them."""
        return cls(np.array(written["log_odds"]), np.array(written["probability"]))

    def __call__(self, log_odds: "NDArray[np.float64]") -> "NDArray[np.float64]":
        """Return the probability of each log-odds."""
        return np.asarray(np.interp(log_odds, self.log_odds, self.probability))


class Scorer(NamedTuple):
    """An ensemble with its calibration and the names of its columns."""

    features: tuple[str, ...]
    trees: Trees
    calibration: Calibration

    @classmethod
    def load(cls, written: Mapping[str, Any]) -> "Scorer":
        """Read what `scr.detection.fitting` wrote."""
        return cls(
            features=tuple(written["features"]),
            trees=Trees.load(written["ensemble"]),
            calibration=Calibration.load(written["calibration"]),
        )
