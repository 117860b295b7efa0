"""Commands on single facts: make a store, add, look, change, retire."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from scr.cli.options import (
    AsJson,
    AsOf,
    By,
    FactId,
    Limit,
    ScopePath,
    StorePath,
    ValidAt,
    Why,
    open_knowledge,
    parse_when,
)
from scr.cli.packs import read_content
from scr.cli.render import (
    print_change,
    print_fact,
    print_history,
    print_json,
    print_revisions,
    visible,
)
from scr.errors import InvalidInput
from scr.facts import Kind, Rank, Status, make_fact
from scr.settings import load_settings

app = typer.Typer()

Statement = Annotated[
    str | None,
    typer.Option("--statement", metavar="TEXT", help="The sentence the model will read."),
]
Questions = Annotated[
    list[str] | None,
    typer.Option("--question", metavar="TEXT", help="A question it answers; repeatable."),
]
Aliases = Annotated[
    list[str] | None,
    typer.Option("--alias", metavar="NAME", help="Another name of the subject; repeatable."),
]
Sources = Annotated[
    list[str] | None,
    typer.Option("--source", metavar="URL", help="Where to check it; repeatable."),
]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME", help="A topic; repeatable.")
]
From = Annotated[
    datetime | None,
    typer.Option(
        "--from", metavar="TIME", parser=parse_when, help="Holds from then, such as 2024-03-01."
    ),
]
Until = Annotated[
    datetime | None,
    typer.Option("--until", metavar="TIME", parser=parse_when, help="Holds until then."),
]
Note = Annotated[
    str | None, typer.Option("--note", metavar="TEXT", help="For the team; no model sees it.")
]
MustFire = Annotated[
    list[str] | None,
    typer.Option("--must-fire", metavar="TEXT", help="A test question that uses it; repeatable."),
]
MustNotFire = Annotated[
    list[str] | None,
    typer.Option("--must-not-fire", metavar="TEXT", help="One that does not; repeatable."),
]
FactIds = Annotated[
    list[str], typer.Argument(metavar="ID…", help="Ids of facts, as `scr list` prints them.")
]
FactRank = Annotated[Rank | None, typer.Option("--rank", help="Its rank in its slot.")]


def given(**fields: object) -> dict[str, object]:
    """Return the fields a user gave; `start` and `end` become the validity."""
    span = {name: fields.pop(name) for name in ("start", "end") if fields.get(name) is not None}
    chosen = {name: value for name, value in fields.items() if value is not None}
    return {**chosen, "validity": span} if span else chosen


@app.command()
def init(
    review: Annotated[
        bool, typer.Option("--review", help="New facts wait for `scr approve`.")
    ] = False,
    four_eyes: Annotated[
        bool, typer.Option("--four-eyes", help="Nobody approves what they proposed.")
    ] = False,
    relation: Annotated[
        list[str] | None,
        typer.Option("--relation", metavar="NAME", help="Allow only these; repeatable."),
    ] = None,
    relations: Annotated[
        Path | None,
        typer.Option("--relations", metavar="FILE", help="Allow only these: names, or YAML."),
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Make a new, empty store."""
    from scr.store import Relation, Store, read_relations

    declared: list[Relation] = []
    closed = [*(relation or ())]
    if relations and relations.suffix in (".yaml", ".yml"):
        declared = read_relations(read_content(relations), str(relations))
        closed += [each.name for each in declared]
    elif relations:
        closed += read_names(relations)
    path = load_settings(store=store).store
    with Store.create(path, review=review, four_eyes=four_eyes, relations=closed or None) as made:
        if declared:
            made.declare(declared)
        if as_json:
            chosen = {"review": review, "four_eyes": four_eyes, "relations": closed or None}
            print_json({"store": str(made.path), **chosen})
        else:
            typer.echo(f"made a new store at {visible(str(made.path))}")


def read_names(file: Path) -> list[str]:
    """Read one name a line; blank lines and lines that start with `#` are skipped.

    Raises:
        InvalidInput: the file cannot be read as text, or has no names.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{file} cannot be read as a list of names: {error}") from error
    if names := [line for line in lines if line and not line.startswith("#")]:
        return names
    raise InvalidInput(f"{file} names nothing: write one name a line")


@app.command()
def add(
    context: typer.Context,
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="What it is about.")] = "",
    relation: Annotated[
        str, typer.Argument(metavar="RELATION", help="Which property of the subject.")
    ] = "",
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Its value.")] = "",
    statement: Statement = None,
    question: Questions = None,
    alias: Aliases = None,
    source: Sources = None,
    start: From = None,
    end: Until = None,
    scope: Annotated[
        str | None, typer.Option("--scope", metavar="SCOPE", help="Who may see it.")
    ] = None,
    tag: Tags = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="What kind of fact it is.")] = None,
    rank: FactRank = None,
    fact_id: Annotated[
        str | None, typer.Option("--id", metavar="ID", help="Its id; otherwise a new one.")
    ] = None,
    note: Note = None,
    must_fire: MustFire = None,
    must_not_fire: MustNotFire = None,
    draft: Annotated[
        bool, typer.Option("--draft", help="Only a draft, until `scr submit` proposes it.")
    ] = False,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Add a fact: SUBJECT RELATION TARGET, or a --statement.

    A missing store is made. In a store made for review the fact waits for `scr approve`.
    """
    fields = given(
        id=fact_id, kind=kind, subject=subject, relation=relation, target=target, rank=rank,
        statement=statement, questions=question, aliases=alias, sources=source, tags=tag,
        must_fire=must_fire, must_not_fire=must_not_fire,
        note=note, scope=scope or load_settings(store=store).scope, start=start, end=end,
    )  # fmt: skip
    fact = make_fact(**fields)
    with open_knowledge(store, create=True, quiet=as_json) as knowledge:
        write = knowledge.store.propose if context.info_name == "propose" else knowledge.store.add
        write = knowledge.store.draft if draft else write
        print_change(write(fact, by=by or knowledge.author, why=why), as_json=as_json)


app.command("propose", help="Add a fact that waits for `scr approve`, in any store.")(add)


@app.command()
def supersede(
    fact_id: FactId,
    target: Annotated[str, typer.Argument(metavar="TARGET", help="The new value.")],
    statement: Statement = None,
    question: Questions = None,
    alias: Aliases = None,
    source: Sources = None,
    start: From = None,
    end: Until = None,
    tag: Tags = None,
    rank: FactRank = None,
    note: Note = None,
    must_fire: MustFire = None,
    must_not_fire: MustNotFire = None,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Replace a fact's value by a new fact.

    The old fact ends where the new one starts: now, or --from.
    """
    fields = given(
        statement=statement, questions=question, aliases=alias, sources=source, tags=tag,
        must_fire=must_fire, must_not_fire=must_not_fire,
        rank=rank, note=note, start=start, end=end,
    )  # fmt: skip
    with open_knowledge(store) as knowledge:
        new = knowledge.supersede(fact_id, target, by=by, why=why, **fields)
        print_change(new, as_json=as_json)


@app.command()
def revise(
    fact_id: FactId,
    statement: Statement = None,
    question: Questions = None,
    alias: Aliases = None,
    source: Sources = None,
    start: From = None,
    end: Until = None,
    tag: Tags = None,
    rank: FactRank = None,
    note: Note = None,
    must_fire: MustFire = None,
    must_not_fire: MustNotFire = None,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Change a fact's wording, sources or validity.

    A new value is a new fact: use `scr supersede`. What is given replaces what was there.
    """
    changes = given(
        statement=statement, questions=question, aliases=alias, sources=source, tags=tag,
        must_fire=must_fire, must_not_fire=must_not_fire,
        rank=rank, note=note, start=start, end=end,
    )  # fmt: skip
    if not changes:
        raise InvalidInput("nothing to change: give an option such as --statement or --until")
    with open_knowledge(store) as knowledge:
        if isinstance(span := changes.get("validity"), dict):
            kept = knowledge.store.get(fact_id).fact.validity
            changes["validity"] = {"start": kept.start, "end": kept.end, **span}
        new = knowledge.store.revise(fact_id, changes, by=by or knowledge.author, why=why)
        print_change(new, as_json=as_json)


@app.command()
def submit(
    fact_ids: FactIds,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Propose drafts: from then on they wait for `scr approve`."""
    move_all(fact_ids, "submit", why=why, by=by, store=store, as_json=as_json)


@app.command()
def approve(
    fact_ids: FactIds,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Approve proposed facts: from then on they apply.

    Of several, all are approved or none.
    """
    move_all(fact_ids, "approve", why=why, by=by, store=store, as_json=as_json)


@app.command()
def retire(
    fact_ids: FactIds,
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Retire facts: they apply no more, and their history is kept.

    Of several, all are retired or none.
    """
    move_all(fact_ids, "retire", why=why, by=by, store=store, as_json=as_json)


def move_all(
    fact_ids: list[str],
    move: Literal["submit", "approve", "retire"],
    *,
    why: str,
    by: str | None,
    store: Path | None,
    as_json: bool,
) -> None:
    """Move facts, all of them or none, and print what became of each."""
    with open_knowledge(store) as knowledge:
        for new in knowledge.store.move(fact_ids, move, by=by or knowledge.author, why=why):
            print_change(new, as_json=as_json)


@app.command()
def undo(
    number: Annotated[int, typer.Argument(metavar="NO", help="As `scr history ID` shows it.")],
    why: Why = "",
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Undo a change, by a new one.

    What was changed again since then stays. In a store made for review, what would apply again
    waits for `scr approve`.
    """
    with open_knowledge(store) as knowledge:
        for new in knowledge.store.undo(number, by=by or knowledge.author, why=why):
            print_change(new, as_json=as_json)


@app.command()
def comment(
    fact_id: FactId,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="What to say about it.")],
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Put a comment into a fact's history."""
    with open_knowledge(store) as knowledge:
        new = knowledge.store.comment(fact_id, text, by=by or knowledge.author)
        print_change(new, as_json=as_json)


@app.command()
def erase(
    fact_id: FactId,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="The reason; it stays.")] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    by: By = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Erase a fact's words for good: for the law, not for mistakes.

    They leave the history, full text, traces and index; a tombstone says that they were there.
    Copies that were made of the store or of packs are yours to find. A mistake is retired.
    """
    with open_knowledge(store) as knowledge:
        knowledge.store.get(fact_id)
        if not yes:
            if not sys.stdin.isatty():
                raise InvalidInput("an erasure cannot be undone: pass --yes if that is meant")
            typer.confirm(f"erase fact {fact_id} for good?", abort=True)
        new = knowledge.erase(fact_id, by=by, why=why)
        print_change(new, as_json=as_json)


@app.command("list")
def list_facts(
    every: Annotated[bool, typer.Option("--all", help="Also proposed and retired facts.")] = False,
    status: Annotated[
        Status | None, typer.Option("--status", help="Facts of this status (else approved).")
    ] = None,
    kind: Annotated[Kind | None, typer.Option("--kind", help="Facts of this kind.")] = None,
    tag: Annotated[
        str | None, typer.Option("--tag", metavar="NAME", help="Facts with this tag.")
    ] = None,
    relation: Annotated[
        str | None, typer.Option("--relation", metavar="NAME", help="Facts of this relation.")
    ] = None,
    valid_at: ValidAt = None,
    as_of: AsOf = None,
    scope: ScopePath = None,
    limit: Limit = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List facts, one a line."""
    wanted = None if every and status is None else status or "approved"
    with open_knowledge(store) as knowledge:
        page = knowledge.store.page(
            status=wanted, kind=kind, tag=tag, relation=relation, valid_at=valid_at, as_of=as_of,
            scope=scope, limit=limit,
        )  # fmt: skip
        empty = "no such facts; `scr add SUBJECT RELATION TARGET` adds one"
        print_revisions(page.revisions, as_json=as_json, empty=empty)


@app.command()
def search(
    text: Annotated[str, typer.Argument(metavar="TEXT", help="Words to look for.")],
    every: Annotated[bool, typer.Option("--all", help="Also proposed and retired facts.")] = False,
    valid_at: ValidAt = None,
    as_of: AsOf = None,
    scope: ScopePath = None,
    limit: Annotated[
        int, typer.Option("--limit", metavar="N", min=1, help="At most so many.")
    ] = 20,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Find facts by their words, best first.

    Names, relation, target, statement and questions are searched.
    """
    with open_knowledge(store) as knowledge:
        found = knowledge.store.search(
            text, limit=limit, status=None if every else "approved", valid_at=valid_at,
            as_of=as_of, scope=scope,
        )  # fmt: skip
        print_revisions(found, as_json=as_json, empty="no fact has these words")


@app.command()
def show(
    fact_id: FactId,
    as_of: AsOf = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Show everything about one fact."""
    with open_knowledge(store) as knowledge:
        print_fact(knowledge.store.get(fact_id, as_of=as_of), as_json=as_json)


@app.command()
def history(fact_id: FactId, store: StorePath = None, as_json: AsJson = False) -> None:
    """Show every change of one fact: when, by whom, why."""
    with open_knowledge(store) as knowledge:
        print_history(knowledge.store.history(fact_id), as_json=as_json)
