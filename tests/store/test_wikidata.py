"""Facts from Wikidata's entity documents; the documents here are made up."""

import json
from datetime import UTC, datetime

import pytest

from scr.evaluation.importing import read_facts

LABELS = {"P6": "head of government", "P36": "capital", "P1082": "population", "Q5": "Ann Reed"}


def snak(property_id, kind, value):
    datavalue = {"type": kind, "value": value}
    return {"snaktype": "value", "property": property_id, "datavalue": datavalue}


def item(property_id, item_id):
    return snak(property_id, "wikibase-entityid", {"entity-type": "item", "id": item_id})


def time(property_id, text, precision=11):
    return snak(property_id, "time", {"time": text, "precision": precision})


def claim(main, number=1, rank="normal", qualifiers=(), references=()):
    by_property = {}
    for each in qualifiers:
        by_property.setdefault(each["property"], []).append(each)
    return {
        "id": f"q1$AB-{number}",
        "type": "statement",
        "mainsnak": main,
        "rank": rank,
        "qualifiers": by_property,
        "references": [{"snaks": {each["property"]: [each]}} for each in references],
    }


def entity(*claims, entity_id="Q1", label="Northland"):
    by_property = {}
    for each in claims:
        by_property.setdefault(each["mainsnak"]["property"], []).append(each)
    return {
        "type": "item",
        "id": entity_id,
        "labels": {"en": {"language": "en", "value": label}} if label else {},
        "aliases": {"en": [{"language": "en", "value": "The North"}]},
        "claims": by_property,
    }


def read(document, name="Q1.json", **options):
    return read_facts(json.dumps(document).encode(), name, labels=LABELS, **options)


def one(main, **options):
    pack = read({"entities": {"Q1": entity(claim(main, **options))}})
    assert pack.problems == []
    (line,) = pack.lines
    return line.fact


def test_a_claim_becomes_a_fact():
    fact = one(
        item("P6", "Q5"),
        rank="preferred",
        qualifiers=[time("P580", "+2019-05-01T00:00:00Z"), item("P39", "Q9"),
                    time("P582", "+2023-00-00T00:00:00Z", 9)],
        references=[snak("P854", "string", "https://example.org/ann"), item("P248", "Q77")],
    )  # fmt: skip
    assert (fact.id, fact.rank) == ("q1:AB-1", "preferred")
    assert (fact.subject, fact.aliases) == ("Northland", ("The North",))
    assert (fact.relation, fact.target) == ("head of government", "Ann Reed")
    assert fact.validity.start == datetime(2019, 5, 1, tzinfo=UTC)
    assert fact.validity.end == datetime(2023, 1, 1, tzinfo=UTC)
    assert fact.sources == (
        "https://example.org/ann",
        "Q77 (https://www.wikidata.org/wiki/Q77)",
        "https://www.wikidata.org/wiki/Q1#P6",
    )
    assert fact.note == "P39: Q9"


@pytest.mark.parametrize(
    ("main", "target"),
    [
        (item("P36", "Q42"), "Q42"),
        (snak("P1082", "quantity", {"amount": "+1200", "unit": "1"}), "1200"),
        (snak("P2046", "quantity", {"amount": "-3.5", "unit": "http://x/entity/Q5"}),
         "-3.5 Ann Reed"),
        (snak("P1448", "monolingualtext", {"text": "Nordland", "language": "de"}), "Nordland"),
        (snak("P625", "globecoordinate", {"latitude": 1.5, "longitude": 2}), "1.5, 2"),
        (snak("P856", "string", "https://example.org"), "https://example.org"),
        (snak("P999", "unheard-of", 7), "7"),
        (time("P571", "+1949-10-01T00:00:00Z"), "1949-10-01"),
        (time("P571", "+1949-10-00T00:00:00Z", 10), "1949-10"),
        (time("P571", "-0044-00-00T00:00:00Z", 9), "44 BC"),
        (time("P571", "+1950-00-00T00:00:00Z", 8), "1950s"),
        (time("P571", "+1901-00-00T00:00:00Z", 7), "20th century"),
        (time("P571", "+1200-00-00T00:00:00Z", 7), "12th century"),
        (time("P571", "+0101-00-00T00:00:00Z", 7), "2nd century"),
        (time("P571", "+1000-00-00T00:00:00Z", 6), "about 1000"),
    ],
)  # fmt: skip
def test_values_are_told_as_a_person_reads_them(main, target):
    assert one(main).target == target


@pytest.mark.parametrize(
    ("start", "end", "held"),
    [
        (("+1999-00-00", 9), ("+1999-00-00", 9), ("1999-01-01", "2000-01-01")),
        (("+1999-12-00", 10), ("+1999-12-00", 10), ("1999-12-01", "2000-01-01")),
        (("+1999-12-31", 11), ("+1999-12-31", 11), ("1999-12-31", "2000-01-01")),
        (("+1990-00-00", 8), ("+2001-02-03", 11), ("1990-01-01", "2001-02-03")),
        (("+1901-00-00", 7), None, ("1901-01-01", None)),
        (("+2000-00-00", 7), None, ("1901-01-01", None)),
        (("-0300-00-00", 9), ("+0012-00-00", 9), (None, "0012-01-01")),
        (None, None, (None, None)),
    ],
)
def test_qualifiers_become_the_validity(start, end, held):
    qualifiers = [
        time(name, f"{given[0]}T00:00:00Z", given[1])
        for name, given in (("P580", start), ("P582", end))
        if given
    ]
    validity = one(item("P6", "Q5"), qualifiers=qualifiers).validity
    told = tuple(each and each.date().isoformat() for each in (validity.start, validity.end))
    assert told == held


def test_an_unknown_qualifier_leaves_the_validity_open():
    unknown = {"snaktype": "somevalue", "property": "P580"}
    fact = one(item("P6", "Q5"), qualifiers=[unknown, {**unknown, "property": "P1"}])
    assert fact.validity.start is None
    assert fact.note == "P1: somevalue"


def test_what_states_nothing_is_named():
    nothing = {"snaktype": "novalue", "property": "P6"}
    document = entity(
        claim(nothing),
        claim(item("P36", "Q42"), 2),
        claim(time("P571", "soon"), 3),
        claim({"property": "P9"}, 4),
        claim(item("P6", "Q5"), 5, qualifiers=[time("P582", "-0300-01-01T00:00:00Z")]),
    )
    pack = read(document)
    assert [line.fact.target for line in pack.lines] == ["Q42"]
    reasons = "\n".join(reason for _, reason in pack.problems)
    for told in ("Q1 P6: has no value that could be told (novalue)", "'soon' is no time",
                 "is no claim of Wikidata", "before the year 1"):  # fmt: skip
        assert told in reasons


def test_lines_of_a_dump_name_each_other():
    north = entity(claim(item("P36", "Q2")))
    town = {**entity(entity_id="Q2", label="Northtown"), "claims": {}}
    dump = f"[\n{json.dumps(north)},\n{json.dumps(town)}\n]\n"
    for content, name in (
        (dump, "dump.json"),
        (dump, "dump"),
        (f"{json.dumps(north)},\n{json.dumps(town)},\n", "dump.jsonl"),
    ):
        pack = read_facts(content.encode(), name)
        assert pack.problems == []
        ((fact),) = (line.fact for line in pack.lines)
        assert (fact.relation, fact.target) == ("P36", "Northtown")


def test_another_language_and_no_label():
    document = entity(claim(item("P36", "Q42")))
    document["labels"] = {"de": {"value": "Nordland"}, "mul": {"value": "N"}}
    assert read(document, language="de").lines[0].fact.subject == "Nordland"
    assert read(document, language="fr").lines[0].fact.subject == "N"
    document["labels"] = []  # as PHP writes an empty object
    document["aliases"] = []
    assert read(document).lines[0].fact.subject == "Q1"
