"""The optional second stage: a model is asked whether a statement bears on the question.

Slower than the detector by a model call for each fact that applies, and only ever takes facts
away. Off by default.

Source:
    The second step of SCR: a language model confirms what retrieval found.
"""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from scr.errors import ModelUnavailable
from scr.records import Confirmer, Decision, Query

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

log = logging.getLogger(__name__)

CONFIRMED: Final = 0.5  # probability from which an answer counts as yes
QUESTION: Final = (
    "Question: {question}\n\nStatement: {statement}\n\n"
    "Does the statement contain what the question asks for? Answer with yes or no."
)
_WORD = re.compile(r"[^\W\d_]+")
_LONGEST: Final = 4_000  # characters of a question or statement that are shown


def confirm(query: Query, decision: Decision, confirmer: Confirmer) -> Decision:
    """Return the decision without the facts that the confirmer refuses.

    Of facts that lead from one to the other it sees all, as one statement.
    """
    if not decision.applies:
        return decision
    statements = [
        " ".join(fact.statement for fact in (*match.via, match.fact)) for match in decision.matches
    ]
    judged = list(zip(decision.matches, confirmer(query, statements), strict=True))
    kept = tuple(match for match, probability in judged if probability >= CONFIRMED)
    refused = [match for match, probability in judged if probability < CONFIRMED]
    count = f"{len(kept)} of {len(judged)} confirmed by {confirmer.name}"
    told: dict[str, object] = {"matches": kept, "reason": f"{decision.reason}; {count}"}
    if not kept:
        best = max(probability for _, probability in judged)
        told |= {"applies": False, "probability": decision.probability * best}
    if refused:
        told["runner_up"] = refused[0]
    return decision.model_copy(update=told)


class ChatConfirmer:
    """Asks a chat model, by the log-probabilities of yes and no where its answers carry them.

    They do where the model was made to give them, as by `ChatOpenAI(logprobs=True)`. Otherwise the
    answer is read; one that says neither yes nor no counts as no.
    """

    def __init__(self, model: "BaseChatModel") -> None:
        """Ask `model`, any LangChain chat model."""
        self.name = f"chat {getattr(model, 'model_name', None) or model.get_name()}"
        self._model = model

    def __call__(self, query: Query, statements: Sequence[str]) -> list[float]:
        """Return for each statement the probability that it bears on the query."""
        said = [f"{turn.role}: {turn.text[:_LONGEST]}" for turn in query.history[-2:]]
        question = "\n".join([*said, query.text[:_LONGEST]])
        prompts = [
            QUESTION.format(question=question, statement=text[:_LONGEST]) for text in statements
        ]
        answers = [self._model.invoke(prompt) for prompt in prompts]
        return [_probability(answer.text, answer.response_metadata) for answer in answers]


class CrossEncoderConfirmer:
    """Asks a sentence-transformers `CrossEncoder`, such as a reranker."""

    def __init__(self, name: str) -> None:
        """Load the model of that name or folder.

        Raises:
            ModelUnavailable: it cannot be loaded.
        """
        from safetensors import SafetensorError
        from sentence_transformers import CrossEncoder
        from torch.nn import Sigmoid

        try:
            self._model = CrossEncoder(name, device="cpu", num_labels=1)
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            reason = f"no cross-encoder could be loaded ({error}); check the name and the network"
            raise ModelUnavailable(name, reason) from error
        self.name = f"cross-encoder {name}"
        self._sigmoid = Sigmoid()

    def __call__(self, query: Query, statements: Sequence[str]) -> list[float]:
        """Return for each statement the probability that it bears on the query."""
        pairs = [[query.text[:_LONGEST], text[:_LONGEST]] for text in statements]
        scores = self._model.predict(pairs, activation_fn=self._sigmoid, show_progress_bar=False)
        return [float(score) for score in scores]


def _probability(answer: str, metadata: Mapping[str, Any]) -> float:
    tokens = (metadata.get("logprobs") or {}).get("content") or []
    for token in tokens:
        shown = token.get("top_logprobs") or [token]
        masses = {"yes": 0.0, "no": 0.0}
        for each in shown:
            if (word := each["token"].strip().casefold()) in masses:
                masses[word] += math.exp(each["logprob"])
        if sum(masses.values()) > 0:
            return masses["yes"] / sum(masses.values())
    words = [word.casefold() for word in _WORD.findall(answer)]
    verdicts = [word for word in words if word in ("yes", "no")]
    if not verdicts:
        log.warning("the confirming model said neither yes nor no, which counts as no")
        return 0.0
    return float(verdicts[0] == "yes")
