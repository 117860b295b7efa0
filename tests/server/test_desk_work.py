"""The desk's work: finding, conflicts, bulk decisions, packs from files, answers as they come."""

import hashlib
import json
import re

import pytest

from scr.server.desk import assets

from .running import text_of

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


def add(client, **fields):
    return client.post("/ui/facts", data=fields).url.path.rpartition("/")[2]


def test_scripts_of_others_are_unchanged(desk):
    """Their versions are in `static/README.md`."""
    known = {
        "htmx.min.js": "71ea67185bfa8c98c39d31717c6fce5d852370fcdfd129db4543774d3145c0de",
        "htmx-sse.min.js": "98a46496de0c3605fbffdce9167ba427bdd9553184f83f149c261891a92c0136",
    }
    for name, digest in known.items():
        served = desk.get(assets.ADDRESSES[name])
        assert hashlib.sha256(served.content).hexdigest() == digest
        assert served.headers["content-type"].startswith("text/javascript")


def test_htmx_evaluates_nothing_and_keeps_nothing(desk):
    page = desk.get("/ui/facts").text
    config = json.loads(re.search("name=\"htmx-config\" content='([^']+)'", page)[1])
    assert config["allowEval"] is config["allowScriptTags"] is False
    assert config["includeIndicatorStyles"] is False
    assert config["historyCacheSize"] == 0


def test_facts_are_narrowed_down(desk):
    first = add(desk, subject="Y", relation="owner", target="Bo", tags="legal, new")
    second = add(desk, subject="Z", relation="owner", target="Cy", kind="fact", scope="acme")
    page = desk.get("/ui/facts").text
    assert '<a class="apart" href="/ui/facts?relation=owner">' in page
    owned = desk.get("/ui/facts?relation=owner&scope=acme")
    assert second in owned.text
    assert first not in owned.text
    assert "1 fact" in text_of(owned)
    assert first in desk.get("/ui/facts?tag=legal").text
    assert "No fact is like that" in desk.get("/ui/facts?tag=legal&relation=nothing").text


def test_the_address_of_a_search_as_one_types_is_short(desk):
    answer = desk.get("/ui/facts?q=x&valid_at=&as_of=&status=", headers={"hx-request": "true"})
    assert answer.headers["hx-push-url"] == "/ui/facts?q=x"


def test_both_times_can_be_looked_at(desk, knowledge):
    fact_id = add(desk, subject="Y", relation="owner", target="Bo", start="2024-01-01")
    assert fact_id not in desk.get("/ui/facts?valid_at=2023-12-31").text
    assert fact_id in desk.get("/ui/facts?valid_at=2024-01-01").text
    assert fact_id not in desk.get("/ui/facts?as_of=1").text
    assert fact_id in desk.get(f"/ui/facts?as_of={knowledge.store.sequence}").text
    desk.post(
        f"/ui/facts/{fact_id}/revise", data={"statement": "Bo owns Y.", "start": "2025-01-01"}
    )
    now = text_of(desk.get(f"/ui/facts/{fact_id}?valid_at=2024-06-01"))
    assert "Bo owns Y." in now
    assert "On 2024-06-01 it did not hold" in now
    then = text_of(desk.get(f"/ui/facts/{fact_id}?as_of=2&valid_at=2024-06-01"))
    assert "The owner of Y is Bo." in then
    assert "On 2024-06-01 it held" in then
    assert "no such fact then" in text_of(desk.get(f"/ui/facts/{fact_id}?as_of=1"))


@pytest.mark.parametrize("given", ["valid_at=yesterday", "as_of=9e9", "valid_at=0000-00-00",
                                   "as_of=99999999999999999999", "page=99"])  # fmt: skip
def test_a_time_that_is_none_is_said(desk, given):
    answer = desk.get(f"/ui/facts?{given}")
    assert answer.status_code == 200
    assert "is no time" in text_of(answer) or given == "page=99"


def test_a_search_is_kept_and_dropped(desk, knowledge):
    answer = desk.post("/ui/searches", data={"name": NASTY, "q": "company", "status": "approved"})
    assert answer.url.query == b"q=company&status=approved"
    assert "<script>alert" not in answer.text
    assert "Kept searches" in answer.text
    assert 'href="/ui/facts?q=company&amp;status=approved"' in desk.get("/ui/facts").text
    desk.post("/ui/searches/drop", data={"name": NASTY})
    assert "Kept searches" not in desk.get("/ui/facts").text


def test_a_search_is_kept_for_oneself_only(staffed):
    _, sign_in, _ = staffed
    reader, editor = sign_in("reader"), sign_in("editor")
    reader.post("/ui/searches", data={"name": "Mine", "q": "x"})
    assert "Mine" in reader.get("/ui/facts").text
    assert "Mine" not in editor.get("/ui/facts").text


def test_many_facts_come_in_pages(desk):
    pack = "\n".join(json.dumps({"id": f"n{n}", "statement": f"Number {n}."}) for n in range(60))
    desk.post("/ui/import", data={"pack": pack, "move": "apply"})
    first = desk.get("/ui/facts")
    assert "Page 1 of 2" in text_of(first)
    assert 'rel="next"' in first.text
    assert 'href="/ui/facts?page=2"' in first.text
    assert "n0<" in desk.get("/ui/facts?page=2").text


def test_everything_of_a_fact_but_its_value_is_edited(desk, knowledge):
    fact_id = add(desk, subject="Y", relation="owner", target="Bo", start="2024-01-01")
    assert 'value="2024-01-01"' in desk.get(f"/ui/facts/{fact_id}/edit").text
    given = {"statement": "Bo owns Y.", "aliases": "Why", "tags": "a, b", "sources": "s\nt",
             "questions": "Who owns Y?", "rank": "preferred", "note": "n",
             "end": "2025-01-01"}  # fmt: skip
    desk.post(f"/ui/facts/{fact_id}/revise", data=given)
    fact = knowledge.store.get(fact_id).fact
    assert (fact.statement, fact.rank, fact.tags) == ("Bo owns Y.", "preferred", ("a", "b"))
    assert fact.validity.start is None
    assert fact.validity.end.year == 2025
    refused = desk.post(f"/ui/facts/{fact_id}/revise", data={**given, "end": "soon"})
    assert refused.status_code == 422


@pytest.fixture
def contradiction(staffed):
    """An approved fact and a proposal against it."""
    knowledge, sign_in, _ = staffed
    editor, approver = sign_in("editor"), sign_in("approver")
    about = {"subject": "X", "relation": "owner"}
    old = add(editor, **about, target="Ada", start="2024-01-01")
    approver.post("/ui/review", data={"id": old, "move": "approve"})
    new = add(editor, **about, target="Bo", why="heard it")
    return knowledge.store, sign_in, old, new


def test_a_conflict_is_shown_side_by_side(contradiction):
    _, sign_in, old, new = contradiction
    page = sign_in("reader").get("/ui/conflicts")
    assert "<del>Ada</del>" in page.text
    assert "<ins>Bo</ins>" in page.text
    assert "Reject it" not in page.text
    assert "Ada" in text_of(sign_in("approver").get(f"/ui/review/{new}"))
    assert old in page.text


def test_a_conflict_is_settled_by_replacing(contradiction):
    store, sign_in, old, new = contradiction
    approver = sign_in("approver")
    given = {"rival": old}
    assert approver.post(f"/ui/conflicts/{new}/replace", data=given).status_code == 422  # no reason
    refused = sign_in("editor").post(f"/ui/conflicts/{new}/replace", data={**given, "why": "w"})
    assert refused.status_code == 403
    approver.post(f"/ui/conflicts/{new}/replace", data={**given, "why": "Ada never owned it"})
    assert store.get(old).status == "retired"
    assert (store.get(new).status, store.get(new).why) == ("approved", "Ada never owned it")
    again = approver.post(f"/ui/conflicts/{new}/replace", data={**given, "why": "w"})
    assert again.status_code == 422


def test_nobody_replaces_by_their_own_proposal(contradiction):
    store, sign_in, old, new = contradiction
    approver = sign_in("approver")
    approver.post(f"/ui/facts/{new}/revise", data={"statement": "Bo owns X."})
    given = {"rival": old, "why": "w"}
    assert approver.post(f"/ui/conflicts/{new}/replace", data=given).status_code == 403
    assert store.get(old).status == "approved"


def test_a_conflict_is_settled_by_following(contradiction):
    store, sign_in, old, new = contradiction
    editor = sign_in("editor")
    answer = editor.post(f"/ui/conflicts/{new}/succeed", data={"rival": old, "start": "2025-01-01"})
    assert answer.url.path.startswith("/ui/review/")
    fact = store.get(answer.url.path.rpartition("/")[2]).fact
    assert (fact.supersedes, fact.target, fact.validity.start.year) == (old, "Bo", 2025)
    assert store.get(new).status == "retired"
    assert "Nothing contradicts" in text_of(editor.get("/ui/conflicts"))


def test_queues_of_attention_are_listed(desk):
    fact_id = add(desk, subject="Y", relation="owner", target="Bo")
    page = desk.get("/ui/conflicts/attention?queue=unsourced")
    assert fact_id in page.text
    assert "has no source" in text_of(page)


def test_many_are_decided_at_once_and_each_refusal_is_said(staffed):
    knowledge, sign_in, _ = staffed
    editor, approver = sign_in("editor"), sign_in("approver")
    ids = [add(editor, subject=f"S{n}", relation="owner", target="Bo") for n in range(3)]
    own = add(approver, subject="T", relation="owner", target="Bo")
    assert approver.post("/ui/review", data={"move": "approve"}).status_code == 422
    assert approver.post("/ui/review", data={"id": ids[0], "move": "retire"}).status_code == 422
    assert approver.post("/ui/review", data={"id": ids[0], "move": "burn"}).status_code == 422
    assert {knowledge.store.get(each).status for each in ids} == {"proposed"}
    approver.post("/ui/review", data={"id": ids[:1], "move": "retire", "why": "not so"})
    assert knowledge.store.get(ids[0]).why == "not so"
    answer = approver.post(
        "/ui/review", data={"all": "yes", "shown": [*ids[1:], own], "move": "approve"}
    )
    assert answer.status_code == 409
    assert "2 proposals were decided" in text_of(answer)
    assert "which the approver proposed" in text_of(answer)
    assert [knowledge.store.get(each).status for each in ids[1:]] == ["approved", "approved"]
    assert knowledge.store.get(own).status == "proposed"


def test_what_was_approved_meanwhile_is_not_rejected(staffed):
    knowledge, sign_in, _ = staffed
    fact_id = add(sign_in("editor"), subject="S", relation="owner", target="Bo")
    sign_in("approver").post("/ui/review", data={"id": fact_id, "move": "approve"})
    late = sign_in("admin").post("/ui/review", data={"id": fact_id, "move": "retire", "why": "no"})
    assert late.status_code == 409
    assert knowledge.store.get(fact_id).status == "approved"


def upload(client, name, content):
    files = {"file": (name, content, "application/octet-stream")}
    return client.post("/ui/import", data={"move": "plan"}, files=files)


def test_a_file_is_planned_as_a_diff_and_then_taken(desk, knowledge):
    fact_id = add(desk, subject="Y", relation="owner", target="Bo")
    change = {"id": fact_id, "subject": "Y", "relation": "owner", "target": "Bo", "tags": ["t"]}
    lines = [json.dumps(change), json.dumps({"statement": "New <b>one</b>."})]
    page = upload(desk, "pack.jsonl", "\n".join(lines).encode())
    assert "2 changes: 1 to add, 1 to change" in text_of(page)
    assert "<ins>t</ins>" in page.text
    assert "New &lt;b&gt;one" in page.text
    before = knowledge.store.sequence
    pack = re.search(r'<textarea hidden name="pack"[^>]*>\n(.*?)</textarea>', page.text, re.S)[1]
    import html

    desk.post("/ui/import", data={"pack": html.unescape(pack), "move": "apply", "why": "w"})
    assert knowledge.store.sequence == before + 2
    assert knowledge.store.get(fact_id).fact.tags == ("t",)


def test_a_table_is_planned_like_a_pack_and_its_faults_are_named(desk, knowledge):
    plan = upload(desk, "x.csv", "subject,relation,target\nZürich,mayor,Ann\n".encode())
    assert plan.status_code == 200
    assert "Zürich" in plan.text
    assert not [r for r in knowledge.store.list() if r.fact.subject == "Zürich"]  # planned only
    broken = upload(desk, "x.csv", b"subject,relation,target\nOslo,mayor,\n")
    assert broken.status_code == 422
    assert "target" in broken.text


def test_a_yaml_list_is_read_and_its_tricks_are_not(desk, knowledge):
    plan = upload(desk, "x.yaml", b"- subject: Y\n  relation: owner\n  target: Bo\n"
                                  b"  validity: {start: 2024-01-01}\n")  # fmt: skip
    assert "1 change: 1 to add" in text_of(plan)
    for content, said in (
        (b"a: b", "is no list"),
        (b"- [", "is no YAML"),
        (b"- &a {x: 1}\n- *a\n", "alias"),
        (b"- !!python/object/apply:os.system [ls]\n", "is no YAML"),
    ):
        answer = upload(desk, "x.yml", content)
        assert answer.status_code == 422
        assert said in text_of(answer)
    assert knowledge.store.sequence == 1


def test_a_file_that_is_no_text_names_its_line(desk):
    answer = upload(desk, "x.jsonl", b'{"statement": "S."}\n\xff\xfe\n')
    assert answer.status_code == 422
    assert "line 2" in text_of(answer)
    many = upload(desk, NASTY, b"{}\n[]\nno\n")
    assert many.status_code == 422
    assert text_of(many).count("line ") >= 3
    assert "<script>alert" not in many.text


@pytest.mark.parametrize("body", [b"", b"--x\r\nbroken", b"x" * 1000])
def test_a_broken_upload_is_refused(desk, body):
    kind = {"content-type": "multipart/form-data; boundary=x"}
    assert desk.post("/ui/import", content=body, headers=kind).status_code in (200, 422)
    kind = {"content-type": "multipart/form-data"}
    assert desk.post("/ui/import", content=body, headers=kind).status_code == 422


def test_an_import_into_a_foreign_scope_is_refused(staffed):
    knowledge, sign_in, _ = staffed
    pack = json.dumps({"statement": "S.", "scope": "other"})
    for move in ("plan", "apply"):
        answer = sign_in("editor").post("/ui/import", data={"pack": pack, "move": move})
        assert answer.status_code == 403
    assert knowledge.store.sequence == 0


def events(client, **given):
    answer = client.get("/ui/playground/answers", params=given)
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = re.findall(r"event: (\w+)\n((?:data: .*\n)+)", answer.text)
    said = {}
    for name, data in found:
        said[name] = said.get(name, "") + "\n".join(line[6:] for line in data.splitlines())
    return said


def test_both_answers_are_streamed(desk):
    said = events(desk, q="Who runs Company X?")
    assert said == {"bare": "I do not know.", "wrapped": "Dana Lee.", "done": "done"}
    assert desk.get("/ui/playground/answers?q=").status_code == 422


def test_the_playground_asks_about_a_day(desk):
    fact_id = add(desk, subject="Y", relation="owner", target="Bo", start="2024-01-01")
    asked = {"q": "Who is the owner of Y?", "valid_at": "2023-01-01"}
    assert "No fact applies" in text_of(desk.get("/ui/playground", params=asked))
    asked["valid_at"] = "2025-01-01"
    assert fact_id in desk.get("/ui/playground", params=asked).text
    assert "is no time" in text_of(desk.get("/ui/playground?q=x&valid_at=never"))


@pytest.mark.parametrize(
    "path",
    ["facts", "searches", "searches/drop", "facts/x/revise", "facts/x/comment", "undo/1", "review",
     "conflicts/x/replace", "conflicts/x/succeed", "import", "keys", "keys/x/revoke", "people",
     "people/remove", "people/password", "me", "sign-in", "sign-out"],
)  # fmt: skip
def test_no_change_is_made_for_a_page_of_another_site(desk, path):
    for headers in ({"sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"},
                    {"origin": "https://evil.example"}, {"origin": "null"}):  # fmt: skip
        assert desk.post(f"/ui/{path}", headers=headers, data={"a": "b"}).status_code == 403
