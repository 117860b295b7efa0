"""Draw how well cosine and detector tell queries with an answer from those without one.

    python scripts/plot_detector.py [--out docs/detector.svg]

The queries are those of the company set (`eval/selectivity`), which neither has learned from; all
its facts are in one store. A cosine is that of the query with the nearest key of any fact.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from scr.detection import load_detector
from scr.evaluation.selectivity import auroc, find_candidates, read_cases, read_facts
from scr.retrieval import load_embedder

FOLDER = Path(__file__).parent.parent / "eval/selectivity"
BINS = 40
COLORS = ("#b35806", "#2166ac")  # told apart by the color-blind too
EDGE = 1e-3  # of a probability on the axis of log-odds


def main() -> None:
    """Decide every query, and draw both distributions side by side."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("--out", type=Path, default=Path("docs/detector.svg"))
    arguments = parser.parse_args()
    facts = read_facts(FOLDER / "company.facts.jsonl")
    cases = [
        case for part in ("dev", "sealed") for case in read_cases(FOLDER / f"company.{part}.jsonl")
    ]
    found = find_candidates(facts, cases, load_embedder("offline"))
    answered = np.array([bool(case.gold) for case in cases])
    cosines = np.array([max((c.cosine for c in own), default=0.0) for own in found])
    detector = load_detector()
    probabilities = np.array(
        [detector(case.query, own).probability for case, own in zip(cases, found, strict=True)]
    )
    clipped = np.clip(probabilities, EDGE, 1 - EDGE)
    plt.rcParams["svg.hashsalt"] = "scr"
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    _draw(left, cosines, answered, "cosine of the nearest key")
    _draw(right, np.log(clipped / (1 - clipped)), answered, "probability of the detector")
    ticks = [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999]
    right.set_xticks([float(np.log(p / (1 - p))) for p in ticks], [f"{p:g}" for p in ticks])
    left.set_ylabel("queries")
    left.legend(frameon=False)
    figure.savefig(arguments.out, metadata={"Date": None})


def _draw(axes: Axes, values: NDArray[np.float64], answered: NDArray[np.bool_], label: str) -> None:
    bins = np.linspace(values.min(), values.max(), BINS)
    for has, color in zip((False, True), COLORS, strict=True):
        name = "a fact answers" if has else "no fact answers"
        axes.hist(values[answered == has], bins, color=color, alpha=0.65, label=name)
    axes.set_xlabel(label)
    axes.set_title(f"area under the ROC curve {auroc(values, answered):.3f}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main()
