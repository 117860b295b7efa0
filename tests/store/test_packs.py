import json

import pytest

from scr.errors import PackInvalid
from scr.facts import make_fact
from scr.store import ImportReport


def line(**fields):
    return json.dumps(fields)


def ceo(target="Ada", **fields):
    return {"subject": "Company X", "relation": "head", "target": target, **fields}


def take(store, *lines, **options):
    facts = [json.dumps(each) if isinstance(each, dict) else each for each in lines]
    return store.import_pack(facts, name="pack.jsonl", by="ann", **options)


def counts(report):
    return report.added, report.revised, report.unchanged, report.failed


def export(store, **options):
    return list(store.export_pack(**options))


TEXT = {"kind": "text", "statement": "Refunds in 30 days."}


@pytest.mark.parametrize(
    "lines",
    [
        [ceo()],
        [ceo(id="x")],
        [TEXT],
        [{**TEXT, "id": "x"}],
        [ceo(validity={"end": "2021-01-01"}), ceo("Bob", validity={"start": "2021-01-01"})],
        [ceo("Ada", id="old"), ceo("Bob", id="new", supersedes="old")],
        [ceo("Ada", id="old"), ceo("Bob", supersedes="old")],
        [ceo("Bob", supersedes="old", validity={"start": "2024-01-01"}), ceo("Ada", id="old")],
        [{**TEXT, "id": "old"}, {"statement": "In 14 days.", "supersedes": "old"}],
        [ceo("Ada", rank="deprecated"), ceo("Bob"), ceo("Cid", rank="preferred")],
        [ceo("Ada"), ceo("Ada")],
        ["", "# comment", "  ", "\ufeff" + line(**ceo()), "\t# {}"],
    ],
    ids=["slot", "id", "text", "text id", "times", "superseded", "without id", "backwards",
         "text superseded", "ranks", "repeated", "blank"],
)  # fmt: skip
def test_importing_twice_changes_nothing(store, lines):
    first = take(store, *lines)
    assert (first.revised, first.failed) == (0, 0)
    before = list(store.changes(0))
    again = take(store, *lines)
    assert counts(again) == (0, 0, first.added + first.unchanged, 0)
    assert list(store.changes(0)) == before


def test_a_bad_line_keeps_everything_out(store):
    with pytest.raises(PackInvalid) as caught:
        take(store, "# pack", ceo(), line(subject="Y", relation="head"), "", "nonsense")
    assert [number for number, _ in caught.value.problems] == [3, 5]
    message = str(caught.value)
    assert "pack.jsonl: 2 unusable lines" in message
    assert "line 3: it has no target: say what the head of Y is" in message
    assert "line 5: is no JSON" in message
    assert store.sequence == 0


def test_keep_going_takes_the_good_lines(store):
    report = take(store, ceo(), "nonsense", TEXT, keep_going=True)
    assert counts(report) == (2, 0, 0, 1)
    assert report == ImportReport(
        added=2, revised=0, unchanged=0, failed=1, problems=report.problems
    )
    assert report.problems[0][0] == 2
    assert len(store.list()) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        ("{", "is no JSON"),
        ("[]", "is no JSON object"),
        ("5", "is no JSON object"),
        ("null", "is no JSON object"),
        ("NaN", "is no JSON object"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "integer string conversion"),
        ("x" * 1_048_576, "is no JSON"),
        ("\0\0\0", "is no JSON"),
        ("🦜", "is no JSON"),
        (b"\xff\xfe\x00", "is no UTF-8 text"),
        ('{"statement": "a", "statement": "b"}', "gives 'statement' twice"),
        ('{"statement": "\\ud800"}', "statement"),
        ('{"statement": "a\\u0000"}', "NUL"),
        ("{}", "says nothing"),
        (line(statement="x", color="red"), "color: Extra inputs"),
        (line(statement="x" * 1_000_001), "at most"),
        (line(**ceo(validity={"start": "2024-01-01", "end": "2023-01-01"})), "validity: ends at"),
        (line(**ceo(validity={"start": "2024-02-30"})), "2024-02-30"),
        (line(**ceo(supersedes="none")), "no fact 'none'"),
        (line(**ceo("Bob")), "is already 'Ada'"),
        (line(**ceo("Bob", id="ada")), "the target of fact ada cannot be revised"),
        (line(id="gone", statement="Changed."), "cannot revise fact gone: it is retired"),
        (line(id="good", statement="Again."), "gives fact good, as line 1 does already"),
    ],
)
def test_bad_lines_are_reported_with_number_and_reason(store, bad, reason):
    store.add(make_fact(**ceo(id="ada")), by="ann")
    store.add(make_fact(statement="Old.", id="gone"), by="ann")
    store.retire("gone", by="ann")
    before = store.sequence
    pack = [line(statement="Good.", id="good"), bad]
    with pytest.raises(PackInvalid) as caught:
        store.import_pack(pack, name="pack", by="ann")
    ((number, problem),) = caught.value.problems
    assert number == 2
    assert reason in problem
    assert len(problem) < 500
    assert store.sequence == before
    report = store.import_pack(pack, name="pack", by="ann", keep_going=True)
    assert counts(report) == (1, 0, 0, 1)


def test_a_binary_file_is_reported_line_by_line(store):
    lines = [b"\x89PNG\r\n", b"\x1a\n", line(**ceo()).encode() + b"\r\n"]
    report = store.import_pack(lines, name="image.png", by="ann", keep_going=True)
    assert [number for number, _ in report.problems] == [1, 2]
    assert report.added == 1


def test_a_closed_store_refuses_undeclared_relations(closed):
    with pytest.raises(PackInvalid, match="line 2: relation 'head' is not declared"):
        take(closed, {**ceo(), "relation": "capital"}, ceo())


@pytest.mark.parametrize("identity", [{}, {"id": "x"}])
def test_changed_wording_is_a_revision(store, identity):
    take(store, ceo(**identity))
    report = take(store, ceo(statement="Ada runs X.", aliases=["X"], **identity))
    assert counts(report) == (0, 1, 0, 0)
    (revision,) = store.list()
    assert (revision.action, revision.fact.statement) == ("revise", "Ada runs X.")


def test_a_changed_value_needs_supersedes(store):
    take(store, ceo("Ada", id="ada"))
    with pytest.raises(PackInvalid, match="a new value is a new fact"):
        take(store, ceo("Bob", id="ada"))
    with pytest.raises(PackInvalid, match="already 'Ada' by fact ada"):
        take(store, ceo("Bob"))
    report = take(store, ceo("Bob", supersedes="ada", validity={"start": "2024-01-01"}))
    assert counts(report) == (1, 0, 0, 0)
    assert store.get("ada").action == "close"


def test_revisions_make_room_for_what_is_new(store):
    take(store, ceo("Ada", id="ada"))
    report = take(
        store,
        ceo("Bob", id="bob", validity={"start": "2024-01-01"}),
        ceo("Ada", id="ada", validity={"end": "2024-01-01"}),
    )
    assert counts(report) == (1, 1, 0, 0)


def test_an_earlier_end_of_a_superseded_line_counts(store):
    old, new = ceo("Ada", id="old"), ceo("Bob", supersedes="old", validity={"start": "2024-01-01"})
    take(store, old, new)
    assert counts(take(store, {**old, "validity": {"end": "2030-01-01"}}, new)) == (0, 0, 2, 0)
    assert counts(take(store, {**old, "validity": {"end": "2023-06-01"}}, new)) == (0, 1, 1, 0)


def test_what_was_retired_stays_retired(store):
    take(store, ceo(id="x"), TEXT)
    for revision in store.list():
        store.retire(revision.fact.id, by="bob")
    assert counts(take(store, ceo(id="x"), TEXT)) == (0, 0, 2, 0)
    assert store.list() == []
    assert counts(take(store, ceo("Bob"))) == (1, 0, 0, 0)


def test_one_fact_in_two_wordings_is_refused(store):
    with pytest.raises(PackInvalid, match=r"line 2: means fact .*, as line 1 does"):
        take(store, ceo(statement="Ada runs X."), ceo(statement="X is run by Ada."))


def test_lines_that_supersede_each_other_are_refused(store):
    with pytest.raises(PackInvalid) as caught:
        take(store, ceo("Ada", id="a", supersedes="b"), ceo("Bob", id="b", supersedes="a"))
    assert [number for number, _ in caught.value.problems] == [1, 2]


def test_a_long_chain_of_successors_in_any_order(store):
    years = [
        ceo(str(year), id=f"y{year}", validity={"start": f"{year}-01-01"})
        | ({"supersedes": f"y{year - 1}"} if year > 1000 else {})
        for year in range(1000, 1400)
    ]
    assert counts(take(store, *reversed(years))) == (400, 0, 0, 0)
    assert counts(take(store, *years)) == (0, 0, 400, 0)


def test_a_store_for_review_proposes_what_it_imports(review):
    lines = [ceo("Ada", id="a"), ceo("Bob", supersedes="a"), TEXT]
    assert counts(take(review, *lines)) == (3, 0, 0, 0)
    assert {r.status for r in review.list(status=None)} == {"proposed"}
    assert counts(take(review, *lines)) == (0, 0, 3, 0)


def test_exported_lines_are_sorted_short_and_complete(store):
    take(store, TEXT | {"id": "z"}, ceo("Ada", id="a", tags=["people"]))
    assert export(store) == [
        '{"id": "a", "subject": "Company X", "relation": "head", "target": "Ada", '
        '"statement": "The head of Company X is Ada.", '
        '"questions": ["What is the head of Company X?"], "tags": ["people"]}',
        '{"id": "z", "kind": "text", "statement": "Refunds in 30 days.", '
        '"questions": ["Refunds in 30 days."]}',
    ]


def test_only_approved_facts_of_the_scope_and_time_are_exported(store):
    take(store, ceo(id="a"), ceo(id="b", scope="acme"), ceo(id="c", scope="acme/x"))
    store.retire("a", by="ann")
    store.propose(make_fact(id="p", statement="Perhaps."), by="ann")
    assert [json.loads(text)["id"] for text in export(store)] == ["b", "c"]
    assert [json.loads(text)["id"] for text in export(store, scope="acme")] == ["b"]
    assert len(export(store, as_of=3)) == 3


def test_a_pack_names_no_fact_outside_it(store, opened):
    take(store, ceo("Ada", id="a"), ceo("Bob", id="b", supersedes="a"))
    store.retire("a", by="ann")
    (text,) = export(store)
    assert "supersedes" not in text
    assert counts(take(store, text)) == (0, 0, 1, 0)
    assert counts(take(opened("plain"), text)) == (1, 0, 0, 0)


def test_line_breaks_of_any_kind_stay_inside_their_line(store, opened):
    statement = "a\u2028b\u2029c\x85d\ne\rf\x0bg\x1ch"
    take(store, {"id": "x", "statement": statement})
    (text,) = export(store)
    assert text.splitlines() == [text]
    other = opened("plain")
    take(other, text)
    assert other.get("x").fact.statement == statement
