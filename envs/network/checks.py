"""Checks that the parts of a network share: each raises a NetworkError that names the fault."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar

from envs.errors import NetworkError, did_you_mean

K = TypeVar("K", bound=Hashable)


def at_least_zero(where: str, **values: float) -> None:
    """Refuse negative numbers and NaN."""
    for name, value in values.items():
        if not value >= 0:  # also refuses NaN
            raise NetworkError(f"{where}: {name} is {value}; expected a number >= 0.")


def numbers_at_least_zero(where: str, part: Any) -> None:
    """Refuse a dataclass with a negative number or NaN in any of its fields."""
    numbers = {name: value for name, value in vars(part).items() if isinstance(value, int | float)}
    at_least_zero(where, **numbers)


def must_be_share(where: str, **values: float) -> None:
    """Refuse numbers outside [0, 1]."""
    for name, value in values.items():
        if not 0.0 <= value <= 1.0:
            raise NetworkError(f"{where}: {name} is {value}; expected a share from 0 to 1.")


def unique(what: str, ids: list[K]) -> set[K]:
    """Return the ids as a set; refuse one that comes twice."""
    seen: set[K] = set()
    for key in ids:
        if key in seen:
            raise NetworkError(f"The {what} {key!r} is defined twice; expected unique ids.")
        seen.add(key)
    return seen


def must_know(where: str, what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not defined."""
    if name not in known:
        raise NetworkError(f"{where}: {what} '{name}' is not defined.{did_you_mean(name, known)}")
