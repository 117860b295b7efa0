"""What was chosen for a store, as a whole."""

import json
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from scr.records import Record
from scr.store.relations import Relation, Relations
from scr.store.schema import current, settings

_HELD = (current.c.status == "approved", current.c.kind == "fact", current.c.relation != "")


class Policy(Record):
    """What was chosen for a store: all when it was made, but for what is declared of relations."""

    review: bool
    """Whether changes are proposed and need an approval."""

    four_eyes: bool = False
    """Whether nobody approves what they proposed themselves."""

    relations: tuple[str, ...] | None
    """The only relations allowed, beside declared ones; `None` allows any."""

    declared: tuple[Relation, ...] = ()
    """What is declared of relations."""


def read_policy(connection: sa.Connection) -> Policy:
    """Return what was chosen for the store.

    Raises:
        ValueError: the settings do not hold it.
    """
    rows = connection.execute(sa.select(settings.c.name, settings.c.value))
    chosen = {row.name: json.loads(row.value) for row in rows}
    return Policy.model_validate({k: v for k, v in chosen.items() if k in Policy.model_fields})


def write_declared(connection: sa.Connection, declared: Sequence[Relation]) -> None:
    """Keep what is declared of relations, instead of what was."""
    value = json.dumps([each.model_dump(mode="json") for each in declared])
    connection.execute(sa.delete(settings).where(settings.c.name == "declared"))
    connection.execute(sa.insert(settings).values(name="declared", value=value))


def crowded_slots(relations: Relations) -> "sa.CompoundSelect[Any]":
    """Choose subject and scope of approved facts that share a slot, at whatever times."""
    places = sa.select(current.c.subject, current.c.scope).where(*_HELD)
    one_name = places.group_by(current.c.subject, current.c.scope, current.c.relation)
    choices = [one_name.having(sa.func.count() > 1)]
    for relation in relations.declared:
        if relation.synonyms:
            under = places.where(current.c.relation.in_(relations.names(relation.name)))
            any_name = under.group_by(current.c.subject, current.c.scope)
            choices.append(any_name.having(sa.func.count() > 1))
    return sa.union(*choices)
