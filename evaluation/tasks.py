"""Pieces of work that can be done side by side, and what becomes of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from evaluation.progress import Progress

T = TypeVar("T")


@dataclass(frozen=True)
class Task(Generic[T]):
    """Work whose result depends on nothing but `run`.

    run: from where to report progress to the result; it can be pickled, as the result can, because
        it may run in another process, and once more where that process is lost.
    """

    name: str  # for people
    run: Callable[[Progress], T]


@dataclass(frozen=True)
class Ended(Generic[T]):
    """A task that has ended."""

    index: int  # in the tasks given
    value: T | None = None
    error: Exception | None = None  # None where there is a value

    def result(self) -> T:
        """Return the value. Raises the error."""
        if self.error is not None:
            raise self.error
        return cast(T, self.value)
