"""Request and answer of a recommendation, the same for every caller. Strict: nothing is guessed.

No text for numbers, no NaN or infinity, no unknown keys, bounded lists. Names of locations, items
and lanes are checked later, against the artifact's network (`evaluation.recommendation.snapshot`).
"""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

MOST_UNITS = 1e9  # beyond it a number is a typing error, and float32 loses whole units
_MOST_ROWS = 100_000
LONGEST_HISTORY = 1_000  # periods; older ones no longer matter

Name = Annotated[str, Field(min_length=1, max_length=200)]
Units = Annotated[FiniteFloat, Field(ge=0, le=MOST_UNITS)]
# A date, or periods from as_of: -1 is the last one.
When = Annotated[int, Field(ge=-10_000, le=10_000)] | date
MoreThanZero = Annotated[FiniteFloat, Field(gt=0, le=MOST_UNITS)]


class Strict(BaseModel):
    """Base of all models: exact types, no unknown fields, no changes, no NaN or infinity."""

    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


class StockLevel(Strict):
    """Stock of an item at a location.

    on_hand: units on the shelf.
    backorders: units that customers already wait for.
    date: when it was counted; None: as_of.
    """

    location: Name
    item: Name
    on_hand: Units
    backorders: Units = 0.0
    date: When | None = None


class OnLane(Strict):
    """A lane by its id, or by to, item and (where there is more than one) from."""

    lane: Name | None = None
    source: Name | None = Field(default=None, validation_alias="from", serialization_alias="from")
    to: Name | None = None
    item: Name | None = None

    @model_validator(mode="after")
    def _one_way_each(self) -> Self:
        by_parts = (self.source, self.to, self.item)
        if self.lane is not None and any(part is not None for part in by_parts):
            raise ValueError("give either lane, or to and item (and from), not both")
        if self.lane is None and (self.to is None or self.item is None):
            raise ValueError("give lane, or to and item")
        return self


class OpenOrder(OnLane):
    """An order placed and not received.

    quantity: units.
    eta or due_in_periods: when it arrives; neither: the sender has not shipped it (work in
        progress: it arrives after the mean lead time).
    ordered: when it was placed.
    """

    quantity: MoreThanZero
    eta: date | None = None
    due_in_periods: Annotated[int, Field(ge=0, le=10_000)] | None = None
    ordered: When | None = None

    @model_validator(mode="after")
    def _one_due(self) -> Self:
        if self.eta is not None and self.due_in_periods is not None:
            raise ValueError("give eta or due_in_periods, not both")
        return self


class Receipt(OnLane):
    """What was received of an order, or won't be.

    ordered: when the order was placed.
    promised: when it should have come. In training a lane promises one time, its mean lead time
        plus a standard deviation, and by that on time, in full and overdue are measured; another
        one changes nothing, and a warning says so.
    received: when it came; None: what is given is cancelled.
    quantity: units received, defective ones included.
    cancelled: units of the order that the sender dropped.
    """

    ordered: When
    promised: When | None = None
    received: When | None = None
    quantity: Units = 0.0
    cancelled: Units = 0.0

    @model_validator(mode="after")
    def _when_it_came(self) -> Self:
        if self.quantity > 0 and self.received is None:
            raise ValueError("give received for the quantity; what is still to come is open_orders")
        return self


class OfRegime(Strict):
    """The status of something that moves by itself, by what feels it: a lane, a location, a
    resource (a supplier, a machine) or, by its id, the regime; as many as it takes to say which.

    status: name of the regime's state.
    """

    lane: Name | None = None
    location: Name | None = None
    resource: Name | None = None
    regime: Name | None = None
    status: Name
    note: Annotated[str, Field(max_length=1000)] | None = None

    @model_validator(mode="after")
    def _says_of_what(self) -> Self:
        if all(n is None for n in (self.lane, self.location, self.resource, self.regime)):
            raise ValueError("give lane, location, resource or regime")
        return self


class Status(OfRegime):
    """date: from when on it has been so; None: as_of."""

    date: When | None = None


class Forecast(OfRegime):
    """target_date: for when the status is forecast."""

    target_date: When


class Price(Strict):
    """What a unit on a lane costs now [currency]."""

    lane: Name
    unit_price: Units


class RecentSales(Strict):
    """What was sold of an item at a location.

    quantities: units per period, oldest first; the last one is the last period whose demand is
        known when orders are placed. At a location without customers: units other locations
        ordered from it. null: not known.
    stockout: for each of them, whether the shelf was empty: what was sold then says nothing of
        demand, and is left out of its averages. true: all of them.
    transfers: at a location with customers, units other locations ordered from it, of as many
        periods; None: what was sold below it.
    """

    location: Name
    item: Name
    quantities: Annotated[list[Units | None], Field(min_length=1, max_length=LONGEST_HISTORY)]
    stockout: Annotated[list[bool], Field(max_length=LONGEST_HISTORY)] | bool = False
    transfers: Annotated[list[Units], Field(max_length=LONGEST_HISTORY)] | None = None

    @model_validator(mode="after")
    def _one_mark_each(self) -> Self:
        marks = self.stockout
        if isinstance(marks, list) and len(marks) != len(self.quantities):
            raise ValueError(
                f"stockout has {len(marks)} marks; expected {len(self.quantities)}, one for each "
                "of quantities"
            )
        return self

    @model_validator(mode="after")
    def _same_periods(self) -> Self:
        if self.transfers is not None and len(self.transfers) != len(self.quantities):
            raise ValueError("transfers and quantities differ in length; expected the same periods")
        return self

    def unconstrained(self) -> list[float]:
        """Return the units of demand: the mean of the periods with stock in those without, so that
        these don't move averages; NaN where nothing is known."""
        marks = self.stockout
        empty = [marks] * len(self.quantities) if isinstance(marks, bool) else marks
        pairs = list(zip(self.quantities, empty, strict=True))
        told = [units for units, is_empty in pairs if units is not None and not is_empty]
        mean = sum(told) / len(told) if told else math.nan
        return [
            mean if is_empty else math.nan if units is None else units for units, is_empty in pairs
        ]


class Scope(Strict):
    """Which lines are asked for; None: all.

    locations, items: that the lines go to.
    suppliers: locations that they come from, or resources that they use.
    """

    locations: list[Name] | None = None
    items: list[Name] | None = None
    suppliers: list[Name] | None = None


class RecommendationRequest(Strict):
    """A snapshot of the whole network.

    scope: the lines to answer; None: those of the rows of stock.

    network: its name, where an endpoint serves several.
    as_of: the period (a day, where the network has a calendar) in which orders are placed.
    policy: `champion` for the model that is loaded, `classical` for its base policy without the
        learned correction.
    include_zero: answer lines with quantity 0 too.
    wip: production that has begun, on the lanes that make things.
    receipts: of lanes whose service varies, what beliefs about them are learned from.
    lane_status, node_status: of suppliers, routes, weather; of machines and markets.
    forecasts: of the weather.
    What isn't given is unknown, and a warning says so.
    """

    request_id: Annotated[str, Field(max_length=200)] | None = None
    network: Name | None = None
    as_of: date | None = None
    policy: Literal["champion", "classical"] = "champion"
    include_zero: bool = False
    scope: Scope | None = None
    stock: Annotated[list[StockLevel], Field(max_length=_MOST_ROWS)]
    open_orders: Annotated[list[OpenOrder], Field(max_length=_MOST_ROWS)] = []
    wip: Annotated[list[OpenOrder], Field(max_length=_MOST_ROWS)] = []
    recent_sales: Annotated[list[RecentSales], Field(max_length=_MOST_ROWS)] = []
    receipts: Annotated[list[Receipt], Field(max_length=_MOST_ROWS)] = []
    lane_status: Annotated[list[Status], Field(max_length=_MOST_ROWS)] = []
    node_status: Annotated[list[Status], Field(max_length=_MOST_ROWS)] = []
    forecasts: Annotated[list[Forecast], Field(max_length=_MOST_ROWS)] = []
    prices: Annotated[list[Price], Field(max_length=_MOST_ROWS)] = []


class Answer(BaseModel):
    """Base of what is answered: clients have to expect new fields."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


class ModelInfo(Answer):
    """Which model answered.

    version, run_id: of the registry; None where a folder was loaded.
    artifact: SHA-256 of the manifest.
    network_hash: SHA-256 of the network.
    """

    name: str
    version: str | None
    run_id: str | None
    artifact: str
    scenario: str
    network_hash: str


class Guardrail(Answer):
    """A rule changed the quantity of a line [units].

    rule: calendar, non_negative, maximum_order, minimum_order, order_multiple, full_loads,
        storage or budget (`envs.simulation.explain`).
    """

    rule: str
    before: float
    after: float


class Line(Answer):
    """One order on one lane, units. source: locations it takes from; empty: an outside supplier.

    quantity: to order now, after all limits.
    classical: what the base policy alone would order, after the same limits.
    delta: quantity - classical.
    value: purchase and fixed costs of the quantity [currency].
    expected_arrival_in_periods: mean lead time, if the sender ships as soon as its calendar allows;
      over days on which goods don't move or aren't let in.
    fallback: the base policy answers this line in the place of the model.
    """

    location: str
    item: str
    lane: str
    source: list[str]
    quantity: float
    classical: float
    delta: float
    value: float
    expected_arrival_in_periods: float
    fallback: bool = False
    guardrails: list[Guardrail]


class Summary(Answer):
    """Sums over the lanes in scope, those left out of the lines included.

    lines: lanes with an order.
    changed_lines: lanes whose delta is not 0.
    units, classical_units: ordered.
    order_cost, classical_order_cost: purchase and fixed costs [currency].
    """

    lines: int
    changed_lines: int
    units: float
    classical_units: float
    order_cost: float
    classical_order_cost: float
    currency: str


class Fallback(Answer):
    """Whether the base policy answered in the place of the model, and why.

    share_lines: of the lines in scope.
    """

    used: bool = False
    share_lines: float = 0.0
    reasons: list[str] = []


class Notice(Answer):
    """Something assumed, or worth knowing.

    rows: how many rows it concerns.
    where: the first of them.
    """

    code: str
    message: str
    rows: int
    where: list[str]


class RecommendationResponse(Answer):
    """Orders for the lanes in scope."""

    request_id: str | None
    model: ModelInfo
    policy: Literal["champion", "classical"]
    lines: list[Line]
    summary: Summary
    fallback: Fallback
    warnings: list[Notice]


class FieldError(Answer):
    """What is wrong with a request.

    field: path into it, such as stock[3].on_hand; empty for the whole.
    """

    field: str
    message: str
