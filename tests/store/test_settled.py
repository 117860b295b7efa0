"""Plans of large packs: what is not read again must not matter."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scr.errors import PackInvalid, ScrError
from scr.store import Relation, Source, Store, settled

SIZE = 120


def lines_of(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows).encode()


def rows():
    return [
        {"id": f"f{n:03}", "subject": f"Land {n}", "relation": "capital", "target": f"Town {n}"}
        for n in range(SIZE)
    ]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(settled, "SEGMENT", 1_500)


@pytest.fixture(scope="module")
def applied(tmp_path_factory):
    """A store to which the rows were applied, in blocks."""
    path = tmp_path_factory.mktemp("applied") / "facts.db"
    before, settled.SEGMENT = settled.SEGMENT, 1_500
    with Store.create(path) as store:
        store.apply([Source("pack", lines_of(rows()))], by="ann")
    settled.SEGMENT = before
    return path


@pytest.fixture
def store(applied, tmp_path):
    shutil.copy(applied, tmp_path / "facts.db")
    with Store.open(tmp_path / "facts.db") as store:
        yield store


def outcome(store, *packs, **options):
    """What a plan says, or why it is refused."""
    try:
        sources = [Source(f"pack {n}", pack) for n, pack in enumerate(packs)]
        plan = store.plan(sources, by="ann", **options)
    except ScrError as error:
        return str(error)
    return [
        (c.kind, c.after.model_copy(update={"validity": c.after.validity})) for c in plan.changes
    ], str(plan)


def both(store, *packs, **options):
    """The same, by what was kept and without it; they must not differ."""
    quick = outcome(store, *packs, **options)
    slow = outcome(store, *[pack.splitlines() for pack in packs], **options)
    return quick, slow


def test_what_is_settled_is_not_read(store, monkeypatch):
    read = []
    real = settled.read_numbered

    def noted(lines):
        given = list(lines)
        read.extend(given)
        return real(given)

    monkeypatch.setattr(settled, "read_numbered", noted)
    assert str(store.plan([Source("pack", lines_of(rows()))], by="ann")) == "no changes"
    assert read == []
    changed = rows()
    changed[40]["note"] = "x"
    assert str(store.plan([Source("pack", lines_of(changed))], by="ann")).endswith("1 to change")
    assert 0 < len(read) < SIZE


edits = st.lists(
    st.tuples(
        st.sampled_from(["note", "drop", "insert", "supersede", "twice", "bare", "garbage",
                         "other pack", "revise", "retire", "blank"]),
        st.integers(0, SIZE - 1),
    ),
    max_size=4,
)  # fmt: skip


def edit_store(store, edit, fact_id):
    if edit == "revise" and store.get(fact_id).status != "retired":
        store.revise(fact_id, {"note": "by hand"}, by="bo")
    elif edit == "retire" and store.get(fact_id).status != "retired":
        store.retire(fact_id, by="bo")


def edit_pack(pack, edit, place):
    row = dict(rows()[place])
    if edit == "note":
        pack[place % len(pack)]["note"] = "seen"
    elif edit == "drop":
        pack.pop(place % len(pack))
    elif edit == "insert":
        pack.insert(place, {"id": f"new{place}", "statement": f"New {place}."})
    elif edit == "supersede":
        row |= {"id": f"heir{place}", "target": "Else", "supersedes": row["id"]}
        pack.append({**row, "validity": {"start": "2024-01-01"}})
    elif edit == "twice":
        pack.append(row)
    elif edit == "bare":
        del row["id"]
        pack.append({**row, "note": "bare"})
    elif edit == "garbage":
        pack.append({"id": f"bad{place}", "colour": "red"})


@settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(edits, st.sampled_from([None, "default"]))
def test_a_plan_is_the_same_with_and_without_what_was_kept(applied, tmp_path, edits, prune):
    shutil.copy(applied, tmp_path / "any.db")
    with Store.open(tmp_path / "any.db") as store:
        pack, other = rows(), []
        head = b""
        for edit, place in edits:
            edit_store(store, edit, f"f{place:03}")
            edit_pack(pack, edit, place)
            if edit == "other pack":
                other.append({**rows()[place], "note": "elsewhere"})
            elif edit == "blank":
                head = b"# comment\n\n"
        packs = [head + lines_of(pack), lines_of(other)]
        quick, slow = both(store, *packs, prune=prune)
        assert untold(quick) == untold(slow)


def untold(told):
    """Leave out what two plans made one after the other may differ in: fresh ids and times."""
    if isinstance(told, str):
        return told
    changes, summary = told
    return sorted((kind, fact.statement, fact.note) for kind, fact in changes), summary


def test_erasing_and_declaring_forget_what_was_kept(store):
    pack = lines_of(rows())
    store.declare([Relation(name="capital", questions=("Which is the capital of {subject}?",))])
    assert str(store.plan([Source("pack", pack)], by="ann")) == f"{SIZE} changes: {SIZE} to change"
    store.apply([Source("pack", pack)], by="ann")
    assert str(store.plan([Source("pack", pack)], by="ann")) == "no changes"
    store.erase("f007", by="ann", why="law")
    with pytest.raises(PackInvalid, match="f007"):
        store.plan([Source("pack", pack)], by="ann")


def test_a_segment_that_comes_twice_is_refused(applied, tmp_path):
    with Store.create(tmp_path / "new.db") as store:
        pack = lines_of(rows())
        for _ in range(2):
            with pytest.raises(PackInvalid, match=r"gives fact f000, as line 1 does already"):
                store.plan([Source("pack", pack + pack)], by="ann")
            store.apply([Source("pack", pack)], by="ann")
