import pytest

from scr.records import Turn
from scr.retrieval.followup import OPENING, TURN_CHARACTERS, carry_over
from scr.retrieval.mentions import MentionIndex


@pytest.fixture
def index():
    names = MentionIndex()
    for name in ("Company X", "Dana Lee", "Zanor"):
        names.add(name)
    return names


def user(text):
    return Turn(role="user", text=text)


def assistant(text):
    return Turn(role="assistant", text=text)


def carried(index, text, *history):
    return carry_over(text, index.find(text), history, index.find)


@pytest.mark.parametrize(
    ("text", "rewritten", "masked"),
    [
        ("Who runs it?", "Who runs Company X?", "Who runs it?"),
        ("Who is its boss?", "Who is Company X's boss?", "Who is it's boss?"),
        ("Where is that company based?", "Where is Company X based?", "Where is it based?"),
        ("And the founder?", "And the founder of Company X?", "And the founder of it?"),
    ],
)
def test_what_points_back_is_put_in(index, text, rewritten, masked):
    (one,) = carried(index, text, user("Tell me about Company X."), assistant("Sure."))
    assert (one.rewritten, one.masked, one.turn) == (rewritten, masked, 0)


def test_the_most_recent_turn_that_names_a_subject_counts(index):
    history = (user("What about Company X?"), assistant("Dana Lee runs it."))
    (one,) = carried(index, "Where was she born?", *history)
    assert (one.naming.name, one.turn) == ("Dana Lee", 1)


def test_a_change_of_subject_ends_the_carry_over(index):
    history = (user("What about Company X?"), assistant("Yes?"), user("And what is Borland Inc?"))
    assert carried(index, "Who runs it?", *history) == []


@pytest.mark.parametrize(
    "text", ["Who runs Zanor and where is it?", "What is the tallest mountain in all of Europe?"]
)
def test_a_query_that_stands_alone_takes_nothing_over(index, text):
    assert carried(index, text, user("Tell me about Company X.")) == []


def test_without_history_nothing_is_carried(index):
    assert carried(index, "Who runs it?") == []


@pytest.mark.parametrize(
    "filling", ["Foo bar. ", "The Alba is. And Bora\n", "it is ", "A of of ", '"ab" ', "東京は。"]
)
def test_a_megabyte_is_read_at_its_end(index, filling):
    long = filling * (1_000_000 // len(filling))
    said = f"{long} Tell me about Company X."
    (one,) = carried(index, "Who runs it?", user(said))
    assert said[one.naming.start : one.naming.end] == "Company X"
    assert carried(index, "Who runs it?", user(f"Company X. {long}")) == []
    assert isinstance(carried(index, long, user("Tell me about Company X.")), list)


def test_of_a_turn_the_last_characters_are_read(index):
    said = "Company X" + "." * (TURN_CHARACTERS - len("Company X"))
    (one,) = carried(index, "Who runs it?", assistant(said))
    assert one.naming.start == 0
    assert carried(index, "Who runs it?", assistant(said + ".")) == []


def test_a_rewritten_query_is_bounded(index):
    (one,) = carried(index, "it " * 300_000, user("Tell me about Company X."))
    assert one.rewritten.startswith("Company X Company X ")
    assert len(one.rewritten) <= OPENING
    assert len(one.masked) <= OPENING
