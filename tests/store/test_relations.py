"""What is declared of relations: synonyms, many values, inverses, question forms."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.errors import FactConflict, InvalidInput, PackInvalid, UndeclaredRelation
from scr.facts import make_fact
from scr.store import Relation, Relations, Source, Store, read_relations, tasks, write_relations

HEAD = Relation(
    name="chief executive officer",
    synonyms=("CEO", "chief executive"),
    questions=("Who is the CEO of {subject}?", "Who runs {subject}?"),
)
MEMBER = Relation(name="member", many_valued=True, inverse="member of")
SPOUSE = Relation(name="spouse", synonyms=("married to",), symmetric=True)


def fact(subject, relation, target, **fields):
    return make_fact(subject=subject, relation=relation, target=target, **fields)


@pytest.fixture
def declared(store):
    store.declare([HEAD, MEMBER, SPOUSE])
    return store


def test_synonyms_fall_into_one_slot(declared):
    declared.add(fact("Company X", "CEO", "Ada", id="old"), by="ann")
    rival = fact("company x", "Chief  Executive", "Bob")
    with pytest.raises(FactConflict, match=r"'chief executive'.*already 'Ada' by fact old"):
        declared.add(rival, by="ann")
    new = rival.model_copy(update={"supersedes": "old"})
    declared.add(new, by="ann")
    assert declared.get("old").fact.validity.end is not None


def test_a_pack_line_without_id_is_found_by_any_name_of_its_relation(declared):
    line = '{"subject": "Company X", "relation": "CEO", "target": "Ada", "questions": ["Who?"]}'
    declared.import_pack([line], name="pack", by="ann")
    assert declared.import_pack([line], name="pack", by="ann").unchanged == 1
    other = line.replace("CEO", "chief executive")
    with pytest.raises(PackInvalid, match=r"relation of fact .* cannot be revised"):
        declared.import_pack([other], name="pack", by="ann")


def test_many_valued_relations_do_not_conflict(declared):
    for name in ("Ada", "Bob"):
        declared.add(fact("Band", "member", name), by="ann")
    assert len(declared.list()) == 2
    assert tasks(declared.list(), declared.list()[0].at, ["duplicates"], declared=[MEMBER]) == []
    declared.add(fact("Band", "color", "red"), by="ann")
    with pytest.raises(FactConflict):  # what is not declared has one value
        declared.add(fact("Band", "color", "blue"), by="ann")


def test_what_leaves_approved_facts_in_conflict_is_not_declared(declared):
    for name in ("Ada", "Bob"):
        declared.add(fact("Band", "member", name), by="ann")
    with pytest.raises(FactConflict, match="'member' of 'band'"):
        declared.declare([HEAD])
    assert declared.declared == (HEAD, MEMBER, SPOUSE)
    declared.add(fact("Band", "boss", "Ada"), by="ann")
    declared.add(fact("Band", "CEO", "Cy"), by="ann")
    wider = HEAD.model_copy(update={"synonyms": ("CEO", "boss")})
    with pytest.raises(FactConflict, match="'chief executive officer' of 'band'"):
        declared.declare([wider, MEMBER])
    declared.retire(declared.search("boss")[0].fact.id, by="ann")
    declared.declare([wider, MEMBER])
    assert declared.declared == (wider, MEMBER)


def test_a_fact_without_questions_gets_those_of_its_relation(declared):
    added = declared.add(fact("Company X", "ceo", "Ada"), by="ann").fact
    assert added.questions == (
        "Who is the CEO of Company X?",
        "Who runs Company X?",
        "What is the ceo of Company X?",
    )
    own = declared.add(fact("Company Y", "ceo", "Ada", questions=["Who leads Y?"]), by="ann").fact
    assert own.questions == ("Who leads Y?",)
    line = added.model_dump_json(exclude={"questions"})
    assert declared.import_pack([line], name="pack", by="ann").unchanged == 1


def test_a_closed_store_allows_what_is_declared(closed):
    with pytest.raises(UndeclaredRelation):
        closed.add(fact("Band", "member", "Ada"), by="ann")
    closed.declare([MEMBER, Relation(name="capital", synonyms=("seat",))])
    closed.add(fact("Band", "Member", "Ada"), by="ann")
    closed.add(fact("Peru", "seat", "Lima"), by="ann")
    with pytest.raises(UndeclaredRelation, match="member"):
        closed.add(fact("Peru", "anthem", "x"), by="ann")


def test_another_process_knows_at_once_what_was_declared(declared, opened):
    with Store.open(declared.path) as other:
        declared.declare([MEMBER])
        other.add(fact("Band", "member", "Ada"), by="ann")
        other.add(fact("Band", "member", "Bob"), by="ann")
        assert other.declared == (MEMBER,)


def test_a_relation_stated_from_one_side_only_is_a_task(declared):
    declared.add(fact("Ann", "spouse", "Ben", id="ab"), by="ann")
    declared.add(fact("Band", "member", "Ada", id="ba"), by="ann")
    declared.add(fact("Ada", "member of", "The Band", id="ab2"), by="ann")

    def found():
        each = tasks(
            declared.list(), declared.list()[0].at, ["one_sided"], declared=declared.declared
        )
        return {task.fact_id: (task.why, task.others) for task in each}

    assert found() == {
        "ab": ("no fact says that the spouse of Ben is Ann", ()),
        "ba": ("no fact says that the member of of Ada is Band", ("ab2",)),
    }
    declared.add(fact("Ben", "married to", "Annie", id="x"), by="ann")
    declared.revise("ab", {"aliases": ["Annie"]}, by="ann")
    declared.revise("ba", {"aliases": ["The Band"]}, by="ann")
    assert found() == {}


def test_facts_are_listed_by_any_name_of_their_relation(declared):
    declared.add(fact("Company X", "CEO", "Ada"), by="ann")
    declared.add(fact("Company Y", "chief executive", "Bob"), by="ann")
    assert declared.page(relation="Chief Executive Officer").total == 2


def test_a_plan_tells_what_is_declared_and_a_second_one_nothing(store):
    pack = ['{"id": "a", "subject": "Band", "relation": "member", "target": "Ada"}',
            '{"id": "b", "subject": "Band", "relation": "member", "target": "Bob"}']  # fmt: skip
    source = Source("pack", pack)
    with pytest.raises(PackInvalid):
        store.plan([source], by="ann")
    planned = store.plan([source], by="ann", relations=[MEMBER, HEAD])
    assert str(planned) == "4 changes: 4 to add"
    assert [(d.kind, d.before) for d in planned.declarations] == [("add", None)] * 2
    assert (store.sequence, store.declared) == (0, ())
    assert store.apply([source], by="ann", relations=[MEMBER, HEAD]) == planned
    assert str(store.plan([source], by="ann", relations=[HEAD, MEMBER])) == "no changes"
    assert str(store.plan([source], by="ann")) == "no changes"
    dropped = store.plan([source], by="ann", relations=[MEMBER])
    assert [d.kind for d in dropped.declarations] == ["retire"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- name: x\n  colour: red", "entry|colour"),
        ("- synonyms: [x]", "name"),
        ("- name: x\n  questions: [Who?]", "subject"),
        ("- name: x\n  synonyms: [X]", "twice"),
        ("- name: x\n  symmetric: true\n  inverse: y", "symmetric"),
        ("name: x", "no list"),
        ("- name: [", "no YAML"),
    ],
)
def test_what_cannot_be_declared_is_named(text, problem):
    with pytest.raises(PackInvalid, match=problem):
        read_relations(text.encode(), "relations.yaml")


def test_relations_that_do_not_fit_together_are_refused():
    for text in (
        "- {name: x, synonyms: [z]}\n- {name: y, synonyms: [Z]}",
        "- {name: x, inverse: y}\n- {name: y, inverse: z}",
    ):
        with pytest.raises(InvalidInput):
            read_relations(text.encode(), "relations.yaml")


def test_a_name_alone_declares_a_relation():
    assert read_relations(b"- capital\n- name: member\n", "x") == [
        Relation(name="capital"),
        Relation(name="member"),
    ]


words = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
).filter(str.strip)


@settings(deadline=None)
@given(st.lists(st.tuples(words, words, st.booleans(), st.booleans(), st.lists(words, max_size=2))))
def test_relations_survive_yaml_byte_for_byte(rows):
    relations = []
    for number, (name, synonym, many, symmetric, forms) in enumerate(rows):
        relations.append(
            Relation(
                name=f"{number} {name}", synonyms=(f"{synonym} {number} x",), many_valued=many,
                symmetric=symmetric, inverse="" if symmetric else name.strip()[:1] + "!back",
                questions=tuple(f"{form.replace('{subject}', '')} {{subject}}?" for form in forms),
            )
        )  # fmt: skip
    try:
        Relations(relations)
    except InvalidInput:  # two drawn names that are one when normalized
        return
    text = write_relations(relations)
    again = read_relations(text.encode(), "relations.yaml")
    assert sorted(again, key=str) == sorted(relations, key=str)
    assert write_relations(again) == text
