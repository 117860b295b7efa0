"""LyapLock: its normal equation, its queue, and its budget over a sequence."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scr.editing.lyaplock import (
    FLOOR,
    advance,
    begin,
    next_queue,
    preservation_loss,
    step,
)
from scr.editing.weights import AppliedEdit
from tests.editing import tiny
from tests.editing.making import make

OUT, IN = 5, 8


def drawn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moment(seed=9):
    keys = drawn(IN, 3 * IN, seed=seed)
    return keys @ keys.T / (3 * IN)


def after_batches(count, budget=60.0):
    """A layer's state and matrix after some batches."""
    matrix = drawn(OUT, IN, seed=100)
    state = begin(matrix)
    for number in range(count):
        keys, residuals = drawn(IN, 2, seed=number), drawn(OUT, 2, seed=50 + number)
        matrix = matrix + step(state, matrix, keys, residuals, moment(), 10.0)
        state = advance(state, matrix, keys, moment(), budget)
    return state, matrix


def test_the_first_batch_is_memit():
    keys, residuals = drawn(IN, 3), drawn(OUT, 3, seed=1)
    matrix = drawn(OUT, IN, seed=2)
    change = step(begin(matrix), matrix, keys, residuals, moment(), 7.0)
    plain = residuals @ keys.T @ torch.linalg.inv(7.0 * moment() + keys @ keys.T)
    torch.testing.assert_close(change, plain)


def test_a_step_is_where_the_objective_is_flat():
    state, matrix = after_batches(3)
    state = state._replace(queue=torch.tensor(2.5, dtype=torch.float64))
    keys, residuals = drawn(IN, 2, seed=7), drawn(OUT, 2, seed=8)
    change = step(state, matrix, keys, residuals, moment(), 10.0).requires_grad_(True)
    past = [drawn(IN, 2, seed=number) for number in range(3)]
    left, said = drawn(OUT, IN, seed=100), []
    replayed = begin(left)
    for number, own in enumerate(past):
        left = left + step(replayed, left, own, drawn(OUT, 2, seed=50 + number), moment(), 10.0)
        replayed = advance(replayed, left, own, moment(), 60.0)
        said.append(left @ own)
    moved = matrix + change - state.origin
    objective = ((change @ keys - residuals) ** 2).sum()
    for own, outputs in zip(past, said, strict=True):
        objective = objective + (((matrix + change) @ own - outputs) ** 2).sum()
    objective = objective + 2.5 * 10.0 * ((moved @ moment()) * moved).sum()
    (gradient,) = torch.autograd.grad(objective, change)
    assert gradient.abs().max() < 1e-9 * objective.detach()


def test_the_preservation_loss_is_the_mean_squared_change_of_outputs():
    keys = drawn(IN, 40, seed=3)
    now, origin = drawn(OUT, IN, seed=4), drawn(OUT, IN, seed=5)
    mean = (((now - origin) @ keys) ** 2).sum() / 40
    assert preservation_loss(now, origin, keys @ keys.T / 40) == pytest.approx(float(mean))
    assert preservation_loss(origin, origin, keys @ keys.T) == 0.0


def test_a_longer_queue_preserves_more():
    state, matrix = after_batches(2)
    keys, residuals = drawn(IN, 2, seed=11), drawn(OUT, 2, seed=12)
    losses = []
    for queue in (1.0, 4.0, 40.0):
        longer = state._replace(queue=torch.tensor(queue, dtype=torch.float64))
        change = step(longer, matrix, keys, residuals, moment(), 10.0)
        losses.append(preservation_loss(matrix + change, state.origin, moment()))
    assert losses[0] > losses[1] > losses[2]


def test_the_queue_rests_at_budget_grows_above_and_falls_below():
    assert next_queue(1.0, loss=2.0, budget=2.0) == 1.0
    assert next_queue(1.0, loss=4.0, budget=2.0) == 2.0
    assert next_queue(3.0, loss=4.0, budget=2.0) == 4.0
    assert next_queue(1.5, loss=0.0, budget=2.0) == FLOOR


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), st.floats(0.1, 10))
def test_the_mean_excess_is_bounded_by_the_queue(losses, budget):
    queue = FLOOR
    for loss in losses:
        queue = next_queue(queue, loss, budget)
    assert sum(loss / budget - 1 for loss in losses) <= queue - FLOOR + 1e-9


def test_a_sequence_reports_queue_budget_and_loss(gpt2, tokenizer):
    editor = make("lyaplock", budget=0.4, layers=(1,))
    told = [editor.apply(gpt2, tokenizer, [asked]).report.measures for asked in tiny.REQUESTS]
    losses = [each["layer 1: preservation loss"] for each in told]
    budgets = {each["layer 1: budget"] for each in told}
    queues = [each["layer 1: queue"] for each in told]
    assert all(loss > 0 for loss in losses)
    assert queues[0] == pytest.approx(FLOOR + 1 / 0.4 - 1)  # over budget from the start
    (budget,) = budgets
    assert budget == pytest.approx(0.4 * losses[0])
    assert sum(loss / budget - 1 for loss in losses) <= queues[-1] - FLOOR + 1e-9


def test_a_tighter_budget_preserves_more_over_a_sequence(tokenizer):
    losses = []
    for budget in (60.0, 0.05):
        model = tiny.make_model("gpt2")
        editor = make("lyaplock", budget=budget, layers=(1,))
        for asked in tiny.REQUESTS:
            edit = editor.apply(model, tokenizer, [asked])
        losses.append(edit.report.measures["layer 1: preservation loss"])
    assert losses[1] < losses[0]


def test_a_sequence_goes_on_after_saving(tmp_path, tokenizer):
    model = tiny.make_model("gpt2", torch.float32)
    editor = make("lyaplock", budget=0.4)
    editor.apply(model, tokenizer, tiny.REQUESTS[:1]).save(tmp_path)
    wanted = editor.apply(model, tokenizer, tiny.REQUESTS[1:]).deltas

    fresh = tiny.make_model("gpt2", torch.float32)
    again = make("lyaplock", budget=0.4, moments=editor.moments)
    saved = AppliedEdit.load(tmp_path)
    saved.apply(fresh)
    again.resume(saved)
    found = again.apply(fresh, tokenizer, tiny.REQUESTS[1:]).deltas
    for name, delta in wanted.items():
        assert torch.equal(found[name], delta)
