from collections import Counter

import pytest

from scr.lab.relations import RELATIONS
from scr.lab.world import DEFAULT_SIZE, VOCABULARIES, generate_world, make_entity


@pytest.fixture(scope="module")
def world():
    return generate_world()


def test_same_seed_same_world(world):
    assert generate_world() == world


def test_another_seed_makes_another_world(world):
    assert generate_world(seed=1).facts != world.facts


@pytest.mark.parametrize("size", [100, 777, DEFAULT_SIZE, 8_000])
def test_size_is_exact(size):
    assert len(generate_world(size=size).facts) == size


@pytest.mark.parametrize("size", [0, 99, 8_001])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="100 to 8000 facts"):
        generate_world(size=size)


def test_every_relation_is_asked_and_stated_in_many_ways():
    assert len(RELATIONS) >= 12
    for relation in RELATIONS:
        assert len(relation.questions) >= 8
        assert len(relation.question_texts("held_out")) == 2
        assert len(relation.statements) == 4
        assert len(relation.statement_texts("held_out")) == 1
        assert relation.statements[0].text == f"The {relation.name} of {{subject}} is {{target}}."
        texts = [form.text for form in (*relation.questions, *relation.statements)]
        assert len(set(texts)) == len(texts)
        assert all(text.count("{subject}") == 1 for text in texts)
        assert all("{target}" in form.text for form in relation.statements)


def test_facts_fit_the_signatures(world):
    signatures = {r.name: (r.subject_type, r.target_type) for r in world.relations}
    for fact in world.facts:
        assert (fact.subject.type, fact.target.type) == signatures[fact.relation]
        assert fact.subject != fact.target


def test_names_and_slots_are_unique(world):
    assert len({entity.name for entity in world.entities}) == len(world.entities)
    assert len(world.targets) == len(world.facts)


def test_marriage_is_mutual(world):
    married = {
        fact.subject.name: fact.target.name for fact in world.facts if fact.relation == "spouse"
    }
    both = [person for person, partner in married.items() if partner in married]
    assert both
    assert all(married[married[person]] == person for person in both)


def test_no_target_dominates(world):
    for relation in world.relations:
        values = Counter(f.target.name for f in world.facts if f.relation == relation.name)
        assert max(values.values()) <= 0.25 * values.total()


def test_splits_are_by_name_whatever_the_world(world):
    assert {make_entity(e.name, e.type) for e in world.entities} == set(world.entities)
    assert make_entity("Dana Lee", "person").split == make_entity("Dana Lee", "book").split
    shares = Counter(entity.split for entity in world.entities if entity.type not in VOCABULARIES)
    assert shares["train"] / shares.total() == pytest.approx(0.7, abs=0.08)
    assert shares["test"] / shares.total() == pytest.approx(0.2, abs=0.06)
    assert shares["calibration"] / shares.total() == pytest.approx(0.1, abs=0.05)
