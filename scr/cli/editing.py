"""`scr edit`: change a model's weights by the methods of `scr.editing`, see and undo it."""

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_origin

import typer
from pydantic import BaseModel, ValidationError
from rich.text import Text

from scr.cli.editing_tables import (
    SHOWN,
    Answer,
    EditRun,
    print_answers,
    print_plan,
    print_report,
    progress_bars,
    show_value,
)
from scr.cli.options import AsJson, StorePath, check_device
from scr.cli.packs import STANDARD, read_content
from scr.cli.render import make_console, make_table, print_json, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from scr.editing.editor import WeightEditor
    from scr.editing.planning import EditPlan
    from scr.edits import EditRequest
    from scr.lab.model import Card

app = typer.Typer(help="Change a model's weights, and take it back.")

LAB = "lab"
RUN = "run.json"
_LAB_TEXTS = 1500  # chats, and as many bare statements, for second moments of the lab model
_HELD_OUT = 16  # texts of a corpus on which damage is measured
_ANSWER_TOKENS = 24

Saved = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of a saved edit.")]
Requests = Annotated[
    Path, typer.Option("--requests", metavar="FILE", help="JSON lines, see docs/editing.md; or -.")
]
Corpus = Annotated[
    str | None,
    typer.Option(
        "--corpus", metavar="FILE", help="Texts like its training data, one a line; or lab."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated."),
]
DtypeName = Literal["auto", "float32", "bfloat16", "float16", "float64"]
Device = Annotated[
    str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda.")
]


@app.command()
def methods(
    method: Annotated[
        str | None, typer.Argument(metavar="METHOD", help="Show the settings of this one.")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List the methods, or the settings of one."""
    from scr.editing import EDITORS

    if method is not None:
        _print_settings(_method(method), as_json=as_json)
        return
    if as_json:
        for name, kind in EDITORS.items():
            print_json({"method": name, "summary": kind.summary})
        return
    table = make_table("Method", "What it does")
    for name, kind in EDITORS.items():
        table.add_row(name, kind.summary)
    make_console().print(table)


def _method(name: str) -> "type[WeightEditor]":
    from scr.editing import EDITORS

    if name not in EDITORS:
        raise InvalidInput(f"no method is called {name!r}; there are {', '.join(EDITORS)}")
    return EDITORS[name]


def _print_settings(kind: "type[WeightEditor]", *, as_json: bool) -> None:
    fields = kind.Params.model_fields
    if as_json:
        for name, field in fields.items():
            print_json({"name": name, "default": field.default, "meaning": field.description})
        return
    table = make_table("Setting", "Default", "Meaning")
    for name, field in fields.items():
        meaning = " ".join((field.description or "").split())
        table.add_row(name, show_value(field.default), Text(meaning))
    make_console().print(table)
    typer.echo("a model's family and size may set others: `scr edit apply … --dry-run` shows them")


@app.command()
def apply(
    method: Annotated[
        str, typer.Option("--method", metavar="NAME", help="As `scr edit methods` lists them.")
    ],
    requests: Requests,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the edit is saved.")],
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="lab, a folder or a hub id.")
    ] = LAB,
    corpus: Corpus = None,
    settings: Settings = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Edit questions as bare texts, not as chat messages.")
    ] = False,
    dtype: Annotated[DtypeName, typer.Option("--dtype", help="Type of the weights.")] = "auto",
    device: Device = "auto",
    seed: Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of what is drawn.")] = 0,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", metavar="DIR", help="For second moments; else ~/.cache/scr."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")] = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Edit a model: first the plan, then answers before and after.

    The model on disk is not touched: the change is saved in DIR, and `scr edit export` writes an
    edited model. A prompt that ends in a question mark is put as a user's message, if the model
    has a chat template. Some texts of the corpus are held out, to measure damage on. No store is
    read.
    """
    from scr.editing.planning import plan_edit
    from scr.editing.reading import read_requests

    check_new(out)
    kind = _method(method)
    name = "standard input" if requests == STANDARD else str(requests)
    read = read_requests(read_lines(requests), name=name)
    card = card_of(model)
    by_card = _layers(kind, card)
    chosen = {**by_card, **set_values(method, kind.Params, settings or [])}
    kind(**chosen)  # a wrong setting is told before a model is loaded
    texts, held_out = _held_out(_texts(corpus, card))
    network, tokenizer = load_model(model, dtype=dtype, device=device)
    editor = kind(corpus=texts, canary=held_out, cache=_cache(cache), seed=seed, **chosen)
    wanted = read if plain else [as_chat(tokenizer, request) for request in read]
    given = {n: "the model's card" for n in by_card if chosen[n] == by_card[n]}
    plan = plan_edit(editor, network, tokenizer, wanted, given=given)
    if not as_json:
        print_plan(plan)
    elif dry_run or not yes:
        print_json(plan)
    if dry_run:
        return
    _agree(yes)
    edit = _Edit(editor, network, tokenizer, wanted, read)
    edit.carry_out(out, model, plan, as_json=as_json)


def _agree(yes: bool) -> None:
    if not yes:
        if not sys.stdin.isatty():
            raise InvalidInput("nobody is there to be asked: pass --yes to make the edit")
        typer.confirm("edit?", abort=True)


class _Edit:
    """One edit, with all it takes."""

    def __init__(
        self,
        editor: "WeightEditor",
        network: Any,
        tokenizer: Any,
        wanted: Sequence["EditRequest"],
        read: Sequence["EditRequest"],
    ) -> None:
        self.editor, self.network, self.tokenizer = editor, network, tokenizer
        self.wanted, self.read = wanted, read

    def carry_out(self, out: Path, model: str, plan: "EditPlan", *, as_json: bool) -> None:
        """Edit, save, and print answers before and after."""
        make_folder(out)
        before = self._answers()
        with progress_bars(as_json=as_json) as observe:
            self.editor.watch(observe)
            edit = self.editor.apply(self.network, self.tokenizer, self.wanted)
        after = self._answers()
        answers = tuple(
            Answer(id=r.id, prompt=r.prompt, target=r.target, before=old, after=new)
            for r, old, new in zip(self.read, before, after, strict=False)
        )
        dtype = str(self.network.dtype).removeprefix("torch.")
        run = EditRun(model=model, dtype=dtype, answers=answers)
        try:
            edit.save(out)
            (out / RUN).write_text(run.model_dump_json(indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise InvalidInput(f"{out} cannot be written: {error}") from error
        if as_json:
            print_json({"plan": plan, "report": edit.report, "answers": answers})
            return
        print_answers(answers, len(self.read))
        print_report(edit.report)
        name = visible(str(out))
        typer.echo(f"saved in {name}; `scr edit export {name} --out MODEL` writes an edited model")

    def _answers(self) -> list[str]:
        from scr.evaluation.models import TransformersModel

        asked = TransformersModel(self.network, self.tokenizer, max_tokens=_ANSWER_TOKENS)
        return asked.complete([request.prompt for request in self.wanted[:SHOWN]])


@app.command()
def show(folder: Saved, store: StorePath = None, as_json: AsJson = False) -> None:
    """Show what a saved edit did."""
    from scr.editing.report import EditReport

    report, run = EditReport.read(folder), _run(folder)
    if as_json:
        print_json({"report": report, "run": run})
        return
    of = f" of {visible(run.model)} ({run.dtype})" if run is not None else ""
    count = len(report.requests)
    typer.echo(f"{report.method}{of}: {count} request{'s' if count != 1 else ''}")
    if run is not None:
        print_answers(run.answers, count)
    values = ", ".join(f"{name} {show_value(value)}" for name, value in report.params.items())
    make_console().print(f"settings: {visible(values)}; seed {report.seed}")
    print_report(report)


@app.command()
def export(
    folder: Saved,
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="Folder for the model.")],
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME", help="Otherwise the one that was edited."),
    ] = None,
    dtype: Annotated[
        DtypeName | None, typer.Option("--dtype", help="Otherwise that of the edit.")
    ] = None,
    device: Device = "cpu",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write a model with a saved edit in its weights.

    What the edit replaced is kept beside them, with a note; `scr edit restore` puts it back.
    """
    from scr.chat.loading import without_bars
    from scr.editing import SavedEdit
    from scr.editing.export import export_edited
    from scr.lab.model import CARD

    check_new(out)
    saved, run = SavedEdit(folder), _run(folder)
    name = model or (run.model if run is not None else None)
    if name is None:
        raise InvalidInput(f"{folder} does not say which model was edited: name it with --model")
    chosen = dtype or (run.dtype if run is not None else "auto")
    network, tokenizer = load_model(name, dtype=chosen, device=device)
    card = _source(name) / CARD
    make_folder(out)
    with without_bars():
        export_edited(
            saved,
            network,
            tokenizer,
            out,
            name=name,
            checkpoint_dtype=_checkpoint_dtype(name),
            beside=[card] if card.is_file() else [],
        )
    count, by = len(saved.report.requests), saved.report.method
    if as_json:
        print_json({"folder": str(out), "model": name, "method": by, "requests": count})
    else:
        what = f"{count} edit{'s' if count != 1 else ''} by {by}"
        typer.echo(f"wrote {visible(str(out))}: {visible(name)} with {what}")


@app.command()
def restore(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder written by `export`.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take the edit out of an exported model, to the bit.

    Refuses a model whose weights have changed since it was exported.
    """
    from scr.chat.loading import without_bars
    from scr.editing.export import restore_exported

    with without_bars():
        note = restore_exported(model)
    count, by = len(note.report.requests), note.report.method
    if as_json:
        print_json({"folder": str(model), "model": note.model, "method": by, "requests": count})
    else:
        what = f"{count} edit{'s' if count != 1 else ''} by {by}"
        typer.echo(f"took {what} out of {visible(str(model))}: it is {visible(note.model)} again")


def read_lines(file: Path) -> list[bytes]:
    """Return lines as bytes: as text they would end at characters that JSON may hold."""
    return read_content(file).splitlines(keepends=True)


def check_new(folder: Path) -> None:
    """Refuse a folder that holds anything."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInput(f"{folder} is there and is not an empty folder: name another one")


def make_folder(folder: Path) -> None:
    """Make a folder that can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".scr"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written: {error.strerror}") from error


def _run(folder: Path) -> EditRun | None:
    """Return how a saved edit was made; `None` if it was saved by other means than `apply`."""
    try:
        return EditRun.model_validate_json((folder / RUN).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValidationError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{folder / RUN} is damaged: delete it, and name the model") from error


def _source(model: str) -> Path:
    from scr.lab.model import lab_model_path

    return lab_model_path() if model == LAB else Path(model).expanduser()


def load_model(model: str, *, dtype: str, device: str) -> tuple[Any, Any]:
    """Return a model and its tokenizer."""
    from scr.chat.loading import load_network

    if device != "auto":
        check_device(device)
    return load_network(str(_source(model)) if model == LAB else model, dtype=dtype, device=device)


def _checkpoint_dtype(model: str) -> str | None:
    """Return the type of a model's weights on disk, if its configuration says it."""
    from transformers import AutoConfig

    source = str(_source(model)) if model == LAB else model
    dtype = getattr(AutoConfig.from_pretrained(source, local_files_only=True), "dtype", None)
    return str(dtype).removeprefix("torch.") if dtype is not None else None


def card_of(model: str) -> "Card | None":
    """Return the card of a lab model; `None` for any other."""
    from scr.lab.model import CARD, read_card

    source = _source(model)
    return read_card(source) if (source / CARD).is_file() else None


def _layers(kind: "type[WeightEditor]", card: "Card | None") -> dict[str, Any]:
    """Return the layers that a lab model's card names for a method."""
    from scr.editing.rome import Rome
    from scr.editing.spreading import SpreadEditor

    if card is None or card.rome_layer is None:
        return {}
    if issubclass(kind, Rome):
        return {"layer": card.rome_layer}
    return {"layers": card.memit_layers} if issubclass(kind, SpreadEditor) else {}


def _texts(corpus: str | None, card: "Card | None") -> list[str]:
    """Return the texts named, or those that a lab model was trained on."""
    from scr.editing.reading import read_texts
    from scr.lab.model import lab_model_path, read_card

    if corpus is None:
        return _lab_texts(card) if card is not None else []
    if corpus == LAB:
        return _lab_texts(card or read_card(lab_model_path()))
    file = Path(corpus)
    return read_texts(read_lines(file), name=corpus, as_json=file.suffix == ".jsonl")


def _lab_texts(card: "Card") -> list[str]:
    """Return texts like those that a lab model was trained on."""
    from random import Random

    from scr.lab.batches import chat_text
    from scr.lab.chats import TrainingChats
    from scr.lab.world import generate_world

    chats, rng = TrainingChats(generate_world(card.seed, card.facts)), Random(0)  # noqa: S311
    asked = [chat_text(chats.closed_book(rng)) for _ in range(_LAB_TEXTS)]
    return asked + [chats.statement(rng)[0] for _ in range(_LAB_TEXTS)]


def _held_out(texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the texts for second moments, and those, from all over, that are held out."""
    count = min(_HELD_OUT, len(texts) // 4)
    places = {n * len(texts) // count for n in range(count)} if count else set()
    rest = [text for place, text in enumerate(texts) if place not in places]
    return rest, [texts[place] for place in sorted(places)]


def _cache(given: Path | None) -> Path:
    if given is not None:
        return given
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "scr" / "moments"


def as_chat(tokenizer: Any, request: "EditRequest") -> "EditRequest":
    """Return a question as a user's message, where the model has a chat template."""
    from scr.evaluation.editing import in_chat

    asks = request.suffix.rstrip().endswith("?") and getattr(tokenizer, "chat_template", None)
    return in_chat(tokenizer, request) if asks else request


def set_values(method: str, kind: type[BaseModel], given: Sequence[str]) -> dict[str, Any]:
    """Return `name=value` pairs of settings; a value is JSON, a list with commas, or a text."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set {pair!r}: write NAME=VALUE, such as --set rate=0.1")
        field = kind.model_fields.get(name)
        if field is None:  # `corpus` and the like are options of the command
            known = ", ".join(kind.model_fields)
            raise InvalidInput(f"--set {pair!r}: {method} has no {name} (it has: {known})")
        found[name] = _value(text, many=get_origin(field.annotation) is tuple)
    return found


def _value(text: str, *, many: bool = False) -> Any:
    if many and not text.startswith("["):
        return [_value(part.strip()) for part in text.split(",") if part.strip()]
    if text == "none":
        return None
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
