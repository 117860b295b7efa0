"""`scr edit`: change a model's weights by the methods of `scr.editing`, see and undo it."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scr.cli.options import AsJson, StorePath
from scr.cli.render import make_console, make_table, print_json, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from scr.editing.editor import WeightEditor
    from scr.editing.report import EditReport
    from scr.edits import EditRequest

app = typer.Typer(help="Change a model's weights, and take it back.")

LAB = "lab"
_LAB_TEXTS = 1500  # chats, and as many bare statements, for second moments of the lab model
_SHOWN = 20  # requests in the table of answers

ModelName = Annotated[
    str, typer.Option("--model", metavar="NAME", help="lab, a folder or a hub id.")
]
Saved = Annotated[Path, typer.Argument(metavar="EDIT", help="Folder of a saved edit.")]
Dtype = Annotated[
    str, typer.Option("--dtype", metavar="NAME", help="Of the weights: float32, bfloat16.")
]
Device = Annotated[str, typer.Option("--device", metavar="NAME", help="Where: cpu, cuda.")]


@app.command()
def methods(store: StorePath = None, as_json: AsJson = False) -> None:
    """List the methods, each with what it does."""
    from scr.editing import EDITORS

    if as_json:
        for name, kind in EDITORS.items():
            print_json({"method": name, "summary": kind.summary})
        return
    table = make_table("Method", "What it does")
    for name, kind in EDITORS.items():
        table.add_row(name, kind.summary)
    make_console().print(table)


Requests = Annotated[
    Path, typer.Option("--requests", metavar="FILE", help="JSON lines; see docs/editing.md.")
]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where the edit is saved.")]
Method = Annotated[str, typer.Option("--method", metavar="NAME", help="See `methods`.")]
Corpus = Annotated[
    Path | None,
    typer.Option("--corpus", metavar="FILE", help="Texts like those it was trained on."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A hyper-parameter; may be repeated."),
]
Plain = Annotated[
    bool, typer.Option("--plain", help="Edit prompts as bare texts, not as chat questions.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", help="Of what is drawn.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show the plan only.")]


@app.command()
def apply(
    requests: Requests,
    out: Out,
    method: Method,
    model: ModelName = LAB,
    corpus: Corpus = None,
    settings: Settings = None,
    plain: Plain = False,
    dtype: Dtype = "auto",
    device: Device = "auto",
    seed: Seed = 0,
    yes: Yes = False,
    dry_run: DryRun = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Edit a model: first the plan, then answers before and after.

    The model on disk is not touched: the change is saved in DIR; `scr edit export` writes an
    edited model. A prompt that ends in a question mark is put as a user's message, if the model
    has a chat template. No store is read.
    """
    from scr.editing import make_editor
    from scr.editing.reading import read_requests

    read = read_requests(_lines(requests))
    network, tokenizer = _load(model, dtype=dtype, device=device)
    texts = _lines(corpus) if corpus is not None else _lab_texts() if model == LAB else []
    editor = make_editor(
        method,
        corpus=texts,
        canary=[*texts[:8], *texts[-8:]],
        cache=out / "moments",
        seed=seed,
        **_settings(settings or []),
    )
    wanted = read if plain else [_as_chat(tokenizer, request) for request in read]
    plan = _plan(editor, network, wanted, texts)
    if not as_json:
        _print_plan(plan)
    elif dry_run:
        print_json(plan)
    if dry_run:
        return
    if not yes and not as_json:
        typer.confirm("Go on?", abort=True)
    _carry_out(editor, network, tokenizer, wanted, out, as_json=as_json)
    if not as_json:
        writes = f"`scr edit export {out} --model {model} --out MODEL` writes a model"
        typer.echo(f"saved in {out}; {writes}")


def _carry_out(
    editor: "WeightEditor",
    network: Any,
    tokenizer: Any,
    requests: Sequence[Any],
    out: Path,
    *,
    as_json: bool,
) -> None:
    """Edit, save, and print answers before and after."""
    before = _answers(network, tokenizer, requests)
    with _bars(as_json=as_json) as observe:
        editor.watch(observe)
        edit = editor.apply(network, tokenizer, requests)
    edit.save(out)
    after = _answers(network, tokenizer, requests)
    if as_json:
        rows = zip(requests, before, after, strict=True)
        answers = [{"id": r.id, "target": r.target, "before": b, "after": a} for r, b, a in rows]
        print_json({"report": edit.report.model_dump(mode="json"), "answers": answers})
        return
    _print_answers(requests, before, after)
    _print_report(edit.report)


@app.command()
def show(edit: Saved, store: StorePath = None, as_json: AsJson = False) -> None:
    """Show what a saved edit did."""
    from scr.editing import SavedEdit

    report = SavedEdit(edit).report
    if as_json:
        print_json(report)
    else:
        _print_report(report)


@app.command()
def export(
    edit: Saved,
    out: Annotated[Path, typer.Option("--out", metavar="MODEL", help="Folder for the model.")],
    model: ModelName = LAB,
    dtype: Dtype = "auto",
    device: Device = "cpu",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write a model with a saved edit in its weights.

    What was there before is kept beside it; `scr edit restore` puts it back.
    """
    from scr.editing import SavedEdit
    from scr.editing.export import export_edited

    if out.exists() and any(out.iterdir()):
        raise InvalidInput(f"{out} is not empty: name another folder")
    saved = SavedEdit(edit)
    network, tokenizer = _load(model, dtype=dtype, device=device)
    export_edited(saved, network, tokenizer, out)
    typer.echo(f"wrote {out} with {len(saved.report.requests)} edits by {saved.report.method}")


@app.command()
def restore(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Folder written by `export`.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Take the edit out of an exported model, to the bit."""
    from scr.editing.export import restore_exported

    report = restore_exported(model)
    typer.echo(f"took {len(report.requests)} edits by {report.method} out of {model}")


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as text: {error}") from error


def _load(model: str, *, dtype: str, device: str) -> tuple[Any, Any]:
    from scr.chat.loading import load_network
    from scr.lab.model import lab_model_path

    return load_network(
        str(lab_model_path()) if model == LAB else model, dtype=dtype, device=device
    )


def _lab_texts() -> list[str]:
    """Return texts like those that the lab model was trained on."""
    from random import Random

    from scr.lab.batches import chat_text
    from scr.lab.chats import TrainingChats
    from scr.lab.model import lab_model_path, read_card
    from scr.lab.world import generate_world

    card = read_card(lab_model_path())
    chats, rng = TrainingChats(generate_world(card.seed, card.facts)), Random(0)  # noqa: S311
    asked = [chat_text(chats.closed_book(rng)) for _ in range(_LAB_TEXTS)]
    return asked + [chats.statement(rng)[0] for _ in range(_LAB_TEXTS)]


def _as_chat(tokenizer: Any, request: "EditRequest") -> "EditRequest":
    from scr.evaluation.editing import in_chat

    asks = request.suffix.rstrip().endswith("?") and getattr(tokenizer, "chat_template", None)
    return in_chat(tokenizer, request) if asks else request


def _settings(given: Sequence[str]) -> dict[str, Any]:
    """Return `name=value` pairs; a value is read as JSON where it is that, else as text."""
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInput(f"--set {pair!r}: write NAME=VALUE, such as --set rate=0.1")
        try:
            found[name] = json.loads(value)
        except json.JSONDecodeError:
            found[name] = value
    return found


def _plan(
    editor: "WeightEditor", network: Any, requests: Sequence[Any], texts: Sequence[str]
) -> dict[str, Any]:
    """Return what will be done, without doing any of it.

    Raises:
        InvalidInput, ModelNotEditable: if it cannot be.
    """
    from scr.editing.adapter import ModelAdapter

    adapter = ModelAdapter(network)
    params = editor.params_for(adapter.shape)
    values = params.model_dump(mode="json")
    layers = values.get("layers") or ([values["layer"]] if "layer" in values else [])
    matrices = {
        adapter.weight_name(adapter.projections[n]): list(adapter.projections[n].weight.shape)
        for n in layers
        if n < adapter.depth
    }
    keys = max((max(shape) for shape in matrices.values()), default=0)
    moments = list(editor.moment_layers(params))
    return {
        "method": editor.name,
        "requests": len(requests),
        "changes": matrices or "projections of all layers",
        "hyper-parameters": values,
        "second moments of layers": moments,
        "texts for them": len(texts) if moments else 0,
        "estimated memory beside the model, MB": round(
            (8 * 3 * keys * keys * len(moments) + 4 * 2 * sum(_size(s) for s in matrices.values()))
            / 1e6
        ),
    }


def _size(shape: Sequence[int]) -> int:
    total = 1
    for length in shape:
        total *= length
    return total


def _print_plan(plan: dict[str, Any]) -> None:
    table = make_table("Plan", "")
    for name, value in plan.items():
        if isinstance(value, dict):
            text = "\n".join(f"{key}: {part}" for key, part in value.items())
        else:
            text = str(value)
        table.add_row(name, visible(text) if "\n" not in text else text)
    make_console().print(table)


def _answers(network: Any, tokenizer: Any, requests: Sequence[Any]) -> list[str]:
    from scr.evaluation.models import TransformersModel

    shown = [request.prompt for request in requests[:_SHOWN]]
    return TransformersModel(network, tokenizer, max_tokens=24).complete(shown) + [""] * (
        len(requests) - len(shown)
    )


def _print_answers(requests: Sequence[Any], before: Sequence[str], after: Sequence[str]) -> None:
    table = make_table("Subject", "Target", "Before", "After")
    for request, old, new in list(zip(requests, before, after, strict=True))[:_SHOWN]:
        table.add_row(*map(visible, (request.subject, request.target, old, new)))
    make_console().print(table)
    if len(requests) > _SHOWN:
        typer.echo(f"… and {len(requests) - _SHOWN} more")


def _print_report(report: "EditReport") -> None:
    table = make_table("Changed", "By", "Of")
    for name, (new, old) in report.changed.items():
        table.add_row(visible(name), f"{new:.3g}", f"{old:.4g}")
    make_console().print(table)
    nlls = [request.nll for request in report.requests if request.nll is not None]
    if nlls:
        typer.echo(f"targets reached to {sum(nlls) / len(nlls):.3f} nats a token in the mean")
    if report.canary is not None:
        kl, tokens = report.canary.kl, report.canary.tokens
        typer.echo(f"held-out text: predictions moved by {kl:.4f} nats a token (KL, {tokens})")
    typer.echo(
        f"{report.seconds.get('total', 0.0):.1f} s, {report.peak_bytes / 1e6:.0f} MB at most"
    )
    for warning in report.warnings:
        typer.echo(f"warning: {warning}", err=True)


@contextmanager
def _bars(*, as_json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each part of the work, on a terminal."""
    console = make_console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda part, done, total: None
        return
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bars:
        tasks: dict[str, Any] = {}

        def told(part: str, done: int, total: int) -> None:
            task = tasks.setdefault(part, bars.add_task(part, total=total))
            bars.update(task, completed=done, total=total)

        yield told
