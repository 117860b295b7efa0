"""What every editor does the same way: check, change, report, and be undone.

A method says how weights change in `_edit`; whatever goes wrong there, the model and the editor are
as they were. What an editor remembers from edit to edit lives in the object, never in a module.
"""

import resource
import sys
import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Final, Protocol

import torch
import transformers
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from scr.editing.adapter import ModelAdapter, Shape, evaluating
from scr.editing.contexts import sample_templates
from scr.editing.moments import Moments, collect_moments
from scr.editing.passes import head_at, pad
from scr.editing.prompts import check_requests, check_room, check_templates
from scr.editing.report import Canary, EditReport, RequestReport
from scr.editing.weights import (
    AppliedEdit,
    Digests,
    SavedEdit,
    WeightChange,
    fingerprint,
    norms,
)
from scr.edits import EditRequest
from scr.errors import EditOrder, InvalidInput
from scr.facts import explain

Observer = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is, and the total."""

CANARY_KL: Final = 0.1
"""Divergence on held-out text, in nats per token, from which a report warns."""

GROWTH: Final = 0.5
"""Norm of a change as a share of what is changed, from which a report warns."""

MISSED: Final = 1.0
"""Mean negative log-probability per token, in nats, from which a target counts as not reached."""

_CANARY_TEXTS: Final = 16
_CANARY_TOKENS: Final = 33  # of each text: 32 predictions


class Editor(Protocol):
    """Anything that changes weights so that a model says new targets."""

    name: ClassVar[str]
    """By which it is called, in the command line and in reports."""

    def apply(self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]) -> AppliedEdit:
        """Put edits into a model's weights; `AppliedEdit.restore` takes them out."""
        ...


class EditorParams(BaseModel):
    """Base of the methods' hyper-parameters."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Work:
    """One call of `apply`: what a method works on and with."""

    def __init__(
        self,
        adapter: ModelAdapter,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        change: WeightChange,
        params: Any,
        observe: Observer | None,
    ) -> None:
        self.adapter, self.tokenizer, self.requests = adapter, tokenizer, list(requests)
        self.change, self.params = change, params
        self.seconds: dict[str, float] = {}
        self.warnings: list[str] = []
        self.measures: dict[str, float] = {}
        self._observe = observe

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Count the time of a part of the work."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - start

    def progress(self, part: str) -> Callable[[int, int], None]:
        """Return what is called with the number done of a part and its total."""

        def told(done: int, total: int) -> None:
            if self._observe is not None:
                self._observe(part, done, total)

        return told


class WeightEditor(ABC):
    """Base of the editors.

    Args:
        corpus: texts for second moments, for methods that need them; in the manner of what the
            model was trained on.
        moments: second moments collected before, instead of `corpus`.
        templates: context templates by group, the bare `"{}"` first; sampled from the unedited
            model if not given.
        canary: texts on which damage is measured; none if empty.
        cache: folder for second moments.
        seed: of whatever is drawn.
        observe: called as the work goes on.
        **overrides: hyper-parameters of the method; the others are chosen by the model's family
            and size.

    Raises:
        InvalidInput: if a hyper-parameter does not exist or cannot be.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    """What it does, in a line."""
    Params: ClassVar[type[BaseModel]]
    needs_moments: ClassVar[bool] = False
    needs_templates: ClassVar[bool] = False

    def __init__(
        self,
        *,
        corpus: Sequence[str] = (),
        moments: Moments | None = None,
        templates: Sequence[Sequence[str]] | None = None,
        canary: Sequence[str] = (),
        cache: Path | None = None,
        seed: int = 0,
        observe: Observer | None = None,
        **overrides: Any,
    ) -> None:
        self._overrides = overrides
        self.params_for(None)
        if templates is not None:
            check_templates(templates)
        self.templates = None if templates is None else tuple(tuple(g) for g in templates)
        self.moments = moments
        self.seed = seed
        self.corpus, self.cache = list(corpus), cache
        self._canary = list(canary)
        self._observe = observe
        self._masters: dict[str, Tensor] = {}
        self._pile: list[object] = []  # a token for each edit that has not been undone
        self._model: weakref.ref[Any] | None = None
        self._adapter: ModelAdapter | None = None
        self._digests: Digests = {}
        self._origin: str | None = None
        self._shown: tuple[str, Tensor | None] | None = None

    # what a method says

    @classmethod
    @abstractmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the hyper-parameters that depend on the model's family and size."""

    @abstractmethod
    def _edit(self, work: Work) -> list[RequestReport]:
        """Change the weights through `work.change`; return what became of each request."""

    def state(self) -> dict[str, Tensor]:
        """Return what the editor remembers for the next edit; tensors that are never written to."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027  (most remember nothing)
        """Remember that instead."""

    # what is the same for all

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The hyper-parameters that were given."""
        return self._overrides

    def changed_modules(self, adapter: ModelAdapter, params: Any) -> Sequence[Any]:
        """Return the projections whose matrices change: those of `layers`, or of `layer`.

        Raises:
            ModelNotEditable: if the model has no such layers.
        """
        layers = params.layers if hasattr(params, "layers") else (params.layer,)
        adapter.check_layers(layers)
        return [adapter.projections[layer] for layer in layers]

    def params_for(self, shape: Shape | None) -> Any:
        """Return the hyper-parameters for a model, or without one, those that always hold.

        Raises:
            InvalidInput: if one given does not exist or cannot be.
        """
        values = dict(self.defaults(shape)) if shape is not None else {}
        try:
            return self.Params(**(values | self._overrides))
        except ValidationError as error:
            known = ", ".join(sorted(self.Params.model_fields))
            raise InvalidInput(f"{self.name}: {explain(error)} (it has: {known})") from error

    def apply(self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]) -> AppliedEdit:
        """Put edits into a model's weights.

        Args:
            model: a causal language model of the transformers library, whole on one device.
            tokenizer: its fast tokenizer.
            requests: what it should say.

        Returns:
            The edit, with its report; `restore()` or the end of a `with` block undoes it.

        Raises:
            InvalidInput: if the requests or hyper-parameters cannot be used.
            ModelNotEditable: if the model cannot.
            EditFailed: if an edit came out unusable.
            EditOrder: if this editor has edited another model before.

        After an error the model is as it was.
        """
        adapter = self._begin(model)
        requests = check_requests(tokenizer, requests, adapter.max_length)
        return self._apply(adapter, tokenizer, requests, self._edit)

    def each(
        self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]
    ) -> Iterator[AppliedEdit]:
        """Put each edit alone into the unedited model, one after the other, undoing it in between.

        What can be computed for all of them together is. For evaluations of single edits.
        """
        for request in requests:
            with self.apply(model, tokenizer, [request]) as edit:
                yield edit

    def watch(self, observe: Observer | None) -> None:
        """Call another observer from now on."""
        self._observe = observe

    def resume(self, saved: SavedEdit) -> None:
        """Go on after an edit that was saved and has been put on the model again.

        Raises:
            InvalidInput: if another method made it.
        """
        if saved.report.method != self.name:
            raise InvalidInput(
                f"the saved edit is by {saved.report.method}, not {self.name}: go on with that"
            )
        if saved.report.contexts:
            self.templates = saved.report.contexts
        self._origin = saved.report.origin_hash
        self._masters.update(saved.weights)  # of 16-bit parameters; the others are dropped
        self.load_state(saved.state)

    def _begin(self, model: Any) -> ModelAdapter:
        if self._model is not None and self._model() is not model:
            raise EditOrder(
                "this editor has edited another model, and what it remembers is about that one: "
                "make a new editor for each model"
            )
        if self._adapter is None:
            self._adapter = ModelAdapter(model)
            self._model = weakref.ref(model)
        return self._adapter

    def _apply(
        self,
        adapter: ModelAdapter,
        tokenizer: Any,
        requests: Sequence[EditRequest],
        edit: Callable[[Work], list[RequestReport]],
    ) -> AppliedEdit:
        model = adapter.model
        before, origin = self.state(), self._origin
        change = WeightChange(model, self._masters)
        work = Work(
            adapter, tokenizer, requests, change, self.params_for(adapter.shape), self._observe
        )
        with work.timed("fingerprint"):
            model_hash = fingerprint(model, self._digests)
        self._origin = self._origin or model_hash
        try:
            with torch.enable_grad(), evaluating(model), work.timed("total"):
                self._prepare(work, model_hash)
                shown = self._before(work, model_hash)
                reports = edit(work)
                canary = self._compare(work, shown)
            report = self._report(work, model_hash, reports, canary)
            return self._piled(change, report, before)
        except BaseException:
            change.undo()
            self.load_state(before)
            self._origin = origin
            raise

    def _piled(
        self, change: WeightChange, report: EditReport, before: Mapping[str, Tensor]
    ) -> AppliedEdit:
        """Return an edit that can be undone when it is this editor's last."""
        token = object()

        def check() -> None:
            # weights alone do not tell: an edit may be too small to change a bit of them
            if self._pile[-1] is not token:
                raise EditOrder("this editor has made another edit since: undo that first")

        def undone() -> None:
            self._pile.pop()
            self.load_state(before)

        edit = AppliedEdit(change, report, state=self.state(), check=check, on_restore=undone)
        self._pile.append(token)
        return edit

    def _prepare(self, work: Work, model_hash: str) -> None:
        """Collect what the method needs of the unedited model, once."""
        if self.needs_templates and self.templates is None:
            with work.timed("contexts"):
                self.templates = sample_templates(
                    work.adapter, work.tokenizer, lengths=work.params.contexts, seed=self.seed
                )
        if self.needs_templates:
            check_room(work.tokenizer, work.requests, self.templates or (), work.adapter.max_length)
        layers = self.moment_layers(work.params)
        if layers:
            work.adapter.check_layers(layers)
        if not layers or (
            self.moments is not None and all(layer in self.moments.means for layer in layers)
        ):
            return
        if not self.corpus:
            raise InvalidInput(
                f"{self.name} needs second moments of layers {list(layers)}: give `corpus`, texts "
                "in the manner of what the model was trained on, or `moments` collected before"
            )
        if model_hash != self._origin:
            raise InvalidInput(
                f"{self.name} needs second moments of the unedited model, and this one is edited: "
                "give `moments`, such as those of the editor that began the sequence"
            )
        with work.timed("second moments"):
            self.moments = collect_moments(
                work.adapter,
                work.tokenizer,
                self.corpus,
                layers,
                model_hash=model_hash,
                cache=self.cache,
                observe=work.progress("second moments"),
            )

    @property
    def known_moments(self) -> Moments:
        """The second moments; there are some once an edit has begun.

        Raises:
            InvalidInput: before.
        """
        if self.moments is None:
            raise InvalidInput(f"{self.name} has no second moments yet: give `corpus`")
        return self.moments

    def moment_layers(self, params: Any) -> Sequence[int]:
        """Return the layers whose second moments are needed."""
        return ()

    def _canary_scores(self, work: Work) -> Tensor | None:
        """Return the `(tokens, vocabulary)` log-probabilities on the held-out texts."""
        if not self._canary:
            return None
        encoded = work.tokenizer(
            self._canary[:_CANARY_TEXTS], truncation=True, max_length=_CANARY_TOKENS
        )["input_ids"]
        padded = pad([row for row in encoded if len(row) > 1], work.adapter.device)
        rows, places = padded.mask[:, 1:].nonzero(as_tuple=True)  # where a next token is known
        with torch.no_grad(), head_at(work.adapter, rows, places):
            logits = work.adapter.model(
                input_ids=padded.ids,
                attention_mask=padded.mask,
                position_ids=padded.positions,
                use_cache=False,
            ).logits[0]
        scores: Tensor = logits.float().log_softmax(-1)
        return scores

    def _before(self, work: Work, model_hash: str) -> Tensor | None:
        """Return the same on the model as it is; the last is kept, since edits get undone."""
        if self._shown is None or self._shown[0] != model_hash:
            self._shown = (model_hash, self._canary_scores(work))
        return self._shown[1]

    def _compare(self, work: Work, before: Tensor | None) -> Canary | None:
        after = self._canary_scores(work)
        if before is None or after is None:
            return None
        kl = (before.exp() * (before - after)).sum(-1)
        return Canary(kl=float(kl.mean()), tokens=len(kl))

    def _report(
        self, work: Work, model_hash: str, requests: Sequence[RequestReport], canary: Canary | None
    ) -> EditReport:
        changed = norms(work.adapter.model, work.change)
        report = EditReport(
            method=self.name,
            model_hash=model_hash,
            origin_hash=self._origin or model_hash,
            params=work.params.model_dump(),
            seed=self.seed,
            requests=tuple(requests),
            contexts=self.templates or (),
            changed=changed,
            measures=work.measures,
            seconds=work.seconds,
            peak_bytes=_peak_bytes(work.adapter.device),
            canary=canary,
            versions={
                "python": sys.version.split()[0],
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        )
        warnings = list(work.warnings)
        missed = [r.id for r in requests if r.nll is not None and r.nll > MISSED]
        if missed:
            shown = ", ".join(missed[:5]) + (" …" if len(missed) > 5 else "")
            warnings.append(
                f"{len(missed)} targets stay improbable (requests {shown}): more `steps`, a "
                "greater `rate` or `clamp`, or other layers may reach them"
            )
        if canary is not None and canary.kl > CANARY_KL:
            warnings.append(
                f"the model is being damaged: on held-out text its predictions moved by "
                f"{canary.kl:.2f} nats a token (KL)"
            )
        if report.growth > GROWTH:
            warnings.append(
                f"a weight matrix changed by {report.growth:.0%} of its norm: expect damage"
            )
        return report.model_copy(update={"warnings": tuple(warnings)})


def _peak_bytes(device: Any) -> int:
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
