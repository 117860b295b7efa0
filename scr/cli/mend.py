"""`scr edit train-mend`: the networks with which MEND edits a model."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from scr.cli.editing import (
    LAB,
    Device,
    DtypeName,
    as_chat,
    card_of,
    check_new,
    load_model,
    make_folder,
    read_lines,
    set_values,
)
from scr.cli.options import AsJson, StorePath
from scr.cli.render import make_console, print_json, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from scr.editing.mend_training import MendSample
    from scr.editing.mend_training import Progress as Told

app = typer.Typer()

_LAB_SAMPLES = 2000
_LAB_VALIDATION = 40


@app.command("train-mend")
def train_mend(
    out: Annotated[
        Path, typer.Option("--out", metavar="DIR", help="Where the networks are written.")
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="NAME", help="lab, a folder or a hub id.")
    ] = LAB,
    samples: Annotated[
        str | None,
        typer.Option("--samples", metavar="FILE", help="Edits to learn from, JSON lines; or lab."),
    ] = None,
    validation: Annotated[
        Path | None,
        typer.Option(
            "--validation", metavar="FILE", help="Others to stop by; else a tenth of the samples."
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting; may be repeated."),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="Learn questions as bare texts, not as chat messages.")
    ] = False,
    dtype: Annotated[DtypeName, typer.Option("--dtype", help="Type of the weights.")] = "auto",
    device: Device = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a run in DIR.")] = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Train the networks that MEND needs, once for each model.

    A line of the samples has a prompt, subject and target as in `scr edit apply`, other wordings of
    the prompt in `rephrases`, and texts that an edit must leave alone in `others`. The lab model
    learns from LabWorld's training split if none are given. A checkpoint is written at each
    validation; edit with `scr edit apply --method mend --set trained=DIR`. No store is read.
    """
    from scr.editing.adapter import ModelAdapter
    from scr.editing.mend_training import MendTraining
    from scr.editing.mend_training import train_mend as train

    if not resume:
        check_new(out)
    chosen = set_values("train-mend", MendTraining, settings or [])
    network, tokenizer = load_model(model, dtype=dtype, device=device)
    read, held_out = _samples(samples, validation, model, tokenizer, plain=plain)
    wanted = MendTraining.for_model(ModelAdapter(network).shape, **chosen)
    make_folder(out)
    with _bars(wanted.samples, quiet=as_json) as observe:
        networks = train(
            network, tokenizer, read, held_out, wanted, out, resume=resume, observe=observe
        )
    card = networks.card
    if as_json:
        print_json({"folder": str(out), "trained": card.trained, "history": card.history})
        return
    last = card.history[-1]
    typer.echo(
        f"wrote {visible(str(out))}: best after {card.trained} edits (target {last['edit']:.2f} "
        f"nats a token, drift {last['drift']:.3f} nats)"
    )


@contextmanager
def _bars(total: int, *, quiet: bool) -> "Iterator[Callable[[Told], None]]":
    columns = (TextColumn("{task.description}"), BarColumn())
    counted = (TextColumn("{task.completed}/{task.total} edits"), TimeElapsedColumn())
    with Progress(*columns, *counted, console=make_console(), disable=quiet) as bars:
        task = bars.add_task("training", total=total)

        def observe(told: "Told") -> None:
            shown = f"target {told.edit:.2f} nats, drift {told.drift:.3f}"
            bars.update(task, completed=told.samples, description=shown)

        yield observe


def _samples(
    samples: str | None, validation: Path | None, model: str, tokenizer: Any, *, plain: bool
) -> tuple[list["MendSample"], list["MendSample"]]:
    from scr.editing.mend_training import read_samples

    card = card_of(model)
    if samples == LAB or (samples is None and card is not None):
        from scr.evaluation.lab import mend_samples
        from scr.lab.model import lab_model_path, read_card

        known = card or read_card(lab_model_path())
        read = mend_samples(known, tokenizer, _LAB_SAMPLES + _LAB_VALIDATION)
        return read[_LAB_VALIDATION:], read[:_LAB_VALIDATION]
    if samples is None:
        raise InvalidInput("name edits to learn from with --samples, see --help")
    parts = [read_samples(read_lines(Path(samples)), name=samples)]
    if validation is None:
        held = max(len(parts[0]) // 10, 1)
        parts = [parts[0][held:], parts[0][:held]]
    else:
        parts.append(read_samples(read_lines(validation), name=str(validation)))
    if not plain:
        parts = [[_as_chats(tokenizer, sample) for sample in part] for part in parts]
    return parts[0], parts[1]


def _as_chats(tokenizer: Any, sample: "MendSample") -> "MendSample":
    rephrases = [as_chat(tokenizer, request) for request in sample.rephrases]
    return sample._replace(request=as_chat(tokenizer, sample.request), rephrases=rephrases)
