"""The closed forms: what is added to a value matrix, given keys and what they should yield.

All in float64 and without inverses. Keys stand in columns: `K` is `(m, n)`, residuals `R` are
`(d, n)`, a change of the `(d, m)` matrix is `(d, m)`. Nothing here knows a model.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from scr.errors import EditFailed

_SMALL_DOT = 1e-2  # of |k.u| / |k|, below which ROME's division blows an edit up


class RankOne(NamedTuple):
    """A change `left right^T`."""

    left: Tensor
    """`(d,)`."""

    right: Tensor
    """`(m,)`, of length 1."""


def rome(
    mean_key: Tensor, key: Tensor, output: Tensor, wanted: Tensor, factor: Tensor | None
) -> RankOne:
    """Return the rank-one change after which `key` yields `wanted`.

    Source: Meng et al. 2022, arXiv:2202.05262, equation 2; with the mean key as `key` too, R-ROME:
    Gupta et al. 2024, "Rebuilding ROME", arXiv:2403.07175.

    Args:
        mean_key: `(m,)` key whose direction is used, meant over contexts.
        key: `(m,)` key that is to yield the vector.
        output: `(d,)` what it yields now.
        wanted: `(d,)` what it should.
        factor: Cholesky factor of the second moment of keys; `None` takes it for the identity.

    Raises:
        EditFailed: if the key hardly has the direction, so that the change would be huge.
    """
    mean_key, key = mean_key.double(), key.double()
    direction = mean_key
    if factor is not None:
        direction = torch.cholesky_solve(mean_key[:, None], factor)[:, 0]
    direction = direction / direction.norm()
    dot = key @ direction
    if abs(dot) < _SMALL_DOT * key.norm():
        raise EditFailed(
            f"the key in the bare prompt hardly has the direction that its contexts have "
            f"({float(abs(dot) / key.norm()):.1e} of its length), so ROME would destroy the "
            "model; use R-ROME, which takes one key for both"
        )
    return RankOne((wanted.double() - output.double()) / dot, direction)


def emmet(keys: Tensor, residuals: Tensor, factor: Tensor, ridge: float = 0.0) -> Tensor:
    """Return the least change with `change @ keys = residuals`, measured by the second moment.

    Source: Gupta et al. 2024, "A Unified Framework for Model Editing", arXiv:2403.14236, equation
    11: R (K^T C^-1 K)^-1 K^T C^-1. `ridge` is added to the diagonal of the inner matrix.
    """
    keys, residuals = keys.double(), residuals.double()
    solved = torch.cholesky_solve(keys, factor)  # (m, n) C^-1 K
    inner = keys.T @ solved
    inner.diagonal().add_(ridge)
    return residuals @ torch.cholesky_solve(solved.T, cholesky(inner, "the keys of this batch"))


class KeyGram:
    """A metric on keys, `base + sum of k k^T`, that grows by the keys of past edits.

    Few columns are kept as they are and solved by the Woodbury identity; once they are many, the
    sum is kept as a matrix.

    Args:
        size: number of components of a key.
        factor: `(size, size)` Cholesky factor of the base; `None` for `scale` times the identity.
        scale: of the base.
    """

    def __init__(self, size: int, *, factor: Tensor | None = None, scale: float = 1.0) -> None:
        self._size, self._factor, self._scale = size, factor, scale
        self.columns: Tensor | None = None
        self.dense: Tensor | None = None
        self._dense_factor: Tensor | None = None

    def add(self, keys: Tensor) -> None:
        """Count `(size, n)` keys in from now on."""
        keys = keys.double()
        columns = keys if self.columns is None else torch.cat([self.columns, keys], 1)
        if columns.shape[1] <= self._size // 4:
            self.columns = columns
            return
        if self.dense is None:
            self.dense = self._base_matrix(keys.device)
        self.dense = self.dense + columns @ columns.T
        self.columns, self._dense_factor = None, None

    def change(self, keys: Tensor, residuals: Tensor) -> Tensor:
        """Return `residuals keys^T (gram + keys keys^T)^-1`, `(d, size)`."""
        keys, residuals = keys.double(), residuals.double()
        columns = keys if self.columns is None else torch.cat([self.columns, keys], 1)
        if columns.shape[1] >= self._size:
            whole = self._base_matrix(keys.device) if self.dense is None else self.dense
            factor = cholesky(whole + columns @ columns.T, "the second moment of keys")
            return residuals @ torch.cholesky_solve(keys, factor).T
        solved = self._solve(columns)  # (size, c)
        inner = columns.T @ solved
        inner.diagonal().add_(1.0)
        if self.columns is None:  # R (I + K^T B)^-1 B^T, with B = base^-1 K
            return residuals @ torch.cholesky_solve(solved.T, cholesky(inner, "this batch"))
        mine = solved[:, -keys.shape[1] :]
        weights = torch.cholesky_solve(columns.T @ mine, cholesky(inner, "the past keys"))
        return residuals @ (mine - solved @ weights).T

    def gram(self) -> Tensor:
        """Return the `(size, size)` sum of what was added, without the base."""
        parts = []
        if self.columns is not None:
            parts.append(self.columns @ self.columns.T)
        if self.dense is not None:
            parts.append(self.dense - self._base_matrix(self.dense.device))
        zero = torch.zeros((self._size, self._size), dtype=torch.float64)
        return sum(parts[1:], parts[0]) if parts else zero

    def state(self) -> dict[str, Tensor]:
        """Return what has been added, for `load`."""
        parts = {"columns": self.columns, "dense": self.dense}
        return {name: part for name, part in parts.items() if part is not None}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over a state."""
        self.columns, self.dense = state.get("columns"), state.get("dense")
        self._dense_factor = None

    def _base_matrix(self, device: torch.device) -> Tensor:
        if self._factor is not None:
            whole: Tensor = self._factor @ self._factor.T
        else:
            whole = torch.eye(self._size, dtype=torch.float64, device=device)
        return self._scale * whole

    def _solve(self, right: Tensor) -> Tensor:
        if self.dense is not None:
            if self._dense_factor is None:
                self._dense_factor = cholesky(self.dense, "the second moment of keys")
            return torch.cholesky_solve(right, self._dense_factor)
        if self._factor is None:
            return right / self._scale
        return torch.cholesky_solve(right, self._factor) / self._scale


class NullSpace(NamedTuple):
    """The directions that keys hardly have, as the smaller of two orthonormal bases."""

    basis: Tensor
    """`(m, k)`, of these directions or of the others."""

    of_free: bool
    """Whether it is theirs."""

    @property
    def rank(self) -> int:
        """How many free directions there are."""
        size, given = self.basis.shape
        return given if self.of_free else size - given

    def project(self, keys: Tensor) -> Tensor:
        """Return the part of `(m, n)` keys in the free directions, in float64."""
        keys = keys.double()
        basis = self.basis.to(keys.device)
        part = basis @ (basis.T @ keys)
        return part if self.of_free else keys - part


def null_space(moment: Tensor, threshold: float) -> NullSpace:
    """Return the directions that keys hardly have.

    They are the eigenvectors of the `(m, m)` second moment with eigenvalues below the threshold.

    Source: Fang et al. 2025, "AlphaEdit", arXiv:2410.02355, section 3.1.
    """
    values, vectors = torch.linalg.eigh(moment.double())
    free = values < threshold
    of_free = 2 * int(free.sum()) <= len(values)
    return NullSpace(vectors[:, free if of_free else ~free], of_free)


def energy_threshold(moment: Tensor, share: float) -> float:
    """Return a threshold whose null space is the greatest that holds at most `share` of the energy.

    The energy is the trace of the `(m, m)` second moment. The threshold lies between two
    eigenvalues, so that rounding does not decide on which side of it one is.
    """
    values = torch.linalg.eigvalsh(moment.double()).clamp(min=0)
    below = int((values.cumsum(0) <= share * values.sum()).sum())
    same = 1e-13 * float(values[-1])
    while 0 < below < len(values) and values[below] - values[below - 1] <= same:
        below -= 1
    if below == len(values):
        return float(values[-1]) * 2
    return float(values[below] + values[below - 1]) / 2 if below else float(values[0]) / 2


def with_ridge(moment: Tensor, ridge: float) -> Tensor:
    """Return a second moment with `ridge` times its mean diagonal added to the diagonal."""
    whole = moment.double().clone()
    whole.diagonal().add_(ridge * float(whole.diagonal().mean()))
    return whole


def cholesky(matrix: Tensor, what: str) -> Tensor:
    """Return the lower Cholesky factor of a symmetric matrix.

    Raises:
        EditFailed: if it is not positive definite; `what` says what it is.
    """
    factor: Tensor
    factor, problem = torch.linalg.cholesky_ex(matrix)
    if int(problem):
        raise EditFailed(
            f"{what} cannot be solved with: it is singular. Collect second moments over more "
            "text (at least ten tokens for each component of a key), or give a greater `ridge`"
        )
    return factor
