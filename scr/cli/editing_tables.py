"""How plans of edits, edits and their reports look on a terminal."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from scr.cli.render import make_console, make_table, shorten, visible
from scr.records import Record

if TYPE_CHECKING:
    from scr.editing.planning import EditPlan
    from scr.editing.report import EditReport

SHOWN = 20
"""Requests in a table."""

_NAMED = 8  # matrices that are named one by one


class Answer(Record):
    """What a model says to the prompt of one request."""

    id: str
    """Of the request."""

    prompt: str
    """As it was given."""

    target: str
    """What it should say."""

    before: str
    """What it said."""

    after: str
    """What it says with the edit."""

    @property
    def reached(self) -> bool:
        """Whether it begins with the target, but for case, articles and punctuation."""
        from scr.evaluation.metrics import normalize_answer

        said, wanted = normalize_answer(self.after), normalize_answer(self.target)
        return said == wanted or said.startswith(f"{wanted} ")


class EditRun(Record):
    """How a saved edit was made, as far as its report does not say."""

    model: str
    """The model, as it was named."""

    dtype: str
    """Type of the weights that were edited."""

    answers: tuple[Answer, ...]
    """To the first prompts."""


def print_plan(plan: "EditPlan") -> None:
    """Print what an edit will change and cost."""
    console = make_console()
    console.print(f"{plan.method}: {plan.requests} request{'s' if plan.requests != 1 else ''}")
    table = make_table("Changes", "Shape")
    for change in plan.changes[:_NAMED]:
        table.add_row(Text(visible(change.name)), " × ".join(map(str, change.shape)))
    if len(plan.changes) > _NAMED:
        table.add_row(f"… and {len(plan.changes) - _NAMED} more", "")
    console.print(table)
    console.print(f"{plan.share:.2%} of the parameters; all others keep their bits")
    table = make_table("Setting", "Value", "From")
    for name, setting in plan.settings.items():
        table.add_row(name, Text(visible(show_value(setting.value))), setting.source)
    console.print(table)
    for state in dict.fromkeys(plan.moments.values()):
        layers = ", ".join(str(n) for n, found in plan.moments.items() if found == state)
        tokens = f"{plan.moment_tokens:,} tokens"
        console.print(f"second moments, layers {layers}: {state}, over {tokens}")
    if plan.seconds is not None and plan.bytes is not None:
        console.print(
            f"rough estimates: {show_seconds(plan.seconds)}, and "
            f"{plan.bytes / 1e6:,.0f} MB of memory beside the model"
        )
    for note in plan.notes:
        console.print(f"note: {visible(note)}", style="yellow")


def show_value(value: Any) -> str:
    """A setting's value as a person reads it."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "the usual ones"
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)


def show_seconds(seconds: float) -> str:
    """A time in seconds, minutes or hours."""
    if seconds < 120:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"


def print_answers(answers: Sequence[Answer], total: int) -> None:
    """Print what a model said before and says after, and how often that is the target."""
    console = make_console()
    table = make_table("Prompt", "Target", "Before", "After")
    for answer in answers:
        *plain, after = (answer.prompt, answer.target, answer.before, answer.after)
        style = "green" if answer.reached else "yellow"
        table.add_row(*(Text(shorten(cell)) for cell in plain), Text(shorten(after), style))
    console.print(table)
    right = sum(answer.reached for answer in answers)
    more = f" (of {total} requests, these were asked)" if total > len(answers) else ""
    console.print(f"{right} of {len(answers)} answers begin with their targets{more}")


def print_report(report: "EditReport") -> None:
    """Print what an edit changed and cost; its warnings go to stderr."""
    console = make_console()
    table = make_table("Changed", "Norm of change", "Share of the matrix's")
    rows = sorted(report.changed.items(), key=lambda row: -row[1][0])
    for name, (new, old) in rows[:_NAMED]:
        table.add_row(Text(visible(name)), f"{new:.3g}", f"{new / old:.1%}" if old else "")
    if len(rows) > _NAMED:
        table.add_row(f"… and {len(rows) - _NAMED} more", "", "")
    console.print(table)
    nlls = [request.nll for request in report.requests if request.nll is not None]
    if nlls:
        mean = sum(nlls) / len(nlls)
        console.print(f"with their vectors, targets cost {mean:.3f} nats a token on average")
    if report.canary is None:
        console.print("damage was not measured: that takes texts (--corpus)")
    else:
        kl, tokens = report.canary.kl, report.canary.tokens
        console.print(
            f"held-out text: predictions moved by {kl:.4f} nats a token (KL, {tokens} tokens)"
        )
    seconds, held = report.seconds.get("total", 0.0), report.peak_bytes / 1e6
    console.print(f"{seconds:.1f} s; the process held {held:,.0f} MB at most")
    for warning in report.warnings:
        typer.echo(f"warning: {visible(warning)}", err=True)


@contextmanager
def progress_bars(*, as_json: bool) -> Iterator[Callable[[str, int, int], None]]:
    """Show a bar for each part of the work on stderr, if that is a terminal."""
    console = make_console(stderr=True)
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    hidden = as_json or not console.is_terminal
    with Progress(*columns, console=console, transient=True, disable=hidden) as bars:
        yield one_bar_each(bars)


def one_bar_each(bars: Progress) -> Callable[[str, int, int], None]:
    """Return an observer that gives each part of the work a bar of its own."""
    tasks: dict[str, Any] = {}

    def told(part: str, done: int, total: int) -> None:
        if part not in tasks:
            tasks[part] = bars.add_task(part, total=total)
        bars.update(tasks[part], completed=done, total=total)

    return told
