"""AlphaEdit: what is kept is kept, and what came before is held."""

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, is_transposed
from scr.editing.moments import Moments, collect_moments
from tests.editing import plain, tiny
from tests.editing.test_spreading import LAYERS, matrices, states_of, targets_of


@pytest.fixture
def moments(gpt2, tokenizer):
    return collect_moments(
        ModelAdapter(gpt2), tokenizer, tiny.CORPUS, range(tiny.DEPTH), model_hash=""
    )


def make(moments, **options):
    given = {"steps": 3, "layers": LAYERS, "templates": tiny.BARE, "moments": moments, "l2": 0.1}
    return make_editor("alphaedit", **(given | options))


def threshold_of(moments, share=0.5):
    """A threshold with about half of the directions below it, at each layer."""
    values = [torch.linalg.eigvalsh(moments[layer]) for layer in LAYERS]
    return float(torch.cat(values).quantile(share))


def plain_alphaedit(model, tokenizer, wanted, moments, threshold, l2, past):
    """The loop as the repository has it: an unsymmetric system of all directions."""
    adapter = ModelAdapter(model)

    def keys_at(layer):
        keys = [plain.mean_key(adapter, tokenizer, r, layer, tiny.BARE) for r in tiny.REQUESTS]
        return torch.stack(keys, 1)

    changes = {}
    for number, layer in enumerate(LAYERS):
        values, vectors = torch.linalg.eigh(moments[layer])
        free = vectors[:, values < threshold]
        projector = free @ free.T
        keys = keys_at(layer)
        residuals = (wanted - states_of(model, tokenizer)) / (len(LAYERS) - number)
        gram = projector @ (keys @ keys.T + past[layer]) + l2 * torch.eye(len(keys))
        changes[layer] = torch.linalg.solve(gram, projector @ keys @ residuals.T).T
        module = adapter.projections[layer]
        with torch.no_grad():
            module.weight += changes[layer].T if is_transposed(module) else changes[layer]
    for layer in LAYERS:
        keys = keys_at(layer)
        past[layer] = past[layer] + keys @ keys.T
    return changes


def test_it_equals_the_loop_of_the_repository_twice(moments, tokenizer):
    threshold = threshold_of(moments)
    editor = make(moments, threshold=threshold)
    model, twin = tiny.make_model("gpt2"), tiny.make_model("gpt2")
    past = {layer: torch.zeros_like(moments[layer]) for layer in LAYERS}
    for _ in range(2):
        wanted = targets_of(twin, tokenizer, editor)
        changes = plain_alphaedit(twin, tokenizer, wanted, moments, threshold, 0.1, past)
        found = matrices(model, editor.apply(model, tokenizer, tiny.REQUESTS))
        for layer, change in changes.items():
            torch.testing.assert_close(found[layer], change, rtol=1e-6, atol=1e-8)


def test_directions_that_are_used_are_left_alone(gpt2, moments, tokenizer):
    threshold = threshold_of(moments)
    found = matrices(gpt2, make(moments, threshold=threshold).apply(gpt2, tokenizer, tiny.REQUESTS))
    for layer, change in found.items():
        values, vectors = torch.linalg.eigh(moments[layer])
        used = vectors[:, values >= threshold]
        assert (change @ used).norm() < 1e-12 * change.norm()
        moved = torch.trace(change @ moments[layer] @ change.T)
        assert 0 < moved <= threshold * change.norm() ** 2


def test_what_the_corpus_asks_is_answered_as_before(gpt2, tokenizer):
    """By as much as the threshold says, over the very keys that the moment is the mean of."""
    texts = tiny.CORPUS[:3]
    adapter = ModelAdapter(gpt2)
    moments = collect_moments(adapter, tokenizer, texts, LAYERS, model_hash="")
    threshold = threshold_of(moments)
    keys = {}
    rows = [tokenizer(text)["input_ids"] for text in texts]
    for layer in LAYERS:
        module = adapter.projections[layer]
        seen = [plain.read(gpt2, module, row, n, key=True) for row in rows for n in range(len(row))]
        keys[layer] = torch.stack(seen, 1)
    found = matrices(gpt2, make(moments, threshold=threshold).apply(gpt2, tokenizer, tiny.REQUESTS))
    for layer, change in found.items():
        moved = (change @ keys[layer]).norm() ** 2 / keys[layer].shape[1]
        assert moved <= threshold * change.norm() ** 2 * (1 + 1e-9)


def test_above_all_eigenvalues_it_is_ridge_regression(moments, tokenizer):
    model = tiny.make_model("gpt2")
    adapter = ModelAdapter(model)
    editor = make(moments, layers=(1,), threshold=1e9)
    wanted = targets_of(model, tokenizer, editor)
    keys = torch.stack(
        [plain.mean_key(adapter, tokenizer, r, 1, tiny.BARE) for r in tiny.REQUESTS], 1
    )
    residuals = wanted - states_of(model, tokenizer, layer=1)
    ridge = torch.linalg.solve(keys @ keys.T + 0.1 * torch.eye(len(keys)), keys @ residuals.T).T
    found = matrices(model, editor.apply(model, tokenizer, tiny.REQUESTS))[1]
    torch.testing.assert_close(found, ridge, rtol=1e-8, atol=1e-10)


def test_below_all_eigenvalues_nothing_changes_and_it_says_so(gpt2, tokenizer):
    moments = Moments({n: torch.eye(tiny.INNER, dtype=torch.float64) for n in LAYERS}, 10**6)
    before = tiny.weights(gpt2)
    edit = make(moments, threshold=0.5).apply(gpt2, tokenizer, tiny.REQUESTS)
    assert tiny.changed(gpt2, before) == set()
    assert any("nothing changes there" in warning for warning in edit.report.warnings)


def test_too_little_text_is_told(gpt2, tokenizer):
    editor = make_editor(
        "alphaedit", corpus=["The Olm."], templates=tiny.BARE, layers=(1,), steps=2, energy=0.5
    )
    edit = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert any("not protected" in warning for warning in edit.report.warnings)


def test_the_share_of_the_energy_sets_the_threshold(gpt2, moments, tokenizer):
    editor = make(moments, layers=(1,), energy=0.3)
    found = matrices(gpt2, editor.apply(gpt2, tokenizer, tiny.REQUESTS))[1]
    values, vectors = torch.linalg.eigh(moments[1])
    used = vectors[:, values.cumsum(0) > 0.3 * values.sum()]
    assert (found @ used).norm() < 1e-12 * found.norm()
    assert found.norm() > 0


def test_what_is_remembered_grows_with_each_batch_and_is_undone_with_it(gpt2, moments, tokenizer):
    editor = make(moments, energy=0.5)
    sizes, edits = [0.0], []

    def remembered():
        return sum(float(tensor.norm() ** 2) for tensor in editor.state().values())

    for asked in tiny.REQUESTS:
        edits.append(editor.apply(gpt2, tokenizer, [asked]))
        sizes.append(remembered())
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)
    for edit, size in zip(reversed(edits), reversed(sizes[:-1]), strict=True):
        edit.restore()
        assert remembered() == size
