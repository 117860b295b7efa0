"""Packs in: what they would change, as a diff; each line that cannot be used; then the import."""

import json
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, Final

import yaml
from fastapi.responses import Response
from starlette.requests import Request

from scr.errors import PackInvalid
from scr.evaluation.importing import read_facts
from scr.server.desk.desk import Desk
from scr.server.desk.forms import Filled, Form, Upload
from scr.server.desk.people import Person
from scr.server.desk.routing import Route, Routes
from scr.server.desk.words import changed
from scr.store import Plan, Source

_SHOWN: Final = 200  # changes of a plan
_LONGEST: Final = 300  # characters of a faulty line that are shown


_OTHERS: Final = (".csv", ".tsv", ".json")  # tables, Wikidata's entities, edit sets


class ImportPages:
    """Take in packs."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def routes(self) -> Routes:
        """Yield the pages' routes."""
        yield Route("/import", "GET", self.ask)
        yield Route("/import", "POST", self.take)

    def ask(self, request: Request) -> Response:
        """Show where to paste or choose a pack."""
        return self._page(request, self._desk.person(request, "editor"))

    def take(self, request: Request, form: Filled) -> Response:
        """Show what a pack would change, or take it in."""
        person = self._desk.person(request, "editor")
        pack, why, name = form.one("pack"), form.one("why"), form.one("name") or "the pack"
        apply = form.one("move") == "apply"
        try:
            if (upload := form.upload("file")) is not None:
                pack, name = read_upload(upload), upload.name
                apply = False  # what nobody has looked at is not taken
            plan = self._carry_out(person, form, name, pack, apply=apply)
        except PackInvalid as error:
            lines = pack.splitlines()
            problems = [(number, reason, lines[number - 1][:_LONGEST] if number <= len(lines)
                         else "") for number, reason in error.problems]  # fmt: skip
            return self._page(
                request, person, pack=pack, why=why, name=name, problems=problems, code=422
            )
        return self._page(
            request, person, pack="" if apply else pack, why=why, name=name, plan=plan, done=apply,
            changes=_shown(plan),
        )  # fmt: skip

    def _carry_out(self, person: Person, form: Form, name: str, pack: str, *, apply: bool) -> Plan:
        lines = pack.encode("utf-8", "replace").splitlines(keepends=True)
        for line in lines:
            _require_scope(person, line)
        source, store = Source(name, lines), self._desk.store
        if apply:
            return store.apply([source], by=person.name, why=form.one("why"))
        return store.plan([source], by=person.name)

    def _page(self, request: Request, person: Person, *, code: int = 200, **given: Any) -> Response:
        blank = {"pack": "", "why": "", "name": "", "problems": (), "plan": None, "done": False,
                 "changes": ()}  # fmt: skip
        known = {**blank, "review": self._desk.store.review, **given}
        return self._desk.page("import.html", request, person, code=code, **known)


def read_upload(upload: Upload) -> str:
    """Return a file as the lines of a pack: as it is, or one line for each fact of it.

    Raises:
        PackInvalid: it cannot be read.
    """
    if PurePath(upload.name).suffix.lower() in _OTHERS:
        read = read_facts(upload.content, upload.name)
        if read.problems:
            raise PackInvalid(upload.name, read.problems)
        told = (line.fact.model_dump(mode="json", exclude_unset=True) for line in read.lines)
        return "\n".join(json.dumps(fact, ensure_ascii=False) for fact in told)
    try:
        text = upload.content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = upload.content[: error.start].count(b"\n") + 1
        raise PackInvalid(
            upload.name, [(line, "is no UTF-8 text; save the file as such")]
        ) from error
    if PurePath(upload.name).suffix.lower() not in (".yaml", ".yml"):
        return text
    return "\n".join(_yaml_lines(upload.name, text))


class _Plain(yaml.SafeLoader):
    """Refuses aliases, by which a small file can mean an endless one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias (`*name`) is not taken here: write the value out")
        return super().compose_node(parent, index)


def _yaml_lines(name: str, text: str) -> list[str]:
    try:
        facts = yaml.load(text, _Plain)  # noqa: S506 - it is the safe loader, made safer
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PackInvalid(name, [(1, f"is no YAML: {' '.join(str(error).split())}")]) from error
    if not isinstance(facts, list):
        raise PackInvalid(name, [(1, "is no list: begin each fact with `- `")])
    return [json.dumps(fact, ensure_ascii=False, default=_said) for fact in facts]


def _said(value: object) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)


def _require_scope(person: Person, line: bytes) -> None:
    """Refuse a line for a scope that somebody may not see."""
    if person.caller.scopes is None:
        return
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError):
        return  # the import itself says what is wrong with it
    if isinstance(fields, dict):
        scope = fields.get("scope", "default")
        person.caller.scope(scope if isinstance(scope, str) else "default", "default")


def _shown(plan: Plan) -> Sequence[tuple[Any, list[tuple[str, str, str]]]]:
    """Return the changes of a plan, each with the fields that it changes."""
    return [
        (change, changed(change.before, change.after) if change.before else [])
        for change in plan.changes[:_SHOWN]
    ]
