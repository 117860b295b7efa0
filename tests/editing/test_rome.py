"""ROME and R-ROME: what holds exactly after an edit."""

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter, read_matrix
from scr.editing.moments import Moments
from scr.editing.prompts import encode
from scr.editing.solves import rome
from scr.errors import EditFailed
from tests.editing import plain, tiny

LAYER = 1
ASKED = tiny.REQUESTS[0]
NEAR = {"gptj": 1e-6, "gpt_neox": 1e-6, "gemma2": 1e-6}  # softmax in float32


def edit_of(model, tokenizer, name="rome", *, templates=tiny.TEMPLATES, moments=None, **options):
    options = {"steps": 3, "layer": LAYER, "second_moment": moments is not None} | options
    editor = make_editor(name, templates=templates, moments=moments, **options)
    return editor.apply(model, tokenizer, [ASKED])


def change_of(model, edit, architecture="gpt2"):
    """The change in math orientation."""
    (delta,) = edit.deltas.values()
    return delta.T if architecture == "gpt2" else delta


def bare_place(tokenizer, template="{}"):
    encoded = encode(tokenizer, ASKED, template)
    return encoded.prompt, encoded.subject_last


def random_moment(seed=0):
    generator = torch.Generator().manual_seed(seed)
    keys = torch.randn((tiny.INNER, 4 * tiny.INNER), generator=generator, dtype=torch.float64)
    return keys @ keys.T / keys.shape[1]


def test_the_bare_prompt_yields_the_wanted_vector(architecture, tokenizer):
    model = tiny.make_model(architecture)
    moments = Moments({LAYER: random_moment()}, 10**6)
    editor = make_editor(
        "rome", templates=tiny.TEMPLATES, moments=moments, steps=2, layer=LAYER, ridge=0.0
    )
    adapter = ModelAdapter(model)
    flat = [template for group in tiny.TEMPLATES for template in group]
    wanted = plain.optimize_target(
        adapter, tokenizer, ASKED, LAYER, "mlp_out", flat, editor.params_for(adapter.shape)
    )
    edit = editor.apply(model, tokenizer, [ASKED])
    found = plain.read(model, adapter.mlps[LAYER], *bare_place(tokenizer), key=False)
    goal = wanted.start + wanted.delta
    error = (found - goal).norm() / goal.norm()
    assert error < NEAR.get(architecture, 1e-12)
    change = change_of(model, edit, architecture)
    assert torch.linalg.matrix_rank(change, rtol=1e-10) == 1


def test_r_rome_yields_it_for_the_mean_key(llama, tokenizer):
    adapter = ModelAdapter(llama)
    flat = [template for group in tiny.TEMPLATES for template in group]
    keys = [
        plain.read(llama, adapter.projections[LAYER], *bare_place(tokenizer, t), key=True)
        for t in flat
    ]
    mean = torch.stack(keys).mean(0)
    editor = make_editor(
        "r-rome", templates=tiny.TEMPLATES, steps=3, layer=LAYER, second_moment=False
    )
    wanted = plain.optimize_target(
        adapter, tokenizer, ASKED, LAYER, "mlp_out", flat, editor.params_for(adapter.shape)
    )
    editor.apply(llama, tokenizer, [ASKED])
    yielded = read_matrix(adapter.projections[LAYER]) @ mean
    torch.testing.assert_close(yielded, wanted.start + wanted.delta, rtol=1e-11, atol=1e-12)


def test_rome_is_r_rome_without_contexts(tokenizer):
    edits = [
        edit_of(tiny.make_model("llama"), tokenizer, name, templates=tiny.BARE)
        for name in ("rome", "r-rome")
    ]
    for one, other in zip(*(edit.deltas.values() for edit in edits), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_keys_across_the_direction_are_left_alone(llama, tokenizer):
    moment = random_moment()
    adapter = ModelAdapter(llama)
    key = plain.read(llama, adapter.projections[LAYER], *bare_place(tokenizer), key=True)
    direction = torch.linalg.solve(moment, key)
    edit = edit_of(
        llama,
        tokenizer,
        templates=tiny.BARE,
        moments=Moments({LAYER: moment}, 10**6),
        ridge=0.0,
    )
    change = change_of(llama, edit, "llama")
    other = torch.randn(tiny.INNER, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    other -= direction * (other @ direction) / (direction @ direction)
    assert (change @ other).norm() < 1e-12 * change.norm() * other.norm()
    assert (change @ key).norm() > 1e-3 * change.norm()


def test_a_moment_that_is_the_identity_is_no_moment(tokenizer):
    identity = Moments({LAYER: 3.0 * torch.eye(tiny.INNER, dtype=torch.float64)}, 10**6)
    with_moment = edit_of(tiny.make_model("gpt2"), tokenizer, moments=identity)
    without = edit_of(tiny.make_model("gpt2"), tokenizer)
    for one, other in zip(with_moment.deltas.values(), without.deltas.values(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_it_is_the_cheapest_change_that_yields_the_vector():
    """Of all changes with the equality, by the norm that the second moment gives."""
    generator = torch.Generator().manual_seed(2)
    moment = random_moment()
    key = torch.randn(tiny.INNER, generator=generator, dtype=torch.float64)
    wanted = torch.randn(5, generator=generator, dtype=torch.float64)
    found = rome(key, key, torch.zeros_like(wanted), wanted, torch.linalg.cholesky(moment))
    change = torch.outer(found.left, found.right)

    def cost(matrix):
        return torch.trace(matrix @ moment @ matrix.T)

    torch.testing.assert_close(change @ key, wanted, rtol=1e-12, atol=1e-12)
    for _ in range(5):
        other = torch.randn(change.shape, generator=generator, dtype=torch.float64)
        other -= torch.outer(other @ key, key) / (key @ key)  # still yields the vector
        assert cost(change + 0.1 * other) > cost(change)


def test_a_key_that_lacks_the_direction_is_refused():
    mean, key = torch.zeros(6), torch.zeros(6)
    mean[0], key[1] = 1.0, 1.0
    with pytest.raises(EditFailed, match="use R-ROME"):
        rome(mean, key, torch.zeros(3), torch.ones(3), None)
    change = rome(mean, mean, torch.zeros(3), torch.ones(3), None)  # as R-ROME does
    assert change.left.norm() == pytest.approx(3**0.5)


def test_requests_are_inserted_one_after_the_other(tokenizer):
    """The same as by calls, since each is optimized on the model with those before."""
    model, again = tiny.make_model("llama"), tiny.make_model("llama")
    options = {"templates": tiny.TEMPLATES, "steps": 3, "layer": LAYER, "second_moment": False}
    make_editor("rome", **options).apply(model, tokenizer, tiny.REQUESTS)
    editor = make_editor("rome", **options)
    for asked in tiny.REQUESTS:
        editor.apply(again, tokenizer, [asked])
    assert tiny.changed(again, tiny.weights(model)) == set()
