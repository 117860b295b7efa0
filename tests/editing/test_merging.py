"""Robust fine-tuning, and merging what it or any method changed."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.editing import make_editor
from scr.editing.merging import MergeSettings, merge, merge_edits, pruned
from scr.editing.weights import AppliedEdit
from scr.errors import EditOrder, InvalidInput
from tests.editing import tiny
from tests.editing.making import make


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def edited(tokenizer, requests=tiny.REQUESTS, **options):
    model = tiny.make_model("gpt2")
    given = {"layers": (2,), "rate": 1e-2, "epochs": 2, "steps": 4}
    editor = make_editor("merge", **(given | options))
    return model, editor.apply(model, tokenizer, requests)


def test_a_scale_of_nothing_is_the_model_before_to_the_bit(tokenizer):
    before = tiny.weights(tiny.make_model("gpt2"))
    for options in ({"scale": 0.0}, {"density": 0.0}, {"density": 0.0, "prune": "dare"}):
        model, _ = edited(tokenizer, **options)
        assert tiny.changed(model, before) == set()


def test_the_change_is_proportional_to_the_scale(tokenizer):
    _, whole = edited(tokenizer, scale=1.0)
    for scale in (0.25, 0.5):
        _, part = edited(tokenizer, scale=scale)
        for name, delta in whole.deltas.items():
            torch.testing.assert_close(part.deltas[name], scale * delta)


def test_no_more_entries_change_than_the_density_says(tokenizer):
    _, whole = edited(tokenizer, scale=1.0)
    _, sparse = edited(tokenizer, scale=1.0, density=0.25)
    for name, delta in sparse.deltas.items():
        kept = delta != 0
        assert 0 < int(kept.sum()) <= 0.25 * delta.numel()
        torch.testing.assert_close(delta[kept], whole.deltas[name][kept])
        assert whole.deltas[name][kept].abs().min() >= whole.deltas[name][~kept].abs().max()


def test_what_is_learned_already_takes_no_step(tokenizer):
    before = tiny.weights(tiny.make_model("gpt2"))
    model, edit = edited(tokenizer, enough=1e9)
    assert tiny.changed(model, before) == set()
    assert [line.steps for line in edit.report.requests] == [0, 0, 0]


def test_each_edit_stops_as_soon_as_it_is_learned(tokenizer):
    _, edit = edited(tokenizer, tiny.REQUESTS[:1], rate=3e-2, epochs=5, steps=10, enough=1.5)
    (line,) = edit.report.requests
    assert line.loss < 1.5
    assert 0 < line.steps < 50
    _, longer = edited(tokenizer, tiny.REQUESTS[:1], rate=3e-2, epochs=9, steps=10, enough=1.5)
    assert longer.report.requests[0].steps == line.steps


def test_dare_is_unbiased():
    delta = drawn(6, 5)
    drawings = [pruned(delta, 0.5, "dare", torch.Generator().manual_seed(s)) for s in range(2000)]
    mean = torch.stack(drawings).mean(0)
    torch.testing.assert_close(mean, delta, atol=0.12, rtol=0.12)
    assert {float(x) for x in (drawings[0] / delta).flatten().round(decimals=9)} == {0.0, 2.0}


def test_ties_takes_the_mean_of_those_that_agree_with_the_heavier_sign():
    changes = [
        {"w": torch.tensor([1.0, -1.0, 2.0, 0.0])},
        {"w": torch.tensor([3.0, -1.0, -1.0, 0.0])},
        {"w": torch.tensor([-1.0, 0.0, -3.0, 4.0]), "v": torch.tensor([5.0])},
    ]
    merged = merge(changes, MergeSettings(scale=0.5, combine="ties"))
    assert merged["w"].tolist() == [1.0, -0.5, -1.0, 2.0]
    assert merged["v"].tolist() == [2.5]
    assert merge(changes, MergeSettings(scale=1.0))["w"].tolist() == [3.0, -2.0, -2.0, 4.0]


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.floats(0.05, 1.0), st.sampled_from(["sum", "ties"]))
def test_one_change_merged_alone_is_itself_scaled_and_pruned(seed, density, combine):
    delta = drawn(4, 6, seed=seed)
    how = MergeSettings(scale=0.5, density=density, combine=combine)
    (merged,) = merge([{"w": delta}], how).values()
    torch.testing.assert_close(merged, 0.5 * pruned(delta, density, "magnitude"))


def test_edits_by_several_methods_become_one_and_can_be_undone(tmp_path, tokenizer):
    deltas = {}
    for name, requests in (("memit", tiny.REQUESTS[:1]), ("alphaedit", tiny.REQUESTS[1:])):
        edit = make(name).apply(tiny.make_model("gpt2"), tokenizer, requests)
        edit.save(tmp_path / name)
        deltas[name] = edit.deltas
    saved = [AppliedEdit.load(tmp_path / name) for name in deltas]
    model = tiny.make_model("gpt2")
    before = tiny.weights(model)
    likely = sum(tiny.nll(model, tokenizer, asked) for asked in tiny.REQUESTS)
    merged = merge_edits(model, saved, MergeSettings(scale=1.0))
    assert sum(tiny.nll(model, tokenizer, asked) for asked in tiny.REQUESTS) < likely
    for name, delta in merged.deltas.items():
        torch.testing.assert_close(delta, deltas["memit"][name] + deltas["alphaedit"][name])
    assert merged.report.params["methods"] == ["memit", "alphaedit"]
    merged.restore()
    assert tiny.changed(model, before) == set()


def test_edits_on_top_of_each_other_are_not_merged(tmp_path, tokenizer):
    model = tiny.make_model("gpt2")
    for number, asked in enumerate(tiny.REQUESTS[:2]):
        make("memit").apply(model, tokenizer, [asked]).save(tmp_path / str(number))
    saved = [AppliedEdit.load(tmp_path / str(number)) for number in range(2)]
    with pytest.raises(EditOrder, match="not on top of each other"):
        merge_edits(tiny.make_model("gpt2"), saved, MergeSettings())
    with pytest.raises(InvalidInput, match="nothing to merge"):
        merge_edits(model, [], MergeSettings())
