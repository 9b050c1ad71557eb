"""Where a simulator stands between two periods: what it needs to be there again."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from envs.trace.trace import Drawn
from envs.types import Bytes


class Packed(NamedTuple):
    """An array without its zeros, which most of a pipeline is: to the bit, -0.0 is no zero."""

    is_kept: Bytes  # a bit an entry
    values: NDArray[Any]  # of those that are kept

    @classmethod
    def of(cls, array: NDArray[Any]) -> Packed:
        """Pack an array of 8-byte numbers."""
        flat = array.reshape(-1)
        is_kept = flat.view(np.uint64) != 0
        return cls(np.packbits(is_kept), flat[is_kept])

    def write(self, out: NDArray[Any]) -> None:
        """Fill an array of the same shape as the packed one."""
        is_kept = np.unpackbits(self.is_kept, count=out.size).reshape(out.shape)
        out[...] = 0
        out[is_kept.view(np.bool_)] = self.values


class Moment(NamedTuple):
    """All that a simulator goes on from."""

    period: int
    drawn: Drawn
    arrays: tuple[Packed, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, but for the trace's."""
        return sum(part.nbytes for array in self.arrays for part in array)
