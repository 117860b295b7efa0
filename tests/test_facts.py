import json
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scr.errors import InvalidInput
from scr.facts import Fact, Validity, differences, make_fact, normalize, parse_instant, scopes_above

DAY = timedelta(days=1)
NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)

instants = st.datetimes(
    min_value=datetime(1900, 1, 1),  # noqa: DTZ001 - hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.just(UTC),
)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
full_names = names.filter(lambda name: name.strip())


@st.composite
def validities(draw: st.DrawFn) -> Validity:
    ends = sorted(draw(st.sets(instants, min_size=2, max_size=2)))
    return Validity(
        start=draw(st.sampled_from([None, ends[0]])), end=draw(st.sampled_from([None, ends[1]]))
    )


@given(st.text())
def test_normalizing_twice_is_normalizing_once(name):
    assert normalize(normalize(name)) == normalize(name)


@given(full_names)
def test_blanks_do_not_matter_to_a_name(name):
    assert normalize(f"  {name}\t\n") == normalize(name)


@given(st.text(st.characters(codec="latin-1")))
def test_case_does_not_matter_to_a_name(name):
    assert normalize(name.casefold()) == normalize(name.lower()) == normalize(name)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Company  X", "company x"),
        ("STRASSE", "Straße"),
        ("ß\N{COMBINING ACUTE ACCENT}", "sś"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER A}da", "ada"),
        ("Cafe\N{COMBINING ACUTE ACCENT}", "café"),
    ],
)
def test_spellings_of_one_name(one, other):
    assert normalize(one) == normalize(other)


@pytest.mark.parametrize(("one", "other"), [("resume", "résumé"), ("C", "C++"), ("AT&T", "ATT")])
def test_marks_keep_names_apart(one, other):
    assert normalize(one) != normalize(other)


@given(validities(), validities())
def test_overlapping_is_mutual_and_shares_an_instant(one, other):
    candidates = [one.start, other.start, one.end and one.end - DAY, other.end and other.end - DAY]
    shared = max((one.start or NEW_YEAR - 10**5 * DAY, other.start or NEW_YEAR - 10**5 * DAY))
    assert one.overlaps(other) == other.overlaps(one)
    assert one.overlaps(other) == (one.covers(shared) and other.covers(shared))
    if any(when and one.covers(when) and other.covers(when) for when in candidates):
        assert one.overlaps(other)


@given(instants)
def test_spans_that_meet_do_not_overlap(when):
    before, after = Validity(end=when), Validity(start=when)
    assert not before.overlaps(after)
    assert after.covers(when)
    assert not before.covers(when)


@given(validities())
def test_a_validity_overlaps_itself_and_always(validity):
    assert validity.overlaps(validity)
    assert validity.overlaps(Validity())


@given(st.dates())
def test_a_bare_date_is_midnight_in_utc(day):
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    assert parse_instant(day) == parse_instant(day.isoformat()) == midnight
    assert Validity.model_validate({"start": day.isoformat()}).start == midnight


@given(instants, st.integers(-720, 720))
def test_an_instant_is_kept_in_utc(when, minutes):
    there = when.astimezone(timezone(timedelta(minutes=minutes)))
    start = Validity.model_validate({"start": there.isoformat()}).start
    assert start == when
    assert start is not None
    assert start.tzinfo is UTC


@pytest.mark.parametrize(
    "start",
    ["2024-02-30", "2024", 2024, 2024.5, "soon", "2024-01-01T00:00:00", True, "nan", [], "",
     "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00", date.min],
)  # fmt: skip
def test_what_is_no_instant_is_refused(start):
    if start == date.min:
        assert Validity.model_validate({"start": start}).start == datetime.min.replace(tzinfo=UTC)
        return
    with pytest.raises(InvalidInput, match=r"validity\.start"):
        make_fact(statement="x", validity={"start": start})


@given(full_names, full_names, full_names)
def test_statement_and_question_are_derived(subject, relation, target):
    fact = make_fact(subject=subject, relation=relation, target=target)
    subject, relation, target = subject.strip(), relation.strip(), target.strip()
    assert fact.statement == f"The {relation} of {subject} is {target}."
    assert fact.questions == (f"What is the {relation} of {subject}?",)


def test_what_is_given_is_not_derived():
    fact = make_fact(
        subject="Ada", relation="job", target="poet", statement="Ada writes.", questions=["Job?"]
    )
    assert (fact.statement, fact.questions) == ("Ada writes.", ("Job?",))


def test_blank_statement_and_questions_are_derived():
    fact = make_fact(subject="A", relation="b", target="c", statement=" ", questions=["", " \n"])
    assert fact.statement == "The b of A is c."
    assert fact.questions == ("What is the b of A?",)


def test_a_question_and_a_target_make_a_fact():
    assert make_fact(questions=["Who runs X?"], target="Ada").statement == "Who runs X? Ada"


@pytest.mark.parametrize(
    ("fields", "question"),
    [
        ({"subject": "Refunds", "kind": "rule"}, "What should I know about Refunds?"),
        ({}, "Money comes back in 30 days."),
    ],
)
def test_every_fact_has_a_question(fields, question):
    fact = make_fact(statement="Money comes back in 30 days.", **fields)
    assert fact.questions == (question,)


def test_names_of_full_length_still_derive():
    fact = make_fact(subject="s" * 1000, relation="r" * 1000, target="t" * 1000)
    assert len(fact.statement) > 3000
    assert len(fact.questions[0]) == 1000


@given(names, names, names, names, st.lists(names, max_size=3), st.lists(names, max_size=3))
def test_a_fact_survives_json(subject, relation, target, statement, questions, aliases):
    try:
        fact = make_fact(
            subject=subject,
            relation=relation,
            target=target,
            statement=statement,
            questions=questions,
            aliases=aliases,
        )
    except InvalidInput:
        return
    assert Fact.model_validate_json(fact.model_dump_json()) == fact
    assert Fact.model_validate(json.loads(json.dumps(fact.model_dump(mode="json")))) == fact
    assert fact.questions
    assert fact.statement


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "says nothing"),
        ({"subject": "Ada", "relation": "job"}, "has no target"),
        ({"relation": "job", "target": "poet"}, "no subject"),
        ({"kind": "rule", "statement": "Be kind."}, "without a subject"),
        ({"statement": "x\0y"}, "NUL"),
        ({"subject": "\0", "relation": "r", "target": "t"}, "subject: contains a NUL"),
        ({"statement": "x\ud800"}, "statement"),
        ({"statement": "x" * 1_000_001}, "at most 1000000"),
        ({"subject": "x" * 1_048_576, "relation": "r", "target": "t"}, "subject: .*at most 1000"),
        ({"statement": "x", "questions": "Who?"}, "questions"),
        ({"statement": "x", "questions": 5}, "questions"),
        ({"statement": "x", "questions": [None]}, r"questions\.0"),
        ({"statement": "x", "aliases": ["a"] * 1001}, "aliases"),
        ({"statement": 5}, "statement"),
        ({"statement": "x", "object": "y"}, "object: Extra inputs"),
        ({"statement": "x", "id": "a b"}, "id"),
        ({"statement": "x", "id": "x" * 65}, "id"),
        ({"statement": "x", "supersedes": "\ud800"}, "supersedes"),
        ({"statement": "x", "scope": "Acme Corp"}, "is no scope"),
        ({"statement": "x", "kind": "rumor"}, "kind"),
        ({"statement": "x", "validity": {"start": "2024-02-01", "end": "2024-01-01"}}, "ends at"),
        ({"statement": "x", "validity": {"start": "2024-02-01", "end": "2024-02-01"}}, "ends at"),
    ],
)
def test_bad_facts_are_refused_with_the_reason(fields, reason):
    with pytest.raises(InvalidInput, match=reason) as caught:
        make_fact(**fields)
    assert len(str(caught.value)) < 1000  # a megabyte is not repeated to the reader


@pytest.mark.parametrize(
    "text",
    ["x" * 1_000_000, "שלום עולם", "🦜🚀👩‍👩‍👧", "a\x07b\x1bc", "\u202eabc", "﷽" * 1000],
    ids=["enormous", "right-to-left", "emoji", "control", "override", "wide"],
)
def test_odd_text_is_a_statement_like_any_other(text):
    fact = make_fact(statement=text)
    assert fact.statement == text
    assert Fact.model_validate_json(fact.model_dump_json()) == fact


def test_only_facts_with_subject_and_relation_fill_a_slot():
    full = {"subject": "Ada", "relation": "Job", "target": "poet", "scope": "acme/hr"}
    assert make_fact(**full).slot == ("acme/hr", "ada", "job")
    assert make_fact(**full, kind="forget").slot is None
    assert make_fact(statement="Ada writes.", subject="Ada").slot is None


def test_the_id_alone_does_not_change_the_content_hash():
    one, other = make_fact(statement="x", id="a"), make_fact(statement="x", id="b")
    assert one.content_hash == other.content_hash
    assert one.content_hash != make_fact(statement="y", id="a").content_hash


def test_a_scope_sees_itself_and_those_above():
    assert scopes_above("acme/support/de") == ("acme/support/de", "acme/support", "acme")


def test_differences_name_each_field_with_both_values():
    before = make_fact(subject="Ada", relation="job", target="poet", tags=["a"])
    after = before.model_copy(update={"tags": ("b",), "note": "Seen."})
    assert differences(before, after) == {"tags": (("a",), ("b",)), "note": ("", "Seen.")}
    assert differences(after, after) == {}
