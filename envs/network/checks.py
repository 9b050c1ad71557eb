"""Checks that the parts of a network share: each raises a NetworkError that names the fault."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, TypeVar
from unicodedata import category

from envs.errors import NetworkError, did_you_mean, shown

K = TypeVar("K", bound=Hashable)

LARGEST = 1e12  # of any number of a network: beyond it there are typing errors, and sums lose units
LONGEST_DELAY = 10_000  # periods, of a lead time too: goods on the way are kept by period
LONGEST_RUN = 1_000_000  # periods, of an episode or of demand's history
LONGEST_NAME = 200  # characters
_DIRECTIONS = {*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))}


def at_least_zero(where: str, **values: float) -> None:
    """Refuse negative numbers, NaN, and huge ones; infinity is "no limit"."""
    for name, value in values.items():
        if not value >= 0:  # also refuses NaN
            raise NetworkError(f"{where}: {name} is {value}; expected a number >= 0.")
        if LARGEST < value < float("inf"):
            raise NetworkError(
                f"{where}: {name} is {value:g}; expected at most {LARGEST:g}. Correct it, or count "
                "in larger units."
            )


def few_periods(where: str, **values: int) -> None:
    """Refuse lead times and delays that are no whole periods from 0 to LONGEST_DELAY."""
    for name, value in values.items():
        if isinstance(value, bool) or not 0 <= value <= LONGEST_DELAY or value != int(value):
            raise NetworkError(
                f"{where}{name} is {value}; expected an integer >= 0, at most {LONGEST_DELAY} "
                "periods."
            )


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
        if isinstance(key, str):
            _must_be_name(what, key)
        if key in seen:
            raise NetworkError(f"The {what} {key!r} is defined twice; expected unique ids.")
        seen.add(key)
    return seen


def _must_be_name(what: str, name: str) -> None:
    """Refuse a name that tables and terminals can't show: empty, long, or with a line's end."""
    if not 0 < len(name) <= LONGEST_NAME or not is_text(name):
        raise NetworkError(
            f"The {what} {shown(name)} has {len(name)} characters; expected 1 to {LONGEST_NAME}, "
            "and none that controls a terminal. Shorten or correct the name."
        )


def is_text(name: str) -> bool:
    """Whether files and terminals show it as it is: no control characters, ends of lines, changes
    of direction, or halves of a character."""
    return not any(category(c) in ("Cc", "Cs", "Zl", "Zp") or c in _DIRECTIONS for c in name)


def must_know(where: str, what: str, name: str, known: Iterable[str]) -> None:
    """Refuse a name that is not defined."""
    if name not in known:
        raise NetworkError(f"{where}: {what} '{name}' is not defined.{did_you_mean(name, known)}")
