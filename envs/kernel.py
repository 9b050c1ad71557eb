"""How kernels are compiled, and how they get their arrays.

`kernel` compiles with a disk cache and NumPy's division (no branch per element, so that loops
vectorise). `Handle` carries a named tuple of arrays across the Python border as one pointer:
unpacking sixty arrays costs more than a period of a small network. Inside, helpers called in a loop
take rows, not whole tuples, for the same reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from numba import njit, types
from numba.experimental import structref

__all__ = ["Handle", "kernel"]

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile a function that loops over arrays."""
    return njit(cache=True, error_model="numpy")(function)


@structref.register
class _HandleType(types.StructRef):
    def preprocess_fields(self, fields: Any) -> Any:
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Handle(structref.StructRefProxy):
    """A pointer to a named tuple of arrays; kernels read `handle.value`. Shares the memory."""

    def __new__(cls, value: Any) -> Handle:
        return structref.StructRefProxy.__new__(cls, value)


structref.define_proxy(Handle, _HandleType, ["value"])
