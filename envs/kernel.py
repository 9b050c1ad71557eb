"""How kernels are compiled, and how they get their arrays.

`entry` compiles what Python calls, `kernel` what other kernels call. Both compile without Numba's
reference counting (`_nrt=False`): every slice of an array would otherwise be counted up and down
with atomic operations, which is most of the time of a small batch. It also means that a kernel
can't allocate: the compiler refuses it.

`Handle` carries a named tuple of arrays into kernels as one pointer: `handle.field` reads a field.
A field that is a named tuple itself is a handle to its part of the memory, and costs nothing.
Unpacking sixty arrays costs more than a period of a small network, and a function with hundreds of
arguments compiles slowly.
"""

# Numba's own interfaces are untyped.
# mypy: disable-error-code="no-untyped-call"

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core.datamodel import models
from numba.core.typing.templates import AttributeTemplate
from numba.extending import (
    NativeValue,
    infer_getattr,
    lower_getattr_generic,
    register_model,
    typeof_impl,
    unbox,
)
from numba.np.arrayobj import populate_array
from numpy.typing import NDArray

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")

_njit: Any = numba.njit  # takes options that its type does not know
_settings: Any = numba.config

# NumPy's division has no branch per element, so that loops vectorise.
_OPTIONS = {"cache": True, "error_model": "numpy", "_nrt": False}


def _source_stamp() -> str:
    """A hash of all kernels. Numba's disk cache looks only at the file of the entry itself."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        source = path.read_bytes()
        if b"envs.kernel" in source or path == Path(__file__):
            digest.update(source)
    return digest.hexdigest()


_STAMP = _source_stamp()


def kernel(function: F) -> F:
    """Compile a function that kernels call; Python can't."""
    compiled: F = _stamped(
        _njit(**_OPTIONS, no_cpython_wrapper=True, no_cfunc_wrapper=True)(function)
    )
    return compiled


def entry(function: Callable[..., T]) -> Callable[..., T]:
    """Compile a function that Python calls; a named tuple in its signature becomes a Handle."""
    compiled: Callable[..., T] = _stamped(_njit(**_OPTIONS, no_cfunc_wrapper=True)(function))
    return compiled


def _stamped(dispatcher: Any) -> Any:
    if hasattr(dispatcher, "_cache"):  # not where the compiler is off
        file = dispatcher._cache._cache_file
        # As part of the version: what else an index of before says can name types that are gone.
        file._version, file._source_stamp = f"{file._version} {_STAMP}", _STAMP
    return dispatcher


@kernel
def copy_row(row: NDArray[Any], values: NDArray[Any]) -> None:
    """row[:] = values: which Numba would compile with a copy, in case they overlap."""
    for b in range(row.size):
        row[b] = values[b]


@kernel
def add_scaled(total: NDArray[Any], factor: float, values: NDArray[Any]) -> None:
    """total += factor x values."""
    for b in range(total.size):
        total[b] += factor * values[b]


class _HandleType(types.Type):
    """A pointer to the 8-byte words of a named tuple: numbers, arrays, named tuples, handles."""

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__(f"Handle({value})")


class Handle:
    """A pointer to a named tuple of arrays; kernels read its fields. Shares the memory."""

    def __init__(self, value: Any) -> None:
        self._words = np.array(_words(value), np.int64)
        self.value = value  # keeps the arrays alive
        self.address = self._words.ctypes.data
        self._numba_type_ = _HandleType(typeof_impl(value, None))
        if _settings.DISABLE_JIT:  # kernels are plain Python then, and read fields from here
            self.__dict__ |= value._asdict()


def _words(value: Any) -> list[int]:
    if isinstance(value, tuple):
        return [word for item in value for word in _words(item)]
    if isinstance(value, np.ndarray):
        shape = [value.size, value.itemsize, value.ctypes.data, *value.shape, *value.strides]
        return [int(word) for word in shape]
    if isinstance(value, Handle):
        return [value.address]
    if isinstance(value, float):
        return [int(np.float64(value).view(np.int64))]
    return [int(value)]


register_model(_HandleType)(models.OpaqueModel)


@unbox(_HandleType)
def _unbox_handle(kind: Any, proxy: Any, c: Any) -> NativeValue:
    address = c.pyapi.object_getattr_string(proxy, "address")
    pointer = c.pyapi.long_as_voidptr(address)
    c.pyapi.decref(address)
    return NativeValue(pointer, is_error=c.pyapi.c_api_error())


@infer_getattr
class _HandleAttributes(AttributeTemplate):
    key = _HandleType

    def generic_resolve(self, kind: Any, name: str) -> Any:  # type: ignore[override]
        fields = kind.value.fields
        if name not in fields:
            return None
        field = types.unliteral(kind.value.types[fields.index(name)])
        return _HandleType(field) if isinstance(field, types.BaseNamedTuple) else field


@lower_getattr_generic(_HandleType)
def _get_field(context: Any, builder: Any, kind: Any, pointer: Any, name: str) -> Any:
    place = kind.value.fields.index(name)
    first = sum(_width(k) for k in kind.value.types[:place])
    words = builder.bitcast(pointer, ir.IntType(64).as_pointer())
    field = types.unliteral(kind.value.types[place])
    if isinstance(field, types.BaseNamedTuple):
        part = builder.gep(words, [ir.IntType(64)(first)])
        return builder.bitcast(part, context.get_value_type(_HandleType(field)))
    return _load(context, builder, field, words, first)


def _width(kind: Any) -> int:
    if isinstance(kind, types.Array):
        return 3 + 2 * int(kind.ndim)
    if isinstance(kind, types.BaseNamedTuple):
        items: Any = kind
        return sum(_width(item) for item in items.types)
    return 1


def _load(context: Any, builder: Any, kind: Any, words: Any, first: int) -> Any:
    """Emit the loads of one number, array or handle; what is not used, the compiler drops."""

    def word(i: int) -> Any:
        return builder.load(builder.gep(words, [ir.IntType(64)(first + i)]))

    llvm_type = context.get_value_type(kind)
    if isinstance(kind, types.Array):
        array = context.make_array(kind)(context, builder)
        n = kind.ndim
        populate_array(
            array, builder.inttoptr(word(2), array.data.type), [word(3 + i) for i in range(n)],
            [word(3 + n + i) for i in range(n)], word(1), None,
        )  # fmt: skip
        return array._getvalue()
    if isinstance(kind, _HandleType):
        return builder.inttoptr(word(0), llvm_type)
    if isinstance(kind, types.Float):
        return builder.bitcast(word(0), llvm_type)
    return builder.trunc(word(0), llvm_type) if llvm_type.width < 64 else word(0)
