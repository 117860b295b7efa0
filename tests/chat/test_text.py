from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.chat.text import cut, stream_until

letters = st.text("ab", max_size=30)
stops = st.lists(st.text("ab", max_size=4), max_size=3)


@pytest.mark.parametrize(
    ("text", "stop", "left"),
    [
        ("one. two.", ["."], "one"),
        ("one. two.", [], "one. two."),
        ("one", ["two", ""], "one"),
        ("abcd", ["abcd", "bc"], "a"),
        ("stop", ["stop"], ""),
    ],
    ids=["first", "none", "absent and empty", "complete first", "at the start"],
)
def test_text_ends_before_the_stop_string(text, stop, left):
    assert cut(text, stop) == left


@settings(deadline=None)
@given(letters, stops, st.lists(st.integers(0, 30)))
def test_streamed_parts_join_to_the_cut_text_however_it_is_split(text, stop, places):
    places = sorted({0, len(text), *(min(place, len(text)) for place in places)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert "".join(stream_until(pieces, stop)) == cut(text, stop)


def test_text_is_passed_on_as_soon_as_no_stop_string_can_begin_in_it():
    assert list(stream_until(["one ", "tw", "o end"], ["two"])) == ["one "]
    assert list(stream_until(["on", "e t", "hree"], ["two"])) == ["on", "e ", "three"]


def test_nothing_is_read_past_a_stop_string():
    def pieces():
        yield "one."
        raise AssertionError("read on")

    assert list(stream_until(pieces(), ["."])) == ["one"]
