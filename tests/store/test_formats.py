"""Packs in every format: what is written is read again, and bad lines are named."""

import shutil
from contextlib import suppress

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scr.errors import FactConflict, InvalidInput, PackInvalid
from scr.facts import make_fact
from scr.store import Source, Store, read_csv, read_pack, read_yaml
from scr.store.csv_packs import join_list, split_list, write_csv
from scr.store.formats import exported

READERS = {"jsonl": lambda text: read_pack(text.encode().splitlines()), "yaml": lambda text:
           read_yaml(text.encode()), "csv": lambda text: read_csv(text.encode())}  # fmt: skip
FORMATS = list(READERS)

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12),
    st.sampled_from(["a|b", "\\", "|", "a\\|b", "no", "1", "~", "2024-01-01", "- x", "a: b", "#",
                     "x\r\ny", "\x85", "\u2028z", '"', "'", "a,b;c\td", "open", "\ufeff", "null",
                     "0x1f", "1_000", "*a", "&a", "!x", "%", "@", "`", "{}", "[]", "? ", "🦜"]),
)  # fmt: skip
full = texts.filter(str.strip)
lists = st.lists(full, max_size=3)


@st.composite
def facts(draw):
    fields = {
        "id": draw(st.uuids()).hex,
        "statement": draw(full),
        "note": draw(texts),
        "scope": draw(st.sampled_from(["default", "acme"])),
        "rank": draw(st.sampled_from(["normal", "preferred", "deprecated"])),
        "kind": draw(st.sampled_from(["fact", "text"])),
        "validity": draw(
            st.sampled_from([{}, {"start": "2020-01-01"}, {"end": "2021-01-01T10:30:00.25Z"}])
        ),
    }
    for name in ("aliases", "questions", "sources", "tags", "must_fire", "must_not_fire"):
        fields[name] = draw(lists)
    if draw(st.booleans()):
        fields |= {"subject": draw(full), "relation": draw(full), "target": draw(full)}
    try:
        return make_fact(**fields)
    except InvalidInput:  # a text of blanks that only Unicode calls so
        return make_fact(id=fields["id"], statement="Something.")


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    path = tmp_path_factory.mktemp("template") / "empty.db"
    Store.create(path).close()
    return path


@pytest.mark.parametrize("written_as", FORMATS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(rows=st.lists(facts(), max_size=4, unique_by=lambda fact: fact.id))
def test_export_apply_export_gives_the_same_bytes(template, tmp_path, written_as, rows):
    for name in ("one.db", "two.db"):
        shutil.copy(template, tmp_path / name)
    with Store.open(tmp_path / "one.db") as one, Store.open(tmp_path / "two.db") as two:
        for fact in rows:
            with suppress(FactConflict):  # two drawn facts may meet in one slot
                one.add(fact, by="ann")
        text = "".join(f"{line}\n" for line in one.export_pack(written_as=written_as))
        pack = READERS[written_as](text)
        assert pack.problems == []
        two.apply([Source("pack", pack)], by="bob")
        again = "".join(f"{line}\n" for line in two.export_pack(written_as=written_as))
        assert again == text
        assert [r.fact for r in two.list()] == [r.fact for r in one.list()]
        assert str(one.plan([Source("pack", pack)], by="ann")) == "no changes"


@given(st.lists(facts(), max_size=4, unique_by=lambda fact: fact.id))
@settings(deadline=None)
def test_a_table_is_read_as_it_was_written(rows):
    text = "\r\n".join(write_csv(rows))
    pack = read_csv(text.encode())
    assert pack.problems == []
    assert [line.fact for line in pack.lines] == sorted(rows, key=lambda fact: fact.id)


@given(lists)
def test_a_list_in_a_cell_is_taken_apart_as_it_was_joined(members):
    assert split_list(join_list(members)) == members


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda t: t.encode("utf-8", "ignore")))
@settings(deadline=None)
def test_any_bytes_can_be_read(content):
    for read in (read_csv, read_yaml, lambda c: read_pack(c.splitlines())):
        pack = read(content)
        assert all(number >= 1 and reason for number, reason in pack.problems)


def test_a_succession_survives_every_format(template, tmp_path):
    shutil.copy(template, tmp_path / "one.db")
    with Store.open(tmp_path / "one.db") as one:
        head = {"subject": "Company X", "relation": "head"}
        one.add(make_fact(id="old", target="Ada", **head), by="ann")
        new = {"start": "2024-05-01"}
        one.add(make_fact(id="new", target="Bob", supersedes="old", validity=new, **head), by="ann")
        for written_as in FORMATS:
            text = "".join(f"{line}\n" for line in one.export_pack(written_as=written_as))
            path = tmp_path / f"{written_as}.db"
            shutil.copy(template, path)
            with Store.open(path) as two:
                two.apply([Source("pack", READERS[written_as](text))], by="bob")
                again = "".join(f"{line}\n" for line in two.export_pack(written_as=written_as))
                assert again == text


def test_an_end_that_is_open_stays_so():
    old = make_fact(id="old", statement="A.")
    new = make_fact(id="new", statement="B.", supersedes="old")
    for_old = next(fields for fields in exported([old, new]) if fields["id"] == "old")
    assert for_old["validity"] == {"start": None, "end": None}
    lines = read_csv("\n".join(write_csv([old, new])).encode()).lines
    assert {"start", "end"} == lines[1].fact.validity.model_fields_set


def test_a_table_from_a_spreadsheet():
    text = (
        "\ufeffSubject;relation;TARGET;aliases;start;end\r\n"
        'China;capital;Beijing;PRC|"Mainland" China;1949-10-01;open\r\n'
        ";;;;;\r\n"
        '"Ann;\r\nLee";job;poet;;;\r\n'
    )
    pack = read_csv(text.encode())
    assert pack.problems == []
    first, second = (line.fact for line in pack.lines)
    assert (first.aliases, first.statement) == (
        ("PRC", '"Mainland" China'),
        "The capital of China is Beijing.",
    )
    assert first.validity.model_fields_set == {"start", "end"}
    assert second.subject == "Ann;\r\nLee"
    assert [line.number for line in pack.lines] == [2, 4]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("subject,colour\nx,red\n", [(1, "the header names 'colour'")]),
        ("subject,subject\nx,red\n", [(1, "twice")]),
        ("statement,start\nA.,soon\nB.,2024-01-01\n", [(2, "validity.start")]),
        ("statement,note\nA.\nB.,x,y\n", [(2, "1 cells"), (3, "3 cells")]),
        ('statement,note\n"A\nB",x\nC.,"y"z\nD.,x\n', [(4, "cannot be read")]),
        ("id,statement\na,A.\na,B.\n", [(3, "line 2")]),
        ("id,statement\na b,A.\n", [(2, "id")]),
        ("subject,relation\nx,red\n", [(2, "target")]),
        (b"statement\nA.\n\xff\n", [(3, "UTF-8")]),
    ],
)
def test_bad_rows_are_named(text, problems):
    pack = read_csv(text if isinstance(text, bytes) else text.encode())
    assert [number for number, _ in pack.problems] == [number for number, _ in problems]
    for (_, reason), (_, wanted) in zip(pack.problems, problems, strict=True):
        assert wanted in reason


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a: b", (1, "no list")),
        ("- x: [", (1, "no YAML")),
        ("- statement: A.\n- B.", (2, "no fact")),
        ("- statement: no", (1, "valid string")),
        ("- statement: A.\n- 1: A.", (2, "put it in quotes")),
    ],
)
def test_bad_yaml_is_named(text, problem):
    ((number, reason),) = read_yaml(text.encode()).problems
    assert number == problem[0]
    assert problem[1] in reason


def test_a_dry_run_does_nothing(template, tmp_path):
    shutil.copy(template, tmp_path / "one.db")
    with Store.open(tmp_path / "one.db") as store:
        pack = read_csv(b"statement\nA.\nB.\n")
        report = store.import_pack(pack, name="t.csv", by="ann", dry_run=True)
        assert (report.added, store.sequence) == (2, 0)
        assert store.import_pack(pack, name="t.csv", by="ann") == report
        assert store.sequence == 2
        with pytest.raises(PackInvalid):
            store.import_pack(read_csv(b"x\ny"), name="t.csv", by="ann", dry_run=True)
