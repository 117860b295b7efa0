"""Edits of a LabWorld with everything that follows from them, since the world is known whole."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from random import Random
from typing import Final

from scr.edits import EditCase, EditProbe, EditRequest, Hop, LongForm, MultiHop, PromptStyle, Split
from scr.errors import InvalidInput
from scr.lab.chats import BIOGRAPHY_SENTENCES, biography, biography_facts
from scr.lab.claims import Claim, as_claim
from scr.lab.relations import BY_NAME, Relation
from scr.lab.world import VOCABULARIES, Entity, World, WorldFact

NEIGHBORS: Final = 5
"""Most probes of each locality group."""

_HOPS: Final = 2  # most multi-hop questions of a case in each direction


def draw_cases(world: World, n: int, *, seed: int = 0, split: Split = "test") -> list[EditCase]:
    """Return `n` edits of different current facts, each giving one a target of the same type.

    Args:
        world: what is edited.
        n: how many.
        seed: of the choice.
        split: of the subjects, and of the forms in which rephrases, aliases and multi-hop
            questions are put.

    Raises:
        InvalidInput: if the world has fewer facts that can be edited.
    """
    facts = [
        fact
        for fact in world.current_facts
        if fact.split == split and not BY_NAME[fact.relation].many_valued
    ]
    if n > len(facts):
        raise InvalidInput(
            f"this world has {len(facts)} facts to edit in split {split}, not {n}: "
            "make a larger one, or ask for fewer cases"
        )
    rng = Random(f"cases-{seed}-{split}")
    maker = _CaseMaker(world, split)
    drawn = enumerate(rng.sample(facts, n))
    prefix = f"labworld-{world.seed}-{len(world.facts)}-{split}-{seed}"
    return [maker.case(f"{prefix}-{number}", fact, rng) for number, fact in drawn]


def draw_requests(world: World, seed: int = 0) -> list[EditRequest]:
    """Return the cloze prompts of all current single-valued facts, in random order.

    They ask for no change: target and old target are the same.
    """
    facts = [fact for fact in world.current_facts if not _many(fact)]
    Random(f"requests-{seed}").shuffle(facts)
    return [_request(str(number), fact, fact.target) for number, fact in enumerate(facts)]


class _CaseMaker:
    def __init__(self, world: World, form_split: Split) -> None:
        self._world = world
        self._form_split = form_split

    @cached_property
    def _by_relation(self) -> Mapping[str, Sequence[WorldFact]]:
        grouped: dict[str, list[WorldFact]] = {}
        for fact in self._world.current_facts:
            grouped.setdefault(fact.relation, []).append(fact)
        return grouped

    @cached_property
    def _by_target(self) -> Mapping[str, Sequence[WorldFact]]:
        grouped: dict[str, list[WorldFact]] = {}
        for fact in self._world.current_facts:
            grouped.setdefault(fact.target.name, []).append(fact)
        return grouped

    def case(self, name: str, fact: WorldFact, rng: Random) -> EditCase:
        relation = BY_NAME[fact.relation]
        target = self._new_target(fact, rng)
        claim = Claim(fact.subject.name, relation, target.name)
        unrelated = self._unrelated(fact, target, 2 * NEIGHBORS, rng)
        return EditCase(
            request=_request(name, fact, target),
            relation=relation.name,
            split=fact.split,
            relation_split=relation.split,
            form_split=self._form_split,
            question=relation.texts("question", "train")[0].format(subject=fact.subject.name),
            target_aliases=target.aliases,
            old_target_aliases=fact.target.aliases,
            rephrases=self._rephrases(claim, target),
            aliases=tuple(
                EditProbe(
                    text=self._forms(relation)[0].format(subject=alias),
                    subject=fact.subject.name,
                    answer=target.name,
                    aliases=target.aliases,
                )
                for alias in fact.subject.aliases
            ),
            other_subject=self._other_subject(fact, target, rng),
            other_relation=tuple(
                self._probe(other, rng)
                for other in self._world.by_subject[fact.subject.name]
                if other.relation != fact.relation and not _many(other)
            )[:NEIGHBORS],
            unrelated=tuple(self._probe(f, rng) for f in unrelated[:NEIGHBORS]),
            same_target=tuple(
                self._probe(other, rng)
                for other in self._by_target.get(target.name, ())
                if other.relation == fact.relation and not (relation.symmetric or relation.inverse)
            )[:NEIGHBORS],
            multi_hop=(*self._onward(fact, target, rng), *self._through(fact, target, rng)),
            reversed=self._reversed(fact, target),
            long_form=self._long_form(fact, target),
            forget=tuple(self._probe(f, rng) for f in unrelated[NEIGHBORS:]),
        )

    def _new_target(self, fact: WorldFact, rng: Random) -> Entity:
        """Return another target of the type, of the subject's split where types are split."""
        kind = fact.target.type
        targets = [
            entity
            for entity in self._world.by_type[kind]
            if entity not in (fact.target, fact.subject)
            and (kind in VOCABULARIES or entity.split == fact.split)
        ]
        touched = (fact.target, fact.subject)
        return rng.choice(targets or [e for e in self._world.by_type[kind] if e not in touched])

    def _forms(self, relation: Relation) -> Sequence[str]:
        return relation.texts("question", self._form_split)

    def _rephrases(self, claim: Claim, target: Entity) -> tuple[EditProbe, ...]:
        relation = claim.relation
        clozes = relation.texts("cloze", self._form_split)
        texts: list[tuple[str, PromptStyle]] = [(f, "question") for f in self._forms(relation)]
        texts += [(form, "cloze") for form in clozes if form != _cloze(relation)]
        return tuple(
            EditProbe(
                text=form.format(subject=claim.subject),
                style=style,
                subject=claim.subject,
                answer=target.name,
                aliases=target.aliases,
            )
            for form, style in texts
        )

    def _probe(self, fact: WorldFact, rng: Random) -> EditProbe:
        """Ask for what stays true, in a form of training: locality is not about wording."""
        return EditProbe(
            text=as_claim(fact).question(rng, "train", chatty=0.0),
            subject=fact.subject.name,
            answer=fact.target.name,
            aliases=fact.target.aliases,
        )

    def _other_subject(self, fact: WorldFact, target: Entity, rng: Random) -> tuple[EditProbe, ...]:
        others = [
            other
            for other in self._by_relation[fact.relation]
            if other.subject not in (fact.subject, target, fact.target)
        ]
        same = [other for other in others if other.target == fact.target]
        rest = [other for other in others if other.target not in (fact.target, target)]
        chosen = [*same, *rng.sample(rest, min(NEIGHBORS, len(rest)))][:NEIGHBORS]
        return tuple(self._probe(other, rng) for other in chosen)

    def _unrelated(self, fact: WorldFact, target: Entity, n: int, rng: Random) -> list[WorldFact]:
        touched = {fact.subject, fact.target, target}
        chosen: list[WorldFact] = []
        for other in rng.sample(
            self._world.current_facts, min(20 * n, len(self._world.current_facts))
        ):
            apart = touched.isdisjoint((other.subject, other.target))
            if apart and other.relation != fact.relation and not _many(other):
                chosen.append(other)
        return chosen[:n]

    def _onward(self, fact: WorldFact, target: Entity, rng: Random) -> Iterator[MultiHop]:
        """Yield questions whose first hop is the edited fact."""
        old = {f.relation: f for f in self._world.by_subject.get(fact.target.name, ())}
        new = {f.relation: f for f in self._world.by_subject.get(target.name, ())}
        shared = [name for name in old if name in new and not _many(old[name])]
        for name in rng.sample(shared, min(_HOPS, len(shared))):
            questions = self._composed(BY_NAME[fact.relation], fact.subject, BY_NAME[name])
            if not questions or fact.subject in (old[name].target, new[name].target):
                continue  # the latter would lead back to where it came from
            yield MultiHop(
                questions=questions,
                old_hops=(_hop(fact, fact.target), _hop(old[name], old[name].target)),
                new_hops=(_hop(fact, target), _hop(new[name], new[name].target)),
            )

    def _through(self, fact: WorldFact, target: Entity, rng: Random) -> Iterator[MultiHop]:
        """Yield questions whose second hop is the edited fact."""
        into = [
            before
            for before in self._by_target.get(fact.subject.name, ())
            if before.subject not in (fact.target, target) and not _many(before)
        ]
        for before in rng.sample(into, min(_HOPS, len(into))):
            first = _hop(before, fact.subject)
            questions = self._composed(
                BY_NAME[before.relation], before.subject, BY_NAME[fact.relation]
            )
            if not questions:
                continue
            yield MultiHop(
                questions=questions,
                old_hops=(first, _hop(fact, fact.target)),
                new_hops=(first, _hop(fact, target)),
            )

    def _composed(self, first: Relation, subject: Entity, second: Relation) -> tuple[str, ...]:
        forms = [*self._forms(second), *second.texts("chatty", self._form_split)]
        usable = [form for form in forms if "{subject}'s" not in form][:3]
        return tuple(form.format(subject=first.noun(subject.name)) for form in usable)

    def _reversed(self, fact: WorldFact, target: Entity) -> EditProbe | None:
        relation = BY_NAME[fact.relation]
        name = relation.name if relation.symmetric else relation.inverse
        if name is None:
            return None
        form = BY_NAME[name].texts("question", "train")[0]
        return EditProbe(
            text=form.format(subject=target.name),
            subject=target.name,
            answer=fact.subject.name,
            aliases=fact.subject.aliases,
        )

    def _long_form(self, fact: WorldFact, target: Entity) -> LongForm | None:
        told = biography_facts(self._world, fact.subject.name)
        if len(told) < BIOGRAPHY_SENTENCES[0]:
            return None
        changed = {fact.relation: target.name}
        if fact.relation not in {other.relation for other in told}:
            told = (fact, *told[1:])
        sub_questions = tuple(
            EditProbe(
                text=BY_NAME[f.relation]
                .texts("question", "train")[0]
                .format(subject=f.subject.name),
                subject=f.subject.name,
                answer=changed.get(f.relation, f.target.name),
                aliases=target.aliases if f.relation in changed else f.target.aliases,
            )
            for f in told
        )
        return LongForm(
            question=f"Tell me about {fact.subject.name}.",
            text=biography(told, changed),
            sub_questions=sub_questions,
        )


def _request(name: str, fact: WorldFact, target: Entity) -> EditRequest:
    prefix, suffix = _cloze(BY_NAME[fact.relation]).split("{subject}")
    return EditRequest(
        id=name,
        prefix=prefix,
        subject=fact.subject.name,
        suffix=suffix,
        target=target.name,
        old_target=fact.target.name,
    )


def _many(fact: WorldFact) -> bool:
    return BY_NAME[fact.relation].many_valued


def _cloze(relation: Relation) -> str:
    """Return the cloze form of the statement that SCR derives for a fact."""
    return relation.texts("cloze", "train")[0]


def _hop(fact: WorldFact, target: Entity) -> Hop:
    relation = BY_NAME[fact.relation]
    return Hop(
        subject=fact.subject.name,
        relation=relation.name,
        question=relation.texts("question", "train")[0].format(subject=fact.subject.name),
        cloze=_cloze(relation).format(subject=fact.subject.name),
        target=target.name,
        aliases=target.aliases,
    )
