"""What quantities an order on a lane can have: nothing, or whole packs between two limits."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from envs.errors import NetworkError

_WRITTEN = 1_000_000  # largest denominator of a quantity that is taken for a fraction
_LAST_DIGITS = Fraction(1, 10**9)  # of a pack: limits that were computed end beside the grid


class OrderQuantities(NamedTuple):
    """0, or n packs with least <= n <= most; where units are divisible, any from minimum to
    maximum. A pack is kept as a fraction, so that 17 packs of 0.1 are 1.7 to the last digit."""

    minimum: float  # units
    maximum: float  # units
    numerator: float  # a pack is numerator / denominator units; 0: divisible units
    denominator: float
    least: float  # packs
    most: float  # packs

    @property
    def pack(self) -> float:
        """Units in a pack; 0: divisible units."""
        return self.numerator / self.denominator


def order_quantities(
    where: str, minimum: float, maximum: float, *multiples: float
) -> OrderQuantities:
    """Return the quantities from minimum to maximum that are multiples of all of `multiples`
    (those that are 0 don't count). where: the lane, for messages. A maximum of 0 closes it.

    Raises:
        NetworkError: there is none.
    """
    sizes = tuple(m for m in multiples if m > 0.0)
    if not all(map(math.isfinite, (minimum, *sizes))):
        raise NetworkError(
            f"{where}: minimum_order is {minimum:g} and orders are multiples of {_and(sizes)}; "
            "expected finite numbers."
        )
    found = _quantities(minimum, maximum, sizes)
    if found.least > found.most and maximum > 0.0:
        together = f" (what {_and(sizes)} fit into)" if len(sizes) > 1 else ""
        raise NetworkError(
            f"{where}: from minimum_order {minimum:g} to maximum_order {maximum:g} there is no "
            f"multiple of {found.pack:g}{together}, so that nothing could ever be ordered; "
            "expected one. Raise maximum_order, lower minimum_order, or change order_multiple."
        )
    return found


@lru_cache(maxsize=4096)  # most lanes of a network are alike
def _quantities(minimum: float, maximum: float, sizes: tuple[float, ...]) -> OrderQuantities:
    if not sizes:
        return OrderQuantities(minimum, maximum, 0.0, 1.0, 0.0, 0.0)
    pack = common_multiple([fraction(size) for size in sizes])
    least = max(1, math.ceil(fraction(minimum) / pack - _LAST_DIGITS))
    most = math.inf
    if maximum < math.inf:
        most = math.floor(fraction(maximum) / pack + _LAST_DIGITS)
    numbers = (pack.numerator, pack.denominator, least, most)
    return OrderQuantities(minimum, maximum, *map(float, numbers))


def common_multiple(sizes: Sequence[Fraction]) -> Fraction:
    """Return the least number that is a multiple of all."""
    least, *more = sizes
    for size in more:
        common = math.lcm(least.numerator, size.numerator)
        least = Fraction(common, math.gcd(least.denominator, size.denominator))
    return least


@lru_cache(maxsize=4096)
def fraction(quantity: float) -> Fraction:
    """Return the number that was meant: thirds as thirds, decimals as they are written."""
    near = Fraction(quantity).limit_denominator(_WRITTEN)
    return near if float(near) == quantity else Fraction(repr(float(quantity)))


def _and(sizes: tuple[float, ...]) -> str:
    return " and ".join(f"{size:g}" for size in sizes)
