"""The data that reader and detector are trained on, and the scripts that draw from it."""

import random
import sys
from collections import Counter
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from made_stores import make_store
from reader_pairs import PairMaker, RelationPairs
from written import composed, held_out, load_texts, load_written, slip

from scr.retrieval.names import MASK

FACTS = load_written()
TEXTS = load_texts()


def test_every_written_fact_is_complete():
    assert len(FACTS) > 1000
    for fact in FACTS:
        assert "{S}" in fact.prompt, fact
        assert "{S}" in fact.statement, fact
        assert "{T}" in fact.statement, fact
        assert len(fact.asks) >= 4, fact
        assert len(fact.others) >= 4, fact
        assert all("{S}" in text for text in (*fact.asks, *fact.others)), fact
        assert all("{T}" in text and "{S}" not in text for text in fact.back), fact
        assert all(("{T}" in text) != ("{S}" in text) for text in fact.swapped), fact


def test_a_question_is_never_both_answered_and_not():
    for fact in FACTS:
        answered = {fact.prompt, *fact.asks, *fact.back}
        assert not answered & {*fact.others, *fact.swapped}, fact


def test_most_subjects_have_facts_to_be_told_apart():
    counts = Counter(fact.subject for fact in FACTS)
    assert sum(count for count in counts.values() if count >= 3) > 0.7 * len(FACTS)
    share = sum(map(held_out, counts)) / len(counts)
    assert 0.1 < share < 0.2


def test_pairs_are_masked_and_hold_more_that_is_not_answered():
    pairs = list(PairMaker(FACTS[:200]).epoch(random.Random(0)))
    assert pairs == list(PairMaker(FACTS[:200]).epoch(random.Random(0)))
    assert not any("{" in pair.asked + pair.told for pair in pairs)
    assert all(MASK in pair.told for pair in pairs)
    answered = sum(pair.answers for pair in pairs)
    assert 0.25 * len(pairs) < answered < 0.5 * len(pairs)


def test_relations_are_told_apart_within_a_type():
    pairs = list(RelationPairs().epoch(random.Random(0)))
    assert 0.2 * len(pairs) < sum(pair.answers for pair in pairs) < 0.6 * len(pairs)
    assert all(MASK in pair.asked for pair in pairs)


@pytest.mark.parametrize("size", [1, 10, 100])
def test_a_made_store_asks_about_its_own_facts(size):
    store = make_store(FACTS, held_out, size, 40, seed=size)
    ids = {fact.id for fact in store.facts}
    assert len(store.facts) == len(ids) <= size
    assert store == make_store(FACTS, held_out, size, 40, seed=size)
    for case in store.cases:
        assert case.gold <= ids
        assert bool(case.gold) == (case.category in ("asked", "back")), case
    assert any(case.gold for case in store.cases)
    assert any(not case.gold for case in store.cases)


def test_every_text_has_questions_that_it_answers_and_near_misses():
    assert len(TEXTS) >= 40
    assert not {text.subject for text in TEXTS} & {fact.subject for fact in FACTS}
    for text in TEXTS:
        assert text.is_text
        assert "{S}" in text.statement, text
        assert len(text.asks) >= 6, text
        assert len(text.others) >= 6, text
        assert all(question.count("{S}") == 1 for question in (*text.asks, *text.others)), text
        assert not set(text.asks) & set(text.others), text


def test_facts_about_one_subject_make_a_text_that_answers_the_questions_of_each():
    own = [fact for fact in FACTS if fact.subject == FACTS[0].subject]
    text = composed(own, random.Random(0))
    assert text.is_text
    assert all(fact.target in text.statement for fact in own)
    assert len(text.asks) == sum(len(fact.asks) for fact in own)
    assert not any("{T}" in part for part in (text.statement, *text.asks, *text.others))


def test_a_made_store_of_texts_asks_what_they_tell_and_what_they_do_not():
    store = make_store(TEXTS, lambda _: True, 10, 80, seed=1)
    assert {fact.kind for fact in store.facts} == {"text"}
    assert len({bool(fact.subject) for fact in store.facts}) == 2
    answered = Counter(bool(case.gold) for case in store.cases)
    assert min(answered.values()) > 20


def test_a_slip_changes_one_word_only():
    rng = random.Random(0)
    for _ in range(200):
        text = "the northern harbour office"
        slipped = slip(text, rng)
        changed = sum(a != b for a, b in zip(text.split(), slipped.split(), strict=True))
        assert changed <= 1
    assert slip("a b", rng) == "a b"
