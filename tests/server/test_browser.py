"""The desk in a real browser: a day's work, and what it must not do."""

import pytest

from scr.chat import ScriptedChatModel
from scr.server import LocalModel, create_app
from scr.store import Store

from .browsing import browser
from .running import open_knowledge, running

pytestmark = pytest.mark.system

ASKED = "Who is the owner of Company X?"
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def chromium():
    with browser() as chromium:
        yield chromium


@pytest.fixture
def office(tmp_path, chromium):
    """A store for review with four eyes; returns a function that gives a signed-in page."""
    Store.create(tmp_path / "x.db", review=True, four_eyes=True).close()
    model = ScriptedChatModel(
        answers=lambda m: next((n for n in ("Ada", "Bo") if f"is {n}." in str(m)), "I forgot.")
    )
    with open_knowledge(tmp_path / "x.db") as knowledge:
        keys = {
            name: knowledge.store.keys.create(role, ["default"], by="ana", name=name)[1]
            for name, role in (("Eve", "editor"), ("Abe", "approver"), ("Rae", "reader"))
        }
        with running(create_app(knowledge, LocalModel(model, "fake"))) as url:
            contexts = []

            def enter(name):
                context = chromium.new_context(base_url=url)
                contexts.append(context)
                page = context.new_page()
                page.goto("/ui")
                page.get_by_label("Key").fill(keys[name])
                page.get_by_role("button", name="Sign in").click()
                page.get_by_role("heading", name="Facts").wait_for()
                return page

            yield enter
            for context in contexts:
                context.close()


def propose(page, target, **fields):
    page.goto("/ui/new")
    page.get_by_label("Subject").fill("Company X")
    page.get_by_label("Relation").fill("owner")
    page.get_by_label("Target").fill(target)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Propose").click()
    page.get_by_role("heading", name="History").wait_for()


def answer(page):
    page.goto("/ui/playground")
    page.get_by_label("Question").fill(ASKED)
    page.get_by_role("button", name="Ask").click()
    return page.locator("section.card").filter(has_text="With the facts").inner_text()


def test_a_fact_is_proposed_approved_by_another_and_changes_the_answer(office):
    eve, abe = office("Eve"), office("Abe")
    propose(eve, "Ada")
    assert "I forgot." in answer(eve)
    abe.goto("/ui/review")
    abe.get_by_role("link", name="The owner of Company X is Ada.").click()
    assert "What approving it would change" in abe.content()
    abe.get_by_role("button", name="Approve").click()
    assert "Nothing waits for approval" in abe.content()
    assert "Ada" in answer(eve)
    assert eve.locator("mark").first.inner_text() == "Company X"

    propose(eve, "Bo")  # without superseding: a conflict
    abe.goto("/ui/review")
    abe.get_by_role("link", name="The owner of Company X is Bo.").click()
    assert "Ada" in abe.locator(".note.bad").inner_text()
    abe.get_by_role("button", name="Approve").click()
    assert "Not everything could be done" in abe.content()

    abe.goto("/ui/facts?q=Ada")
    abe.get_by_role("link", name="The owner of Company X is Ada.").click()
    abe.get_by_role("button", name="Undo change").last.click()
    assert "I forgot." in answer(eve)


def test_two_approvers_press_at_once_and_one_is_told(office):
    propose(office("Eve"), "Ada")
    first, second = office("Abe"), office("Abe")
    for page in (first, second):
        page.goto("/ui/review")
        page.get_by_role("link", name="The owner of Company X is Ada.").click()
    first.get_by_role("button", name="Approve").click()
    second.get_by_role("button", name="Approve").click()
    assert "nothing is left to do" in second.locator(".note.bad").inner_text()


def test_a_viewer_sees_no_way_to_approve_and_has_none(office):
    propose(office("Eve"), "Ada")
    rae = office("Rae")
    rae.goto("/ui/review")
    assert rae.get_by_role("button", name="Approve").count() == 0
    refused = rae.request.post("/ui/review", form={"id": "x", "move": "approve"})
    assert refused.status == 403


def test_hostile_words_stay_words(office):
    eve = office("Eve")
    propose(eve, HOSTILE, Statement=HOSTILE, Sources=f"javascript:alert(1)\n{HOSTILE}", Why=HOSTILE)
    for path in ("facts", "review", "activity", "playground?q=Company+X"):
        eve.goto(f"/ui/{path}")
        assert "owned" not in eve.title()
        assert eve.locator("main img, main script").count() == 0
    assert eve.locator("a[href^='javascript']").count() == 0


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_overflows_and_the_keyboard_reaches_everything(office, width, scheme):
    eve = office("Eve")
    propose(eve, "x" * 300, Statement="W" * 900)
    eve.set_viewport_size({"width": width, "height": 800})
    eve.emulate_media(color_scheme=scheme)
    for path in ("facts", "new", "review", "import", "playground?q=Company+X", "activity"):
        eve.goto(f"/ui/{path}")
        wide = eve.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        assert wide <= 0, path
        eve.keyboard.press("Tab")
        assert eve.evaluate("document.activeElement.tagName") in (
            "A",
            "BUTTON",
            "INPUT",
            "TEXTAREA",
        )
