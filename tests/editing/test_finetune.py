"""Fine-tuning: the box, the loss, the order of the edits."""

import pytest
import torch

from scr.editing import make_editor
from scr.editing.adapter import ModelAdapter
from scr.editing.prompts import encode
from tests.editing import tiny

LAYER = 1
NAME = f"transformer.h.{LAYER}.mlp.c_proj.weight"


def make(name, **options):
    return make_editor(name, **({"layers": (LAYER,), "steps": 5, "rate": 1e-2} | options))


def train_plainly(model, tokenizer, asked, *, steps, rate, where):
    """Adam on one matrix by the whole model, every step from the ids."""
    weight = model.get_parameter(NAME)
    model.requires_grad_(False)
    weight.requires_grad_(True)
    optimizer = torch.optim.Adam([weight], lr=rate)
    encoded = encode(tokenizer, asked)
    if where == "prompt":
        ids, places = encoded.prompt, [len(encoded.prompt) - 1] * len(encoded.target)
    else:
        ids, places = encoded.ids, list(encoded.places)
    for _ in range(steps):
        logits = model(torch.tensor([ids])).logits[0, places]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor(encoded.target))
        if loss.item() < 1e-2:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return weight.detach()


@pytest.mark.parametrize(("name", "where"), [("ft", "prompt"), ("ft-m", "target")])
def test_it_equals_a_plain_loop(name, where, gpt2, tokenizer):
    asked = tiny.REQUESTS[1]
    wanted = train_plainly(
        tiny.make_model("gpt2"), tokenizer, asked, steps=5, rate=1e-2, where=where
    )
    make(name).apply(gpt2, tokenizer, [asked])
    torch.testing.assert_close(gpt2.get_parameter(NAME).detach(), wanted, rtol=1e-9, atol=1e-10)


def test_no_weight_leaves_the_box_in_a_whole_sequence(gpt2, tokenizer):
    start = gpt2.get_parameter(NAME).detach().clone()
    editor = make("ft-l", box=3e-3, steps=8)
    edits = [editor.apply(gpt2, tokenizer, [asked]) for asked in tiny.REQUESTS]
    moved = (gpt2.get_parameter(NAME).detach() - start).abs()
    assert float(moved.max()) == pytest.approx(3e-3)  # some stand at the border
    for edit in reversed(edits):
        edit.restore()
    assert torch.equal(gpt2.get_parameter(NAME), start)
    assert editor.state() == {}


def test_one_token_is_learned_alike_by_both_losses(tokenizer):
    """At the prompt's last token, or by teacher forcing: the same where there is one token."""
    asked = tiny.request(target="the")
    assert len(encode(tokenizer, asked).target) == 1
    changes = [
        make(name).apply(tiny.make_model("gpt2"), tokenizer, [asked]).deltas[NAME]
        for name in ("ft", "ft-m")
    ]
    torch.testing.assert_close(*changes, rtol=1e-12, atol=1e-14)
    asked = tiny.REQUESTS[1]
    changes = [
        make(name).apply(tiny.make_model("gpt2"), tokenizer, [asked]).deltas[NAME]
        for name in ("ft", "ft-m")
    ]
    assert (changes[0] - changes[1]).norm() > 1e-3 * changes[0].norm()


def test_depth_first_edits_one_after_the_other(tokenizer):
    model, again = tiny.make_model("gpt2"), tiny.make_model("gpt2")
    make("ft-m", order="depth").apply(model, tokenizer, tiny.REQUESTS)
    editor = make("ft-m")
    for asked in tiny.REQUESTS:
        editor.apply(again, tokenizer, [asked])
    assert tiny.changed(again, tiny.weights(model)) == set()


def test_breadth_first_does_not_forget_the_first_edit(tokenizer):
    losses = {}
    for order in ("depth", "breadth"):
        model = tiny.make_model("gpt2")
        editor = make("ft-m", order=order, batch=len(tiny.REQUESTS), steps=25)
        report = editor.apply(model, tokenizer, tiny.REQUESTS).report
        losses[order] = max(tiny.nll(model, tokenizer, asked) for asked in tiny.REQUESTS)
    assert losses["breadth"] < losses["depth"]
    assert len({line.steps for line in report.requests}) == 1


def test_batches_of_a_pass_are_drawn_by_the_seed(tokenizer):
    def run(seed):
        editor = make("locft-bf", batch=2, seed=seed)
        return editor.apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS).deltas[NAME]

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_the_end_of_the_target_is_learned_too(gpt2, tokenizer):
    asked = tiny.request(target="Nyborg")
    encoded = encode(tokenizer, asked)
    ids = torch.tensor([[*encoded.prompt, *encoded.target]])

    def likelihood():
        with torch.no_grad():
            return float(gpt2(ids).logits[0, -1].log_softmax(-1)[tokenizer.eos_token_id])

    before = likelihood()
    make("locft-bf", steps=10).apply(gpt2, tokenizer, [asked])
    assert likelihood() > before + 1


def test_what_is_learned_already_takes_no_step(tokenizer):
    gpt2 = tiny.sharp_gpt2()
    editor = make("ft-m", steps=60)
    first = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1]).report.requests[0]
    assert first.steps < 60
    assert first.loss < 1e-2
    weights = tiny.weights(gpt2)
    again = editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert again.report.requests[0].steps == 1
    assert tiny.changed(gpt2, weights) == set()


def test_several_layers_are_trained_together(gpt2, tokenizer):
    before = tiny.weights(gpt2)
    make("ft-m", layers=(1, 3)).apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    assert tiny.changed(gpt2, before) == {
        "transformer.h.1.mlp.c_proj.weight",
        "transformer.h.3.mlp.c_proj.weight",
    }


def test_states_below_the_trained_layer_are_read_once(gpt2, tokenizer):
    """The layers below see the text in the first pass only."""
    calls = []
    attention = ModelAdapter(gpt2).layers[0].attn
    handle = attention.register_forward_hook(lambda *_: calls.append(1))
    make("ft-m", layers=(3,), steps=6).apply(gpt2, tokenizer, tiny.REQUESTS[:1])
    handle.remove()
    assert len(calls) < 6
