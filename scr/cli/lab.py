"""`scr lab`: a small world of known truth, and the chat model that is trained on it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

import scr
from scr.cli.options import AsJson, StorePath
from scr.cli.packs import STANDARD, check_writable, print_lines
from scr.cli.render import make_console, make_table, print_json, to_json, visible
from scr.errors import InvalidInput

if TYPE_CHECKING:
    from scr.lab.evaluation import Report
    from scr.lab.training import Progress

app = typer.Typer(help="A small world of known truth, and a model that knows it.")

Seed = Annotated[
    int, typer.Option("--seed", metavar="N", min=0, help="Of the world, and of what is drawn.")
]
Facts = Annotated[
    int, typer.Option("--facts", metavar="N", min=100, max=8_000, help="Size of the world.")
]
Questions = Annotated[
    int, typer.Option("--questions", metavar="N", min=1, help="Asked of the model, of each kind.")
]


@app.command()
def generate(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Where to; otherwise standard output.")
    ] = STANDARD,
    seed: Seed = 0,
    facts: Facts = 2200,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Write a world's facts as JSON lines.

    `scr import` takes them in. The lab model knows the world of seed 0 with 2200 facts. No store
    is read.
    """
    from scr.lab.world import generate_world

    lines = (
        to_json({"subject": f.subject.name, "relation": f.relation, "target": f.target.name})
        for f in generate_world(seed, facts).facts
    )
    print_lines(file, lines, as_json=as_json)


@app.command()
def train(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="For the checkpoint, the log and the model.")
    ],
    seed: Seed = 0,
    facts: Facts = 2200,
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", min=1, help="Budget; the rate falls to 0 with it."),
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
    scored. It takes hours on a few cores. No store is read.
    """
    from scr.lab.publishing import publish
    from scr.lab.training import CHECKPOINT, Trainer, TrainingConfig
    from scr.lab.training import train as run

    checkpoint = folder / CHECKPOINT
    if resume and not checkpoint.exists():
        raise InvalidInput(f"{folder} holds no run to resume; name another folder")
    if not resume and checkpoint.exists():
        raise InvalidInput(f"{folder} holds a run: add --resume, or name another folder")
    check_writable(checkpoint.with_suffix(".partial"))
    budget = {} if tokens is None else {"tokens": tokens}
    config = (
        Trainer.load(checkpoint, tokens=tokens).config
        if resume
        else TrainingConfig(seed=seed, facts=facts, **budget)
    )
    trainer = run(
        folder, config, resume=resume, observe=lambda now, *_: print_progress(now, as_json=as_json)
    )
    command = (
        f"scr lab train FOLDER --seed {config.seed} --facts {config.facts} --tokens {config.tokens}"
    )
    report = publish(
        trainer, folder / "model", command=command, commit=f"scr {scr.__version__}", n=questions
    )
    print_report(report, as_json=as_json)


def print_progress(progress: "Progress", *, as_json: bool) -> None:
    """Print where a training run stands."""
    if as_json:
        print_json(progress)
        return
    typer.echo(
        f"{progress.tokens:>12,} tokens  loss {progress.closed_loss:.3f} closed-book, "
        f"{progress.context_loss:.3f} in context  {progress.tokens_per_second:,.0f} tokens/s"
    )


@app.command()
def evaluate(
    model: Annotated[
        Path | None,
        typer.Argument(metavar="MODEL", help="Folder of a lab model; otherwise the shipped one."),
    ] = None,
    questions: Questions = 500,
    seed: Seed = 0,
    split: Annotated[
        Literal["train", "calibration", "test"],
        typer.Option("--split", help="Of the entities that are asked about with context."),
    ] = "test",
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Measure what a lab model knows and follows.

    Exact match of free answers, with 95 % intervals: from memory, from context that contradicts
    it, and with context that does not bear on the question. No store is read.
    """
    from scr.lab.evaluation import evaluate as run
    from scr.lab.model import lab_model_path

    report = run(model or lab_model_path(), n=questions, seed=seed, split=split)
    print_report(report, as_json=as_json)


def print_report(report: "Report", *, as_json: bool) -> None:
    """Print what a lab model scored."""
    if as_json:
        print_json(report)
        return
    table = make_table("Kind", "Right", "95 % interval", "Asked")
    for kind, score in report.scores.items():
        interval = f"{score.low:.3f} to {score.high:.3f}"
        table.add_row(visible(kind), f"{score.rate:.3f}", interval, str(score.n))
    make_console().print(table)
