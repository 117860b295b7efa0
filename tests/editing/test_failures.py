"""Whatever goes wrong, and wherever: model and editor are as they were."""

from contextlib import suppress

import pytest
import torch

from scr.editing.moments import Moments
from scr.editing.registry import EDITORS
from scr.errors import EditFailed, InvalidInput, ScrError
from tests.editing import tiny
from tests.editing.making import make


class Interrupted(Exception):
    """As by a person."""


def snapshot(model):
    return (
        tiny.weights(model),
        tiny.hooks(model),
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad for parameter in model.parameters()],
    )


def assert_as_it_was(model, before):
    assert tiny.changed(model, before[0]) == set()
    assert snapshot(model)[1:] == before[1:]


def assert_same_state(one, other):
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", EDITORS)
def test_an_interruption_at_any_moment_leaves_everything_as_it_was(name, gpt2, tokenizer):
    gpt2.train()
    gpt2.transformer.wpe.weight.requires_grad_(False)
    call, seen = {"at": 0}, []

    def observe(*what):
        seen.append(what)
        if len(seen) == call["at"]:
            raise Interrupted

    calm = make(name, observe=observe, steps=2)
    calm.apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS)
    total = len(seen)
    assert total
    editor = make(name, observe=observe, steps=2)
    editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1])  # something to remember, and an edit below
    before, state = snapshot(gpt2), editor.state()
    for at in sorted({1, 2, total // 2, total} - {0}):
        seen.clear()
        call["at"] = at
        try:
            edit = editor.apply(gpt2, tokenizer, tiny.REQUESTS[1:])
        except Interrupted:
            pass
        else:  # the second time there may be less to tell of
            edit.restore()
        assert_as_it_was(gpt2, before)
        assert_same_state(editor.state(), state)
    call["at"] = 0
    wanted = make(name, steps=2)
    twin = tiny.make_model("gpt2")
    wanted.apply(twin, tokenizer, tiny.REQUESTS[:1])
    first = wanted.apply(twin, tokenizer, tiny.REQUESTS[1:])
    again = editor.apply(gpt2, tokenizer, tiny.REQUESTS[1:])
    for parameter, delta in first.deltas.items():
        assert torch.equal(again.deltas[parameter], delta)


@pytest.mark.parametrize("name", EDITORS)
def test_a_failure_inside_the_model_leaves_no_hook(name, gpt2, tokenizer):
    editor = make(name, steps=2)
    editor.apply(gpt2, tokenizer, tiny.REQUESTS[:1]).restore()
    count = {"left": 0}

    def fail(module, args):
        count["left"] -= 1
        if count["left"] == 0:
            raise Interrupted

    # the top layer runs in whatever needs logits, the third also where states are read
    handle = gpt2.transformer.h[2].register_forward_pre_hook(fail)
    before, state = snapshot(gpt2), editor.state()
    for calls in (1, 2, 4):
        count["left"] = calls
        with suppress(Interrupted):  # where there are fewer calls it ends well
            editor.apply(gpt2, tokenizer, tiny.REQUESTS).restore()
        assert_as_it_was(gpt2, before)
        assert_same_state(editor.state(), state)
    handle.remove()


@pytest.mark.parametrize("name", EDITORS)
def test_a_model_of_nan_is_told(name, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    with torch.no_grad():
        model.transformer.ln_f.weight[0] = float("nan")
    before, hooks = tiny.weights(model), tiny.hooks(model)
    with pytest.raises(EditFailed, match=r"finite|no number"):
        make(name).apply(model, tokenizer, tiny.REQUESTS)
    after = model.state_dict()
    assert all(torch.equal(t.nan_to_num(7), after[n].nan_to_num(7)) for n, t in before.items())
    assert tiny.hooks(model) == hooks


@pytest.mark.parametrize("name", ["rome", "r-rome", "memit", "memit-seq", "emmet"])
def test_a_singular_second_moment_is_told(name, gpt2, tokenizer):
    flat = torch.zeros((tiny.INNER, tiny.INNER), dtype=torch.float64)
    flat[0, 0] = 1.0
    editor = make(name, moments=Moments(dict.fromkeys(range(tiny.DEPTH), flat), 3), ridge=0.0)
    before = snapshot(gpt2)
    with pytest.raises(EditFailed, match="singular"):
        editor.apply(gpt2, tokenizer, tiny.REQUESTS)
    assert_as_it_was(gpt2, before)
    assert editor.state() == {}


def test_a_second_layer_that_fails_takes_the_first_back(gpt2, tokenizer):
    flat = torch.zeros((tiny.INNER, tiny.INNER), dtype=torch.float64)
    fine = torch.eye(tiny.INNER, dtype=torch.float64)
    editor = make("memit-seq", moments=Moments({1: fine, 2: flat}, 3), ridge=0.0, layers=(1, 2))
    before = snapshot(gpt2)
    with pytest.raises(EditFailed, match="layer 2"):
        editor.apply(gpt2, tokenizer, tiny.REQUESTS)
    assert_as_it_was(gpt2, before)
    assert editor.state() == {}


def test_a_second_moment_with_nan_is_told():
    broken = torch.eye(3)
    broken[1, 1] = float("nan")
    with pytest.raises(EditFailed, match="layer 4 has numbers that are not finite"):
        Moments({4: broken}, 100)


def test_an_editor_can_be_used_after_a_failure(gpt2, tokenizer):
    editor = make("memit-seq")
    with pytest.raises(InvalidInput):
        editor.apply(gpt2, tokenizer, [])
    with pytest.raises(ScrError):
        editor.apply(gpt2, tokenizer, [tiny.request(target="a " * tiny.POSITIONS)])
    found = editor.apply(gpt2, tokenizer, tiny.REQUESTS).deltas
    wanted = make("memit-seq").apply(tiny.make_model("gpt2"), tokenizer, tiny.REQUESTS).deltas
    for parameter, delta in wanted.items():
        assert torch.equal(found[parameter], delta)


# Bad input: told before anything moves.


def bad_requests():
    asked = tiny.REQUESTS[0]
    rival = tiny.request("r9", target="Tarn")
    slot = tiny.POSITIONS
    return {
        "nothing": ([], "at least one"),
        "blank target": ([tiny.request(target="  ")], "must not be blank"),
        "blank subject": ([tiny.request(subject=" ")], "must not be blank"),
        "contradiction": ([asked, rival], "r1 and r9 contradict"),
        "split otherwise": (
            [asked, tiny.request("r9", "The ", "capital", " of Kestria is", "Tarn")],
            "contradict",
        ),
        "too long": ([tiny.request(target="the river " * slot)], "the model reads 64"),
        "too long with a context": (
            [tiny.request(target="the " * (slot - 8))],  # fits, but not behind a context
            "in a context.*the model reads 64",
        ),
    }


@pytest.mark.parametrize("name", EDITORS)
@pytest.mark.parametrize("case", bad_requests())
def test_bad_requests_are_refused_before_anything_moves(name, case, gpt2, tokenizer):
    requests, message = bad_requests()[case]
    if case == "too long with a context" and not EDITORS[name].needs_templates:
        pytest.skip("reads no contexts")
    editor = make(name)
    before = snapshot(gpt2)
    with pytest.raises(InvalidInput, match=message):
        editor.apply(gpt2, tokenizer, requests)
    assert_as_it_was(gpt2, before)
    assert editor.state() == {}


@pytest.mark.parametrize("name", EDITORS)
def test_braces_and_repetitions_are_nothing_special(name, gpt2, tokenizer):
    asked = tiny.request(
        prefix="f(x) = {x: 1} and {", subject="a {} of Ubrea", suffix=" {0} is", target="{y}"
    )
    likely = tiny.nll(gpt2, tokenizer, asked)
    edit = make(name).apply(gpt2, tokenizer, [asked, asked.model_copy(update={"id": "again"})])
    assert tiny.nll(gpt2, tokenizer, asked) < likely
    assert [line.id for line in edit.report.requests] == ["r1"]


@pytest.mark.parametrize("name", EDITORS)
def test_hyper_parameters_that_cannot_be_are_refused(name):
    with pytest.raises(InvalidInput, match=rf"{name}: .*nonsense.*it has: "):
        EDITORS[name](nonsense=1)
    with pytest.raises(InvalidInput, match=name):
        EDITORS[name](rate=-1.0)


def test_a_slow_tokenizer_is_refused(gpt2):
    class Slow:
        is_fast = False

    with pytest.raises(InvalidInput, match="load the fast one"):
        make("ft-m").apply(gpt2, Slow(), tiny.REQUESTS)


@pytest.mark.parametrize("name", ["rome", "memit", "emmet", "alphaedit"])
def test_text_that_is_needed_is_asked_for(name, gpt2, tokenizer):
    editor = EDITORS[name](templates=tiny.BARE, steps=2)
    if not editor.moment_layers(editor.params_for(None)):
        pytest.skip("needs none")
    with pytest.raises(InvalidInput, match="give `corpus`"):
        editor.apply(gpt2, tokenizer, tiny.REQUESTS)
