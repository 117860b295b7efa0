"""MEMIT and EMMET: what holds of edits that are spread over layers."""

from itertools import pairwise

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, is_transposed
from scr.editing.moments import Moments
from scr.editing.prompts import encode
from scr.errors import ModelNotEditable
from tests.editing import plain, tiny

LAYERS = (0, 1, 2)
BARE = {"templates": tiny.BARE}
SPREADING = [name for name in tiny.ARCHITECTURES if name not in tiny.SANDWICHED]
ROUNDED = ("gptj", "gpt_neox")  # softmax in float32
NEARLY_ZERO = 1e-9  # as lambda


def random_moments(layers=LAYERS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    means = {}
    for layer in layers:
        shape = (tiny.INNER, 4 * tiny.INNER)
        keys = torch.randn(shape, generator=generator, dtype=torch.float64)
        means[layer] = keys @ keys.T / shape[1]
    return Moments(means, 10**6)


def make(name="memit", **options):
    given = {"steps": 2, "layers": LAYERS, "ridge": 0.0, "moments": random_moments()}
    return make_editor(name, **(given | BARE | options))


def matrices(model, edit):
    """Changes by layer, in math orientation."""
    adapter = ModelAdapter(model)
    found = {}
    for layer, module in enumerate(adapter.projections):
        delta = edit.deltas.get(adapter.weight_name(module))
        if delta is not None:
            found[layer] = delta.T if is_transposed(module) else delta
    return found


def targets_of(model, tokenizer, editor, requests=tiny.REQUESTS, *, templates=tiny.BARE):
    """The vectors that are wanted at the last layer, by the plain loop."""
    adapter = ModelAdapter(model)
    params = editor.params_for(adapter.shape)
    flat = [template for group in templates for template in group]
    layer = params.layers[-1]
    found = [
        plain.optimize_target(adapter, tokenizer, one, layer, "layer_out", flat, params)
        for one in requests
    ]
    return torch.stack([one.start + one.delta for one in found], 1)  # (d, n)


def states_of(model, tokenizer, requests=tiny.REQUESTS, layer=LAYERS[-1]):
    adapter = ModelAdapter(model)
    columns = []
    for one in requests:
        encoded = encode(tokenizer, one)
        module = adapter.layers[layer]
        columns.append(plain.read(model, module, encoded.prompt, encoded.subject_last, key=False))
    return torch.stack(columns, 1)


def plain_memit(model, tokenizer, wanted, moments, weight, templates, past=None):
    """MEMIT's loop over layers as it is written, by a direct solution."""
    adapter = ModelAdapter(model)
    changes = {}
    for number, layer in enumerate(LAYERS):
        keys = torch.stack(
            [plain.mean_key(adapter, tokenizer, r, layer, templates) for r in tiny.REQUESTS], 1
        )
        residuals = (wanted - states_of(model, tokenizer)) / (len(LAYERS) - number)
        gram = weight * moments[layer] + keys @ keys.T
        if past is not None:
            gram = gram + past[layer]
        changes[layer] = torch.linalg.solve(gram, keys @ residuals.T).T
        module = adapter.projections[layer]
        with torch.no_grad():
            module.weight += changes[layer].T if is_transposed(module) else changes[layer]
    return changes


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_it_equals_the_loop_as_written(architecture, tokenizer):
    editor = make(templates=tiny.TEMPLATES, moment_weight=3.0)
    twin = tiny.make_model(architecture)
    wanted = targets_of(twin, tokenizer, editor, templates=tiny.TEMPLATES)
    changes = plain_memit(twin, tokenizer, wanted, random_moments(), 3.0, tiny.TEMPLATES)
    model = tiny.make_model(architecture)
    edit = editor.apply(model, tokenizer, tiny.REQUESTS)
    found = matrices(model, edit)
    assert found.keys() == changes.keys()
    for layer, change in changes.items():
        torch.testing.assert_close(found[layer], change, rtol=1e-8, atol=1e-10)
        assert torch.linalg.matrix_rank(found[layer], rtol=1e-9) <= len(tiny.REQUESTS)


@pytest.mark.parametrize("architecture", SPREADING)
@pytest.mark.parametrize("name", ["memit", "emmet"])
def test_the_residual_is_reached_when_nothing_holds_against_it(name, architecture, tokenizer):
    """As lambda goes to 0, and for EMMET always."""
    model = tiny.make_model(architecture)
    options = {"inner_ridge": 0.0} if name == "emmet" else {"moment_weight": NEARLY_ZERO}
    editor = make(name, **options)
    wanted = targets_of(model, tokenizer, editor)
    before = states_of(model, tokenizer)
    editor.apply(model, tokenizer, tiny.REQUESTS)
    missing = (wanted - states_of(model, tokenizer)).norm() / (wanted - before).norm()
    assert missing < (1e-4 if architecture in ROUNDED else 1e-7)


@pytest.mark.parametrize("architecture", ["gpt2", "gptj", "llama"])
def test_each_layer_takes_its_share(architecture, tokenizer):
    """What is missing shrinks by (S - s) / (S - s + 1) at layer s of S."""
    # of small weights, so that the layers above hardly answer to a change in their own way
    model = tiny.make_model(architecture, initializer_range=0.01)
    editor = make(moment_weight=1e-15)
    wanted = targets_of(model, tokenizer, editor)
    with editor.apply(model, tokenizer, tiny.REQUESTS) as edit:
        changes = {name: delta.clone() for name, delta in edit.deltas.items()}
    adapter = ModelAdapter(model)
    missing = [(wanted - states_of(model, tokenizer)).norm()]
    for layer in LAYERS:
        name = adapter.weight_name(adapter.projections[layer])
        with torch.no_grad():
            model.get_parameter(name).add_(changes[name])
        missing.append((wanted - states_of(model, tokenizer)).norm())
    shares = [float(new / old) for old, new in pairwise(missing)]
    assert shares == pytest.approx([2 / 3, 1 / 2, 0], abs=0.06)


def test_a_greater_weight_of_the_moment_changes_less(tokenizer):
    sizes = []
    for weight in (0.01, 1.0, 100.0, 1e4, 1e12):
        model = tiny.make_model("llama")
        edit = make(layers=(1,), moment_weight=weight, moments=random_moments((1,))).apply(
            model, tokenizer, tiny.REQUESTS
        )
        sizes.append(sum(float(delta.norm()) for delta in edit.deltas.values()))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 1e-9 * sizes[0]


def test_the_order_of_requests_makes_no_difference(tokenizer):
    changes = []
    for asked in (tiny.REQUESTS, tiny.REQUESTS[::-1]):
        model = tiny.make_model("llama")
        changes.append(matrices(model, make(moment_weight=3.0).apply(model, tokenizer, asked)))
    for layer, change in changes[0].items():
        torch.testing.assert_close(changes[1][layer], change, rtol=1e-8, atol=1e-11)


def test_one_request_goes_in_romes_direction(tokenizer):
    """Whatever lambda is: along C^-1 k."""
    moments = random_moments((1,))
    for weight in (0.1, 1e4):
        model = tiny.make_model("llama")
        adapter = ModelAdapter(model)
        encoded = encode(tokenizer, tiny.REQUESTS[0])
        place = (encoded.prompt, encoded.subject_last)
        key = plain.read(model, adapter.projections[1], *place, key=True)
        direction = torch.linalg.solve(moments[1], key)
        edit = make(layers=(1,), moments=moments, moment_weight=weight).apply(
            model, tokenizer, tiny.REQUESTS[:1]
        )
        (change,) = edit.deltas.values()
        left = change @ direction / (direction @ direction)
        torch.testing.assert_close(change, torch.outer(left, direction), rtol=1e-9, atol=1e-12)


def test_memit_seq_begins_as_memit_and_holds_what_came_before(tokenizer):
    moments = random_moments()
    first, both = tiny.make_model("llama"), tiny.make_model("llama")
    edit = make("memit", moment_weight=3.0).apply(first, tokenizer, tiny.REQUESTS)
    editor = make("memit-seq", moment_weight=3.0)
    same = editor.apply(both, tokenizer, tiny.REQUESTS)
    for name, delta in edit.deltas.items():
        torch.testing.assert_close(same.deltas[name], delta, rtol=1e-12, atol=1e-14)

    adapter = ModelAdapter(both)
    past = {}
    for layer in LAYERS:
        keys = torch.stack(
            [plain.mean_key(adapter, tokenizer, r, layer, tiny.BARE) for r in tiny.REQUESTS], 1
        )
        past[layer] = keys @ keys.T
    twin = tiny.make_model("llama")
    twin.load_state_dict(both.state_dict())
    wanted = targets_of(twin, tokenizer, editor)
    changes = plain_memit(twin, tokenizer, wanted, moments, 3.0, tiny.BARE, past)
    again = matrices(both, editor.apply(both, tokenizer, tiny.REQUESTS))
    for layer, change in changes.items():
        torch.testing.assert_close(again[layer], change, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("architecture", tiny.SANDWICHED)
@pytest.mark.parametrize("name", ["memit", "memit-seq", "emmet", "alphaedit"])
def test_a_norm_after_the_mlp_is_refused_unless_one_layer_is_edited(name, architecture, tokenizer):
    model = tiny.make_model(architecture)
    before = tiny.weights(model)
    options = {"energy": 0.5} if name == "alphaedit" else {"ridge": 0.0}
    given = {"moments": random_moments(), "steps": 2, **BARE, **options}
    with pytest.raises(ModelNotEditable, match="norm after each MLP"):
        make_editor(name, layers=LAYERS, **given).apply(model, tokenizer, tiny.REQUESTS)
    assert tiny.changed(model, before) == set()
    make_editor(name, layers=(2,), **given).apply(model, tokenizer, tiny.REQUESTS)
    assert len(tiny.changed(model, before)) == 1


@pytest.mark.parametrize("architecture", tiny.SANDWICHED)
def test_a_single_layer_then_puts_out_the_wanted_vectors(architecture, tokenizer):
    model = tiny.make_model(architecture)
    adapter = ModelAdapter(model)
    editor = make("emmet", layers=(2,), inner_ridge=0.0)
    params = editor.params_for(adapter.shape)
    wanted = [
        plain.optimize_target(adapter, tokenizer, one, 2, "mlp_out", ["{}"], params)
        for one in tiny.REQUESTS
    ]
    editor.apply(model, tokenizer, tiny.REQUESTS)
    near = 1e-4 if architecture == "gemma2" else 1e-8
    for one, goal in zip(tiny.REQUESTS, wanted, strict=True):
        encoded = encode(tokenizer, one)
        found = plain.read(model, adapter.mlps[2], encoded.prompt, encoded.subject_last, key=False)
        torch.testing.assert_close(found, goal.start + goal.delta, rtol=near, atol=near)
