"""Which SKUs come in whole units, and what of them a lane can ship."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction

from envs.errors import NetworkError
from envs.network.lane import Lane
from envs.network.network import Stock, SupplyNetwork
from envs.network.order_quantities import common_multiple, fraction


def whole_skus(network: SupplyNetwork) -> frozenset[str]:
    """Return the SKUs of which every flow is whole, as `Sku.whole_units` says.

    Raises:
        NetworkError: it is true, and there are parts of a unit from the start, or are asked for.
    """
    parts: dict[str, str] = {}
    for sku, reason in _given_parts(network):
        parts.setdefault(sku, reason)
    for item in network.skus:
        if item.whole_units and item.id in parts:
            raise NetworkError(
                f"SKU '{item.id}': whole_units is true, but {parts[item.id]}; expected whole "
                "units. Mend that, or leave whole_units out."
            )
    divided = {sku for lane in network.lanes for sku in _divides(lane)} | set(parts)
    return frozenset(
        s.id
        for s in network.skus
        if s.whole_units or (s.whole_units is None and s.id not in divided)
    )


def shipping_step(lane: Lane, whole: frozenset[str]) -> float:
    """Return the units of which a shipment is a multiple, so that it and what it takes are whole:
    2 where a unit takes half of a whole one; 0: any quantity is."""
    sizes = [Fraction(1)] if lane.sku in whole else []
    sizes += [1 / fraction(item.quantity) for item in lane.inputs if item.sku in whole]
    return float(common_multiple(sizes)) if sizes else 0.0


def _given_parts(network: SupplyNetwork) -> Iterator[tuple[str, str]]:
    """SKUs of which parts of a unit are given, and where."""
    for stock in network.stocks:
        if not _is_whole(stock.initial_stock):
            yield stock.sku, f"initial_stock of '{stock.label}' is {stock.initial_stock:g}"
        if _sells_parts(stock):
            yield stock.sku, f"customers of '{stock.label}' ask for parts of units"
    for lane in network.lanes:
        for x in (*lane.initial_in_transit, *lane.initial_orders):
            if not _is_whole(x):
                yield lane.sku, f"lane '{lane.id}' begins with {x:g} ordered or in transit"
        for item in lane.inputs:
            for x in lane.initial_orders:
                if not _is_whole(fraction(x) * fraction(item.quantity)):
                    yield item.sku, f"initial_orders of lane '{lane.id}' take parts of it"


def _divides(lane: Lane) -> Iterator[str]:
    """SKUs that orders on the lane bring or take in parts."""
    packs = lane.quantities()
    pack = Fraction(packs.numerator) / Fraction(packs.denominator)
    for sku, quantity in ((lane.sku, 1.0), *((i.sku, i.quantity) for i in lane.inputs)):
        size = pack * fraction(quantity)
        if size == 0 or not _is_whole(size):
            yield sku


def _is_whole(quantity: float | Fraction) -> bool:
    return quantity == round(quantity)


def _sells_parts(stock: Stock) -> bool:
    return stock.demand is not None and not stock.demand.is_whole
