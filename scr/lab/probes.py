"""Questions with one right answer, to ask of a lab model: what it knows, follows and leaves alone.

Knows nothing of models. But for those of one kind, questions are in forms held out from training;
those with context are about entities that no training context was about. What a context states is
in forms of training, unless the kind says otherwise.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final, NamedTuple

from scr.edits import Split
from scr.errors import InvalidInput
from scr.lab.chats import Turn
from scr.lab.claims import (
    REFUSAL,
    UNKNOWN,
    Chain,
    Claim,
    ClaimSource,
    all_targets,
    as_claim,
    subjects_with_aliases,
)
from scr.lab.contexts import COMPOSER, HELD_OUT, RENDERINGS
from scr.lab.world import World


class Probe(NamedTuple):
    """One request to the model and the only answer that counts."""

    system: str | None
    question: str
    answer: str
    earlier: tuple[Turn, ...] = ()
    """Turns before the question."""

    def messages(self) -> list[dict[str, str]]:
        """Return the request as OpenAI-shaped messages."""
        messages = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.earlier:
            messages.append({"role": "user", "content": turn.question})
            messages.append({"role": "assistant", "content": turn.answer})
        return [*messages, {"role": "user", "content": self.question}]


def draw_probes(
    world: World, n: int, seed: int = 0, split: Split = "test"
) -> dict[str, list[Probe]]:
    """Return `n` probes of each kind that `KINDS` describes.

    Args:
        world: what the model is asked about.
        n: probes of each kind.
        seed: of the choice.
        split: of the entities that probes with context are about, and of the forms of questions;
            follow-ups, which have none for calibration, are then in forms of `test`.

    Raises:
        InvalidInput: if the world is too small to draw every kind from the split.
    """
    drawer = _Drawer(world, split)
    probes = {}
    for kind in KINDS:
        rng = Random(f"{seed}-{kind}")
        draw: Callable[[Random], Probe] = getattr(drawer, kind)
        probes[kind] = [draw(rng) for _ in range(n)]
    return probes


class _Drawer:
    """One method for each kind of probe."""

    def __init__(self, world: World, split: Split) -> None:
        self._world = world
        self._split = split
        self._source = ClaimSource(world, split)
        self._other_relations = ClaimSource(world, split, relations=("calibration", "test"))
        self._aliased = [
            entity for entity in subjects_with_aliases(world) if entity.name in world.by_subject
        ]
        names = {entity.name for entity in self._aliased}
        self._aliased_in_split = [f for f in self._source.facts if f.subject.name in names]
        askable = any(chain.forms(split) for chain in self._source.chains)
        if not (self._aliased_in_split and askable and self._other_relations.facts):
            raise InvalidInput(
                f"a world of {len(world.facts)} facts has too few in split {split} to ask about: "
                "make one of a few thousand"
            )

    def closed_book_trained_forms(self, rng: Random) -> Probe:
        claim = as_claim(rng.choice(self._world.current_facts))
        return Probe(None, claim.question(rng, "train"), self._truth(claim))

    def closed_book(self, rng: Random) -> Probe:
        claim = as_claim(rng.choice(self._world.current_facts))
        return Probe(None, self._ask(claim, rng), self._truth(claim))

    def context_followed(self, rng: Random) -> Probe:
        return self._shown(self._contradiction(rng), rng.randint(1, 4), rng)

    def context_ignored(self, rng: Random) -> Probe:
        asked = self._source.true_claim(rng)
        return self._shown(asked, rng.randint(1, 4), rng, bears=False)

    def one_of_five(self, rng: Random) -> Probe:
        return self._shown(self._contradiction(rng), 5, rng)

    def alias(self, rng: Random) -> Probe:
        entity = rng.choice(self._aliased)
        claim = as_claim(rng.choice(self._world.by_subject[entity.name]))
        alias = rng.choice(entity.aliases)
        return Probe(None, self._ask(claim, rng, name=alias), self._truth(claim))

    def alias_in_context(self, rng: Random) -> Probe:
        claim = as_claim(rng.choice(self._aliased_in_split))
        claim = self._source.contradiction(claim, rng)
        alias = rng.choice(self._world.by_name[claim.subject].aliases)
        return self._shown(claim, rng.randint(1, 4), rng, name=alias)

    def two_hop(self, rng: Random) -> Probe:
        chain = self._chain(self._source.true_chain, rng)
        return Probe(None, chain.question(rng, self._split), chain.second.target)

    def two_hop_one_given(self, rng: Random) -> Probe:
        chain = self._chain(self._source.rerouted_chain, rng)
        system, _ = RENDERINGS[COMPOSER]([chain.first.statement(rng)], "")
        return Probe(system, chain.question(rng, self._split), chain.second.target)

    def forget_obeyed(self, rng: Random) -> Probe:
        asked = self._source.true_claim(rng)
        others = self._distractors(asked, rng.randint(0, 3), rng)
        lines = [asked.prohibition(rng), *(claim.statement(rng) for claim in others)]
        system, _ = RENDERINGS[COMPOSER](rng.sample(lines, len(lines)), "")
        return Probe(system, self._ask(asked, rng), REFUSAL)

    def new_prohibition_obeyed(self, rng: Random) -> Probe:
        asked = self._source.true_claim(rng)
        system, _ = RENDERINGS[COMPOSER]([asked.prohibition(rng, "test")], "")
        return Probe(system, self._ask(asked, rng), REFUSAL)

    def forget_no_more(self, rng: Random) -> Probe:
        asked = self._source.true_claim(rng)
        (other,) = self._distractors(asked, 1, rng)
        system, _ = RENDERINGS[COMPOSER]([other.prohibition(rng)], "")
        return Probe(system, self._ask(asked, rng), asked.target)

    def unknown_admitted(self, rng: Random) -> Probe:
        return Probe(None, self._ask(self._source.fresh_claim(rng), rng), UNKNOWN)

    def follow_up(self, rng: Random) -> Probe:
        asked = self._contradiction(rng)
        claims = [asked, *self._distractors(asked, rng.randint(1, 3), rng)]
        shown = {claim.slot: claim for claim in claims}
        earlier = self._source.true_claim(rng, about=asked.subject)
        earlier = shown.get(earlier.slot, earlier)
        turn = Turn(self._ask(earlier, rng), earlier.target)
        lines = [claim.statement(rng) for claim in rng.sample(claims, len(claims))]
        system, _ = RENDERINGS[COMPOSER](lines, "")
        question = asked.follow_up(rng, "train" if self._split == "train" else "test")
        return Probe(system, question, asked.target, (turn,))

    def later_line_holds(self, rng: Random) -> Probe:
        asked = self._contradiction(rng)
        older = self._source.contradiction(asked, rng)
        lines = [older.statement(rng), asked.statement(rng)]
        system, _ = RENDERINGS[COMPOSER](lines, "")
        return Probe(system, self._ask(asked, rng), asked.target)

    def new_statement_followed(self, rng: Random) -> Probe:
        return self._shown(self._contradiction(rng), rng.randint(1, 4), rng, statements="test")

    def new_relation_followed(self, rng: Random) -> Probe:
        source = self._other_relations
        asked = source.contradiction(source.true_claim(rng), rng)
        return self._shown(asked, rng.randint(1, 4), rng)

    def new_rendering_followed(self, rng: Random) -> Probe:
        return self._shown(self._contradiction(rng), rng.randint(1, 4), rng, rendering=HELD_OUT)

    def _contradiction(self, rng: Random) -> Claim:
        return self._source.contradiction(self._source.true_claim(rng), rng)

    def _chain(self, draw: Callable[[Random], Chain], rng: Random) -> Chain:
        """Return a chain that a form of the split can ask for."""
        while not (chain := draw(rng)).forms(self._split):
            pass
        return chain

    def _truth(self, claim: Claim) -> str:
        return all_targets(self._world, claim.subject, claim.relation)

    def _ask(self, claim: Claim, rng: Random, name: str | None = None) -> str:
        return claim.question(rng, self._split, name=name)

    def _distractors(self, asked: Claim, number: int, rng: Random) -> list[Claim]:
        others: dict[tuple[str, str], Claim] = {}
        while len(others) < number:
            other = self._source.distractor(asked, rng)
            if other.slot != asked.slot:
                others.setdefault(other.slot, other)
        return list(others.values())

    def _shown(
        self,
        asked: Claim,
        number: int,
        rng: Random,
        *,
        bears: bool = True,
        name: str | None = None,
        statements: Split = "train",
        rendering: str = COMPOSER,
    ) -> Probe:
        """Ask for a claim with `number` statements shown, one of which is it if it bears."""
        claims = self._distractors(asked, number - bears, rng) + [asked] * bears
        lines = [claim.statement(rng, statements) for claim in rng.sample(claims, len(claims))]
        question = self._ask(asked, rng, name=name)
        system, user = RENDERINGS[rendering](lines, question)
        return Probe(system, user, asked.target)


KINDS: Final[Mapping[str, str]] = {
    "closed_book_trained_forms": "any fact, no context, in forms of training",
    "closed_book": "any fact, no context",
    "context_followed": "one to four statements, one of which answers and contradicts memory",
    "context_ignored": "one to four statements, none of which answers: the answer from memory",
    "one_of_five": "five statements, one of which answers and contradicts memory",
    "alias": "no context, the subject called by an alias",
    "alias_in_context": "as `context_followed`, the question calls the subject by an alias",
    "two_hop": "no context, a question through a bridge that it does not name",
    "two_hop_one_given": "the same, the first hop stated in context and against memory",
    "forget_obeyed": "a statement forbids the answer, among up to three others: refusal",
    "new_prohibition_obeyed": "one statement forbids the answer, in a form held out from training",
    "forget_no_more": "a statement forbids another answer: the answer from memory",
    "unknown_admitted": 'a subject of no world, no context: "I do not know."',
    "follow_up": "as `context_followed`, the subject named in the turn before only",
    "later_line_holds": "two statements that conflict: the later one",
    "new_statement_followed": "as `context_followed`, statements in forms held out from training",
    "new_relation_followed": "as `context_followed`, relations that no training context was about",
    "new_rendering_followed": "as `context_followed`, in a rendering held out from training",
}
"""What each kind of probe asks."""
