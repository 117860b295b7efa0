"""The knowledge team's desk, as a browser without JavaScript sees it."""

import re

import httpx2
import pytest

from .running import text_of

NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{7*7}}"


PAGES = ["facts", "new", "review", "conflicts", "conflicts/attention", "import", "playground",
         "activity", "keys", "me"]  # fmt: skip


@pytest.mark.parametrize("path", PAGES)
def test_every_page_is_there_and_safe(desk, path):
    answer = desk.get(f"/ui/{path}")
    assert answer.status_code == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self';" in policy
    assert "unsafe" not in policy
    scripts = re.findall("<script[^>]*>[^<]*", answer.text)
    assert scripts
    assert all(re.fullmatch(r'<script src="/ui/static/[\w.?-]+" defer>', each) for each in scripts)
    assert not re.search(r"\s(style|on\w+|hx-on[:\w-]*)=", answer.text)
    assert answer.text.count("<h1") == 1
    assert '<html lang="en">' in answer.text
    assert desk.get("/ui").url.path == "/ui/facts"
    style = re.search(r'href="(/ui/static/[^"]+)"', answer.text)[1]
    assert desk.get(style).headers["content-type"].startswith("text/css")


def test_a_fact_is_added_found_superseded_and_undone(desk, knowledge):
    answer = desk.post(
        "/ui/facts",
        data={"subject": "Company Y", "relation": "owner", "target": "Bo", "sources": "https://y.example",
              "aliases": "CY, Why", "start": "2024-01-01", "why": "news"},
    )  # fmt: skip
    assert answer.status_code == 200
    assert "The owner of Company Y is Bo." in text_of(answer)
    fact_id = answer.url.path.rpartition("/")[2]
    assert knowledge.store.get(fact_id).by == "ana"
    assert knowledge.store.get(fact_id).fact.aliases == ("CY", "Why")
    assert fact_id in desk.get("/ui/facts?q=owner").text
    assert "No fact is like that" in text_of(desk.get("/ui/facts?q=zebra"))
    answer = desk.post(
        f"/ui/facts/{fact_id}/supersede", data={"target": "Cy", "start": "2025-01-01"}
    )
    new_id = answer.url.path.rpartition("/")[2]
    successor, old = (knowledge.store.get(each).fact for each in (new_id, fact_id))
    assert successor.supersedes == fact_id
    assert (successor.questions, successor.aliases) == (old.questions, old.aliases)
    assert "until 2025-01-01" in text_of(desk.get(f"/ui/facts/{fact_id}"))
    sequence = knowledge.store.get(new_id).sequence
    desk.post(f"/ui/undo/{sequence}")
    assert knowledge.store.get(fact_id).fact.validity.end is None


def test_a_bad_fact_is_said_and_nothing_is_lost(desk):
    answer = desk.post("/ui/facts", data={"relation": "owner", "target": "Bo", "why": "news"})
    assert answer.status_code == 422
    assert "no subject" in text_of(answer)
    assert 'value="Bo"' in answer.text
    conflict = {"subject": "Company X", "relation": "chief executive officer", "target": "Bo"}
    answer = desk.post("/ui/facts", data=conflict)
    assert answer.status_code == 409
    assert "Dana Lee" in text_of(answer)


def test_tests_are_saved_and_asked(desk, knowledge):
    (fact,) = knowledge.store.list()
    path = f"/ui/facts/{fact.fact.id}"
    answer = desk.post(f"{path}/tests", data={"must_fire": "Who runs Company X?\r\nWho is it?\r\n"})
    assert knowledge.store.get(fact.fact.id).fact.must_fire == ("Who runs Company X?", "Who is it?")
    assert "passes" in text_of(answer)
    assert "fails" in text_of(answer)


def test_the_playground_explains_and_answers(desk):
    asked = {"q": "Who runs Company X <b>now</b>?", "answers": "whole"}
    page = desk.get("/ui/playground", params=asked)
    assert re.search("<mark>Company X<sup>", page.text)
    assert "A fact applies" in text_of(page)
    assert "&lt;b&gt;now" in page.text
    shown = text_of(page)
    assert "The bare model says I do not know." in shown
    assert "With the facts it says Dana Lee." in shown
    assert "No fact applies" in text_of(desk.get("/ui/playground?q=Hello"))


def test_a_pack_is_planned_imported_and_its_bad_lines_are_named(desk, knowledge):
    line = '{"id": "n", "subject": "Z", "relation": "owner", "target": "Q"}'
    planned = desk.post("/ui/import", data={"pack": line, "move": "plan"})
    assert "1 change: 1 to add" in text_of(planned)
    assert knowledge.store.sequence == 1
    desk.post("/ui/import", data={"pack": line, "move": "apply", "why": "w"})
    assert knowledge.store.get("n").why == "w"
    bad = desk.post("/ui/import", data={"pack": f"{line}\nnonsense", "move": "apply"})
    assert bad.status_code == 422
    assert "line 2" in text_of(bad)
    assert "nonsense" in bad.text  # what was pasted is still there


@pytest.mark.parametrize("name", ["subject", "aliases", "relation", "target", "statement",
                                  "questions", "sources", "why"])  # fmt: skip
def test_whatever_a_fact_contains_is_escaped(desk, name):
    given = {"subject": "S", "relation": "r", "target": "t", name: NASTY}
    fact_id = desk.post("/ui/facts", data=given).url.path.rpartition("/")[2]
    for path in (f"facts/{fact_id}", "facts", "review", "activity", f"review/{fact_id}",
                 "playground?q=S", f"facts?q={NASTY}"):  # fmt: skip
        page = desk.get(f"/ui/{path}")
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "<img" not in page.text
        assert "7*7" in page.text or "{{49}}" not in page.text


def test_a_page_of_another_site_changes_nothing(desk, knowledge):
    (fact,) = knowledge.store.list()
    for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}):
        answer = desk.post(f"/ui/facts/{fact.fact.id}/retire", headers=headers)
        assert answer.status_code == 403
    assert knowledge.store.get(fact.fact.id).status == "approved"


def test_nobody_comes_in_without_a_key(staffed):
    _, _, url = staffed
    with httpx2.Client(base_url=url, follow_redirects=True) as stranger:
        assert stranger.get("/ui/facts").url.path == "/ui/sign-in"
        assert stranger.post("/ui/sign-in", data={"key": "scr_x"}).status_code == 401
        assert stranger.post("/ui/facts", data={"statement": "S."}).status_code == 401


def test_a_proposal_is_reviewed_by_somebody_else(staffed):
    knowledge, sign_in, _ = staffed
    editor, approver, reader = (sign_in(role) for role in ("editor", "approver", "reader"))
    answer = editor.post("/ui/facts", data={"subject": "X", "relation": "owner", "target": "Ada"})
    fact_id = answer.url.path.rpartition("/")[2]
    assert knowledge.store.get(fact_id).by == "the editor"
    assert "the editor" in text_of(reader.get("/ui/review"))
    for client in (reader, editor):
        refused = client.post("/ui/review", data={"id": fact_id, "move": "approve"})
        assert refused.status_code == 403
    page = text_of(approver.get(f"/ui/review/{fact_id}"))
    assert "What approving it would change" in page
    approver.post("/ui/review", data={"id": fact_id, "move": "approve", "why": "seen"})
    assert knowledge.store.get(fact_id).status == "approved"
    late = sign_in("admin").post("/ui/review", data={"id": fact_id, "move": "approve"})
    assert late.status_code == 409
    assert "nothing is left to do" in text_of(late)
    own = approver.post("/ui/facts", data={"subject": "Y", "relation": "owner", "target": "Bo"})
    own_id = own.url.path.rpartition("/")[2]
    assert approver.post("/ui/review", data={"id": own_id, "move": "approve"}).status_code == 403


def test_keys_are_the_administrators(staffed):
    knowledge, sign_in, _ = staffed
    assert sign_in("approver").get("/ui/keys").status_code == 403
    admin = sign_in("admin")
    made = admin.post("/ui/keys", data={"name": "Zoe", "role": "reader", "scopes": "default"})
    assert re.search(r"scr_[0-9a-f]{12}_", made.text)
    key = next(key for key in knowledge.store.keys.list() if key.name == "Zoe")
    admin.post(f"/ui/keys/{key.id}/revoke")
    assert next(k for k in knowledge.store.keys.list() if k.id == key.id).revoked


def test_someone_signs_out(staffed):
    _, sign_in, _ = staffed
    client = sign_in("reader")
    assert client.get("/ui/facts").url.path == "/ui/facts"
    client.post("/ui/sign-out")
    assert client.get("/ui/facts").url.path == "/ui/sign-in"


def test_a_fact_of_another_scope_is_not_there(staffed):
    knowledge, sign_in, _ = staffed
    secret = knowledge.add(statement="The other fact.", scope="other").fact
    client = sign_in("reader")
    assert client.get(f"/ui/facts/{secret.id}").status_code == 404
    for path in ("facts", "review", "activity", "facts?q=other"):
        assert "The other fact" not in client.get(f"/ui/{path}").text


@pytest.mark.parametrize("path", ["facts/nothing", "review/nothing", "nonsense"])
def test_what_is_not_there_is_said(desk, path):
    answer = desk.get(f"/ui/{path}")
    assert answer.status_code == 404
