"""The closed forms against direct solutions, for keys and residuals of any kind."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scr.editing.solves import KeyGram, cholesky, emmet, energy_threshold, null_space, with_ridge
from scr.errors import EditFailed

WIDTH, SIZE = 5, 12  # of values and of keys
seeds = st.integers(0, 2**16)
counts = st.integers(1, 2 * SIZE)
weights = st.sampled_from([0.01, 1.0, 300.0])


def normal(generator, *shape):
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def problem(seed, count):
    """A moment, keys and residuals."""
    generator = torch.Generator().manual_seed(seed)
    base = normal(generator, SIZE, 3 * SIZE)
    return (
        base @ base.T / (3 * SIZE),
        normal(generator, SIZE, count),
        normal(generator, WIDTH, count),
    )


def direct(gram, keys, residuals):
    return torch.linalg.solve(gram + keys @ keys.T, keys @ residuals.T).T


@settings(max_examples=30)
@given(seed=seeds, count=counts, weight=weights)
def test_memit_equals_the_direct_solution(seed, count, weight):
    """Few keys, by the Woodbury identity, and more keys than components."""
    moment, keys, residuals = problem(seed, count)
    gram = KeyGram(SIZE, factor=torch.linalg.cholesky(moment), scale=weight)
    change = gram.change(keys, residuals)
    torch.testing.assert_close(
        change, direct(weight * moment, keys, residuals), rtol=1e-8, atol=1e-9
    )
    normal_equation = change @ (weight * moment + keys @ keys.T)
    torch.testing.assert_close(normal_equation, residuals @ keys.T, rtol=1e-8, atol=1e-8)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    turned = gram.change(keys[:, order], residuals[:, order])
    torch.testing.assert_close(turned, change, rtol=1e-8, atol=1e-9)


@settings(max_examples=40)
@given(seed=seeds, batches=st.lists(st.integers(1, 7), max_size=5), last=counts, weight=weights)
def test_past_keys_count_however_they_are_kept(seed, batches, last, weight):
    """As columns, as a matrix, as both, and after being saved and loaded."""
    moment, keys, residuals = problem(seed, last)
    generator = torch.Generator().manual_seed(seed + 1)
    gram = KeyGram(SIZE, factor=torch.linalg.cholesky(moment), scale=weight)
    total = torch.zeros((SIZE, SIZE), dtype=torch.float64)
    trace = 0.0
    for count in batches:
        past = normal(generator, SIZE, count)
        gram.add(past)
        total = total + past @ past.T
        torch.testing.assert_close(gram.gram(), total, rtol=1e-9, atol=1e-9)
        assert torch.linalg.eigvalsh(gram.gram()).min() > -1e-9
        assert float(gram.gram().trace()) > trace
        trace = float(gram.gram().trace())
    wanted = direct(weight * moment + total, keys, residuals)
    torch.testing.assert_close(gram.change(keys, residuals), wanted, rtol=1e-7, atol=1e-8)

    other = KeyGram(SIZE, factor=torch.linalg.cholesky(moment), scale=weight)
    other.load({name: tensor.clone() for name, tensor in gram.state().items()})
    assert torch.equal(other.change(keys, residuals), gram.change(keys, residuals))


@settings(max_examples=30)
@given(seed=seeds, count=st.integers(1, SIZE), l2=weights)
def test_without_a_moment_it_is_ridge_regression(seed, count, l2):
    _, keys, residuals = problem(seed, count)
    wanted = direct(l2 * torch.eye(SIZE, dtype=torch.float64), keys, residuals)
    found = KeyGram(SIZE, scale=l2).change(keys, residuals)
    torch.testing.assert_close(found, wanted, rtol=1e-8, atol=1e-9)


def test_the_second_time_changes_less():
    """Singular values go from s / (s^2 + l2) to s / (2 s^2 + l2)."""
    _, keys, residuals = problem(3, 4)
    gram = KeyGram(SIZE, scale=2.0)
    first = gram.change(keys, residuals)
    gram.add(keys)
    second = gram.change(keys, residuals)
    left, sizes, _ = torch.linalg.svd(keys, full_matrices=False)
    for change, times in ((first, 1), (second, 2)):
        wanted = residuals @ torch.linalg.pinv(keys) @ left
        wanted = wanted * sizes**2 / (times * sizes**2 + 2.0)
        torch.testing.assert_close(change @ left, wanted, rtol=1e-9, atol=1e-10)
    assert second.norm() < first.norm()


@settings(max_examples=30)
@given(seed=seeds, count=st.integers(1, SIZE - 2))
def test_emmet_yields_every_residual_at_the_least_cost(seed, count):
    moment, keys, residuals = problem(seed, count)
    change = emmet(keys, residuals, torch.linalg.cholesky(moment))
    torch.testing.assert_close(change @ keys, residuals, rtol=1e-6, atol=1e-7)
    # at the least cost: all of it lies in the rows K^T C^-1
    rows = torch.linalg.solve(moment, keys).T
    rest = change - change @ torch.linalg.pinv(rows) @ rows
    assert rest.norm() < 1e-7 * change.norm()


def test_emmet_comes_nearer_the_smaller_its_inner_ridge():
    moment, keys, residuals = problem(1, 4)
    factor = torch.linalg.cholesky(moment)
    missed = [
        float((emmet(keys, residuals, factor, ridge) @ keys - residuals).norm())
        for ridge in (0.0, 0.1, 10.0)
    ]
    assert missed == sorted(missed)
    assert missed[0] < 1e-9


def test_emmet_refuses_the_same_key_twice():
    moment, keys, residuals = problem(1, 1)
    with pytest.raises(EditFailed, match="singular"):
        emmet(keys.repeat(1, 2), residuals.repeat(1, 2), torch.linalg.cholesky(moment))


@settings(max_examples=20)
@given(seed=seeds, share=st.floats(0.05, 0.95))
def test_free_directions_hold_no_more_energy_than_allowed(seed, share):
    moment, _, _ = problem(seed, 1)
    threshold = energy_threshold(moment, share)
    space = null_space(moment, threshold)
    projector = space.project(torch.eye(len(moment), dtype=torch.float64))
    held = float((projector @ moment @ projector).trace() / moment.trace())
    assert held <= share
    values = torch.linalg.eigvalsh(moment)  # one direction more would be too many
    assert float(values[: space.rank + 1].sum() / values.sum()) > share
    torch.testing.assert_close(projector @ projector, projector, rtol=0, atol=1e-12)
    assert float(projector.trace()) == pytest.approx(space.rank)


def test_equal_eigenvalues_are_free_together_or_not_at_all():
    turn, _ = torch.linalg.qr(normal(torch.Generator().manual_seed(0), SIZE, SIZE))
    sizes = torch.tensor([0.0] * 4 + [1.0] * 6 + [5.0] * 2, dtype=torch.float64)
    moment = turn @ torch.diag(sizes) @ turn.T
    assert null_space(moment, energy_threshold(moment, 0.1)).rank == 4
    assert null_space(moment, energy_threshold(moment, 0.4)).rank == 10


def test_a_singular_matrix_is_told():
    flat = torch.zeros((3, 3), dtype=torch.float64)
    flat[0, 0] = 1.0
    with pytest.raises(EditFailed, match="the keys cannot be solved with: it is singular"):
        cholesky(flat, "the keys")
    whole = cholesky(with_ridge(flat, 0.3), "the keys")
    torch.testing.assert_close(whole @ whole.T, flat + 0.1 * torch.eye(3, dtype=torch.float64))
