import numpy as np
import pytest

from scr.detection.detector import READ, possible
from scr.detection.features import NAMES, READ_NAMES
from scr.detection.fitting import Samples, fit, folds_of
from scr.detection.reader import OverlapReader
from scr.detection.trees import Calibration, Trees

WIDTH = len(NAMES)


def samples(count=600, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.random((count, WIDTH))
    labels = (rows[:, 0] + rows[:, 9] > 1.1).astype(np.int64)
    numbers = np.arange(count)
    words = np.where(labels, "who runs it", "where is it")
    pairs = np.column_stack([np.full(count, "who runs it"), words]).astype(object)
    return Samples(rows, labels, numbers, numbers, np.ones(count), numbers, pairs)


@pytest.fixture(scope="module")
def fitted():
    pytest.importorskip("sklearn", reason="fitting needs scikit-learn")
    return fit(samples(), OverlapReader())


def test_trees_as_arrays_give_what_the_library_gives():
    sklearn = pytest.importorskip("sklearn.ensemble", reason="fitting needs scikit-learn")
    from scr.detection import fitting

    learned = samples()
    trees = Trees.load(fitting._boost(learned, fitting.DIRECTIONS, seed=0))
    model = sklearn.HistGradientBoostingClassifier(
        max_iter=fitting.TREES,
        max_leaf_nodes=fitting.LEAVES,
        learning_rate=fitting.LEARNING_RATE,
        min_samples_leaf=fitting.LEAST_ROWS,
        l2_regularization=fitting.RIDGE,
        monotonic_cst=list(fitting.DIRECTIONS),
        early_stopping=False,
        random_state=0,
    ).fit(learned.rows, learned.labels)
    fresh = samples(seed=1).rows
    np.testing.assert_allclose(trees.log_odds(fresh), model.decision_function(fresh), atol=1e-3)


def test_shares_add_up_to_the_log_odds(fitted):
    trees = Trees.load(fitted["features"]["ensemble"])
    rows = samples(seed=2).rows
    shares = trees.contributions(rows)
    assert shares.shape == rows.shape
    np.testing.assert_allclose(trees.baseline + shares.sum(axis=1), trees.log_odds(rows))
    important = np.abs(shares).mean(axis=0).argsort()[-2:]
    assert set(important) == {0, 9}


def test_more_of_what_speaks_for_a_fact_never_speaks_against_it(fitted):
    trees = Trees.load(fitted["features"]["ensemble"])
    row = np.full((11, WIDTH), 0.5)
    row[:, 0] = np.linspace(0, 1, 11)
    assert (np.diff(trees.log_odds(row)) >= -1e-5).all()


def test_no_rows_are_no_log_odds(fitted):
    assert Trees.load(fitted["features"]["ensemble"]).log_odds(np.zeros((0, WIDTH))).shape == (0,)


def test_the_calibration_is_monotone_and_never_certain(fitted):
    probabilities = Calibration.load(fitted["features"]["calibration"])(np.linspace(-50, 50, 101))
    assert (np.diff(probabilities) >= 0).all()
    assert 0 < probabilities[0] < 0.5 < probabilities[-1] < 1


def test_fitting_twice_gives_the_same_weights(fitted):
    from scr.detection import fitting

    assert fitting._boost(samples(), fitting.DIRECTIONS, seed=0) == fitted["features"]["ensemble"]


def test_a_group_is_never_in_two_folds():
    groups = np.array([3, 1, 3, 7, 1, 7, 9])
    folds = folds_of(groups, 3, seed=0)
    assert all(len(set(folds[groups == group].tolist())) == 1 for group in set(groups.tolist()))


def test_the_second_stage_learns_from_the_reader(fitted):
    trees = Trees.load(fitted["reading"]["ensemble"])
    rows = np.full((2, len(READ_NAMES)), 0.5)
    rows[:, len(NAMES)] = (-2.0, 2.0)
    low, high = trees.log_odds(rows)
    assert low < high


def test_at_most_a_few_candidates_of_a_query_are_read():
    queries = np.repeat([0, 1, 2], 7)
    log_odds = np.tile(np.arange(7.0), 3)
    surely = Calibration(np.array([-10.0, 10.0]), np.array([0.001, 0.999]))
    chosen = possible(queries, log_odds, surely(log_odds))
    assert chosen.reshape(3, 7).sum(axis=1).tolist() == [READ] * 3
    assert log_odds[chosen].min() == 7 - READ
    hardly = Calibration(np.array([-10.0, 10.0]), np.array([0.0001, 0.0002]))
    assert not possible(queries, log_odds, hardly(log_odds)).any()
