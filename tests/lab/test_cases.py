import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import InvalidInput
from scr.lab.cases import draw_cases, draw_requests
from scr.lab.relations import BY_NAME
from scr.lab.world import VOCABULARIES, generate_world

WORLD = generate_world(size=3000)
TRUE = {(fact.subject.name, fact.relation, fact.target.name): fact for fact in WORLD.current_facts}


@pytest.fixture(scope="module")
def cases():
    return draw_cases(WORLD, 200)


def _asked(case):
    """Return the relation that each locality probe of a case asks for, and its subject."""
    for probe in (*case.other_subject, *case.other_relation, *case.unrelated, *case.forget):
        relations = [
            fact.relation
            for fact in WORLD.by_subject[probe.subject]
            if probe.text in _questions(fact)
        ]
        yield probe, relations


def _questions(fact):
    forms = BY_NAME[fact.relation].texts("question", "train")
    return {form.format(subject=fact.subject.name) for form in forms}


def test_a_case_edits_a_current_fact_to_a_target_of_its_type(cases):
    for case in cases:
        request = case.request
        fact = TRUE[request.subject, case.relation, request.old_target]
        new = WORLD.by_name[request.target]
        assert new.type == fact.target.type
        assert request.target not in (request.old_target, request.subject)
        assert new.type in VOCABULARIES or new.split == "test"
        assert request.prompt == f"{request.prefix}{request.subject}{request.suffix}"
        assert request.subject in request.prompt
        assert case.split == "test"
        assert not BY_NAME[case.relation].many_valued
    assert len({case.request.id for case in cases}) == len(cases)


def test_rephrases_are_held_out_and_in_both_styles(cases):
    for case in cases:
        relation = BY_NAME[case.relation]
        held_out = {
            form.format(subject=case.request.subject)
            for kind in ("question", "cloze")
            for form in relation.texts(kind, "test")
        }
        assert {probe.text for probe in case.rephrases} == held_out
        assert {probe.style for probe in case.rephrases} == {"question", "cloze"}
        assert {probe.answer for probe in case.rephrases} == {case.request.target}
        assert case.question not in held_out


def test_locality_probes_are_true_and_untouched(cases):
    for case in cases:
        request = case.request
        for probe, relations in _asked(case):
            answers = {
                fact.target.name
                for fact in WORLD.by_subject[probe.subject]
                if fact.relation in relations
            }
            assert probe.answer in answers
        assert request.subject not in {probe.subject for probe in case.other_subject}
        assert {probe.subject for probe in case.other_relation} <= {request.subject}
        for probe in (*case.unrelated, *case.forget):
            assert probe.subject != request.subject
            assert probe.answer not in (request.target, request.old_target)
        assert case.other_subject
        assert len(case.unrelated) == 5
        assert {p.text for p in case.forget}.isdisjoint(p.text for p in case.unrelated)


def test_those_with_the_same_old_target_come_first(cases):
    together = 0
    for case in cases:
        same = [probe.answer == case.request.old_target for probe in case.other_subject]
        assert same == sorted(same, reverse=True)
        together += any(same)
    assert together > 50


def test_chains_pass_through_the_edit(cases):
    onward = through = 0
    for case in cases:
        edited = (case.request.subject, case.relation)
        for chain in case.multi_hop:
            places = [(hop.subject, hop.relation) for hop in chain.new_hops]
            assert edited in places
            assert chain.answer != chain.old_answer or chain.new_hops != chain.old_hops
            for old, new in (chain.old_hops, chain.new_hops):
                assert old.target == new.subject
            for hop in chain.old_hops:
                assert (hop.subject, hop.relation, hop.target) in TRUE
            for hop in chain.new_hops:
                true = (hop.subject, hop.relation, hop.target) in TRUE
                assert true != ((hop.subject, hop.relation) == edited)
            assert len(set(chain.questions)) == len(chain.questions) in (1, 2, 3)
            second = BY_NAME[chain.new_hops[1].relation]
            trained = {
                form.format(subject=BY_NAME[places[0][1]].noun(places[0][0]))
                for form in second.texts("question", "train")
            }
            assert trained.isdisjoint(chain.questions)
            bridge = chain.new_hops[0].target
            assert not [q for q in chain.questions if bridge in q]
            onward += places[0] == edited
            through += places[1] == edited
    assert onward > 50
    assert through > 50


def test_reversed_questions_exist_where_the_relation_has_a_direction_back(cases):
    for case in cases:
        relation = BY_NAME[case.relation]
        assert (case.reversed is not None) == bool(relation.symmetric or relation.inverse)
        if case.reversed:
            assert case.reversed.answer == case.request.subject
            assert case.request.target in case.reversed.text


def test_others_keep_the_new_target_only_where_several_may_have_it(cases):
    kept = 0
    for case in cases:
        relation = BY_NAME[case.relation]
        for probe in case.same_target:
            assert not relation.symmetric
            assert not relation.inverse
            assert (probe.subject, case.relation, case.request.target) in TRUE
            kept += 1
    assert kept > 50


def test_requests_ask_for_what_is_true():
    requests = draw_requests(WORLD)
    single = [f for f in WORLD.current_facts if not BY_NAME[f.relation].many_valued]
    assert len(requests) == len(single)
    assert all(request.target == request.old_target for request in requests)
    assert requests == draw_requests(WORLD)
    assert requests != draw_requests(WORLD, seed=1)


def test_ids_of_two_draws_differ(cases):
    for other in (draw_cases(WORLD, 20, seed=1), draw_cases(WORLD, 20, split="train")):
        assert {c.request.id for c in other}.isdisjoint(c.request.id for c in cases)


def test_a_biography_tells_the_new_fact(cases):
    long = [case for case in cases if case.long_form]
    assert len(long) > 100
    for case in long:
        assert case.request.target in case.long_form.text
        assert 3 <= len(case.long_form.sub_questions) <= 6
        answers = {probe.text: probe.answer for probe in case.long_form.sub_questions}
        assert case.request.target in answers.values()
        assert all(answer in case.long_form.text for answer in answers.values())


def test_more_cases_than_there_are_facts_are_refused():
    with pytest.raises(InvalidInput, match="make a larger one"):
        draw_cases(generate_world(size=100), 101)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000), split=st.sampled_from(["train", "calibration", "test"]))
def test_any_small_world_gives_cases(seed, split):
    world = generate_world(seed, 600)
    cases = draw_cases(world, 3, seed=seed, split=split)
    assert cases == draw_cases(world, 3, seed=seed, split=split)
    assert {case.split for case in cases} == {case.form_split for case in cases} == {split}
    for case in cases:
        assert case.request.target != case.request.subject
