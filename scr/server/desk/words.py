"""How values are said on a page."""

from datetime import UTC, datetime, time
from typing import Final, NamedTuple

from scr.facts import Fact, Validity
from scr.records import Decision, Match


def date(when: datetime | None) -> str:
    """Return a day, with the time where it is not midnight."""
    if when is None:
        return ""
    at_midnight = (when.hour, when.minute, when.second) == (0, 0, 0)
    return when.date().isoformat() if at_midnight else moment(when)


def exact(when: datetime | None) -> str:
    """Return a time so that reading it gives the same."""
    if when is None:
        return ""
    return when.date().isoformat() if when.time() == time.min else when.isoformat()


def moment(when: datetime) -> str:
    """Return a moment to the minute."""
    return f"{when.date().isoformat()} {when:%H:%M}"


def words(value: object) -> str:
    """Return a field of a fact as people read it."""
    if isinstance(value, Validity):
        return span(value)
    if isinstance(value, tuple):
        return "; ".join(map(str, value)) or "none"
    return str(value or "none")


def span(validity: Validity) -> str:
    """Return when a fact holds."""
    if validity.start and validity.end:
        return f"from {date(validity.start)} until {date(validity.end)}"
    if validity.start:
        return f"from {date(validity.start)}"
    return f"until {date(validity.end)}" if validity.end else "always"


def changed(before: Fact, after: Fact) -> list[tuple[str, str, str]]:
    """Return the fields that differ, each with both values."""
    return [
        (_NAMES.get(name, name), words(getattr(before, name)), words(getattr(after, name)))
        for name in Fact.model_fields
        if name != "id" and getattr(before, name) != getattr(after, name)
    ]


_NAMES: Final = {
    "aliases": "also called",
    "validity": "holds",
    "must_fire": "tests: must use it",
    "must_not_fire": "tests: must not",
}


class Bar(NamedTuple):
    """A fact on a time line of 100, beside the others of its slot."""

    fact: Fact
    start: float
    width: float
    opens: bool
    """Whether it holds since always."""

    goes_on: bool
    """Whether it holds without end."""


class TimeLine(NamedTuple):
    """When facts hold."""

    bars: list[Bar]
    today: float
    first: str
    last: str


def time_line(facts: list[Fact]) -> TimeLine | None:
    """Return facts on one time line; `None` where none of them has a beginning or an end."""
    now = datetime.now(UTC)
    ends = [each for fact in facts for each in (fact.validity.start, fact.validity.end) if each]
    if not ends:
        return None
    first, last = min(*ends, now), max(*ends, now)
    # As numbers: at the edges of the calendar there are no dates beside them.
    low, high = first.timestamp(), last.timestamp()
    margin = max((high - low) * 0.12, 30 * 86_400.0)
    low, high = low - margin, high + margin

    def place(when: datetime | None, without: float) -> float:
        return without if when is None else 100 * (when.timestamp() - low) / (high - low)

    bars = []
    for fact in facts:
        start, end = place(fact.validity.start, 0.0), place(fact.validity.end, 100.0)
        width = max(round(end - start, 2), 0.6)
        opens, goes_on = fact.validity.start is None, fact.validity.end is None
        bars.append(Bar(fact, round(start, 2), width, opens, goes_on))
    return TimeLine(bars, round(place(now, 0), 2), _month(low, first), _month(high, last))


def _month(seconds: float, otherwise: datetime) -> str:
    """Return the month at an end of a time line; beyond the calendar, that of the nearest fact."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()[:7]
    except (ValueError, OverflowError):
        return otherwise.date().isoformat()[:7]


def marked(text: str, decision: Decision) -> list[tuple[str, int]]:
    """Return a question in parts, each with the number of the fact whose subject it names, or 0."""
    shown: list[Match] = [*decision.matches]
    if decision.runner_up is not None:
        shown.append(decision.runner_up)
    spans: dict[tuple[int, int], int] = {}
    for number, match in enumerate(shown, start=1):
        mention = match.evidence.mention
        if mention is not None and mention.turn is None:
            spans.setdefault((mention.start, mention.end), number)
    parts: list[tuple[str, int]] = []
    at = 0
    for (start, end), number in sorted(spans.items()):
        if start >= at:
            parts += [(text[at:start], 0), (text[start:end], number)]
            at = end
    return [part for part in [*parts, (text[at:], 0)] if part[0]]


def side_by_side(old: Fact, new: Fact) -> list[tuple[str, str, str, bool]]:
    """Return the fields that either fact fills, each with both values and whether they differ."""
    blank = Fact.model_construct(**{name: field.get_default(call_default_factory=True)
                                    for name, field in Fact.model_fields.items()})  # fmt: skip
    rows = []
    for name in Fact.model_fields:
        values = (getattr(old, name), getattr(new, name))
        if name in ("id", "supersedes") or all(v == getattr(blank, name) for v in values):
            continue
        before, after = map(words, values)
        rows.append((_NAMES.get(name, name), before, after, values[0] != values[1]))
    return rows
