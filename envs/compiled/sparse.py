"""Sparse rows of arrays, as kernels read them."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from envs.compiled.arrays import Csr
from envs.types import Floats, Ints, Matrix


def csr(rows: list[list[tuple[int, float]]]) -> Csr:
    """Return rows of (index, value) pairs."""
    flat = [entry for row in rows for entry in row]
    return Csr(
        np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64),
        np.array([i for i, _ in flat], np.int64),
        np.array([v for _, v in flat], float),
    )


def grouped(group: Ints, index: Ints, value: Floats, groups: int) -> Csr:
    """Return the (index, value) pairs, row by row of their group; in a row they keep order."""
    order = np.argsort(group, kind="stable")
    pointer = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=groups))])
    return Csr(pointer.astype(np.int64), index[order].astype(np.int64), value[order])


def from_matrix(matrix: Matrix) -> Csr:
    """Return the entries of a matrix that are not 0."""
    csr = sparse.csr_matrix(matrix)
    csr.eliminate_zeros()
    csr.sort_indices()
    return Csr(csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data.astype(float))


def row_numbers(used: list[bool], first: int = 0) -> Ints:
    """Number the used entries from `first` on; -1 where not used."""
    flags = np.array(used, bool)
    return np.where(flags, first + np.cumsum(flags) - 1, -1).astype(np.int64)
