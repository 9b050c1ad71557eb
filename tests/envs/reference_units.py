"""Whole units, once more: docs/how_to/orders.md in plain Python."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

from envs.network.lane import Lane
from envs.network.network import SupplyNetwork

CRUMB = 1e-9  # units, packs: so close to a whole number is one


def as_written(number: float) -> Fraction:
    """The fraction that was meant."""
    return Fraction(number).limit_denominator(1000)


def fits_all(sizes: Iterable[Fraction]) -> Fraction:
    """The least quantity of which all sizes are divisors; 0: there are none."""
    least = Fraction(0)
    for size in sizes:
        least = size if least == 0 else least * (size / least).numerator
    return least


def pack_of(lane: Lane, step: float) -> Fraction:
    """What packs, full loads and whole units fit into; 0: divisible units."""
    sizes = [lane.order_multiple, (lane.load_size or 0.0) * lane.full_loads, step]
    return fits_all(as_written(s) for s in sizes if s > 0.0)


def in_whole_units(network: SupplyNetwork) -> set[str]:
    """SKUs of which there are no parts."""
    parted = set()
    for stock in network.stocks:
        if stock.initial_stock % 1.0 or (stock.demand is not None and not stock.demand.is_whole):
            parted.add(stock.sku)
    for lane in network.lanes:
        for sku, taken in [(lane.sku, 1.0), *((i.sku, i.quantity) for i in lane.inputs)]:
            pack = pack_of(lane, 0.0) * as_written(taken)
            starts = [as_written(x) * as_written(taken) for x in lane.initial_orders]
            if sku == lane.sku:
                starts += [as_written(x) for x in lane.initial_in_transit]
            if pack == 0 or any(x.denominator > 1 for x in (pack, *starts)):
                parted.add(sku)
    given = {s.id: s.whole_units for s in network.skus}
    return {sku for sku, word in given.items() if word or (word is None and sku not in parted)}


def step_of(lane: Lane, whole: set[str]) -> float:
    """What shipments on the lane are multiples of; 0: any quantity."""
    sizes = [Fraction(1)] if lane.sku in whole else []
    sizes += [1 / as_written(i.quantity) for i in lane.inputs if i.sku in whole]
    return float(fits_all(sizes))


def some_up(quantity: float, t: int) -> float:
    """In whole units: up in some periods, down in the others."""
    return math.floor(quantity + max((0.5 + t * (math.sqrt(5.0) - 1.0) / 2.0) % 1.0, CRUMB))


def down(quantity: float, step: float = 1.0) -> float:
    """The whole steps in it."""
    return math.floor(quantity / step + CRUMB) * step
