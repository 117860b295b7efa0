import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.errors import InvalidInput
from scr.evaluation.metrics import (
    bootstrap,
    efficacy,
    exact_match,
    neighborhood,
    normalize_answer,
    unchanged,
    wilson,
)


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("The U.S.A.!", "usa"),
        ("  a  Dana   Lee ", "dana lee"),
        ("Theatre an art", "theatre art"),
        ("„Köln“", "„köln“"),  # only ASCII punctuation goes, as in the reference rule
        ("", ""),
    ],
)
def test_answers_are_normalized_as_squad_does(text, normal):
    assert normalize_answer(text) == normal


@given(st.text(), st.text("!\"'()-.,;:?", max_size=5))
def test_case_blanks_and_punctuation_never_matter(text, marks):
    normal = normalize_answer(text)
    assert normal == normal.strip()
    assert "  " not in normal
    assert normalize_answer(f" {text}{marks} ") == normal
    assert normalize_answer(text.lower()) == normal


def test_an_answer_or_an_alias_of_it_matches():
    assert exact_match("dana lee.", "Dana Lee")
    assert exact_match("Sparky Lee", "Dana Lee", ["Sparky Lee"])
    assert not exact_match("Dana Lee of Bluepeak", "Dana Lee")


def test_probability_scores_are_strict_and_mirror_each_other():
    assert efficacy(1.0, 2.0)
    assert not efficacy(2.0, 1.0)
    assert not efficacy(1.0, 1.0)
    assert neighborhood(2.0, 1.0)
    assert not neighborhood(1.0, 1.0)


def test_locality_compares_with_the_models_own_output():
    assert unchanged("The Hague", "hague")
    assert not unchanged("wrong", "right")


def test_the_interval_is_wilsons():
    score = wilson(right=81, n=263)  # the example of Newcombe 1998, Statistics in Medicine 17
    assert score.low == pytest.approx(0.2553, abs=1e-4)
    assert score.high == pytest.approx(0.3662, abs=1e-4)
    assert wilson(0, 10).low == 0.0
    assert wilson(10, 10).high == pytest.approx(1.0)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0.0, 1.0)
    assert str(wilson(1, 2)) == "0.500 [0.095, 0.905], n = 2"


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_a_bootstrap_interval_holds_its_mean(values):
    estimate = bootstrap(values)
    assert estimate.mean == pytest.approx(math.fsum(values) / len(values))
    assert estimate.low - 1e-9 <= estimate.mean <= estimate.high + 1e-9
    assert bootstrap(values) == estimate


def test_a_unanimous_sample_still_has_an_interval():
    estimate = bootstrap([1.0] * 20)
    assert estimate.mean == 1.0
    assert estimate.low < 0.9
    estimate = bootstrap([0.5] * 20)
    assert estimate.low < 0.45 < 0.55 < estimate.high


@pytest.mark.parametrize("value", [float("nan"), -0.1, 1.1])
def test_a_value_that_is_no_share_is_refused(value):
    with pytest.raises(InvalidInput, match="count a failed case as 0"):
        bootstrap([0.5, value])


def test_the_bootstrap_agrees_with_the_normal_interval_of_a_large_sample():
    values = [0.25, 0.5, 0.75] * 300
    estimate = bootstrap(values)
    reach = 1.96 * math.sqrt(1 / 24 / 900)  # the variance of the three values is 1/24
    assert estimate.high - estimate.low == pytest.approx(2 * reach, rel=0.1)
