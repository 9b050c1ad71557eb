"""Slopes where nothing is there, wanted, asked for or due: small networks set up by hand.

Random networks hardly ever begin at such a bend, and where they do both sides of it differ, so that
a wrong slope may lie between them. Here what is 0 only rises: a slope is what a little more of it
brings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.network.demand import Demand
from envs.network.lane import Allocation, Lane, LaneInput, Resource, ResourceUse
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, Regime, RegimeState
from envs.scenario import Scenario
from envs.types import Floats, Floats32
from tests.envs.reverse_judge import STATE, Difference, Entry, Judge

DEPOT, FIRST, SECOND, THIRD = range(4)  # rows of stocks, and of the lanes that bring them goods
DAYS = 40


def _sells(units: float) -> Demand:
    return Demand(units + 1.0, 1.0, history=np.full(DAYS, units))


def _network(
    depot: Mapping[str, Any] | None = None,
    lanes: Mapping[int, Mapping[str, Any]] | None = None,
    *,
    from_depot: bool = True,
    **parts: Any,
) -> SupplyNetwork:
    """A depot that three shops buy from; the first one sells nothing.

    depot, lanes: more of the depot's stock and of the lanes by row. from_depot: else shops buy from
    outside. parts: more of the network.
    """
    inputs = (LaneInput("depot", "tea"),) if from_depot else ()
    stocks = (
        Stock("depot", "tea", holding_cost=0.3, **(depot or {})),
        Stock("first", "tea", 0.7, 1.9, price=5.0, demand=_sells(0.0)),
        Stock("second", "tea", 1.1, 2.3, price=7.0, demand=_sells(4.0)),
        Stock("third", "tea", 0.9, 1.7, price=6.0, demand=_sells(2.0)),
    )
    names = [stock.node for stock in stocks]
    ways = tuple(
        Lane(
            name, name, "tea", LeadTime(1), () if row == DEPOT else inputs,
            **(lanes or {}).get(row, {}),
        )
        for row, name in enumerate(names)
    )  # fmt: skip
    nodes = parts.pop("nodes", tuple(map(Node, names)))
    return SupplyNetwork(nodes, (Sku("tea", whole_units=False),), stocks, ways, **parts)


def _ranks(first: int, second: int) -> dict[int, dict[str, Any]]:
    return {FIRST: {"priority": first}, SECOND: {"priority": second}}


_FULL = _network(
    lanes={FIRST: {"in_transit_cost": 0.25}},
    nodes=(
        Node("depot"),
        Node("first", storage_capacity=10.0),
        Node("second"),
        Node("third"),
    ),
)
_RUINED = Regime(
    "ruin",
    (RegimeState("as usual"), RegimeState("ruined", yield_share=0.0)),
    EventWindow(0, 0, DAYS),
)
_FAIR: dict[str, Any] = {"allocation": Allocation.fair_share, "learned_allocation": True}
_TRUCK: dict[str, Any] = {"resources": (ResourceUse("truck"),)}
_BY_RANK: dict[str, Any] = {"allocation": Allocation.priority}


@dataclass(frozen=True)
class Case:
    """A network, and what there is by row when it begins; the rest is 0."""

    network: SupplyNetwork
    on_hand: Mapping[int, float] = field(default_factory=dict)
    owed: Mapping[int, float] = field(default_factory=dict)
    backorders: Mapping[int, float] = field(default_factory=dict)


_SHORT: dict[str, Any] = {"on_hand": {DEPOT: 4.0}, "owed": {FIRST: 8.0}}

CASES = {
    "nobody comes to an empty shelf": Case(_network()),
    "the last unit goes to who waited, and nobody comes": Case(
        _network(), {FIRST: 3.0}, backorders={FIRST: 3.0}
    ),
    "nothing is due at a full shelf": Case(_FULL, {FIRST: 10.0}),
    "what is due at a full shelf is scrapped": Case(
        replace(
            _FULL,
            lanes=tuple(replace(lane, regimes=("ruin",)) for lane in _FULL.lanes),
            regimes=(_RUINED,),
        ),
        {FIRST: 10.0},
    ),
    "neither goods nor a truck": Case(
        _network(lanes={FIRST: _TRUCK}, resources=(Resource("truck", 0.0),)),
        owed={FIRST: 5.0},
    ),
    "no goods are wanted that are scarce": Case(_network(), **_SHORT),
    "nothing is wanted until a later round": Case(
        _network(lanes={FIRST: _TRUCK}, resources=(Resource("truck", 2.0),)),
        {DEPOT: 5.0},
        {FIRST: 8.0},
    ),
    "no place on a full truck is wanted": Case(
        _network(
            lanes={FIRST: _TRUCK, SECOND: _TRUCK}, resources=(Resource("truck", 3.0),)
        ),
        {DEPOT: 4.0},
        {FIRST: 8.0},
    ),
    "the first in rank wants nothing": Case(_network(_BY_RANK, _ranks(1, 0)), **_SHORT),
    "the last in rank wants nothing": Case(_network(_BY_RANK, _ranks(0, 1)), **_SHORT),
    "who has least wants nothing": Case(_network(_FAIR), **_SHORT),
    "who has most wants nothing": Case(
        _network(_FAIR), {DEPOT: 4.0, SECOND: 60.0}, {FIRST: 8.0}
    ),
    "who has least wants nothing, and nothing is there": Case(
        _network(_FAIR), owed={FIRST: 8.0}, backorders={SECOND: 3.0}
    ),
    "goods are left that a full truck can't take": Case(
        _network(_FAIR, {DEPOT: _TRUCK, FIRST: _TRUCK}, resources=(Resource("truck", 2.0),)),
        {DEPOT: 6.0, SECOND: 20.0},
        {DEPOT: 6.0, FIRST: 10.0, SECOND: 8.0, THIRD: 7.0},
    ),
    "nobody wants a place on a truck that stands still": Case(
        _network(
            lanes={SECOND: _TRUCK},
            resources=(Resource("truck", 0.0, allocation=Allocation.priority),),
        ),
        {DEPOT: 4.0},
    ),
    "the first in rank wants no place on a full truck": Case(
        _network(
            lanes={FIRST: {**_TRUCK, "priority": 1}, SECOND: _TRUCK},
            from_depot=False,
            resources=(Resource("truck", 3.0, allocation=Allocation.priority),),
        ),
        owed={FIRST: 8.0},
    ),
}  # fmt: skip


class HandMade(Judge):
    """Plays a case: nobody orders anything more."""

    def __init__(self, name: str) -> None:
        self._case = CASES[name]
        network = self._case.network
        super().__init__(0, Scenario(name, network, DAYS, base_policy="base_stock"))

    def differences(self) -> list[Difference]:
        """Of every entry of the state; what is 0 can only rise."""
        env, _ = self._begin(1)
        start = {name: getattr(env.state, name)[..., 0] for name in STATE}
        return [
            one
            if start[one.entry.field][one.entry.place] > 0.0
            else one._replace(from_left=one.from_right)
            for one in super().differences()
        ]

    def _fill(self, env: BatchedEnv, numbers: np.random.Generator) -> None:
        for name in (*STATE, "in_transit_total", "orders_on_way_total"):
            getattr(env.state, name)[...] = 0.0
        for name in ("on_hand", "owed", "backorders"):
            for row, units in getattr(self._case, name).items():
                getattr(env.state, name)[row] = units

    def _stir(self, env: BatchedEnv, numbers: np.random.Generator) -> None:
        """As it is."""

    def _decide(self, env: BatchedEnv, numbers: np.random.Generator) -> tuple[Floats, Floats]:
        return np.full_like(env.target, -5.0), np.full_like(env.spread, 0.5)

    def _action(self, env: BatchedEnv, numbers: np.random.Generator) -> Floats32:
        return env.no_action.copy()

    def _entries(self, env: BatchedEnv) -> list[Entry]:
        return [entry for entry in super()._entries(env) if entry.field != "action"]


def judge_of(what: int | str) -> Judge:
    """Of a case, or of the random network of a seed."""
    return HandMade(what) if isinstance(what, str) else Judge(what)
