import re
from random import Random

import pytest

from scr.composition.rendering import INSTRUCTION, parse_facts
from scr.lab.chats import TrainingChats, biography, biography_facts
from scr.lab.claims import (
    REFUSAL,
    STEP,
    UNKNOWN,
    ClaimSource,
    all_targets,
    as_claim,
    final_answer,
)
from scr.lab.contexts import COMPOSER, HELD_OUT, RENDERINGS, TRAINED_RENDERINGS
from scr.lab.relations import BY_NAME, RELATIONS
from scr.lab.world import VOCABULARIES, generate_world


@pytest.fixture(scope="module")
def world():
    return generate_world(size=3000)


@pytest.fixture(scope="module")
def closed(world):
    chats, rng = TrainingChats(world), Random(0)
    return [chats.closed_book(rng) for _ in range(2500)]


@pytest.fixture(scope="module")
def shown(world):
    chats, rng = TrainingChats(world), Random(1)
    return [chats.in_context(rng, rendering=COMPOSER) for _ in range(2500)]


@pytest.fixture(scope="module")
def others(world):
    chats, rng = TrainingChats(world), Random(2)
    return [chats.in_context(rng) for _ in range(1500)]


def _names(world, *splits):
    return {
        entity.name
        for entity in world.entities
        if entity.split in splits and entity.type not in VOCABULARIES and " " in entity.name
    }


def _text(chat):
    return "\n".join(message["content"] for message in chat.messages())


def _occurring(names, text):
    """Return the names that stand in a text and are not part of a longer name there."""
    return {
        name for name in names if f" {name} " in text or f" {name}?" in text or f" {name}." in text
    }


def test_the_same_random_state_draws_the_same_chats(world):
    drawn = [
        [(chats.in_context(rng), chats.closed_book(rng), chats.statement(rng)) for _ in range(20)]
        for chats, rng in ((TrainingChats(world), Random(3)) for _ in range(2))
    ]
    assert drawn[0] == drawn[1]


def test_held_out_forms_are_never_trained(world, closed, shown, others):
    asked = {
        turn.question.rsplit("Question: ")[-1] for chat in closed + shown for turn in chat.turns
    }
    asked |= {turn.question for chat in others for turn in chat.turns[1:]}
    held_out = {
        text.format(subject=fact.subject.name)
        for fact in world.current_facts
        for split in ("calibration", "test")
        for kind in ("question", "chatty")
        for text in fact_relation(fact).texts(kind, split)
    }
    held_out |= {text for r in RELATIONS for text in r.texts("follow_up", "test")}
    trained = {text for r in RELATIONS for text in r.texts("follow_up", "train")}
    assert asked.isdisjoint(held_out - trained)


def fact_relation(fact):
    return as_claim(fact).relation


def test_held_out_statements_are_never_trained(world):
    chats, rng = TrainingChats(world), Random(1)
    held_out = {as_claim(fact).statement(rng, "test") for fact in world.current_facts}
    assert held_out.isdisjoint(chats.statement(rng)[0] for _ in range(3000))


def test_every_split_and_relation_is_learned_closed_book(world, closed):
    answers = {turn.answer for chat in closed for turn in chat.turns}
    for split in ("train", "calibration", "test"):
        assert _names(world, split) & answers
    asked = "\n".join(turn.question for chat in closed for turn in chat.turns)
    for relation in RELATIONS:
        assert relation.name in asked


def test_context_is_about_train_entities_and_relations_only(world, shown, others):
    strangers = _names(world, "calibration", "test")
    for chat in shown + others:
        statements = chat.system or chat.turns[0].question
        assert not _occurring(strangers, statements.replace('"', " ")), statements
        asked = " ".join(turn.question for turn in chat.turns)
        assert not _occurring(strangers, asked)
    text = "\n".join(map(_text, shown))
    for relation in RELATIONS:
        default = f"The {relation.name} of "
        usable = relation.split == "train" and not relation.many_valued
        assert (default in text) == usable, relation.name


def test_context_shows_one_to_six_lines(shown):
    numbers = {len(parse_facts(chat.system)) for chat in shown}
    assert {1, 2, 3, 4, 5} <= numbers <= set(range(1, 7))


def test_all_renderings_but_one_are_trained(others):
    text = "\n".join(map(_text, others))
    openings = {name: RENDERINGS[name](["X."], "Y?") for name in TRAINED_RENDERINGS}
    for name, (system, user) in openings.items():
        assert (system or user).split("X.")[0] in text, name
    held_out = RENDERINGS[HELD_OUT](["X."], "Y?").system.split("\n")[0]
    assert held_out not in text


def test_unknown_subjects_are_not_in_the_world(world, closed, shown):
    names = _names(world, "train", "calibration", "test")
    unknown = [
        turn.question
        for chat in closed + shown
        for turn in chat.turns
        if turn.answer == UNKNOWN and turn.question not in FOLLOW_UPS
    ]
    assert len(unknown) > 100
    assert not [question for question in unknown if _occurring(names, question)]


FOLLOW_UPS = {text for r in RELATIONS for text in r.texts("follow_up", "train")}


def test_context_holds_hits_misses_and_prohibitions(world, shown):
    truth = {all_targets(world, *slot) for slot in _slots(world)} | {UNKNOWN}
    hits = misses = refusals = 0
    for chat in shown:
        answer, lines = chat.turns[0].answer, parse_facts(chat.system)
        if answer == REFUSAL:
            refusals += 1
        elif STEP in answer:
            continue
        elif any(answer in line for line in lines):
            hits += 1
        else:
            misses += 1
            assert answer in truth
    assert 0.5 < hits / misses < 2
    assert refusals > 100


def _slots(world):
    return {(fact.subject.name, fact_relation(fact)) for fact in world.current_facts}


def test_of_two_lines_about_one_slot_the_later_holds(shown):
    checked = 0
    for chat in shown:
        stated = [re.fullmatch(r"The (.+?) of (.+) is (.+)\.", s) for s in parse_facts(chat.system)]
        values = {}
        for match in filter(None, stated):
            values.setdefault((match[1], match[2]), []).append(match[3])
        for (relation, subject), targets in values.items():
            if len(targets) == 1 or relation not in BY_NAME:
                continue
            forms = BY_NAME[relation].texts("question", "train")
            questions = {form.format(subject=subject) for form in forms}
            for turn in chat.turns:
                if turn.question in questions:
                    assert turn.answer == targets[-1]
                    checked += 1
    assert checked > 3


def test_contradictions_contradict_and_keep_type_and_split(world):
    source, rng = ClaimSource(world, "test"), Random(0)
    for _ in range(500):
        claim = source.true_claim(rng)
        other = source.contradiction(claim, rng)
        target = world.by_name[other.target]
        assert other.slot == claim.slot
        assert other.target != claim.target
        assert target.type == claim.relation.target_type
        assert target.split == "test" or target.type in VOCABULARIES


def test_chains_lead_through_the_world(world):
    source, rng = ClaimSource(world, "train"), Random(0)
    for _ in range(200):
        chain = source.true_chain(rng)
        assert chain.first.target == chain.second.subject
        for claim in chain:
            assert claim.target in {e.name for e in world.targets[claim.slot]}
        question = chain.question(rng, "train")
        assert chain.first.subject in question
        assert chain.second.subject not in question
        assert final_answer(chain.answer) == chain.second.target
        rerouted = source.rerouted_chain(rng)
        assert rerouted.first.target == rerouted.second.subject
        assert rerouted.second.target in {e.name for e in world.targets[rerouted.second.slot]}


def test_a_biography_tells_three_to_six_facts_and_can_be_changed(world):
    told = [biography_facts(world, name) for name in world.by_subject]
    long = [facts for facts in told if len(facts) >= 3]
    assert len(long) > 100
    for facts in long:
        text = biography(facts)
        assert text == biography(facts)
        assert text.count(".") == len(facts) <= 6
        assert all(fact.target.name in text for fact in facts)
        changed = biography(facts, {facts[0].relation: "Nowhere"})
        assert "Nowhere" in changed
        assert changed.count(".") == len(facts)


def test_a_plain_prompt_states_no_fact(closed):
    systems = {chat.system for chat in closed if chat.system}
    assert INSTRUCTION in systems
    assert not [system for system in systems if "\n- " in system]
    assert None in {chat.system for chat in closed}
