"""The text of `docs/cli.md`: what `--help` says of every command.

`python -m scr.cli.reference > docs/cli.md` writes it anew; a test keeps it current.
"""

import sys
from collections.abc import Iterator
from typing import Any

import typer

from scr.cli import app

WIDTH = 80


def render() -> str:
    """Return the reference as Markdown."""
    return "\n".join(_sections(typer.main.get_command(app), "scr", None))


def _sections(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = command.make_context(
        name, [], parent=parent, resilient_parsing=True, max_content_width=WIDTH,
        terminal_width=WIDTH,
    )  # fmt: skip
    title = context.command_path
    if parent is None:
        yield "# The command line\n"
        yield "Made by `python -m scr.cli.reference > docs/cli.md`; do not edit by hand.\n"
    yield f"{'##' if parent is None else '###'} {title}\n"
    yield f"```text\n{command.get_help(context)}\n```\n"
    for child_name, child in getattr(command, "commands", {}).items():
        yield from _sections(child, child_name, context)


if __name__ == "__main__":
    sys.stdout.write(render())
