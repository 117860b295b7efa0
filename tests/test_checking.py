"""Test questions of facts, and what an approval would change."""

import pytest

from scr.errors import FactConflict
from tests.server.running import open_knowledge


@pytest.fixture
def knowledge(tmp_path):
    with open_knowledge(tmp_path / "facts.db") as knowledge:
        yield knowledge


def owner(knowledge, target, **fields):
    return knowledge.add(subject="Company X", relation="owner", target=target, **fields).fact


def test_tests_of_facts_pass_or_fail(knowledge):
    fact = owner(
        knowledge,
        "Ada",
        must_fire=["Who owns Company X?", "Who owns it?"],
        must_not_fire=["Where is a bakery?", "Is Company X Street long?"],
    )
    found = {each.question: each.passed for each in knowledge.check()}
    assert found == {
        "Who owns Company X?": True,
        "Who owns it?": False,
        "Where is a bakery?": True,
        "Is Company X Street long?": False,
    }
    assert knowledge.check([fact.id]) == knowledge.check()
    assert knowledge.check([owner(knowledge, "Bo", scope="other").id]) == []


def test_a_preview_shows_what_would_be_decided_otherwise_and_changes_nothing(knowledge):
    old = owner(knowledge, "Ada", must_fire=["Who owns Company X?"])
    new = knowledge.store.propose(
        old.model_copy(update={"id": "new", "target": "Bo", "supersedes": old.id}), by="bo"
    ).fact
    sequence = knowledge.store.sequence
    made = knowledge.preview("new")
    assert knowledge.store.sequence == sequence
    assert made.fact.id == new.id
    assert [fact.id for fact in made.closed] == [old.id]
    changed = {d.question: (d.before, d.after) for d in made.differences}
    assert changed["Who owns Company X?"] == ((old.id,), ("new",))
    assert not any(d.broken for d in made.differences)  # a successor takes over
    assert all(test.passed for test in made.tests)
    assert knowledge.decide("Who owns Company X?").matches[0].fact.id == old.id
    knowledge.store.approve("new", by="ana")
    assert knowledge.decide("Who owns Company X?").matches[0].fact.id == "new"


def test_a_preview_of_a_conflict_names_the_rival(knowledge):
    old = owner(knowledge, "Ada")
    knowledge.store.propose(old.model_copy(update={"id": "new", "target": "Bo"}), by="bo")
    with pytest.raises(FactConflict, match="Ada"):
        knowledge.preview("new")


def test_a_preview_of_something_new_names_what_would_wrongly_fire(knowledge):
    knowledge.add(subject="Company Y", relation="owner", target="Cy",
                  must_not_fire=["Who owns Company X?"])  # fmt: skip
    knowledge.add(subject="Company Z", relation="owner", target="Di", must_fire=["Company Z?"],
                  must_not_fire=["Who owns Company X?"])  # fmt: skip
    knowledge.store.propose(
        owner(knowledge, "Ada", scope="draft").model_copy(
            update={"id": "new", "scope": "default", "must_not_fire": ("Company X, is it nice?",)}
        ),
        by="bo",
    )
    made = knowledge.preview("new")
    assert ("Who owns Company X?", (), ("new",)) in [
        (d.question, d.before, d.after) for d in made.differences
    ]
    assert [(test.question, test.passed) for test in made.tests] == [
        ("Company X, is it nice?", False)
    ]


def test_near_duplicates_are_used_for_the_question_of_another(knowledge):
    first = owner(knowledge, "Ada", id="a", questions=["Who owns Company X?"])
    knowledge.add(
        id="b", subject="Company X", statement="Ada has the say at Company X.",
        questions=["Whose is Company X?"],
    )  # fmt: skip
    found = knowledge.near_duplicates()
    assert [{task.fact_id, *task.others} for task in found] == [{"a", "b"}]
    assert "is used" in found[0].why
    knowledge.store.retire(first.id, by="ann")
    assert knowledge.near_duplicates() == []
