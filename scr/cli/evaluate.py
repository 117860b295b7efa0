"""`scr eval`: measure how well facts are chosen."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from scr.cli.options import AsJson, FactsFile, QueriesFile, StorePath
from scr.cli.packs import check_writable
from scr.cli.render import make_console, make_table, print_json, visible
from scr.settings import load_settings

app = typer.Typer(help="Measure how well facts are chosen.")


@app.callback()
def evaluation() -> None:
    """Measure how well facts are chosen."""


@app.command()
def selectivity(
    facts: FactsFile,
    queries: QueriesFile,
    out: Annotated[
        Path, typer.Option("--out", metavar="PREDICTIONS", help="Where to write what fired.")
    ],
    folds: Annotated[
        int | None,
        typer.Option(
            "--folds", metavar="N", min=2, help="Fit anew and cross-validate by fact, in so many."
        ),
    ] = None,
    errata: Annotated[
        Path | None,
        typer.Option("--errata", metavar="FILE", help="Labels to correct; both figures are shown."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Does a query fire the right fact, or none?

    Each query is decided against all facts, and a line {"fired": [ids], "p": probability} is
    written for it. The facts come from the file; no store is read.
    """
    check_writable(out)
    from scr.evaluation.selectivity import run_selectivity

    settings = load_settings(store=store)
    with progress_bar("reading queries") as progress:
        run = run_selectivity(
            facts,
            queries,
            out,
            folds=folds,
            embedder=settings.embedder,
            threshold=settings.threshold,
            reader=settings.reader,
            errata=errata,
            progress=progress,
        )
    columns = {"rate": run.scores} | ({"corrected": run.corrected} if run.corrected else {})
    if as_json:
        corrected = {"corrected": run.corrected._asdict()} if run.corrected else {}
        print_json({**run.scores._asdict(), **corrected})
        return
    table = make_table("", *columns)
    all_figures = [
        {**figures.pop("categories"), **figures}
        for figures in (scores._asdict() for scores in columns.values())
    ]
    for name in all_figures[0]:
        values = (figures.get(name) for figures in all_figures)
        shown = (f"{v:.4f}" if isinstance(v, float) else str(v or "") for v in values)
        table.add_row(Text(visible(name)), *shown)
    make_console().print(table)


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar on stderr, if that is a terminal; the value takes what is done, and the total."""
    from rich.progress import Progress

    console = make_console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)
