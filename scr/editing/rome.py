"""ROME and R-ROME: one fact as a rank-one change of one layer's value matrix.

Sources: Meng et al. 2022, "Locating and Editing Factual Associations in GPT", arXiv:2202.05262;
Gupta et al. 2024, "Rebuilding ROME", arXiv:2403.07175 (R-ROME).
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar

import torch
from pydantic import Field

from scr.editing import presets, solves
from scr.editing.adapter import Shape
from scr.editing.contexts import LONG_LENGTHS
from scr.editing.editor import WeightEditor, Work
from scr.editing.passes import PlaceReader
from scr.editing.prompts import check_requests, encode
from scr.editing.report import RequestReport
from scr.editing.targets import TargetParams, Targets, optimize_targets
from scr.editing.weights import AppliedEdit
from scr.edits import EditRequest


class RomeParams(TargetParams):
    """ROME's hyper-parameters."""

    layer: int = Field(default=0, ge=0)
    """Whose value matrix changes."""

    contexts: tuple[int, ...] = LONG_LENGTHS
    """Tokens of the texts sampled as contexts, a text of each for each of five beginnings."""

    second_moment: bool = True
    """Whether the direction is that of the key under the second moment of keys."""

    ridge: float = Field(default=1e-4, ge=0)
    """Added to the second moment's diagonal, as a share of its mean."""


class Rome(WeightEditor):
    """Rank-One Model Editing: requests one at a time, each in one matrix."""

    name = "rome"
    summary = "one fact as a rank-one change of one matrix"
    Params = RomeParams
    needs_templates = True
    _one_key: ClassVar[bool] = False
    """Whether the mean key stands for the bare prompt's too: R-ROME."""

    @classmethod
    def defaults(cls, shape: Shape) -> Mapping[str, Any]:
        """Return the layer and the optimizer's settings for a model."""
        return presets.rome(shape)

    def moment_layers(self, params: RomeParams) -> Sequence[int]:
        """Return the edited layer, if its moment is used."""
        return (params.layer,) if params.second_moment else ()

    def _edit(self, work: Work) -> list[RequestReport]:
        reports = []
        for number, request in enumerate(work.requests):
            targets = self._targets(work, [request])
            self._insert(work, request, targets, 0)
            reports += reports_of([request], targets)
            work.progress("edits")(number + 1, len(work.requests))
        return reports

    def each(
        self, model: Any, tokenizer: Any, requests: Sequence[EditRequest]
    ) -> Iterator[AppliedEdit]:
        """Edit each request alone; target vectors are optimized together. See `WeightEditor`."""
        return each_alone(self, model, tokenizer, requests, self._insert_alone)

    def _insert_alone(self, work: Work, targets: Targets, number: int) -> list[RequestReport]:
        self._insert(work, work.requests[0], targets, number)
        return reports_of(work.requests, targets, number)

    def _targets(self, work: Work, requests: Sequence[EditRequest]) -> Targets:
        work.adapter.check_layers([work.params.layer])
        with work.timed("targets"):
            return optimize_targets(
                work.adapter,
                work.tokenizer,
                requests,
                layer=work.params.layer,
                site="mlp_out",
                templates=flat(self.templates or ()),
                params=work.params,
                observe=work.progress("targets"),
            )

    def _insert(self, work: Work, request: EditRequest, targets: Targets, number: int) -> None:
        params, adapter = work.params, work.adapter
        with work.timed("keys"):
            encoded = [encode(work.tokenizer, request, t) for t in flat(self.templates or ())]
            places = [e.subject_last for e in encoded]
            reader = PlaceReader(adapter, [e.prompt for e in encoded], places)
            keys = reader.read("key", params.layer).double()
            outputs = reader.read("mlp_out", params.layer).double()
        with work.timed("solve"):
            factor = None
            if params.second_moment:
                factor = self.known_moments.factor(params.layer, params.ridge).to(keys.device)
            mean = keys.mean(0)
            own, out = (mean, outputs.mean(0)) if self._one_key else (keys[0], outputs[0])
            change = solves.rome(mean, own, out, targets.wanted[number], factor)
        projection = adapter.projections[params.layer]
        work.change.add(
            adapter.weight_name(projection), projection, torch.outer(change.left, change.right)
        )


class RRome(Rome):
    """ROME with one mean key for the direction and the division, so that it does not blow up."""

    name = "r-rome"
    summary = "ROME with one key for direction and division: does not blow up"
    _one_key = True


def each_alone(
    editor: WeightEditor,
    model: Any,
    tokenizer: Any,
    requests: Sequence[EditRequest],
    insert: Any,
) -> Iterator[AppliedEdit]:
    """Optimize the target vectors of all requests on the unedited model, then insert each alone.

    Args:
        editor: with a method `_targets(work, requests)`.
        model: what is edited.
        tokenizer: its tokenizer.
        requests: what to insert.
        insert: called with a `Work` of one request, the targets, and its number among them.
    """
    adapter = editor._begin(model)
    # each stands alone, so that some may repeat or contradict others
    kept = [r for one in requests for r in check_requests(tokenizer, [one], adapter.max_length)]
    targets: list[Targets] = []

    def first(work: Work) -> list[RequestReport]:
        targets.append(editor._targets(work, kept))  # type: ignore[attr-defined]
        return []

    editor._apply(adapter, tokenizer, kept, first).restore()
    for number, request in enumerate(kept):

        def alone(work: Work, number: int = number) -> list[RequestReport]:
            return insert(work, targets[0], number)  # type: ignore[no-any-return]

        with editor._apply(adapter, tokenizer, [request], alone) as edit:
            yield edit


def flat(templates: Sequence[Sequence[str]]) -> list[str]:
    """Return templates without their groups."""
    return [template for group in templates for template in group]


def reports_of(
    requests: Sequence[EditRequest], targets: Targets, first: int = 0
) -> list[RequestReport]:
    """Return what became of requests whose targets begin at a number."""
    return [
        RequestReport(
            id=request.id,
            prompt=request.prompt,
            target=request.target,
            loss=targets.losses[number],
            nll=targets.nlls[number],
            steps=targets.steps[number],
        )
        for number, request in enumerate(requests, first)
    ]
