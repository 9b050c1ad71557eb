"""What goes over the wire: the request, the answer, errors. Strict: nothing is guessed.

No text for numbers, no NaN or infinity, no unknown keys, bounded lists. Names of locations, items
and lanes are checked later, against the network that is served (`serving.snapshot`).
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

__all__ = [
    "ErrorAnswer",
    "Fallback",
    "FieldError",
    "Guardrail",
    "Health",
    "Line",
    "ModelInfo",
    "Notice",
    "OpenOrder",
    "Policies",
    "RecentSales",
    "RecommendationRequest",
    "RecommendationResponse",
    "StockLevel",
    "Summary",
]

_MOST_UNITS = 1e9  # beyond it a number is a typing error, and float32 loses whole units
_MOST_ROWS = 100_000
_MOST_PERIODS = 1_000  # of recent sales; older ones no longer matter

Name = Annotated[str, Field(min_length=1, max_length=200)]
Units = Annotated[FiniteFloat, Field(ge=0, le=_MOST_UNITS)]
MoreThanZero = Annotated[FiniteFloat, Field(gt=0, le=_MOST_UNITS)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        strict=True, extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True
    )


class StockLevel(_Strict):
    """on_hand: units on the shelf. backorders: units that customers already wait for."""

    location: Name
    item: Name
    on_hand: Units
    backorders: Units = 0.0


class OpenOrder(_Strict):
    """An order placed and not received: the lane by its id, or by to, item and (where there is
    more than one) from. quantity: units. eta or due_in_periods: when it arrives; neither: the
    sender has not shipped it."""

    lane: Name | None = None
    source: Name | None = Field(default=None, alias="from")
    to: Name | None = None
    item: Name | None = None
    quantity: MoreThanZero
    eta: date | None = None
    due_in_periods: Annotated[int, Field(ge=0, le=10_000)] | None = None

    @model_validator(mode="after")
    def _one_way_each(self) -> Self:
        by_parts = (self.source, self.to, self.item)
        if self.lane is not None and any(part is not None for part in by_parts):
            raise ValueError("give either lane, or to and item (and from), not both")
        if self.lane is None and (self.to is None or self.item is None):
            raise ValueError("give lane, or to and item")
        if self.eta is not None and self.due_in_periods is not None:
            raise ValueError("give eta or due_in_periods, not both")
        return self


class RecentSales(_Strict):
    """quantities: units per period, oldest first; the last one is the last period whose demand is
    known when orders are placed. At a location without customers: units other locations asked
    of it."""

    location: Name
    item: Name
    quantities: Annotated[list[Units], Field(min_length=1, max_length=_MOST_PERIODS)]


class RecommendationRequest(_Strict):
    """A snapshot of the whole network.

    as_of: the period (a day, where the network has a calendar) in which orders are placed.
    policy: `champion`, or `classical` for its base policy without the learned correction.
    include_zero: answer lines with quantity 0 too.
    """

    request_id: Annotated[str, Field(max_length=200)] | None = None
    as_of: date | None = None
    policy: Literal["champion", "classical"] = "champion"
    include_zero: bool = False
    stock: Annotated[list[StockLevel], Field(max_length=_MOST_ROWS)]
    open_orders: Annotated[list[OpenOrder], Field(max_length=_MOST_ROWS)] = []
    recent_sales: Annotated[list[RecentSales], Field(max_length=_MOST_ROWS)] = []


class ModelInfo(_Strict):
    """version, run_id: of the registry; None where a folder is served. artifact: SHA-256 of the
    manifest. network_hash: SHA-256 of the network."""

    name: str
    version: str | None
    run_id: str | None
    artifact: str
    scenario: str
    network_hash: str


class Guardrail(_Strict):
    """A limit of the lane changed the quantity [units]: maximum_order, minimum_order or
    order_multiple."""

    rule: str
    before: float
    after: float


class Line(_Strict):
    """One order on one lane, units. source: locations it takes from; empty: an outside supplier.

    quantity: to order now, after all limits. classical: what the base policy alone would order,
    after the same limits. delta: quantity - classical. expected_arrival_in_periods: mean lead
    time, if the sender ships at once.
    """

    location: str
    item: str
    lane: str
    source: list[str]
    quantity: float
    classical: float
    delta: float
    expected_arrival_in_periods: float
    guardrails: list[Guardrail]


class Summary(_Strict):
    """lines, changed_lines: over all lanes: with an order, and with delta other than 0. units,
    classical_units: sums over lanes. order_cost, classical_order_cost: purchase and fixed costs."""

    lines: int
    changed_lines: int
    units: float
    classical_units: float
    order_cost: float
    classical_order_cost: float
    currency: str


class Fallback(_Strict):
    """Whether the base policy answered in the place of the model, and why."""

    used: bool = False
    reasons: list[str] = []


class Notice(_Strict):
    """Something assumed. rows: how many rows it concerns; where: the first of them."""

    code: str
    message: str
    rows: int
    where: list[str]


class RecommendationResponse(_Strict):
    """Orders for all lanes."""

    request_id: str | None
    model: ModelInfo
    policy: Literal["champion", "classical"]
    lines: list[Line]
    summary: Summary
    fallback: Fallback
    warnings: list[Notice]


class Health(_Strict):
    """Times: ISO, UTC. last_poll: the last look at the registry that was answered.
    last_load_error: why the newest candidate isn't served."""

    status: Literal["ok"]
    model: ModelInfo
    loaded_at: str
    uptime_seconds: float
    last_poll: str | None
    last_load_error: str | None


class Policies(_Strict):
    """champion: the model served. classical: its base policy, with parameters."""

    champion: ModelInfo
    classical: dict[str, object]


class FieldError(_Strict):
    """field: path into the body, such as stock[3].on_hand; empty for the body as a whole."""

    field: str
    message: str


class ErrorAnswer(_Strict):
    """Every answer that is not 200."""

    errors: list[FieldError]
