"""The desk in a real browser: a day's work, and what it must not do."""

import re
from urllib.parse import quote

import pytest
from playwright.sync_api import expect

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
            for name, role in (
                ("Eve", "editor"),
                ("Abe", "approver"),
                ("Rae", "reader"),
                ("Ida", "admin"),
            )
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
    page.get_by_role("textbox", name="Subject").fill("Company X")
    page.get_by_role("textbox", name="Relation").fill("owner")
    page.get_by_role("textbox", name="Target").fill(target)
    for label, value in fields.items():
        page.get_by_label(label).fill(value)
    page.get_by_role("button", name="Propose").click()
    page.get_by_role("heading", name="History").wait_for()


def answer(page):
    page.goto("/ui/playground")
    page.get_by_label("Question").fill(ASKED)
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".answer").last).to_have_text(re.compile(r"\w"))  # it comes as it is made
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
    assert eve.locator("mark").first.inner_text().startswith("Company X")

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
    told = []
    eve.on("console", lambda message: told.append(message.text))
    eve.on("dialog", lambda dialog: (told.append(dialog.message), dialog.dismiss()))
    eve.goto("/ui/new")
    for box in eve.locator("form.card").locator("input:not([type=date]), textarea").all():
        box.fill("default" if box.get_attribute("name") == "scope" else HOSTILE)
    eve.get_by_label("Sources").fill(f"javascript:alert(1)\n{HOSTILE}")
    eve.get_by_role("button", name="Propose").click()
    eve.get_by_role("heading", name="History").wait_for()
    fact = eve.url.rpartition("/")[2]
    eve.goto("/ui/facts?q=script&valid_at=2030-01-01")
    eve.get_by_label("Keep this search as").fill(HOSTILE)
    eve.get_by_role("button", name="Keep").click()
    for path in (f"facts/{fact}", f"facts/{fact}/edit", f"review/{fact}", "facts", "review",
                 "conflicts", "activity", f"facts?tag={quote(HOSTILE)}&q={quote(HOSTILE)}",
                 f"playground?q={quote(HOSTILE)}+Company+X"):  # fmt: skip
        eve.goto(f"/ui/{path}")
        eve.wait_for_load_state("networkidle")
        assert eve.title() != "owned"
        assert eve.locator("main img, main script, main iframe").count() == 0
        assert eve.locator("a[href^='javascript']").count() == 0
    assert told == []


def test_search_answers_while_one_types(office):
    eve = office("Eve")
    propose(eve, "Ada")
    eve.goto("/ui/facts")
    search = eve.get_by_label("Search", exact=True)
    search.press_sequentially("zebra")
    eve.get_by_text("No fact is like that.").wait_for()
    assert eve.url.endswith("?q=zebra")
    search.fill("ada")
    eve.get_by_role("link", name="The owner of Company X is Ada.").wait_for()
    search.fill("")
    eve.wait_for_url(re.compile("/ui/facts$"))
    assert eve.evaluate("document.activeElement.name") == "q"


def test_everything_can_be_read_without_scripts(office, chromium):
    eve = office("Eve")
    propose(eve, "Ada")
    state = eve.context.storage_state()
    context = chromium.new_context(
        base_url=eve.url.split("/ui")[0], java_script_enabled=False, storage_state=state
    )
    page = context.new_page()
    page.goto("/ui/facts")
    page.get_by_label("Search", exact=True).fill("ada")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name="The owner of Company X is Ada.").click()
    page.get_by_role("link", name="Review this proposal").click()
    assert "What approving it would change" in page.content()
    page.goto("/ui/conflicts")
    page.get_by_role("link", name="missing sources").click()
    assert "Proposed without tests" in page.content()
    page.goto("/ui/playground")
    page.get_by_label("Question").fill(ASKED)
    page.get_by_role("button", name="Ask").click()
    page.get_by_role("link", name="Let the model answer").click()
    assert "I forgot." in page.locator(".answer").first.inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_has_a_serious_fault_of_accessibility(office, scheme):
    from axe_playwright_python.sync_playwright import Axe

    eve, abe, ida = office("Eve"), office("Abe"), office("Ida")
    propose(eve, "Ada")
    abe.goto("/ui/review")
    abe.get_by_label("All 1 of this page").check()
    abe.get_by_role("button", name="Approve chosen").click()
    fact = eve.url.rpartition("/")[2]
    propose(eve, "Bo")
    rival = eve.url.rpartition("/")[2]
    ida.emulate_media(color_scheme=scheme)
    ida.goto("/ui/keys")
    ida.get_by_label("Name, as the history").fill("Zoe")
    ida.get_by_label("First password").fill("correct horse battery")
    ida.get_by_role("button", name="Let them in").click()
    faults = []
    for path in ("facts", f"facts/{fact}", f"facts/{fact}/edit", "new", "review",
                 f"review/{rival}", "conflicts", "conflicts/attention", "import", "activity",
                 f"playground?q={quote(ASKED)}", "keys", "me", "facts?q=zebra", "facts/nothing",
                 "sign-in"):  # fmt: skip
        ida.goto(f"/ui/{path}")
        ida.wait_for_load_state("networkidle")
        ida.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        for fault in Axe().run(ida).response["violations"]:
            if fault["impact"] in ("serious", "critical"):
                faults.append((path, fault["id"], [node["html"] for node in fault["nodes"]]))
    assert faults == []


def test_someone_signs_in_with_a_password(office):
    ida = office("Ida")
    ida.goto("/ui/keys")
    ida.get_by_label("Name, as the history").fill("Zoe")
    ida.get_by_label("First password").fill("correct horse battery")
    ida.get_by_role("button", name="Let them in").click()
    assert "Zoe may sign in now" in ida.content()
    ida.get_by_role("button", name="Sign out").click()
    ida.get_by_label("Name").fill("Zoe")
    ida.get_by_label("Password").fill("correct horse battery")
    ida.get_by_role("button", name="Sign in", exact=True).click()
    ida.get_by_role("heading", name="Facts").wait_for()
    assert ida.get_by_role("link", name="Zoe").is_visible()


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
