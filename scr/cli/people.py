"""`scr people`: who signs in at the desk with a password."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from scr.cli.options import AsJson, StorePath, open_knowledge
from scr.cli.render import make_console, make_table, print_json, show_instant
from scr.records import Role

if TYPE_CHECKING:
    from scr.store import Account

app = typer.Typer(help="People of the desk: who signs in with a password, and as what.")

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="As they sign in.")]


@app.command("add")
def add(
    name: PersonName,
    role: Annotated[Role, typer.Option("--role", help="What they may do.")] = "reader",
    scope: Annotated[
        list[str] | None, typer.Option("--scope", help="Scope they may see; may be repeated.")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Let someone sign in at the desk with a password.

    The password is asked for; otherwise the first line of the input is taken. The history names
    them by their name. As soon as there is anybody, everyone at the desk has to sign in.
    """
    with open_knowledge(store) as knowledge:
        scopes = scope or [knowledge.settings.scope]
        people = knowledge.store.keys.people
        account = people.add(name, _ask_password(), role, scopes, by=knowledge.author)
    _print(account, f"may sign in as {account.role} ({', '.join(account.scopes)})", as_json)


@app.command("list")
def listing(store: StorePath = None, as_json: AsJson = False) -> None:
    """List the people, removed ones too."""
    with open_knowledge(store) as knowledge:
        found = knowledge.store.keys.people.list()
    if as_json:
        for account in found:
            print_json(account.model_dump(mode="json"))
        return
    table = make_table("name", "role", "scopes", "let in", "password set", "state")
    for account in found:
        gone = account.removed
        table.add_row(
            account.name,
            account.role,
            ", ".join(account.scopes),
            f"{show_instant(account.created)} by {account.by}",
            show_instant(account.changed),
            f"removed {show_instant(gone)}" if gone else "may sign in",
        )
    make_console().print(table if found else "nobody yet; `scr people add NAME` lets someone in")


@app.command("password")
def password(name: PersonName, store: StorePath = None, as_json: AsJson = False) -> None:
    """Set someone's password anew; their sessions end."""
    with open_knowledge(store) as knowledge:
        people = knowledge.store.keys.people
        people.get(name)  # before anyone types a password for nobody
        account = people.set_password(name, _ask_password())
    _print(account, "has a new password", as_json)


@app.command("remove")
def remove(name: PersonName, store: StorePath = None, as_json: AsJson = False) -> None:
    """Let someone sign in no longer; their sessions end."""
    with open_knowledge(store) as knowledge:
        account = knowledge.store.keys.people.remove(name)
    _print(account, "may sign in no longer", as_json)


def _ask_password() -> str:
    """Return what is typed twice, or the first line of the input where nobody types."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\r\n")
    typed: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    return typed


def _print(account: "Account", what: str, as_json: bool) -> None:
    if as_json:
        print_json(account.model_dump(mode="json"))
    else:
        make_console().print(f"{account.name} {what}")
