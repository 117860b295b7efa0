"""What is right, and how sure one can be: matching of answers, edit metrics, intervals.

Pure functions of texts and numbers. The definitions are those of the papers that are named; where
one name means two things in the literature, there are two names here.
"""

import re
import string
from collections.abc import Sequence
from math import sqrt

import numpy as np

from scr.edits import Estimate
from scr.errors import InvalidInput

RESAMPLES = 1_000
"""Of the bootstrap."""

_Z = 1.959964  # of a two-sided 95 % interval
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalize_answer(text: str) -> str:
    """Return an answer without case, ASCII punctuation, English articles and runs of blanks.

    Punctuation beyond ASCII is kept, as in the original.

    Source: Rajpurkar et al. 2016, "SQuAD", arXiv:1606.05250, its evaluation script.
    """
    bare = text.lower().translate(_PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def exact_match(reply: str, answer: str, aliases: Sequence[str] = ()) -> bool:
    """Whether a reply is the answer or one of its aliases, both normalized."""
    given = normalize_answer(reply)
    return any(given == normalize_answer(wanted) for wanted in (answer, *aliases))


def efficacy(nll_new: float, nll_old: float) -> bool:
    """Whether the new target is more probable than the old one; a tie is a failure.

    Args:
        nll_new: mean negative log-probability per token of the new target, in nats.
        nll_old: the same of the old one.

    On the edited prompt this is the Efficacy Score, on rephrases the Paraphrase Score.

    Source: Meng et al. 2022, "ROME", arXiv:2202.05262, section 3.4.
    """
    return nll_new < nll_old


def neighborhood(nll_new: float, nll_old: float) -> bool:
    """Whether the true target of another subject is still more probable than the new one.

    On questions about other subjects with the same old target this is the Neighborhood Score.

    Source: as of `efficacy`.
    """
    return nll_old < nll_new


def unchanged(before: str, after: str) -> bool:
    """Whether two replies to one prompt are the same: locality against the model's own output."""
    return normalize_answer(before) == normalize_answer(after)


def wilson(right: float, n: int) -> Estimate:
    """Return the share `right / n` with its 95 % Wilson interval; `[0, 1]` where `n` is 0.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if n == 0:
        return Estimate(mean=0.0, low=0.0, high=1.0, n=0)
    share = right / n
    center = (share + _Z * _Z / (2 * n)) / (1 + _Z * _Z / n)
    reach = _Z / (1 + _Z * _Z / n) * sqrt(share * (1 - share) / n + _Z * _Z / (4 * n * n))
    return Estimate(mean=share, low=max(0.0, center - reach), high=min(1.0, center + reach), n=n)


def bootstrap(values: Sequence[float], seed: int = 0) -> Estimate:
    """Return the mean of case values with its 95 % percentile bootstrap interval.

    Cases are drawn whole, so several questions about one fact must be averaged before. Where all
    values are the same, of which the bootstrap makes an interval without width, it is Wilson's.

    Args:
        values: one for each case, in [0, 1]; a failed case counts as 0, it is not left out.
        seed: of the resampling.

    Raises:
        InvalidInput: if a value is outside [0, 1] or not a number.
    """
    if not all(0 <= value <= 1 for value in values):
        raise InvalidInput("a case value lies outside 0 to 1: count a failed case as 0")
    if len(set(values)) <= 1:
        return wilson(sum(values), len(values))
    sample = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = sample[rng.integers(len(sample), size=(RESAMPLES, len(sample)))].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Estimate(mean=float(sample.mean()), low=float(low), high=float(high), n=len(sample))
