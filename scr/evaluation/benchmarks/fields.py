"""Cases in the fields of public edit sets, so that other tools can read ours.

Sources of the fields: CounterFact: Meng et al. 2022, arXiv:2202.05262; zsRE: the evaluation split
of Mitchell et al. 2022, "MEND", arXiv:2110.11309; MQuAKE: Zhong et al. 2023, arXiv:2305.14795.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from scr.edits import EditCase, EditProbe, Hop, MultiHop
from scr.errors import InvalidInput

Fields = dict[str, Any]
"""One record as it is written to JSON."""


def counterfact(cases: Iterable[EditCase]) -> Iterator[Fields]:
    """Yield cases in CounterFact's fields.

    As there, prompts are texts to be completed (but for `generation_prompts`, which ask for a
    biography), and `neighborhood_prompts` are about subjects of which the old target is true,
    `attribute_prompts` about some of which the new one is. A case without any of the former, on
    which the Neighborhood Score has no value, is left out.
    """
    number = 0
    for case in cases:
        request = case.request
        neighbors = [p for p in case.other_subject if p.answer == _old_target(case)]
        if not neighbors:
            continue
        number += 1
        yield {
            "case_id": number - 1,
            "requested_rewrite": {
                "prompt": f"{_escaped(request.prefix)}{{}}{_escaped(request.suffix)}",
                "relation_id": case.relation,
                "target_new": {"str": request.target, "id": request.target},
                "target_true": {"str": _old_target(case), "id": _old_target(case)},
                "subject": request.subject,
            },
            "paraphrase_prompts": [p.text for p in case.rephrases if p.style == "cloze"],
            "neighborhood_prompts": [
                f"{request.prefix}{probe.subject}{request.suffix}" for probe in neighbors
            ],
            "attribute_prompts": [
                f"{request.prefix}{probe.subject}{request.suffix}" for probe in case.same_target
            ],
            "generation_prompts": [case.long_form.question] if case.long_form else [],
        }


def zsre(cases: Iterable[EditCase]) -> Iterator[Fields]:
    """Yield cases in zsRE's fields; one without a rephrase or an unrelated question is left out.

    The target to learn is `alt`; `answers` and `pred` hold what was true before.
    """
    for case in cases:
        rephrase = _first(case.rephrases, "question")
        unrelated = _first(case.unrelated, "question")
        if rephrase is None or unrelated is None:
            continue
        request = case.request
        yield {
            "subject": request.subject,
            "src": case.question,
            "pred": _old_target(case),
            "rephrase": rephrase.text,
            "alt": request.target,
            "answers": [_old_target(case)],
            "loc": f"nq question: {unrelated.text.rstrip('?')}",
            "loc_ans": unrelated.answer,
            "cond": f"{_old_target(case)} >> {request.target} || {case.question}",
        }


def mquake(cases: Iterable[EditCase]) -> Iterator[Fields]:
    """Yield every multi-hop question of the cases in MQuAKE's fields, each as a record."""
    number = 0
    for case in cases:
        for chain in case.multi_hop:
            yield _mquake(number, case, chain)
            number += 1


def _mquake(number: int, case: EditCase, chain: MultiHop) -> Fields:
    request = case.request
    old, new = chain.old_hops, chain.new_hops
    edited = [request.subject, case.relation, request.target]
    return {
        "case_id": number,
        "requested_rewrite": [
            {
                "prompt": f"{_escaped(request.prefix)}{{}}{_escaped(request.suffix)}",
                "relation_id": case.relation,
                "target_new": {"str": request.target, "id": request.target},
                "target_true": {"str": _old_target(case), "id": _old_target(case)},
                "subject": request.subject,
                "question": case.question,
            }
        ],
        "questions": list(chain.questions),
        "answer": chain.old_answer,
        "answer_alias": list(old[-1].aliases),
        "new_answer": chain.answer,
        "new_answer_alias": list(new[-1].aliases),
        "single_hops": [_single(hop) for hop in old],
        "new_single_hops": [_single(hop) for hop in new],
        "orig": {
            "triples": [_triple(hop) for hop in old],
            "triples_labeled": [_triple(hop) for hop in old],
            "new_triples": [_triple(hop) for hop in new],
            "new_triples_labeled": [_triple(hop) for hop in new],
            "edit_triples": [edited],
        },
    }


def _old_target(case: EditCase) -> str:
    if case.request.old_target is None:
        raise InvalidInput(
            f"case {case.request.id} has no old target, which these fields have a place for: "
            "give one, or write the case as it is"
        )
    return case.request.old_target


def _single(hop: Hop) -> Fields:
    return {
        "question": hop.question,
        "cloze": hop.cloze,
        "answer": hop.target,
        "answer_alias": list(hop.aliases),
    }


def _triple(hop: Hop) -> list[str]:
    return [hop.subject, hop.relation, hop.target]


def _first(probes: Sequence[EditProbe], style: str) -> EditProbe | None:
    return next((probe for probe in probes if probe.style == style), None)


def _escaped(text: str) -> str:
    """Return text for a template: readers fill it in with `str.format`."""
    return text.replace("{", "{{").replace("}", "}}")


WRITERS: Final[Mapping[str, Callable[[Iterable[EditCase]], Iterator[Fields]]]] = {
    "counterfact": counterfact,
    "zsre": zsre,
    "mquake": mquake,
}
"""By the name of the set."""
