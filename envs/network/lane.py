"""The lane: one way to get a SKU to a node, and the resources that lanes share."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from envs.errors import NetworkError
from envs.network.calendar import Calendar
from envs.network.checks import at_least_zero, few_periods, must_be_share, numbers_at_least_zero
from envs.network.lead_time import LeadTime
from envs.network.order_quantities import OrderQuantities, order_quantities
from envs.network.plain import ADDED


class Allocation(StrEnum):
    """How lanes share what is scarce: by what they want, by the lanes' priority, or so that all
    receivers have equal days of cover."""

    proportional = "proportional"
    priority = "priority"
    fair_share = "fair_share"


class Speed(StrEnum):
    """Regular lanes bring the bulk; expedite lanes what can't wait, at a price."""

    regular = "regular"
    expedite = "expedite"


class Limits(StrEnum):
    """What a resource limits: shipments (the rest stays owed), or orders (a budget)."""

    shipments = "shipments"
    orders = "orders"


class Rounding(StrEnum):
    """What an order becomes that is no quantity the lane takes: the next one that is enough, the
    nearest (half-way: the larger), or the next one below. Never more than the maximum.

    Up: a customer's wish of less than a pack is ordered for; only what is less than 1e-6 packs is
    taken for rounding of numbers, and orders nothing.
    """

    up = "up"
    nearest = "nearest"
    down = "down"


@dataclass(frozen=True)
class LaneInput:
    """What one unit on a lane consumes: `quantity` units of a stocked pair."""

    node: str
    sku: str
    quantity: float = 1.0


@dataclass(frozen=True)
class ResourceUse:
    """How much of a resource one unit on a lane takes."""

    resource: str
    per_unit: float = 1.0


@dataclass(frozen=True)
class Resource:
    """What lanes share: a supplier, a fleet, machine hours, a budget.

    Shipments that want more of it than there is get their part, or are served by priority; a lane
    with several limits (resources, inputs) the smallest of its parts, and what it leaves of the
    others is shared twice more (`envs.simulation.events.ship`). Orders that want more of a budget
    get their part in whole packs, and then what still fits
    (`envs.simulation.feasibility.limit_orders`).

    With a load_size it is a vehicle too: what leaves in a period by the same mode from the same
    place (or outside supplier) to the same node comes together, whatever the SKU. Such lanes share
    one draw of their lead time in every period; a lane's vehicle is the first such resource that it
    lists.
    """

    id: str
    capacity: float = float("inf")  # per period, times the availability of its regimes
    limits: Limits = Limits.shipments  # what the capacity limits
    fixed_cost: float = 0.0  # currency per period in which it is used at all (a joint order cost)
    load_size: float | None = None  # capacity units per load (a truck's cubic metres)
    load_cost: float = 0.0  # currency per load begun
    regimes: tuple[str, ...] = ()
    # periods in which there is any of it: a machine's shifts
    calendar: Calendar | None = field(default=None, metadata=ADDED)
    # how lanes share it; by priority or in proportion
    allocation: Allocation = Allocation.proportional

    def __post_init__(self) -> None:
        where = f"Resource '{self.id}'"
        _check_loads(where, self.load_size, self.load_cost)
        numbers_at_least_zero(where, self)
        if self.allocation is Allocation.fair_share:
            raise NetworkError(
                f"{where}: allocation is fair_share; expected proportional or priority (days of "
                "cover differ by what a receiver needs, not by what a resource is)."
            )


@dataclass(frozen=True)
class Lane:
    """One way to get `sku` to `node`."""

    id: str
    node: str
    sku: str
    # periods from shipping to arrival; may be 0 only without inputs, or where goods are
    # received after shipping
    lead_time: LeadTime = field(default_factory=LeadTime)
    # what a unit consumes; none: an outside supplier with unlimited stock
    inputs: tuple[LaneInput, ...] = ()
    resources: tuple[ResourceUse, ...] = ()
    regimes: tuple[str, ...] = ()
    unit_cost: float = 0.0  # currency per unit shipped
    fixed_cost: float = 0.0  # currency per order placed
    load_size: float | None = None  # units per load
    load_cost: float = 0.0  # currency per load begun
    full_loads: bool = False  # whole loads only
    # share of the classical policy's order placed here, within the speed class (normalised
    # per stocked pair); 0: only used where a policy or an agent chooses it
    base_share: float = 1.0
    minimum_order: float = 0.0  # units, of an order that isn't 0
    maximum_order: float = float("inf")  # units; 0: no orders
    # units: 0 for divisible ones, 1 for whole ones, n for packs; with full_loads orders are
    # multiples of the load_size as well
    order_multiple: float = 0.0
    # of orders to what the lane takes; None: up where customers (or lanes) wait for what comes
    # and a pack or the minimum is more than a unit, else nearest
    rounding: Rounding | None = field(default=None, metadata=ADDED)
    calendar: Calendar | None = None  # periods in which orders can be placed
    # periods in which it ships what is owed: the sender's working days, a weekly departure
    shipping: Calendar | None = field(default=None, metadata=ADDED)
    # periods in which goods on it move: a lead time counts these alone (business days)
    transit: Calendar | None = field(default=None, metadata=ADDED)
    # periods in which its goods are let in; what is due in others waits outside
    receiving: Calendar | None = field(default=None, metadata=ADDED)
    speed: Speed = Speed.regular
    priority: int = 0  # 0 is served first
    yield_share: float = 1.0  # usable share of what arrives; the rest is scrapped
    split_share: float = 0.0  # share of every shipment's units that arrives later
    split_delay: int = 0  # so many periods
    # currency per unit shipped that the sender, the pair of the first input, earns
    price: float = 0.0
    # currency per unit of orders left unfilled, each period while owed, once where cancelled,
    # paid by the sender (without inputs: by the receiver), instead of its backlog_cost
    unfilled_cost: float | None = None
    # currency per unit per period, paid by the receiver, instead of what
    # `timing.in_transit_payer` implies
    in_transit_cost: float | None = None
    mode: str = ""  # a label: sea, air, truck
    co2: float = 0.0  # kg per unit
    information_delay: int = 0  # periods until the sender sees the order
    initial_in_transit: tuple[float, ...] = ()  # units that arrive in periods 0, 1, ...
    # units of orders that reach the sender in periods 0, 1, ...
    initial_orders: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        where = f"Lane '{self.id}'"
        _check_loads(where, self.load_size, self.load_cost)
        must_be_share(where, yield_share=self.yield_share, split_share=self.split_share)
        numbers_at_least_zero(where, self)
        few_periods(
            f"{where}: ", information_delay=self.information_delay, split_delay=self.split_delay
        )
        if self.yield_share == 0.0:
            raise NetworkError(f"{where}: yield_share is 0; expected more: nothing would arrive.")
        if self.full_loads and self.load_size is None:
            raise NetworkError(f"{where}: full_loads needs a load_size; expected units per load.")
        if (self.split_share > 0.0) != (self.split_delay > 0):
            raise NetworkError(
                f"{where}: split_share is {self.split_share} and split_delay {self.split_delay}; "
                "expected both 0 or both above 0."
            )
        taken = [(f"input {i.sku}@{i.node}", i.quantity) for i in self.inputs]
        taken += [(f"resource '{u.resource}'", u.per_unit) for u in self.resources]
        for what, quantity in taken:
            if not quantity > 0:
                raise NetworkError(f"{where}: {what} takes {quantity} per unit; expected > 0.")
        if self.price > 0 and not self.inputs:
            raise NetworkError(
                f"{where}: price is {self.price}, but there is no sender to earn it; expected "
                "0 for a lane without inputs."
            )
        if self.minimum_order > self.maximum_order:
            raise NetworkError(
                f"{where}: minimum_order is {self.minimum_order}; expected at most maximum_order, "
                f"{self.maximum_order}."
            )
        self.quantities()
        for name, most, what in (
            ("initial_in_transit", self.lead_time.maximum, "longest lead time"),
            ("initial_orders", self.information_delay, "information delay"),
        ):
            values = getattr(self, name)
            if len(values) > most:
                raise NetworkError(
                    f"{where}: {name} has {len(values)} periods; expected at most the {what}, "
                    f"{most}."
                )
            at_least_zero(where, **{f"{name}[{t}]": value for t, value in enumerate(values)})

    def quantities(self, step: float = 0.0) -> OrderQuantities:
        """Return what an order can be; step: units of which it must be a multiple as well.

        Raises:
            NetworkError: nothing but 0.
        """
        load = (self.load_size or 0.0) if self.full_loads else 0.0
        limits = (self.minimum_order, self.maximum_order)
        return order_quantities(f"Lane '{self.id}'", *limits, self.order_multiple, load, step)


def _check_loads(where: str, load_size: float | None, load_cost: float) -> None:
    if load_size is not None and not load_size > 0:
        raise NetworkError(f"{where}: load_size is {load_size}; expected a number > 0.")
    if load_cost > 0 and load_size is None:
        raise NetworkError(f"{where}: load_cost is {load_cost} without a load_size; expected both.")
