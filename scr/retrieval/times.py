"""The time a question is about: "Who was the mayor in 2015?" asks for the mayor of then.

One deterministic rule: a question that names exactly one time, after a preposition that places
something in it, is about that time; so is one with a time told from today ("last year", "two weeks
ago"). Years inside names ("the 2010 World Cup") and open spans ("since 2019", "until 2019", "since
last year") place nothing. A time told from today has to stand in the question, if one is marked ("I
bought mine two years ago. What does it cost?" is about now), or the question points back to it.
"""

import calendar
import re
from datetime import UTC, datetime, timedelta
from typing import Final

from scr.retrieval.names import sentences_of

OPENING: Final = 20_000
"""Characters of a question that are read."""

_MONTHS: Final = {name.lower(): number for number, name in enumerate(calendar.month_name) if name}
_MONTHS_BY_WORD: Final = _MONTHS | {name[:3]: number for name, number in _MONTHS.items()}
_SEASON_ENDS: Final = {"spring": 5, "summer": 8, "autumn": 11, "fall": 11}  # northern months
_YEAR: Final = r"(?P<year>1[0-9]{3}|2[0-9]{3})"
_MONTH: Final = rf"(?P<month>{'|'.join(sorted(_MONTHS_BY_WORD, key=len, reverse=True))})\.?"
_DAY: Final = r"(?P<day>[0-3]?[0-9])(?:st|nd|rd|th)?"
_SEASON: Final = rf"(?P<season>{'|'.join(_SEASON_ENDS)})"
_WHEN: Final = (
    r"(?P<iso>[12][0-9]{3}-[01][0-9]-[0-3][0-9])",
    rf"(?:the\s+)?{_DAY}(?:\s+of)?\s+{_MONTH},?\s+{_YEAR}",
    rf"{_MONTH}\s+{_DAY},?\s+{_YEAR}",
    rf"(?:early\s+|late\s+|mid-?\s*)?{_MONTH},?\s+(?:of\s+)?{_YEAR}",
    rf"(?:the\s+)?{_SEASON}\s+(?:of\s+)?{_YEAR}",
    rf"(?:the\s+year\s+|early\s+|late\s+|mid-?\s*)?{_YEAR}",
)
_PLACED: Final = r"\b(?:in|during|on|as\s+of|around|throughout)\s+"
_ENDS: Final = r"(?![-\w]|\s*(?:-|–|to|and)\s*[12][0-9]{3}\b)"  # not "in 2010-2012"
_FORMS: Final = tuple(re.compile(_PLACED + form + _ENDS, re.IGNORECASE) for form in _WHEN)
_NUMBERS: Final = (
    "a",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
)
_COUNTS: Final = {word: max(number, 1) for number, word in enumerate(_NUMBERS)} | {"an": 1}
_UNITS: Final = {"day": 1, "week": 7, "month": 30.44, "year": 365.24}  # days
_OPEN_SPAN: Final = r"(?<!since )(?<!until )(?<!till )(?<!before )(?<!after )(?<!by )"
_RELATIVE: Final = re.compile(
    rf"\b{_OPEN_SPAN}(?:(?P<count>\d{{1,3}}|{'|'.join(_COUNTS)})\s+(?P<unit>day|week|month|year)s?\s+ago"
    r"|(?P<side>last|next)\s+(?P<period>week|month|year|spring|summer|autumn|fall|winter)"
    r"|(?P<day>yesterday|tomorrow))\b(?!['\u2019])",
    re.IGNORECASE,
)
_POINTS_BACK: Final = re.compile(
    r"\b(?:then|at (?:the|that) time|that (?:year|month|day)|in those days)\b",
    re.IGNORECASE,
)


def time_asked(text: str, now: datetime) -> datetime | None:
    """Return the moment that a question is about, `None` where it names none or several.

    A year, season or month stands for its last moment, so that of two values that met in it the
    later one counts; one that has not ended yet stands for now.

    Args:
        text: the user's words.
        now: the moment of asking, with a time zone.
    """
    named: set[datetime | None] = set()
    rest = text[:OPENING]
    for form in _FORMS:  # from precise to vague; what one has read is not read again
        named |= {_last_moment(found.groupdict(), now) for found in form.finditer(rest)}
        rest = form.sub(" ", rest)
    relative = _RELATIVE.finditer(_asking(rest))
    named |= {_from_today(found.groupdict(), now) for found in relative}
    return named.pop() if len(named) == 1 else None


def _asking(text: str) -> str:
    """Return the questions of a text; the whole text where none is marked or one points back."""
    sentences = sentences_of(text)
    questions = [each for each in sentences if each.rstrip("\"')]\u2019\u201d").endswith("?")]
    if not questions or any(map(_POINTS_BACK.search, questions)):
        return text
    return "\n".join(questions)


def _from_today(parts: dict[str, str | None], now: datetime) -> datetime | None:
    """Return the moment that words such as "last year" stand for."""
    if parts["day"]:
        return now + timedelta(days=1 if parts["day"].lower() == "tomorrow" else -1)
    if parts["unit"]:
        count = _COUNTS.get(str(parts["count"]).lower()) or int(str(parts["count"]))
        try:
            return now - timedelta(days=count * _UNITS[parts["unit"].lower()])
        except OverflowError:
            return None
    period, back = str(parts["period"]).lower(), str(parts["side"]).lower() == "last"
    if period == "week":
        return now + timedelta(days=-7 if back else 7)
    if period == "month":
        first = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
        shown = first - timedelta(days=1) if back else first + timedelta(days=32)
        return _end_of(shown.year, shown.month)
    if period == "year":
        return _end_of(now.year + (-1 if back else 1), 12)
    month = 2 if period == "winter" else _SEASON_ENDS[period]
    ends = [_end_of(now.year + years, month) for years in (-1, 0, 1)]
    passed = [end for end in ends if end < now]
    return passed[-1] if back else next(end for end in ends if end >= now)


def _end_of(year: int, month: int) -> datetime:
    """Return the last moment of a month."""
    days = calendar.monthrange(year, month)[1]
    return datetime(year, month, 1, tzinfo=UTC) + timedelta(days=days, microseconds=-1)


def _last_moment(parts: dict[str, str | None], now: datetime) -> datetime | None:
    """Return the end of what was named; `None` if that is now or no date of the calendar."""
    if parts.get("iso"):
        year, month, day = map(int, str(parts["iso"]).split("-"))
    else:
        year, day = int(str(parts["year"])), int(parts.get("day") or 0)
        month = _SEASON_ENDS.get((parts.get("season") or "").lower(), 12)
        if named := parts.get("month"):
            month = _MONTHS_BY_WORD[named.lower()]
    try:
        start = datetime(year, month, day or 1, tzinfo=UTC)
        days = 1 if day else calendar.monthrange(year, month)[1]
        end = start + timedelta(days=days, microseconds=-1)
    except (ValueError, OverflowError):  # the 31st of April; the end of the year 9999
        return None
    return None if start <= now <= end or (year == now.year and now <= end and not day) else end
