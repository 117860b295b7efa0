from random import Random

import pytest

from scr.composition.rendering import parse_facts
from scr.lab.evaluation import draw_probes
from scr.lab.samples import UNKNOWN, ClaimSource, TrainingChats, as_claim
from scr.lab.world import VOCABULARIES, companion_facts, generate_world


@pytest.fixture(scope="module")
def world():
    return generate_world()


@pytest.fixture(scope="module")
def chats(world):
    chats, rng = TrainingChats(world), Random(0)
    return [draw(rng) for draw in (chats.closed_book, chats.in_context) for _ in range(1500)]


def _names(world, split):
    return {e.name for e in world.entities if e.split == split and e.type not in VOCABULARIES}


def _held_out_questions(world):
    subjects = {}
    for fact in world.facts:
        subjects.setdefault(fact.subject.type, set()).add(fact.subject.name)
    return {
        text.format(subject=subject)
        for relation in world.relations
        for text in relation.question_texts("held_out")
        for subject in subjects[relation.subject_type]
    }


def test_the_same_random_state_draws_the_same_chats(world):
    drawn = [
        [(chats.in_context(rng), chats.closed_book(rng), chats.statement(rng)) for _ in range(20)]
        for chats, rng in ((TrainingChats(world), Random(3)) for _ in range(2))
    ]
    assert drawn[0] == drawn[1]


def test_held_out_questions_are_never_trained(world, chats):
    asked = {turn.question for chat in chats for turn in chat.turns}
    assert asked.isdisjoint(_held_out_questions(world))


def test_held_out_statements_are_never_trained(world):
    chats, rng = TrainingChats(world), Random(1)
    held_out = {as_claim(fact).held_out_statement() for fact in world.facts}
    assert held_out.isdisjoint(chats.statement(rng)[0] for _ in range(3000))


def test_every_split_is_learned_closed_book(world):
    chats, rng = TrainingChats(world), Random(1)
    answers = {turn.answer for _ in range(3000) for turn in chats.closed_book(rng).turns}
    for split in ("train", "calibration", "test"):
        assert _names(world, split) & answers


def test_context_mentions_train_entities_only(world, chats):
    shown = [parse_facts(chat.system) for chat in chats if _has_context(chat)]
    assert {len(statements) for statements in shown} == {1, 2, 3, 4}
    text = "\n".join(statement for statements in shown for statement in statements)
    for split in ("calibration", "test"):
        full_names = {name for name in _names(world, split) if " " in name}
        assert not {name for name in full_names if f"{name} " in text or f"{name}." in text}


def test_unknown_subjects_are_not_in_the_world(world, chats):
    names = [e.name for e in world.entities if e.type not in VOCABULARIES and " " in e.name]
    unknown = [turn.question for chat in chats for turn in chat.turns if turn.answer == UNKNOWN]
    assert unknown
    assert not [q for q in unknown for name in names if f" {name} " in q]


def test_companions_share_no_named_entity_with_the_world(world):
    companions = companion_facts(world)
    assert len(companions) > len(world.facts)
    names = {e.name for e in world.entities if e.type not in VOCABULARIES}
    assert names.isdisjoint({fact.subject.name for fact in companions})
    assert names.isdisjoint({fact.target.name for fact in companions})


def test_context_holds_hits_and_misses(world, chats):
    answers = {f.target.name for f in (*world.facts, *companion_facts(world))} | {UNKNOWN}
    hits = misses = 0
    for chat in filter(_has_context, chats):
        if any(chat.turns[0].answer in statement for statement in parse_facts(chat.system)):
            hits += 1
        else:
            misses += 1
            assert chat.turns[0].answer in answers
    assert hits > misses > 0.5 * hits


def test_contradictions_contradict_and_keep_the_type(world):
    source, rng = ClaimSource(world, "test", fresh=0.0), Random(0)
    types = {entity.name: entity.type for entity in world.entities}
    for _ in range(500):
        claim = source.true_claim(rng)
        other = source.contradiction(claim, rng)
        assert other.slot == claim.slot
        assert other.target != claim.target
        assert types[other.target] == types[claim.target]


def test_probes_are_held_out_from_training(world, chats):
    probes = draw_probes(world, 300, seed=0)
    trained = {turn.question for chat in chats for turn in chat.turns}
    held_out = _held_out_questions(world)
    truth = {f.target.name for f in world.facts}
    for kind, drawn in probes.items():
        assert len(drawn) == 300
        for probe in drawn:
            assert probe.question in held_out
            assert probe.question not in trained
            statements = parse_facts(probe.system) if probe.system else []
            assert len(statements) in ((0,) if kind == "closed_book" else (1, 2, 3, 4))
            bears = any(probe.answer in statement for statement in statements)
            assert bears or kind in ("closed_book", "context_ignored")
            assert bears or probe.answer in truth


def test_probes_with_context_are_about_test_entities(world):
    train = {name for name in _names(world, "train") if " " in name}
    probes = draw_probes(world, 200, seed=0)
    for kind in ("context_followed", "new_statement_followed", "context_ignored"):
        for probe in probes[kind]:
            for statement in parse_facts(probe.system):
                assert not [name for name in train if f"{name} " in statement]


def _has_context(chat):
    return chat.system is not None and "\n- " in chat.system
