import numpy as np
import pytest

from scr.retrieval.nearest import EXHAUSTIVE, Allowed, Codes, Nearest


def unit_rows(count, dimension, seed=0):
    rows = np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def everything(count):
    return Allowed.of(np.ones(count, dtype=bool))


def test_eight_bits_keep_inner_products():
    rows = unit_rows(500, 384)
    codes = Codes()
    codes.extend(rows[:300])
    codes.extend(rows[300:])
    assert np.abs(codes[np.arange(500)] @ rows.T - rows @ rows.T).max() < 0.005
    assert codes.arrays()["codes"].dtype == np.int8


@pytest.mark.parametrize("count", [1, 700])
def test_a_small_collection_is_searched_exhaustively(count):
    rows = unit_rows(count, 32)
    codes, nearest = Codes(), Nearest()
    codes.extend(rows)
    numbers = np.arange(count, dtype=np.int32)
    nearest.follow(codes, numbers)
    _, found = nearest.search(rows[:5], 3, everything(count))
    decoded = codes[numbers]
    exact = np.argsort(-(rows[:5] @ decoded.T), axis=1)[:, :3]
    assert found.tolist() == exact.tolist()


@pytest.fixture(scope="module")
def large():
    """More vectors than are searched exhaustively, in clumps as those of texts are."""
    middles = unit_rows(2_000, 24)
    rows = np.repeat(middles, EXHAUSTIVE // 2_000 + 2, axis=0)
    rows = rows + 0.1 * unit_rows(len(rows), 24, seed=1)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    codes, nearest = Codes(), Nearest()
    codes.extend(rows)
    nearest.follow(codes, np.arange(len(rows), dtype=np.int32))
    return rows, codes, nearest


def test_a_large_collection_is_searched_in_cells(large):
    rows, codes, nearest = large
    assert nearest.arrays()["made_for"].tolist() == [len(rows)]
    asked = rows[::1_000]
    _, found = nearest.search(asked, 10, everything(len(rows)))
    exact = np.argmax(asked @ codes[np.arange(len(rows))].T, axis=1)
    assert np.mean([best in line for best, line in zip(exact, found, strict=True)]) >= 0.99


def test_only_what_is_allowed_is_found_and_a_fresh_row_at_once(large):
    rows, codes, nearest = large
    again = Nearest()
    again.restore(nearest.arrays())
    codes_again = Codes()
    codes_again.restore(codes.arrays())
    fresh = unit_rows(1, 24, seed=2)
    codes_again.extend(fresh)
    count = len(rows) + 1
    again.follow(codes_again, np.arange(count, dtype=np.int32))
    _, found = again.search(fresh, 1, everything(count))
    assert found.tolist() == [[count - 1]]
    _, found = again.search(fresh, 1, Allowed.of(np.arange(count) == 7))
    assert found.tolist() == [[7]]
