import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.retrieval import columns
from scr.retrieval.columns import Column, Multimap, Texts, key_of, part, under

ADDED = st.lists(st.tuples(st.integers(0, 2**64 - 1) | st.integers(0, 5), st.integers(0, 99)))


@given(ADDED, ADDED, st.integers(1, 20))
def test_a_map_gives_back_what_was_added_in_order(first, second, merged):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "_LEAST_MERGED", merged)
        held = Multimap()
        expected: dict[int, list[int]] = {}
        for key, number in first:
            held.add(key, number)
            expected.setdefault(key, []).append(number)
        again = Multimap()
        again.restore(held.arrays())
        for key, number in second:
            again.add(key, number)
            expected.setdefault(key, []).append(number)
    for key, numbers in expected.items():
        assert again.get(key).tolist() == numbers
        assert again.count(key) == len(numbers)
        assert key in again
    for key in {0, 1, 2**64 - 1} - set(expected):
        assert key not in again
        assert again.get(key).tolist() == []


@given(st.lists(st.text()), st.lists(st.text()))
def test_texts_are_kept_by_number(first, second):
    held = Texts()
    assert [held.append(text) for text in first] == list(range(len(first)))
    again = Texts()
    again.restore(held.arrays())
    for text in second:
        again.append(text)
    assert list(again) == [*first, *second]


@given(st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2)))
def test_a_column_grows_by_rows(rows):
    one, many = Column(np.int64, 2), Column(np.int64, 2)
    for row in rows:
        one.append(row)
    many.extend(np.array(rows, dtype=np.int64).reshape(-1, 2))
    assert one.all.tolist() == many.all.tolist() == rows


def test_keys_of_texts_do_not_depend_on_the_process():
    assert key_of("Company X") == 17993666433606956540
    assert key_of("") != key_of(" ")


def test_parts_are_told_apart_by_their_names():
    a, b = np.zeros(1), np.ones(1)
    joined = {**under("x", {"a": a}), **under("x.y", {"a": b})}
    assert part("x.y", joined) == {"a": b}
