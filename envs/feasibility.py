"""From what a policy asks for to what can be ordered: one layer for every policy.

Steps, in order: non-negative, maximum order, minimum order, order multiple. The executed quantity
is what is logged, learned from and recommended.
"""

from __future__ import annotations

import math

from envs.kernel import entry

__all__ = ["executed_quantity"]

_HALF = 0.5 - 1e-9  # half a pack or more becomes a pack, whatever the last bit of the sum


@entry
def executed_quantity(
    raw: float, minimum_order: float, maximum_order: float, order_multiple: float
) -> float:
    """Return the quantity ordered [units] for a raw order [units] on one lane.

    Rounds to the nearest multiple (0: units are divisible); below half the minimum order nothing
    is ordered, from half of it on the minimum is. Never above the maximum: where no multiple lies
    between minimum and maximum, nothing is ordered.
    """
    quantity = min(max(raw, 0.0), maximum_order)
    if minimum_order > 0.0 and quantity < minimum_order:
        quantity = minimum_order if 2.0 * quantity >= minimum_order else 0.0
    if order_multiple > 0.0:
        packs = math.floor(quantity / order_multiple + 1.0 - _HALF)
        if packs * order_multiple > maximum_order:
            packs = math.floor(maximum_order / order_multiple)
        if 0.0 < packs * order_multiple < minimum_order:
            packs = math.ceil(minimum_order / order_multiple)
        quantity = packs * order_multiple
        if quantity > maximum_order:
            quantity = 0.0
    return quantity
