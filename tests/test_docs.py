"""What the documents say is true: code gives the shown output, commands and settings exist."""

import asyncio
import contextlib
import io
import re
import shlex
import sys
import types
from pathlib import Path

import httpx2
import pytest

from scr.chat import ScriptedChatModel
from scr.editing import EDITORS
from scr.editing.reading import read_requests
from scr.lab.model import lab_model_path, load_lab_model
from scr.server import LocalModel, create_app
from scr.settings import Settings

from .server.running import open_knowledge, running

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(language, document=README):
    """Return the fenced blocks of one language (empty: none is named)."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", document, flags=re.DOTALL | re.MULTILINE)
    return [text for name, text in fences if name == language]


def test_the_code_of_the_readme_prints_what_it_shows():
    namespace = {}
    for code in blocks("python"):
        shown = [line.removeprefix("# ") for line in code.splitlines() if line.startswith("# ")]
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102 - our own README
        assert printed.getvalue().splitlines() == shown
    namespace["knowledge"].close()


def test_the_clients_of_the_readme_are_answered(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    model = ScriptedChatModel(answers={"": "Dana Lee."})
    with (
        open_knowledge(tmp_path / "facts.db") as knowledge,
        running(create_app(knowledge, LocalModel(model, "lab"))) as url,
    ):
        asked = [{"role": "user", "content": "Who runs Company X?"}]
        namespace = {}
        for code in blocks("py"):
            code = code.replace("http://127.0.0.1:8000", url)
            exec(compile(code, "README.md", "exec"), namespace)  # noqa: S102 - our own README
        with namespace["client"] as client:
            answer = client.chat.completions.create(model="lab", messages=asked)
        assert answer.choices[0].message.content == "Dana Lee."
        assert namespace["chat"].invoke("Who runs Company X?").content == "Dana Lee."
        (curl,) = blocks("bash")
        body = shlex.split(curl)[-1]
        assert httpx2.post(f"{url}/v1/chat/completions", content=body).status_code == 200


def test_the_code_about_the_server_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("litellm", "litellm.integrations", "litellm.integrations.custom_logger"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    stand_in = type("CustomLogger", (), {})
    sys.modules["litellm.integrations.custom_logger"].CustomLogger = stand_in
    namespace = {}
    for code in blocks("py", (ROOT / "docs" / "server.md").read_text(encoding="utf-8")):
        exec(compile(code, "server.md", "exec"), namespace)  # noqa: S102 - our own document
    knowledge, hook = namespace["knowledge"], namespace["hook"]
    knowledge.add(subject="Company X", relation="chief executive officer", target="Dana Lee")
    data = {"messages": [{"role": "user", "content": "Who is the CEO of Company X?"}]}
    asyncio.run(hook.async_pre_call_hook(None, None, data, "completion"))
    assert "Dana Lee" in data["messages"][0]["content"]
    assert knowledge.store.trace(data["metadata"]["scr_trace"]).applies
    knowledge.close()
    hook.knowledge.close()


def test_the_code_about_editing_runs():
    for code in blocks("py", (ROOT / "docs" / "editing.md").read_text(encoding="utf-8")):
        printed, namespace = io.StringIO(), {}
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "editing.md", "exec"), namespace)  # noqa: S102 - our own document
        assert "down_proj" in printed.getvalue()
        weights = dict(namespace["model"].named_parameters())
        before = dict(load_lab_model(lab_model_path())[0].named_parameters())
        assert all(weight.equal(before[name]) for name, weight in weights.items())


def test_the_table_of_editors_has_every_method():
    text = (ROOT / "docs" / "editing.md").read_text(encoding="utf-8")
    table = text.partition("## Which method when")[2].partition("##")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, flags=re.MULTILINE) == list(EDITORS)


def test_the_requests_of_the_document_are_read():
    text = (ROOT / "docs" / "editing.md").read_text(encoding="utf-8")
    (line,) = re.findall(r"`(\{\"prompt\".*?\})`", text, flags=re.DOTALL)
    (request,) = read_requests([line.replace("\n", " ")])
    assert request.subject == "Cobalt Software"


def commands():
    editing = (ROOT / "docs" / "editing.md").read_text(encoding="utf-8")
    lab = (ROOT / "docs" / "lab.md").read_text(encoding="utf-8")
    server = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    shown = blocks("") + blocks("", lab) + blocks("", server) + blocks("", editing)
    lines = [line for block in shown for line in block.splitlines()]
    return [line for line in lines if line.startswith(("scr ", "make "))]


def test_the_readme_shows_commands():
    assert len(commands()) >= 8


@pytest.mark.parametrize("command", commands())
def test_the_commands_of_the_readme_exist(command):
    program, name, *arguments = shlex.split(command, comments=True)
    if program == "make":
        assert f"\n{name}:" in (ROOT / "Makefile").read_text(encoding="utf-8")
        return
    reference = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    groups = [f"scr {name} {word}" for word in arguments[:1]] + [f"scr {name}"]
    (section, *_) = [found for group in groups if (found := section_of(reference, group))]
    for argument in arguments:
        if argument.startswith("--"):
            assert argument in section, f"{name} has no {argument}"


def section_of(reference, command):
    found = re.search(
        rf"^#+ `?{re.escape(command)}`?\n(.*?)(?=^#+ |\Z)", reference, re.DOTALL | re.MULTILINE
    )
    return found and found[1]


def test_the_settings_of_the_readme_exist_with_these_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \|", README, flags=re.MULTILINE)
    assert len(rows) >= 5
    for name, shown in rows:
        default = Settings.model_fields[name].default
        words = {"off": False, "on": True, "calibrated": None, "–": "" if default == "" else None}
        assert str(words.get(shown, shown.strip("`"))) == str(default)


def test_the_documents_name_files_that_exist():
    for document in DOCUMENTS:
        for target in re.findall(r"\]\(([^):#]+)\)", document.read_text(encoding="utf-8")):
            assert (document.parent / target).exists(), (document.name, target)


def test_no_line_speaks_of_one_machine():
    for path in DOCUMENTS:
        assert not re.search(r"(?<![\w.])/(home|root|tmp)/", path.read_text(encoding="utf-8")), path
