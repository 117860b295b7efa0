import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scr.facts import make_fact


def ids(revisions):
    return [revision.fact.id for revision in revisions]


@pytest.fixture
def filled(store):
    facts = [
        {"id": "cn", "subject": "China", "relation": "capital", "target": "Beijing"},
        {"id": "jp", "subject": "Japan", "relation": "capital", "target": "Tokyo"},
        {"id": "tx", "kind": "text", "statement": "Tokyo hosts many embassies of China."},
        {"id": "de", "subject": "Straße 17", "aliases": ["Café Blau"], "relation": "town",
         "target": "Köln", "scope": "acme"},
        {"id": "ru", "subject": "Москва", "relation": "страна", "target": "Россия"},
        {"id": "il", "subject": "ירושלים", "relation": "מדינה", "target": "ישראל"},
        {"id": "c_plus", "subject": "C++", "relation": "newest_standard", "target": "C++23"},
    ]  # fmt: skip
    for fields in facts:
        store.add(make_fact(**fields), by="ann")
    return store


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Beijing", {"cn"}),
        ("capital", {"cn", "jp"}),
        ("capital tokyo", {"jp"}),
        ("TOK", {"jp", "tx"}),
        ("china", {"cn", "tx"}),
        ("What is the capital of China?", {"cn"}),
        ("strasse", {"de"}),
        ("cafe blau", {"de"}),
        ("ｃａｆｅ", {"de"}),
        ("koln", {"de"}),
        ("москва", {"ru"}),
        ("ישראל", {"il"}),
        ("c++23", {"c_plus"}),
        ("newest_standard", {"c_plus"}),
        ("Berlin", set()),
    ],
)
def test_every_word_has_to_be_there(filled, text, found):
    assert set(ids(filled.search(text))) == found


def test_a_name_counts_more_than_a_mention(filled):
    assert ids(filled.search("china"))[0] == "cn"


@pytest.mark.parametrize(
    "text",
    ["", "   ", "?!", '"', "*", "NEAR(", "a AND", "names:", "-x", "^", "\0", "\ud800", "🦜", "()",
     "x" * 1_048_576, "x " * 500_000, "\u202e", "'; DROP TABLE revisions; --"],
)  # fmt: skip
def test_odd_text_finds_nothing_and_never_raises(filled, text):
    assert filled.search(text) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text() | st.text('"*()^-:+{}AND OR NOT NEAR\0'))
def test_any_text_can_be_searched(filled, text):
    assert len(filled.search(text, status=None)) <= 7


def test_retired_and_revised_facts_are_found_as_they_are_now(filled):
    filled.retire("jp", by="ann")
    filled.revise("cn", {"statement": "Peking it is.", "questions": ["Where?"]}, by="ann")
    assert ids(filled.search("tokyo")) == ["tx"]
    assert ids(filled.search("tokyo", status="retired")) == ["jp"]
    assert set(ids(filled.search("tokyo", status=None))) == {"jp", "tx"}
    assert ids(filled.search("peking")) == ["cn"]
    assert ids(filled.search("what capital")) == []


def test_searching_the_past(filled):
    before = filled.sequence
    filled.revise("cn", {"statement": "Peking it is."}, by="ann")
    assert ids(filled.search("peking", as_of=before)) == []
    assert [r.sequence for r in filled.search("beijing", as_of=before)] == [1]


def test_limits_scopes_and_times(filled):
    filled.add(
        make_fact(subject="Bonn", relation="role", target="capital", id="bn", scope="acme/a",
                  validity={"start": "1949-05-23", "end": "1990-10-03"}), by="ann",
    )  # fmt: skip
    assert len(filled.search("capital", limit=1)) == 1
    assert filled.search("capital", limit=0) == []
    assert ids(filled.search("capital", scope="acme/a")) == ["bn"]
    assert ids(filled.search("cafe", scope="acme/a")) == ["de"]
    assert ids(filled.search("beijing", scope="acme/a")) == []
    now = filled.get("bn").at
    assert set(ids(filled.search("capital", valid_at=now))) == {"cn", "jp"}
