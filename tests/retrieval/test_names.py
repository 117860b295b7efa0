from hypothesis import given
from hypothesis import strategies as st

from scr.retrieval.names import passage_around, sentence_around

SENTENCES = st.lists(
    st.text(st.sampled_from("abc ,"), min_size=1, max_size=60).map(
        lambda text: f"{text.strip()}x."
    ),
    min_size=1,
    max_size=6,
)


def test_a_passage_takes_the_sentence_after_before_the_one_before():
    text = "First one. I bought it. How long is the warranty? Bye."
    start = text.index("it.")
    assert text[slice(*passage_around(text, start, start + 2, 40))].strip() == (
        "I bought it. How long is the warranty?"
    )
    assert text[slice(*passage_around(text, start, start + 2, 200))] == text
    assert text[slice(*passage_around(text, start, start + 2, 15))].strip() == "I bought it."


def test_a_long_sentence_is_cut_around_the_span():
    text = "a " * 500 + "NAME " + "b " * 500
    start = text.index("NAME")
    first, last = passage_around(text, start, start + 4, 100)
    assert "NAME" in text[first:last]
    assert last - first <= 104


@given(SENTENCES, st.data(), st.integers(1, 200))
def test_a_passage_holds_its_span_and_is_never_longer_than_allowed(sentences, data, longest):
    text = " ".join(sentences)
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, min(len(text), start + 10)))
    first, last = passage_around(text, start, end, longest)
    own = sentence_around(text, start, end)
    assert 0 <= first <= start < end <= last <= len(text)
    assert last - first <= max(longest, end - start)
    if own[1] - own[0] <= longest:
        assert first <= own[0]
        assert own[1] <= last
