"""`scr check` and `scr preview`: test questions, and what an approval would change."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from scr.cli.options import AsJson, FactId, StorePath, open_knowledge
from scr.cli.plans import read_sources
from scr.cli.render import make_console, print_json, shorten, visible
from scr.errors import ChecksFailed
from scr.facts import Fact

if TYPE_CHECKING:
    from scr.engine.checking import Checked

app = typer.Typer()


@app.command("check")
def check(
    fact_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ID…]", help="Only the tests of these facts, or of a folder's."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Ask the test questions of facts: do they fire what they must?

    Tests are the fields `must_fire` and `must_not_fire` of a fact. The exit code is 1 if any fails.
    Named a folder of packs instead of ids, it asks those of its facts, in a store of their own.
    """
    folder = Path(fact_ids[0]) if fact_ids and len(fact_ids) == 1 else None
    if folder is not None and folder.exists():
        found = _check_packs(folder)
    else:
        with open_knowledge(store) as knowledge:
            found = knowledge.check(fact_ids or ())
    failed = [each for each in found if not each.passed]
    if as_json:
        for each in found:
            print_json({**each.model_dump(), "passed": each.passed})
    else:
        console = make_console()
        for each in failed:
            fired = ", ".join(each.fired) or "nothing"
            wanted = "must fire" if each.must else "must not fire"
            line = f"✗ {each.fact_id} {wanted} on {shorten(each.question)!r}; fired: {fired}"
            console.print(Text(visible(line), "red"), soft_wrap=True)
        console.print(f"tests: {len(found)}, failed: {len(failed)}")
    if failed:
        raise ChecksFailed(len(failed), len(found))


def _check_packs(folder: Path) -> "list[Checked]":
    """Ask the tests of packs, in a store that is made of them and thrown away."""
    sources, relations = read_sources(folder)
    with (
        tempfile.TemporaryDirectory() as place,
        open_knowledge(Path(place) / "facts.db", create=True, quiet=True) as knowledge,
    ):
        knowledge.store.apply(sources, by="check", relations=relations)
        return knowledge.check()


@app.command("preview")
def preview(fact_id: FactId, store: StorePath = None, as_json: AsJson = False) -> None:
    """Show what approving a fact would change.

    Every saved question (the facts' own and their tests) is decided on with and without it. A
    conflict is shown instead, since it would block the approval.
    """
    with open_knowledge(store) as knowledge:
        made = knowledge.preview(fact_id)
    if as_json:
        print_json(made)
        return
    console = make_console()
    console.print(
        Text(f"+ {made.fact.id}  {shorten(made.fact.statement)}", "green"), soft_wrap=True
    )
    for closed in made.closed:
        console.print(Text(f"~ {_closing(closed)}", "yellow"), soft_wrap=True)
    for difference in made.differences:
        before = ", ".join(difference.before) or "nothing"
        after = ", ".join(difference.after) or "nothing"
        broken = "  breaks a test" if difference.broken else ""
        text = f"{shorten(difference.question)!r}: {before} → {after}{broken}"
        console.print(Text(visible(text), "red" if broken else ""), soft_wrap=True)
    failed = [each for each in made.tests if not each.passed]
    for each in failed:
        wanted = "must fire it and would not" if each.must else "must not fire it and would"
        console.print(Text(visible(f"{shorten(each.question)!r} {wanted}"), "red"), soft_wrap=True)
    count = len(made.differences)
    console.print(
        f"{made.asked} questions asked, {count} decided otherwise; "
        f"{len(made.tests)} tests of its own, {len(failed)} would fail"
    )


def _closing(fact: Fact) -> str:
    """Return what becomes of a fact whose time ends."""
    end = fact.validity.end
    return f"{fact.id}  {shorten(fact.statement)}  until {end:%Y-%m-%d %H:%M}" if end else fact.id
