from collections import Counter
from datetime import date
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.lab.relations import BY_NAME, RELATIONS, split_of
from scr.lab.world import (
    DEFAULT_SIZE,
    MAX_SIZE,
    VOCABULARIES,
    generate_world,
    invent_name,
)


@pytest.fixture(scope="module")
def world():
    return generate_world()


def test_same_seed_same_world(world):
    assert generate_world() == world


def test_another_seed_makes_another_world(world):
    assert generate_world(seed=1).facts != world.facts


@pytest.mark.parametrize("size", [100, 101, 777, DEFAULT_SIZE, 50_000])
def test_size_is_exact(size):
    assert len(generate_world(size=size).facts) == size


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), size=st.integers(100, 1500))
def test_any_seed_and_size_makes_a_sound_world(seed, size):
    world = generate_world(seed, size)
    assert len(world.facts) == size
    assert len(world.by_name) == len(world.entities)
    for fact in world.facts:
        relation = BY_NAME[fact.relation]
        assert (fact.subject.type, fact.target.type) == (
            relation.subject_type,
            relation.target_type,
        )
        assert fact.subject != fact.target
        assert fact.end is None or fact.start < fact.end


@pytest.mark.parametrize("size", [0, 99, MAX_SIZE + 1])
def test_impossible_sizes_are_refused(size):
    with pytest.raises(ValueError, match="100 to 1000000 facts"):
        generate_world(size=size)


def test_there_are_relations_of_every_sort():
    assert len(RELATIONS) >= 24
    assert any(relation.symmetric for relation in RELATIONS)
    assert sum(relation.many_valued for relation in RELATIONS) >= 2
    assert any(relation.dated for relation in RELATIONS)
    for relation in RELATIONS:
        if relation.inverse:
            assert BY_NAME[relation.inverse].inverse == relation.name


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_a_relation_is_asked_and_stated_in_many_ways(relation):
    counts = Counter(form.kind for form in relation.forms)
    assert counts["question"] >= 8
    assert counts["statement"] >= 4
    assert counts["cloze"] >= 3
    assert counts["chatty"] >= 2
    assert counts["follow_up"] >= 2
    for kind in counts:
        assert relation.texts(kind, "train")
        assert relation.texts(kind, "test")
        texts = [form.text for form in relation.forms if form.kind == kind]
        assert len(set(texts)) == len(texts)
    for form in relation.forms:
        assert form.text.count("{subject}") == (form.kind != "follow_up")
        assert form.text.count("{target}") == (form.kind == "statement")
    assert relation.texts("question", "calibration")
    assert relation.split == split_of(relation.name)


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_the_statement_that_scr_derives_is_trained(relation):
    article = "the " if relation.subject_type == "product" else ""
    default = f"The {relation.name} of {article}{{subject}} is {{target}}."
    assert relation.texts("statement", "train")[0] == default


@pytest.mark.parametrize("relation", RELATIONS, ids=lambda relation: relation.name)
def test_no_held_out_cloze_form_begins_a_statement_of_training(relation):
    for cloze in relation.texts("cloze", "test"):
        assert not [s for s in relation.texts("statement", "train") if s.startswith(f"{cloze} ")]


def test_each_split_has_relations():
    assert {relation.split for relation in RELATIONS} == {"train", "calibration", "test"}


def test_slots_are_unique_unless_many_valued(world):
    for (_, name), targets in world.targets.items():
        assert len(targets) == 1 or BY_NAME[name].many_valued
        assert len(set(targets)) == len(targets)


def test_what_holds_both_ways_does(world):
    for fact in world.current_facts:
        relation = BY_NAME[fact.relation]
        back = relation.name if relation.symmetric else relation.inverse
        if back:
            assert world.targets[fact.target.name, back] == (fact.subject,)


def test_a_former_holder_leaves_when_the_present_one_comes(world):
    former = [fact for fact in world.facts if not fact.current]
    assert len(former) > 100
    starts = {
        (fact.subject.name, fact.relation): fact.start for fact in world.current_facts if fact.start
    }
    for fact in former:
        assert BY_NAME[fact.relation].dated
        assert starts[fact.subject.name, fact.relation] == fact.end
        assert fact.start < fact.end < date(2026, 1, 1)


def test_no_target_dominates(world):
    for relation in world.relations:
        values = Counter(f.target.name for f in world.facts if f.relation == relation.name)
        assert max(values.values()) <= 0.25 * values.total()


def test_names_and_aliases_are_unique(world):
    names = [name for entity in world.entities for name in (entity.name, *entity.aliases)]
    assert len(set(names)) == len(names)


def test_there_are_aliases_of_every_sort(world):
    aliases = {
        kind: [(e.name, a) for e in entities for a in e.aliases]
        for kind, entities in world.by_type.items()
    }
    assert [a for name, a in aliases["person"] if a == name.split()[-1]]  # surnames
    assert [a for name, a in aliases["person"] if " " in a and a not in name]  # nicknames
    assert [a for _, a in aliases["company"] if a.isupper() and len(a) == 3]  # acronyms
    assert len(aliases["person"]) > 200


def test_splits_are_by_name_whatever_the_world(world):
    assert all(entity.split == split_of(entity.name) for entity in world.entities)
    shares = Counter(entity.split for entity in world.entities if entity.type not in VOCABULARIES)
    assert shares["train"] / shares.total() == pytest.approx(0.7, abs=0.04)
    assert shares["test"] / shares.total() == pytest.approx(0.2, abs=0.03)
    assert shares["calibration"] / shares.total() == pytest.approx(0.1, abs=0.03)


def test_coined_names_are_in_no_lexicon():
    rng = Random(0)
    for kind in ("person", "company", "city", "country", "university", "book", "product"):
        plain = {invent_name(kind, rng) for _ in range(200)}
        coined = {invent_name(kind, rng, coin=True) for _ in range(200)}
        assert len(coined) > 190
        assert plain.isdisjoint(coined)
