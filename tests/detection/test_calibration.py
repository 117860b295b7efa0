import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.detection import Recalibration
from scr.detection.calibration import LEAST, threshold_for
from scr.errors import InvalidInput

RATES = st.floats(0.01, 0.9)


def drawn(count, seed=0, shift=0.0):
    """Return probabilities whose true log-odds are higher by `shift`, and what happened."""
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 2, count)
    happened = rng.random(count) < 1 / (1 + np.exp(-(odds + shift)))
    return (1 / (1 + np.exp(-odds))).tolist(), happened.tolist()


def test_a_shift_of_the_log_odds_is_mended():
    pytest.importorskip("sklearn", reason="fitting needs scikit-learn")
    fitted = Recalibration.fit(*drawn(4_000, shift=1.5), embedder="model", detector="trees")
    assert fitted.slope == pytest.approx(1, abs=0.15)
    assert fitted.intercept == pytest.approx(1.5, abs=0.2)
    assert fitted(0.2) == pytest.approx(1 / (1 + np.exp(-(np.log(0.25) + 1.5))), abs=0.05)
    assert list(fitted.unanswered) == sorted(fitted.unanswered)
    assert fitted.answered + len(fitted.unanswered) == 4_000


def test_kinds_that_are_told_apart_perfectly_stay_finite():
    pytest.importorskip("sklearn", reason="fitting needs scikit-learn")
    fitted = Recalibration.fit(
        [0.0, 1.0] * LEAST, [False, True] * LEAST, embedder="model", detector="trees"
    )
    assert 0 < fitted(0.0) < 0.5 < fitted(1.0) < 1


@pytest.mark.parametrize(
    ("probabilities", "answered", "message"),
    [
        ([0.5] * 30, [True] * 30, "too few"),
        ([0.1, 0.9] * LEAST, [True, False] * LEAST, "lower probabilities"),
    ],
)
def test_queries_that_cannot_be_fitted_are_refused(probabilities, answered, message):
    pytest.importorskip("sklearn", reason="fitting needs scikit-learn")
    with pytest.raises(InvalidInput, match=message):
        Recalibration.fit(probabilities, answered, embedder="model", detector="trees")


def test_a_calibration_comes_back_from_its_file(tmp_path):
    made = Recalibration(
        embedder="model",
        detector="trees",
        slope=0.8,
        intercept=-0.3,
        answered=30,
        unanswered=(0.1, 0.4),
    )
    made.save(tmp_path / "calibration.json")
    assert Recalibration.load(tmp_path / "calibration.json") == made
    for content in ("", "{}", '{"format": 2}'):
        (tmp_path / "calibration.json").write_text(content)
        with pytest.raises(InvalidInput, match="scr detector calibrate"):
            Recalibration.load(tmp_path / "calibration.json")
    with pytest.raises(InvalidInput, match="cannot be read"):
        Recalibration.load(tmp_path / "missing.json")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0.1, 5), st.floats(-5, 5))
def test_a_recalibration_keeps_the_order(one, two, slope, intercept):
    made = Recalibration(
        embedder="model",
        detector="trees",
        slope=slope,
        intercept=intercept,
        answered=30,
        unanswered=(),
    )
    low, high = sorted((one, two))
    assert 0 <= made(low) <= made(high) <= 1


@given(st.lists(st.floats(0, 1), min_size=100, max_size=300), RATES)
def test_the_threshold_keeps_its_rate_with_one_query_to_spare(unanswered, rate):
    threshold = threshold_for(rate, unanswered)
    fires = sum(p >= threshold for p in unanswered)
    assert threshold >= 1 - 1e-6 or (fires + 1) / (len(unanswered) + 1) <= rate + 1e-9


@given(st.integers(0, 10_000))
def test_on_average_over_draws_new_queries_fire_at_the_promised_rate(seed):
    rng = np.random.default_rng(seed)
    rates = []
    for _ in range(300):
        values = rng.random(60)
        rates.append(values[-1] >= threshold_for(0.2, values[:-1].tolist()))
    assert np.mean(rates) < 0.2 + 4 * np.sqrt(0.2 * 0.8 / 300)


def test_a_rate_that_too_few_queries_cannot_promise_is_refused():
    with pytest.raises(InvalidInput, match="at least 99"):
        threshold_for(0.01, [0.1] * 98)
    assert threshold_for(0.01, [0.1] * 99) > 0.1
