"""`scr lab`: a small world of known truth, and the chat model that is trained on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

import scr
from scr.cli.options import AsJson, StorePath, check_device
from scr.cli.packs import STANDARD, check_writable, print_lines
from scr.cli.render import make_console, make_table, print_json, to_json, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from scr.evaluation.lab import Report
    from scr.lab.model import Card
    from scr.lab.tracing import TraceReport
    from scr.lab.training import Progress as TrainingProgress
    from scr.lab.training import TrainingConfig

app = typer.Typer(help="A small world of known truth, and a model that knows it.")

Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of the world, and of what is drawn.")
]
Facts = Annotated[
    int, typer.Option("--facts", metavar="N", min=100, max=1_000_000, help="Size of the world.")
]
Questions = Annotated[
    int, typer.Option("--questions", metavar="N", min=1, help="Asked of the model, of each kind.")
]
SplitName = Literal["train", "calibration", "test"]
ModelFolder = Annotated[
    Path | None,
    typer.Argument(metavar="MODEL", help="Folder of a lab model; otherwise the shipped one."),
]
IntoCard = Annotated[
    bool, typer.Option("--into-card", help="Write what was found into the card in MODEL.")
]


@app.command()
def generate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to; otherwise standard output.")
    ] = STANDARD,
    seed: Seed = 0,
    facts: Facts = 10_000,
    form: Annotated[
        Literal["facts", "cases", "counterfact", "zsre", "mquake"],
        typer.Option("--format", help="Facts as a pack, or edits of them and in whose fields."),
    ] = "facts",
    cases: Annotated[
        int, typer.Option("--cases", metavar="N", min=1, help="Edits to draw, if not facts.")
    ] = 500,
    split: Annotated[
        SplitName, typer.Option("--split", help="Of the edits' subjects and forms.")
    ] = "test",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write a world's facts, or edits of them, as JSON lines.

    An edit comes with all that follows from it. `scr import` takes the facts in; a relation with
    several targets is one line. The lab model knows the world of seed 0 with 10000 facts. No store
    is read.
    """
    from scr.lab.world import generate_world, pack_lines

    world = generate_world(seed, facts)
    if form == "facts":
        lines = pack_lines(world)
    else:
        from scr.evaluation.benchmarks.fields import WRITERS
        from scr.lab.cases import draw_cases

        drawn = draw_cases(world, cases, seed=seed, split=split)
        lines = map(to_json, drawn if form == "cases" else WRITERS[form](drawn))
    print_lines(file, lines, as_json=as_json, what="facts" if form == "facts" else "cases")


@app.command()
def train(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="For the checkpoint, the log and the model.")
    ],
    seed: Seed = 0,
    facts: Facts = 10_000,
    size: Annotated[
        Literal["small", "large"],
        typer.Option("--size", help="small is the shipped one; large wants a GPU."),
    ] = "small",
    device: Annotated[
        str, typer.Option("--device", metavar="NAME", help="Where to compute: cpu, cuda.")
    ] = "cpu",
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", min=1, help="Budget; the rate falls to 0 with it."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--from", metavar="MODEL", help="Start with the weights of this lab model."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the checkpoint in FOLDER.")
    ] = False,
    questions: Questions = 500,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Train a lab model from scratch, and measure it.

    The model is written to FOLDER/model, with a card that says how it was made and what it
    scored. The small one takes about an hour and a half on two cores. With --resume, of the
    options that say what to train only --tokens counts. No store is read.
    """
    from scr.evaluation.lab import publish
    from scr.lab.pictures import draw_losses
    from scr.lab.training import read_config, read_log
    from scr.lab.training import train as run

    checkpoint = _checkpoint(folder, resume=resume)
    if resume:
        config = read_config(checkpoint)
    else:
        config = _new_config(size, start, seed=seed, facts=facts, device=check_device(device))
    if tokens is not None:
        config = config.model_copy(update={"tokens": tokens})
    with _training_bar(config, as_json=as_json) as observe:
        trainer = run(folder, config, resume=resume, start=start, observe=observe)
    draw_losses(read_log(folder), folder / "model" / "losses.svg")
    with _bar("measuring", as_json=as_json) as show:
        report = publish(
            trainer,
            folder / "model",
            command=_command(trainer.config),
            commit=f"scr {scr.__version__}",
            n=questions,
            observe=_by_kind(show),
        )
    print_report(report, as_json=as_json)


def _checkpoint(folder: Path, *, resume: bool) -> Path:
    """Return where the run's checkpoint is, or will be; see first that all can be written.

    Raises:
        InvalidInput: there is none to resume, or one in the way, or it cannot be written.
        MissingExtra: matplotlib, which draws the losses in the end, is not installed.
    """
    from scr.lab.pictures import require_matplotlib
    from scr.lab.training import CHECKPOINT

    require_matplotlib()
    checkpoint = folder / CHECKPOINT
    if resume and not checkpoint.exists():
        raise InvalidInput(f"{folder} holds no run to resume; name another folder")
    if not resume and checkpoint.exists():
        raise InvalidInput(f"{folder} holds a run: add --resume, or name another folder")
    check_writable(checkpoint.with_suffix(".partial"))
    return checkpoint


def _new_config(
    size: str, start: Path | None, *, seed: int, facts: int, device: str
) -> "TrainingConfig":
    """Return what a new run is made from.

    Raises:
        InvalidInput: its world is too small to measure what a model knows of it.
        ModelUnavailable: `start` holds no exported lab model.
    """
    from scr.lab.model import read_card
    from scr.lab.probes import draw_probes
    from scr.lab.training import SIZES, TrainingConfig
    from scr.lab.world import generate_world

    draw_probes(generate_world(seed, facts), 1)
    fields = {**SIZES[size], "seed": seed, "facts": facts, "device": device}
    if start is not None:  # what the first steps teach it knows
        card = read_card(start)
        before = card.tokens + int(card.recipe.get("tokens_before", 0))
        fields |= {"started_from": start.name, "tokens_before": before, "first_steps": 0}
        fields["learning_rate"] = 0.5 * TrainingConfig(**fields).learning_rate  # it would forget
    return TrainingConfig(**fields)


def _command(config: "TrainingConfig") -> str:
    from scr.lab.training import SIZES

    sizes = [name for name, fields in SIZES.items() if fields.items() <= dict(config).items()]
    sized = " --size large" if "large" in sizes else ""
    started = f" --from {config.started_from}" if config.started_from else ""
    return (
        f"scr lab train FOLDER --seed {config.seed} --facts {config.facts}"
        f" --tokens {config.tokens}{sized}{started}"
    )


@contextmanager
def _training_bar(
    config: "TrainingConfig", *, as_json: bool
) -> Iterator[Callable[["TrainingProgress", Any, Any], None]]:
    """Show a bar on a terminal, JSON lines if asked for, and else a line at each report."""
    console = make_console()
    if as_json:
        yield lambda now, *_: print_json(now)
    elif not console.is_terminal:
        yield lambda now, *_: typer.echo(f"{now.tokens:>12,} tokens  {_losses(now)}")
    else:
        with _progress(console) as bars:
            task = bars.add_task("training", total=config.tokens)
            yield lambda now, *_: bars.update(
                task, completed=min(now.tokens, config.tokens), description=_losses(now)
            )


def _losses(now: "TrainingProgress") -> str:
    return (
        f"loss {now.closed_loss:.3f} closed-book, {now.composer_loss:.3f} and "
        f"{now.others_loss:.3f} in context  {now.tokens_per_second:,.0f} tokens/s"
    )


@contextmanager
def _bar(title: str, *, as_json: bool) -> Iterator[Callable[[int, int, str], None]]:
    """Show a bar on a terminal and nothing elsewhere; call it with done, total and a word."""
    console = make_console(stderr=True)
    if as_json or not console.is_terminal:
        yield lambda done, total, word: None
        return
    with _progress(console) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total, word: bars.update(
            task, completed=done, total=total, description=f"{title} {word}".strip()
        )


def _by_kind(show: Callable[[int, int, str], None]) -> Callable[[str, int, int], None]:
    return lambda kind, done, total: show(done, total, kind.replace("_", " "))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@app.command()
def evaluate(
    model: ModelFolder = None,
    questions: Questions = 500,
    seed: Seed = 0,
    split: Annotated[
        SplitName,
        typer.Option("--split", help="Of the entities asked about with context, and the forms."),
    ] = "test",
    into_card: IntoCard = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a lab model knows and follows.

    Share of free answers that are right to the letter, with 95 % intervals: from memory, from
    context that contradicts it, and with context that does not bear on the question. No store is
    read.
    """
    from scr.evaluation.lab import evaluate as run
    from scr.evaluation.lab import rescore
    from scr.lab.model import lab_model_path

    folder = _own(model) if into_card else model or lab_model_path()
    with _bar("measuring", as_json=as_json) as show:
        report = run(
            folder,
            n=questions,
            seed=seed,
            split=split,
            observe=_by_kind(show),
        )
    if into_card:
        rescore(folder, report)
    print_report(report, as_json=as_json)


def print_report(report: "Report", *, as_json: bool) -> None:
    """Print what a lab model scored."""
    if as_json:
        print_json(report)
        return
    table = make_table("Kind", "Right", "95 % interval", "Asked")
    for kind, score in report.scores.items():
        interval = f"{score.low:.3f} to {score.high:.3f}"
        table.add_row(visible(kind), f"{score.mean:.3f}", interval, str(score.n))
    make_console().print(table)
    typer.echo(f"{report.seconds_per_answer * 1e3:.0f} ms for an answer of 12 tokens")


@app.command()
def trace(
    model: ModelFolder = None,
    prompts: Annotated[
        int, typer.Option("--prompts", metavar="N", min=1, help="Facts to trace.")
    ] = 100,
    seed: Seed = 0,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", metavar="FILE", help="Draw it, as .svg, .png or .pdf."),
    ] = None,
    into_card: IntoCard = False,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Find the tokens and layers where a lab model's facts sit.

    Causal tracing as in the ROME paper: the subject is disturbed, and one hidden state at a time
    is put back. The layers it suggests are those at which ROME and MEMIT edit. No store is read.
    """
    from scr.lab.cases import draw_requests
    from scr.lab.model import lab_model_path, load_lab_model, read_card
    from scr.lab.pictures import check_format, require_matplotlib
    from scr.lab.tracing import draw
    from scr.lab.tracing import trace as run
    from scr.lab.world import generate_world

    folder = _own(model) if into_card else model or lab_model_path()
    card = read_card(folder)
    if picture is not None or into_card:
        require_matplotlib()
    if picture is not None:
        check_format(picture)
        check_writable(picture)
    requests = draw_requests(generate_world(card.seed, card.facts), seed)
    network, tokenizer = load_lab_model(folder)
    with _bar("tracing", as_json=as_json) as show:
        report = run(
            network,
            tokenizer,
            requests,
            n=prompts,
            seed=seed,
            observe=lambda done, total: show(done, total, ""),
        )
    if picture is not None:
        draw(report, picture)
    if into_card:
        draw(report, folder / "tracing.svg")
        _write_layers(folder, card, report)
    print_trace(report, as_json=as_json)


def _own(model: Path | None) -> Path:
    """Return the folder whose card is to be written.

    Raises:
        InvalidInput: none is named; the shipped model's card is not for users to change.
    """
    if model is None:
        raise InvalidInput("--into-card writes into the card in MODEL: name its folder")
    return model


def _write_layers(folder: Path, card: "Card", report: "TraceReport") -> None:
    from scr.lab.model import write_card

    found = {
        "rome_layer": report.rome_layer,
        "memit_layers": report.memit_layers,
        "tracing": (
            f"Over {report.n} facts, disturbing the subject takes the answer from probability "
            f"{report.clean:.2f} to {report.corrupted:.2f}."
        ),
    }
    write_card(folder, card.model_copy(update=found))


def print_trace(report: "TraceReport", *, as_json: bool) -> None:
    """Print where a model's facts sit."""
    if as_json:
        print_json(report)
        return
    from scr.lab.tracing import POSITIONS

    console = make_console()
    for site, rows in report.effects.items():
        table = make_table(
            f"{site} restored at", *(f"layer {layer}" for layer in range(len(rows[0])))
        )
        for position, effects in zip(POSITIONS, rows, strict=True):
            table.add_row(position, *(f"{effect:+.3f}" for effect in effects))
        console.print(table)
    layers = ", ".join(map(str, report.memit_layers))
    typer.echo(
        f"{report.n} facts: probability {report.clean:.3f}, with the subject disturbed "
        f"{report.corrupted:.3f}; ROME edits layer {report.rome_layer}, MEMIT layers {layers}"
    )
