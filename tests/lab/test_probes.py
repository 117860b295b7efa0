import contextlib
import re

import pytest

from scr.composition.rendering import parse_facts
from scr.errors import InvalidInput
from scr.lab.claims import REFUSAL, UNKNOWN
from scr.lab.probes import KINDS, draw_probes
from scr.lab.relations import RELATIONS
from scr.lab.world import VOCABULARIES, generate_world


@pytest.fixture(scope="module")
def world():
    return generate_world(size=4000)


@pytest.fixture(scope="module")
def probes(world):
    return draw_probes(world, 120, seed=0)


def _held_out(world):
    """Return every question in a form held out from training."""
    names = {}
    for entity in world.entities:
        names.setdefault(entity.type, []).extend((entity.name, *entity.aliases))
    return {
        text.format(subject=name)
        for relation in RELATIONS
        for kind in ("question", "chatty")
        for text in relation.texts(kind, "test")
        for name in names[relation.subject_type]
    }


def test_there_are_as_many_of_each_kind_as_asked_for(world, probes):
    assert probes.keys() == KINDS.keys()
    assert {len(drawn) for drawn in probes.values()} == {120}
    assert draw_probes(world, 120, seed=0) == probes
    assert draw_probes(world, 120, seed=1) != probes


def test_questions_are_in_held_out_forms(world, probes):
    held_out = _held_out(world)
    for kind, drawn in probes.items():
        if kind in ("closed_book_trained_forms", "follow_up", "unknown_admitted"):
            continue  # other tests' business
        if kind.startswith("two_hop"):
            ends = {text.split("{subject}")[0] for text in TEXTS} - {""}
            assert all(probe.question.startswith(tuple(ends)) for probe in drawn), kind
        else:
            assert {probe.question for probe in drawn} <= held_out, kind


TEXTS = [text for relation in RELATIONS for text in relation.texts("question", "test")]


def test_a_follow_up_answers_from_what_is_shown(probes):
    for probe in probes["follow_up"]:
        (turn,) = probe.earlier
        lines = parse_facts(probe.system)
        (about,) = {_slot(turn.question)}
        stated = [
            line for line in lines if about and line.startswith(f"The {about[1]} of {about[0]} is ")
        ]
        if stated:
            assert stated[0].endswith(f" is {turn.answer}.")


def _slot(question):
    """Return subject and relation of a question in the derived form, else nothing."""
    match = re.fullmatch(r"Wh(?:o|at) is the (.+?) of (?:the )?(.+)\?", question)
    return (match[2], match[1]) if match else None


def test_a_world_too_small_to_ask_about_is_refused():
    with pytest.raises(InvalidInput, match="make one of a few thousand"):
        draw_probes(generate_world(3, 100), 3)


@pytest.mark.parametrize("split", ["train", "calibration", "test"])
def test_a_small_world_is_asked_about_in_every_kind_or_refused(split):
    drawn = []
    for seed in range(6):
        with contextlib.suppress(InvalidInput):
            drawn.append(draw_probes(generate_world(seed, 400), 20, split=split))
    assert drawn
    assert all(probes.keys() == KINDS.keys() for probes in drawn)


def test_context_names_entities_of_the_split_only(world, probes):
    train = {
        entity.name
        for entity in world.entities
        if entity.split == "train" and entity.type not in VOCABULARIES and " " in entity.name
    }
    for kind, drawn in probes.items():
        for probe in drawn:
            for line in (
                parse_facts(probe.system) if probe.system and "\n- " in probe.system else ()
            ):
                about = [n for n in train if f"{n} " in line or f"{n}." in line]
                assert not about, (kind, line)


@pytest.mark.parametrize(
    ("kind", "lines"),
    [
        ("closed_book", {0}),
        ("context_followed", {1, 2, 3, 4}),
        ("context_ignored", {1, 2, 3, 4}),
        ("one_of_five", {5}),
        ("two_hop_one_given", {1}),
        ("forget_obeyed", {1, 2, 3, 4}),
        ("later_line_holds", {2}),
    ],
)
def test_each_shows_what_it_says(kind, lines, probes):
    shown = {len(parse_facts(p.system)) if p.system else 0 for p in probes[kind]}
    assert shown == lines


def test_what_bears_holds_the_answer(world, probes):
    truth = {t.name for targets in world.targets.values() for t in targets}
    for kind in ("context_followed", "one_of_five", "alias_in_context", "new_relation_followed"):
        for probe in probes[kind]:
            assert any(probe.answer in line for line in parse_facts(probe.system))
    for probe in probes["context_ignored"]:
        assert probe.answer in truth
    assert {probe.answer for probe in probes["forget_obeyed"]} == {REFUSAL}
    for probe in probes["new_prohibition_obeyed"]:
        assert probe.system.split("\n- ")[1].startswith('"Nobody may be told the ')
    assert {probe.answer for probe in probes["unknown_admitted"]} == {UNKNOWN}
    for probe in probes["later_line_holds"]:
        assert probe.answer in parse_facts(probe.system)[-1]


def test_two_hop_questions_name_the_start_and_not_the_bridge(world, probes):
    for probe in probes["two_hop"]:
        (start,) = [
            entity.name
            for entity in world.entities
            if entity.name in probe.question
            and re.search(rf"the [a-z ]+ of (the )?{entity.name}\b(?! [A-Z])", probe.question)
        ]
        bridges = {t.name for f in world.by_subject[start] for t in (f.target,)}
        assert not [name for name in bridges if name in probe.question]


def test_a_follow_up_names_no_subject(probes):
    follow_ups = {text for relation in RELATIONS for text in relation.texts("follow_up", "test")}
    for probe in probes["follow_up"]:
        assert probe.question in follow_ups
        assert len(probe.messages()) == 4
