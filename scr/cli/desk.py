"""`scr queue` and `scr usage`: what wants attention, and what is used."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from scr.cli.options import AsJson, Limit, StorePath, open_knowledge
from scr.cli.render import make_console, make_table, print_json, shorten, show_instant, visible
from scr.errors import FactNotFound, InvalidInput

app = typer.Typer()


@app.command()
def queue(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[QUEUE…]", help="Only these queues; otherwise all."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List the facts that want somebody's attention, and why.

    Queues: waiting (for approval), drafts, conflicts (with an approved fact), duplicates (two ask
    the same), unsourced, expiring (within 30 days), ambiguous (one name, several subjects),
    one_sided (nothing states the inverse), untested (proposed without test questions). Only where
    it is named, since the detector is asked: near_duplicates (a fact that is used for the question
    of another).
    """
    from scr.engine.checking import NEAR_DUPLICATES
    from scr.store import QUEUES, tasks

    if unknown := sorted(set(names or ()) - {*QUEUES, NEAR_DUPLICATES}):
        known = ", ".join((*QUEUES, NEAR_DUPLICATES))
        raise InvalidInput(f"there is no queue {unknown[0]!r}: use {known}")
    with open_knowledge(store) as knowledge:
        latest, declared = knowledge.store.list(status=None), knowledge.store.declared
        found = []
        if names != [NEAR_DUPLICATES]:
            found = tasks(latest, datetime.now(UTC), names or (), declared=declared)
        if NEAR_DUPLICATES in (names or ()):
            found += knowledge.near_duplicates()
    if as_json:
        for task in found:
            print_json(task)
        return
    console = make_console()
    if not found:
        console.print("nothing to do")
        return
    table = make_table("queue", "fact", "why", "others")
    for task in found:
        table.add_row(task.queue, task.fact_id, visible(task.why), ", ".join(task.others))
    console.print(table)


@app.command()
def usage(
    never: Annotated[
        bool, typer.Option("--never", help="Approved facts that were never used.")
    ] = False,
    limit: Limit = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show how often each fact was used, and last when.

    Near misses are questions for which a fact was the best refused one. Thumbs-down come from the
    server's /feedback.
    """
    with open_knowledge(store) as knowledge:
        found = {used.fact_id: used for used in knowledge.store.usage.list()}
        if never:
            approved = knowledge.store.list()
            unused = [r for r in approved if r.fact.id not in found or not found[r.fact.id].fired]
            for revision in unused[:limit]:
                if as_json:
                    print_json({"fact_id": revision.fact.id})
                else:
                    line = f"{revision.fact.id}  {shorten(revision.fact.statement)}"
                    make_console().print(line, soft_wrap=True, markup=False)
            return
        shown = [*found.values()][:limit]
        table = make_table("fact", "used", "last", "near misses", "thumbs down", "statement")
        for used in shown:
            if as_json:
                print_json(used)
                continue
            try:
                statement = shorten(knowledge.store.get(used.fact_id).fact.statement, 60)
            except FactNotFound:
                statement = ""
            last = show_instant(used.last) if used.last else "never"
            counts = (str(used.fired), last, str(used.near), str(used.down))
            table.add_row(used.fact_id, *counts, statement)
    if not as_json:
        make_console().print(table if shown else "no fact was used yet")
