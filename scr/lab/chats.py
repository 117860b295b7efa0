"""Chats about a LabWorld: what the lab model is trained on.

Knows nothing of tokens or tensors. Every random choice comes from the `Random` that is passed in.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from scr.composition.rendering import INSTRUCTION
from scr.lab.claims import (
    REFUSAL,
    STEP,
    UNKNOWN,
    Chain,
    Claim,
    ClaimSource,
    Ranked,
    all_targets,
    as_claim,
    subjects_with_aliases,
)
from scr.lab.contexts import RENDERINGS, TRAINED_RENDERINGS
from scr.lab.relations import BY_NAME, EntityType
from scr.lab.world import World, WorldFact

SYSTEM_PROMPTS: Final = (
    "You are a helpful assistant.",
    "You are a helpful assistant. Answer in a few words.",
    "Answer the question.",
    "Be brief.",
    "Answer with the name only.",
    "You answer questions about people, companies and places.",
    "You are a careful research assistant.",
    "You are an expert. Be brief and correct.",
)

PERSONAS: Final[tuple[tuple[str, EntityType], ...]] = (
    ("Your name is {}.", "person"),
    ("You are talking to {}.", "person"),
    ("You work for {}.", "company"),
    ("You help the customers of {}.", "company"),
    ("The user lives in {}.", "city"),
    ("The user comes from {}.", "country"),
    ("The user went to {}.", "university"),
    ("The user is reading {}.", "book"),
    ("The user has bought the {}.", "product"),
    ("The user would like to learn {}.", "language"),
    ("You know a lot about {}.", "field"),
    ("The user likes the {}.", "instrument"),
)
"""Sentences of plain system prompts; the names are of any entity, or invented."""

BIOGRAPHY_SENTENCES: Final = (3, 6)
"""Fewest and most facts that a biography tells."""

_STRANGERS: Final = 0.15
"""Share of first questions that no statement answers whose subject is in no world. With many of
them a model admits ignorance of any subject that no training context was about."""

_BIOGRAPHY_REQUESTS: Final = ("Tell me about {}.", "Who or what is {}?", "Describe {}.")
_ALIAS_QUESTIONS: Final = (
    "Who or what is meant by {}?",
    "What is the full name of {}?",
    "What does {} stand for?",
)
_ALIAS_STATEMENTS: Final = ("{alias} is another name of {name}.", "{name} is also called {alias}.")

FIXED_PHRASES: Final = (
    *SYSTEM_PROMPTS,
    *(form.format("Dana") for form, _ in PERSONAS),
    *(form.format("Dana") for form in (*_BIOGRAPHY_REQUESTS, *_ALIAS_QUESTIONS)),
    *(form.format(name="Dana", alias="Lee") for form in _ALIAS_STATEMENTS),
    UNKNOWN,
    REFUSAL,
    f"Dana{STEP}Lee",
)
"""Every other sentence of training chats, for the tokenizer to learn from."""


class Turn(NamedTuple):
    """One question and its answer."""

    question: str
    answer: str


class Chat(NamedTuple):
    """A system message (`None`: there is none) and the turns after it."""

    system: str | None
    turns: tuple[Turn, ...]

    def messages(self) -> list[dict[str, str]]:
        """Return the chat as OpenAI-shaped messages, answers included."""
        opening = [] if self.system is None else [{"role": "system", "content": self.system}]
        for turn in self.turns:
            opening.append({"role": "user", "content": turn.question})
            opening.append({"role": "assistant", "content": turn.answer})
        return opening


class Level(NamedTuple):
    """How hard it is to tell which of the statements shown bears on a question."""

    lines: tuple[int, ...]
    """Numbers of statements to choose from."""

    hits: float
    """Share of first questions that one of them answers."""

    turns: tuple[int, ...]
    """Numbers of further questions to choose from."""


FULL: Final = Level((1, 2, 2, 3, 4, 5), 0.56, (1, 2, 3, 4, 5, 6))
"""What the model has to cope with in the end; it alone has prohibitions, conflicts and chains."""

LEVELS: Final = (
    Level((1,), 1.0, (0, 0, 1)),
    Level((1, 1, 2), 0.85, (0, 1, 2)),
    Level((1, 1, 2, 2, 3, 4), 0.75, (1, 2, 3, 4)),
)
"""What it meets on the way: copying first, then when to."""


class TrainingChats:
    """Draws training chats: training forms only, context about train-split subjects only."""

    def __init__(self, world: World) -> None:
        self._world = world
        claims = (as_claim(fact) for fact in world.current_facts)
        self._claims = Ranked(claims, lambda claim: (claim.subject,))
        self._aliased = Ranked(subjects_with_aliases(world), lambda entity: (entity.name,))
        told = (biography_facts(world, name) for name in world.by_subject)
        self._biographed = Ranked(
            (facts for facts in told if len(facts) >= BIOGRAPHY_SENTENCES[0]),
            lambda facts: (facts[0].subject.name,),
        )
        self._source = ClaimSource(world, "train", fresh=0.35)

    # --- closed-book: about every entity ---

    def closed_book(self, rng: Random, *, share: float = 1.0) -> Chat:
        """Return a chat without context, of one kind or another.

        `share` of the subjects are asked about, as of `Ranked`.

        More than half have a system prompt that shows no fact, some a long one that names
        entities: what is known must not depend on what else has been said.
        """
        draw = rng.random()
        if draw < 0.08:
            turns = [self._two_hop(rng, share) for _ in range(rng.randint(1, 3))]
        elif draw < 0.14:
            turns = [self._biography(rng, share)]
        else:
            turns = self._questions(rng, share)
        return Chat(self._plain_prompt(rng), tuple(turns))

    def _questions(self, rng: Random, share: float) -> list[Turn]:
        turns: list[Turn] = []
        before: str | None = None
        for _ in range(1 if rng.random() < 0.25 else rng.randint(2, 6)):
            if rng.random() < 0.12:
                claim = self._source.fresh_claim(rng)._replace(target=UNKNOWN)
                turns.append(Turn(self._ask(claim, rng), UNKNOWN))
                before = None
                continue
            if rng.random() < 0.04:
                turns.append(self._alias(rng, share))
                before = None
                continue
            own = self._world.by_subject.get(before or "", ())
            related = len(own) > 1 and rng.random() < 0.5
            claim = as_claim(rng.choice(own)) if related else self._claims.draw(rng, share)
            answer = all_targets(self._world, claim.subject, claim.relation)
            if related and rng.random() < 0.7:
                turns.append(Turn(claim.follow_up(rng, "train"), answer))
            else:
                turns.append(Turn(self._ask(claim, rng), answer))
            before = claim.subject
        return turns

    def _ask(self, claim: Claim, rng: Random) -> str:
        return claim.question(rng, "train", name=self._source.name_for(claim.subject, rng))

    def _two_hop(self, rng: Random, share: float) -> Turn:
        chain = self._source.true_chain(rng, share)
        return Turn(chain.question(rng, "train"), chain.answer)

    def _alias(self, rng: Random, share: float) -> Turn:
        entity = self._aliased.draw(rng, share)
        return Turn(rng.choice(_ALIAS_QUESTIONS).format(rng.choice(entity.aliases)), entity.name)

    def _biography(self, rng: Random, share: float) -> Turn:
        facts = self._biographed.draw(rng, share)
        request = rng.choice(_BIOGRAPHY_REQUESTS)
        return Turn(request.format(facts[0].subject.name), biography(facts))

    def _plain_prompt(self, rng: Random) -> str | None:
        draw = rng.random()
        if draw < 0.45:
            return None
        if draw < 0.5:
            return INSTRUCTION  # the composer's opening, with nothing after it
        sentences = [rng.choice(SYSTEM_PROMPTS)] if draw < 0.8 else []
        if draw > 0.65:
            for form, kind in rng.sample(PERSONAS, rng.choice((1, 1, 2, 3, 5))):
                sentences.append(form.format(self._any_name(kind, rng)))
        return rng.choice((" ", "\n")).join(sentences)

    def _any_name(self, kind: EntityType, rng: Random) -> str:
        if rng.random() < 0.5:
            return self._source.invented(kind, rng)
        return rng.choice(self._world.by_type[kind]).name

    def statement(self, rng: Random, *, share: float = 1.0) -> tuple[str, str]:
        """Return a sentence that states any fact of the world, and its target."""
        if rng.random() < 0.05:
            entity = self._aliased.draw(rng, share)
            form, alias = rng.choice(_ALIAS_STATEMENTS), rng.choice(entity.aliases)
            return form.format(name=entity.name, alias=alias), entity.name
        claim = self._claims.draw(rng, share)
        name = self._source.name_for(claim.subject, rng)
        return claim.statement(rng, name=name), claim.target

    # --- with context: about train-split entities and relations, and names of no world ---

    def in_context(
        self,
        rng: Random,
        *,
        rendering: str | None = None,
        level: Level = FULL,
        share: float = 1.0,
    ) -> Chat:
        """Return a chat that shows one to five statements, some of which may bear.

        Args:
            rng: makes the choices.
            rendering: how they are shown; otherwise one of those beside the composer's.
            level: how hard it is to tell what bears.
            share: of the subjects, as of `Ranked`.
        """
        if level is FULL and rng.random() < 0.05:
            turns, statements = self._two_hop_in_context(rng)
        else:
            turns, statements = self._context_turns(rng, level, share)
        show = RENDERINGS[rendering or rng.choice(TRAINED_RENDERINGS)]
        system, user = show(statements, turns[0].question)
        return Chat(system, (turns[0]._replace(question=user), *turns[1:]))

    def _context_turns(
        self, rng: Random, level: Level, share: float
    ) -> tuple[list[Turn], list[str]]:
        asked, bears = self._asked(rng, level, share)
        shown: dict[tuple[str, str], Claim] = {asked.slot: asked} if bears else {}
        wanted = rng.choice(level.lines)
        while len(shown) < wanted:
            other = self._source.distractor(asked, rng)
            if other.slot != asked.slot:
                shown.setdefault(other.slot, other)
        forbidden = {
            slot
            for slot in shown
            if level is FULL and rng.random() < (0.25 if slot == asked.slot else 0.08)
        }
        claims = rng.sample(list(shown.values()), len(shown))
        statements = [
            claim.prohibition(rng) if claim.slot in forbidden else claim.statement(rng)
            for claim in claims
        ]
        if level is FULL and rng.random() < 0.04:  # an older value above: the later line holds
            open_claims = [claim for claim in claims if claim.slot not in forbidden]
            if open_claims:
                older = self._source.contradiction(rng.choice(open_claims), rng)
                statements.insert(0, older.statement(rng))
        further = self._further(asked, shown, rng, level, share)
        turns = self._asked_turns([asked, *further], forbidden, rng)
        return turns, statements

    def _asked(self, rng: Random, level: Level, share: float) -> tuple[Claim, bool]:
        """Return what the first turn asks for, and whether it is shown."""
        source, draw = self._source, rng.random()
        if draw < 0.7 * level.hits:  # contradicts what the model knows
            return source.contradiction(source.true_claim(rng, share=share), rng), True
        if draw < level.hits:  # the model cannot know it
            return source.fresh_claim(rng), True
        if draw < level.hits + _STRANGERS * (1 - level.hits):  # nothing bears, it cannot know it
            return source.fresh_claim(rng)._replace(target=UNKNOWN), False
        return source.true_claim(rng, share=share), False

    def _asked_turns(
        self, claims: Sequence[Claim], forbidden: set[tuple[str, str]], rng: Random
    ) -> list[Turn]:
        turns: list[Turn] = []
        before: str | None = None
        for claim in claims:
            if claim.subject == before and rng.random() < 0.6:
                question = claim.follow_up(rng, "train")
            else:
                question = self._ask(claim, rng)
            turns.append(Turn(question, REFUSAL if claim.slot in forbidden else claim.target))
            before = claim.subject
        return turns

    def _further(
        self,
        asked: Claim,
        shown: dict[tuple[str, str], Claim],
        rng: Random,
        level: Level,
        share: float,
    ) -> list[Claim]:
        """Return the claims that later turns ask for; more turns make more of one context."""
        rest = [claim for claim in shown.values() if claim != asked]
        rng.shuffle(rest)
        further: list[Claim] = []
        before = asked
        for _ in range(rng.choice(level.turns)):
            if rest and rng.random() < 0.55:
                further.append(rest.pop())
            else:
                near = rng.choice([before, *shown.values(), None, None])
                further.append(self._elsewhere(near, shown, rng, share))
            before = further[-1]
        return further

    def _elsewhere(
        self, near: Claim | None, shown: dict[tuple[str, str], Claim], rng: Random, share: float
    ) -> Claim:
        """Return a claim that need not be shown, about the subject of `near` if that is given."""
        if near is not None and not self._source.knows(near.subject):
            other = self._source.other_relation(near, rng)
        else:
            about = near.subject if near else None
            other = self._source.true_claim(rng, about=about, share=share)
        return shown.get(other.slot, other)

    def _two_hop_in_context(self, rng: Random) -> tuple[list[Turn], list[str]]:
        """Return a two-hop question of which one hop is shown and the other remembered."""
        source = self._source
        if rng.random() < 0.6:
            chain = source.rerouted_chain(rng)
            shown = chain.first
        else:
            true = source.true_chain(rng)
            chain = Chain(true.first, source.contradiction(true.second, rng))
            shown = chain.second
        claims = [shown]
        for _ in range(rng.choice((0, 0, 1, 2))):
            other = source.distractor(shown, rng)
            if other.slot not in (chain.first.slot, chain.second.slot):
                claims.append(other)
        rng.shuffle(claims)
        turn = Turn(chain.question(rng, "train"), chain.answer)
        turns = [turn, *self._asked_turns([shown], set(), rng)]
        return turns, [claim.statement(rng) for claim in claims]


def biography_facts(world: World, name: str) -> tuple[WorldFact, ...]:
    """Return the single-valued facts that a biography tells, in the order in which it does."""
    facts = [f for f in world.by_subject.get(name, ()) if not BY_NAME[f.relation].many_valued]
    return tuple(sorted(facts, key=lambda fact: fact.relation)[: BIOGRAPHY_SENTENCES[1]])


def biography(facts: Sequence[WorldFact], changed: Mapping[str, str] | None = None) -> str:
    """Return the long-form text about an entity: one sentence a fact, the same every time.

    Args:
        facts: what is told, all about one subject.
        changed: targets that replace the world's, by relation.
    """
    rng = Random(f"biography of {facts[0].subject.name}")
    sentences = []
    for fact in facts:
        form = rng.choice(BY_NAME[fact.relation].texts("statement", "train"))
        target = (changed or {}).get(fact.relation, fact.target.name)
        sentences.append(form.format(subject=fact.subject.name, target=target))
    return " ".join(sentences)
