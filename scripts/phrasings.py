"""Phrasings of a hundred relations, from `eval/selectivity/relations.yaml`, and values for them."""

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import yaml

RELATIONS = Path(__file__).parent.parent / "eval/selectivity/relations.yaml"


def _split(text: str) -> tuple[str, ...]:
    """Return the parts of a list written with commas or blanks."""
    return tuple(text.split("," if "," in text else None))


VALUES: Mapping[str, tuple[str, ...]] = {
    kind: _split(values)
    for kind, values in {
        "industry": "insurance retail shipping mining biotech banking farming",
        "language": "Rust Python Go Kotlin Java Erlang",
        "license": "MIT Apache-2.0 GPL-3.0 proprietary",
        "disease": "asthma,heart failure,migraine,pneumonia,nausea,dizziness,lung cancer",
        "occupation": "carpenter surgeon painter lawyer pilot baker poet",
        "title": "head of sales,senior engineer,all employees,team lead,managers",
        "tongue": "Swedish Tamil Dutch Swahili Korean Basque Polish",
        "religion": "Buddhism Islam Catholicism Judaism Hinduism",
        "sport": "basketball tennis rugby cricket rowing football",
        "position": "goalkeeper linebacker midfielder pitcher striker",
        "instrument": "piano cello guitar flute trumpet",
        "party": "Liberal Party,Green Party,Labour Party,National Union",
        "voice": "soprano baritone tenor mezzo-soprano",
        "genre": "mystery,science fiction,comedy,jazz,horror,thriller",
        "currency": "krone dinar peso franc rupee",
        "continent": "Europe Asia Africa Antarctica",
        "material": "marble steel oak granite glass",
        "family": "Crambidae Rosaceae Felidae Fabaceae",
        "status": "endangered,of least concern,vulnerable,extinct",
        "technology": "PostgreSQL Redis Kafka SQLite",
        "duration": "2 years,6 months,90 days,three years",
        "dose": "500 mg twice a day,10 mg daily,one tablet every 8 hours",
        "hours": "9 am to 5 pm,Monday to Friday,until 10 pm",
        "award": "Hartwell Prize,Order of Merit,Golden Reel,Nordic Medal",
    }.items()
}
NUMBERS: Mapping[str, Callable[[random.Random], str]] = {
    "year": lambda rng: str(rng.randint(1850, 2026)),
    "date": lambda rng: f"{rng.randint(1, 28)} March {rng.randint(1950, 2027)}",
    "number": lambda rng: f"{rng.randint(12, 90_000):,}",
    "money": lambda rng: f"${rng.randint(5, 5_000)}",
    "version": lambda rng: f"{rng.randint(1, 9)}.{rng.randint(0, 20)}",
    "length": lambda rng: f"{rng.randint(12, 400)} m",
    "email": lambda rng: (
        f"{rng.choice(('bra', 'cor', 'jun'))}@{rng.choice(('lor', 'mar'))}.example"
    ),
}


class Relation(NamedTuple):
    """A relation with its phrasings; `S` is the subject in them and `T` the target."""

    name: str
    subject: str
    target: str
    ask: tuple[str, ...]
    tell: tuple[str, ...]


def load_relations() -> list[Relation]:
    """Return the relations of the file."""
    written = yaml.safe_load(RELATIONS.read_text(encoding="utf-8"))
    return [
        Relation(name, r["subject"], r["target"], tuple(r["ask"]), tuple(r["tell"]))
        for name, r in written.items()
    ]
