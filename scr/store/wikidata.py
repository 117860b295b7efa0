"""Facts from Wikidata's entity documents: each claim of an entity becomes one fact.

Read are the documents that Special:EntityData gives, single entities, lists of them, and the lines
of a dump. The format: https://doc.wikimedia.org/Wikibase/master/php/docs_topics_json.html
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from scr.store.formats import Fields, Pack, collect

START: Final = "P580"
END: Final = "P582"
POINT: Final = "P585"
STATED_IN: Final = "P248"
PAGE: Final = "https://www.wikidata.org/wiki/"

_ID: Final = re.compile(r"[PQL]\d+")
_TIME: Final = re.compile(r"([+-])(\d+)-(\d\d)-(\d\d)T")
_DAY, _MONTH, _YEAR, _DECADE, _CENTURY = 11, 10, 9, 8, 7


def is_entity(value: object) -> bool:
    """Whether a value from JSON is an entity document of Wikidata."""
    if not isinstance(value, dict):
        return False
    entities = value.get("entities")
    if isinstance(entities, dict):
        return all(map(is_entity, entities.values()))
    return isinstance(value.get("id"), str) and ("claims" in value or "labels" in value)


def read_entities(
    entities: Iterator[tuple[int, Any]], labels: Mapping[str, str], language: str = "en"
) -> Pack:
    """Make a pack of the claims of entities. Never raises.

    Args:
        entities: the line or place of each, and its document.
        labels: what properties and entities are called, by id; those that are not there are called
            by their label in `entities`, or else by their id.
        language: of labels, aliases and texts.
    """
    read = [(number, entity) for number, given in entities for entity in _entities(given)]
    known = {e["id"]: label for _, e in read if (label := _label(e, language))}
    names = {**known, **labels}
    return collect(_claims(read), lambda stated: _fields(stated[0], stated[1], language, names))


def _entities(given: Any) -> list[Any]:
    documents = given.get("entities") if isinstance(given, dict) else None
    return [*documents.values()] if isinstance(documents, dict) else [given]


def _claims(read: list[tuple[int, Any]]) -> Iterator[tuple[int, tuple[Any, Any]]]:
    for number, entity in read:
        claims = entity.get("claims") or {}
        for group in claims.values() if isinstance(claims, dict) else ():
            for claim in group:
                yield number, (entity, claim)


def _label(entity: Any, language: str) -> str:
    labels = entity.get("labels") or {}
    found = labels.get(language) or labels.get("mul") if isinstance(labels, dict) else None
    return str(found.get("value", "")) if isinstance(found, dict) else ""


def _fields(entity: Any, claim: Any, language: str, names: Mapping[str, str]) -> Fields:
    """Return the fact that a claim states.

    Raises:
        ValueError: it states none that could be told, or its document is not as it should be.
    """
    where = entity.get("id", "?")
    try:
        property_id = claim["mainsnak"]["property"]
        where = f"{where} {property_id}"
        target = _value(claim["mainsnak"], names)
        if not target:
            raise ValueError(f"has no value that could be told ({claim['mainsnak']['snaktype']})")
        named = entity.get("aliases") or {}
        others = named.get(language, []) if isinstance(named, dict) else []
        return {
            "id": claim["id"].replace("$", ":"),
            "subject": names.get(entity["id"], entity["id"]),
            "aliases": [alias["value"] for alias in others],
            "relation": names.get(property_id, property_id),
            "target": target,
            "validity": _validity(claim.get("qualifiers") or {}),
            "rank": claim.get("rank", "normal"),
            "sources": _sources(claim, entity["id"], names),
            "note": _note(claim.get("qualifiers") or {}, names),
        }
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{where}: is no claim of Wikidata: {error!r}") from error


def _value(snak: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return what a snak says, as a person reads it; nothing where it says nothing."""
    if snak["snaktype"] != "value":
        return ""
    kind, value = snak["datavalue"]["type"], snak["datavalue"]["value"]
    return _TELLERS[kind](value, names) if kind in _TELLERS else str(value)


def _entity_value(value: Any, names: Mapping[str, str]) -> str:
    found = value.get("id") or f"Q{value['numeric-id']}"
    return names.get(found, str(found))


def _quantity(value: Any, names: Mapping[str, str]) -> str:
    amount = str(value["amount"]).removeprefix("+")
    unit = str(value.get("unit", "1")).rpartition("/")[2]
    return amount if unit == "1" else f"{amount} {names.get(unit, unit)}"


def _time(value: Any, _names: Mapping[str, str]) -> str:
    sign, year, month, day = _parts(value["time"])
    precision = value.get("precision", _DAY)
    era = " BC" if sign < 0 else ""
    if precision >= _DAY:
        return f"{year:04}-{month:02}-{day:02}{era}"
    if precision == _MONTH:
        return f"{year:04}-{month:02}{era}"
    if precision == _YEAR:
        return f"{year}{era}"
    if precision == _DECADE:
        return f"{year // 10 * 10}s{era}"
    if precision == _CENTURY:
        century = (year + 99) // 100
        tens = century % 100 in (11, 12, 13)
        ending = "th" if tens else {1: "st", 2: "nd", 3: "rd"}.get(century % 10, "th")
        return f"{century}{ending} century{era}"
    return f"about {year}{era}"


def _place(value: Any, _names: Mapping[str, str]) -> str:
    return f"{value['latitude']}, {value['longitude']}"


def _plain(value: Any, _names: Mapping[str, str]) -> str:
    return str(value)


def _told(value: Any, _names: Mapping[str, str]) -> str:
    return str(value["text"])


_TELLERS: Final[Mapping[str, Callable[[Any, Mapping[str, str]], str]]] = {
    "wikibase-entityid": _entity_value,
    "quantity": _quantity,
    "time": _time,
    "globecoordinate": _place,
    "string": _plain,
    "monolingualtext": _told,
}


def _parts(text: str) -> tuple[int, int, int, int]:
    if not (match := _TIME.match(text)):
        raise ValueError(f"{text!r} is no time of Wikidata")
    sign = -1 if match[1] == "-" else 1
    return sign, int(match[2]), int(match[3]), int(match[4])


def _validity(qualifiers: Mapping[str, Any]) -> dict[str, datetime | None]:
    """Return when a claim holds, each bound at the beginning of what is known of it.

    What began and ended in one year, as far as is known, held for all of that year.
    """
    began, ended = _bound(qualifiers.get(START)), _bound(qualifiers.get(END))
    start, end = began and _begin(*began), ended and _begin(*ended)
    if ended and end is None:
        raise ValueError("ended before the year 1, which a validity cannot say")
    if ended and start and end and start >= end:
        end = _after(*ended)
    return {"start": start or None, "end": end or None}


def _bound(snaks: Any) -> tuple[int, int, int, int, int] | None:
    """Return sign, year, month, day and precision of a qualifier, if it is there and known."""
    known = [snak for snak in snaks or () if snak["snaktype"] == "value"]
    if not known:
        return None
    value = known[0]["datavalue"]["value"]
    return (*_parts(value["time"]), int(value.get("precision", _DAY)))


def _begin(sign: int, year: int, month: int, day: int, precision: int) -> datetime | None:
    if sign < 0 or year < 1:
        return None
    if precision == _DECADE:
        return datetime(max(year // 10 * 10, 1), 1, 1, tzinfo=UTC)
    if precision < _DECADE:  # the 20th century began with 1901
        span = 100 if precision == _CENTURY else 1000
        return datetime((year - 1) // span * span + 1, 1, 1, tzinfo=UTC)
    return datetime(
        year, month if precision >= _MONTH and month else 1,
        day if precision >= _DAY and day else 1, tzinfo=UTC,
    )  # fmt: skip


def _after(sign: int, year: int, month: int, day: int, precision: int) -> datetime | None:
    """Return the first moment after a span that is known as exactly as `precision`."""
    begin = _begin(sign, year, month, day, precision)
    if begin is None:
        return None
    if precision >= _DAY:
        return datetime.fromordinal(begin.toordinal() + 1).replace(tzinfo=UTC)
    if precision == _MONTH:
        following = (begin.year, begin.month + 1) if begin.month < 12 else (begin.year + 1, 1)
        return datetime(*following, 1, tzinfo=UTC)
    span = {_YEAR: 1, _DECADE: 10, _CENTURY: 100}.get(precision, 1000)
    return datetime(begin.year + span, 1, 1, tzinfo=UTC)


def _sources(claim: Mapping[str, Any], entity_id: str, names: Mapping[str, str]) -> list[str]:
    """Return the references of a claim, its own place on Wikidata last."""
    found = []
    for reference in claim.get("references") or ():
        for property_id, snaks in reference["snaks"].items():
            for snak in snaks:
                told = _value(snak, names)
                if told.startswith(("http://", "https://")):
                    found.append(told)
                elif property_id == STATED_IN and told:
                    item = _value(snak, {})
                    found.append(f"{told} ({PAGE}{item})" if _ID.fullmatch(item) else told)
    return list(dict.fromkeys([*found, f"{PAGE}{entity_id}#{claim['mainsnak']['property']}"]))


def _note(qualifiers: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """Return the qualifiers that are not part of the validity, for the team."""
    told = []
    for property_id, snaks in qualifiers.items():
        if property_id not in (START, END):
            values = [_value(snak, names) or snak["snaktype"] for snak in snaks]
            told.append(f"{names.get(property_id, property_id)}: {', '.join(values)}")
    return "; ".join(told)


def load_json(text: str) -> Any:
    """Return what a JSON text holds; raises `ValueError` where it is none."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("is nested too deeply") from error
