"""Facts reached over other facts: "the employer of the spouse of X" is two facts away from X.

A fact whose target is the subject of another one leads to it. Seen from X, the other fact is about
"the spouse of X", and can be compared with a question that says so.
Knows nothing of vectors or queries.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from scr.facts import Fact
from scr.retrieval.keys import Key
from scr.retrieval.names import MASK

HOPS = 3  # facts of a chain at most
CHAINS = 8  # chains of a query at most
_MASK = re.compile(rf"\b{MASK}\b")

Followers = Callable[[str], Iterable[int]]
"""Returns the versions of the facts about the subject that a text names."""


class Chain(NamedTuple):
    """Facts each of which is about the target of the one before."""

    versions: tuple[int, ...]
    phrase: str
    """What the last fact's subject is to the first one's, such as "the spouse of it"."""

    def see(self, key: Key, name: str) -> Key:
        """Return a key of the last fact as one about the first one's subject, of that name."""
        masked = _MASK.sub(lambda _match: self.phrase, key.masked)
        plain = _MASK.sub(lambda _match: _MASK.sub(lambda _m: name, self.phrase), key.masked)
        return Key(plain, masked, key.asks)


def chains_from(
    starts: Sequence[int], fact_of: Callable[[int], Fact], followers: Followers
) -> list[Chain]:
    """Return the chains that begin with one of `starts`, the shortest first.

    Args:
        starts: versions of facts about subjects that a query names.
        fact_of: returns the fact of a version.
        followers: finds what a target leads to.
    """
    found: list[Chain] = []
    ends = [Chain((start,), MASK) for start in starts]
    for _ in range(HOPS - 1):
        longer: list[Chain] = []
        for chain in ends:
            last = fact_of(chain.versions[-1])
            if last.kind != "fact" or not last.relation or not last.target:
                continue
            phrase = f"the {last.relation} of {chain.phrase}"
            longer += [
                Chain((*chain.versions, version), phrase)
                for version in followers(last.target)
                if version not in chain.versions
            ]
        ends = longer[: CHAINS - len(found)]
        found += ends
    return found
