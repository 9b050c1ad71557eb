"""Simulate given demand with given orders: a company's own history, or another simulator's run.

The orders of a history are executed as they are, as far as the feasibility layer lets them; what
it changes is listed. In their place a classical policy can order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.arrays import CostColumn
from envs.compiled.network import CompiledNetwork
from envs.environment.batched_env import BatchedEnv
from envs.network.demand import Demand
from envs.network.network import SupplyNetwork
from envs.policies.base import Policy
from envs.scenario import Scenario, Split
from envs.simulation.action_spaces import ActionSpace
from envs.simulation.explain import Change, explain_orders
from envs.simulation.simulator import Simulator
from envs.types import Floats

_LEAST_CHANGE = 1e-9  # units

# Columns of the tables that are taken as they are, from State at the end of a period and from
# Flows. What a table calls them -> what they are called there.
_STOCK_STATE = {"on_hand": "on_hand", "backorders": "backorders"}
_STOCK_FLOWS = {name: name for name in ("demand", "sold", "backlog_served", "lost", "requested")}
_LANE_STATE = {
    "owed": "owed",
    "in_transit": "in_transit_total",
    "orders_on_way": "orders_on_way_total",
}
_LANE_FLOWS = {
    "asked": "raw_order",
    **{name: name for name in ("ordered", "shipped", "received", "scrapped", "cancelled")},
}


class ChangedOrder(NamedTuple):
    """An order [units] that could not be executed as given, and the rules that changed it."""

    period: int
    lane: str
    asked: float
    ordered: float
    rules: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Replay:
    """What happened, column by column, rows in the order of `net.network`."""

    net: CompiledNetwork
    stocks: dict[str, Floats]  # [T, P] units, and cost columns in currency; `cost`: their sum
    lanes: dict[str, Floats]  # [T, Q] units
    unused: Floats  # [T, U] left of `net.limit_ids` that lanes wanted more of than there was
    changed: tuple[ChangedOrder, ...] = ()  # all orders that had to be changed

    @property
    def periods(self) -> int:
        """T."""
        return len(self.stocks["cost"])


def with_given_demand(network: SupplyNetwork, demand: Floats, first: int = 0) -> SupplyNetwork:
    """Return the network with the demand [T, stocks] (in units, in the order of its stocks).

    Stocks that have demand in the network or in the table face the table's. Forecasts start from
    the network's mean and standard deviation where it has them, else from the table's.
    first: the calendar period of the first row.
    """
    stocks = []
    # A history is repeated from calendar period 0 on.
    from_0 = np.roll(demand, first, axis=0)
    for stock, history in zip(network.stocks, from_0.T, strict=True):
        if stock.demand is not None:
            mean, sd = stock.demand.mean, stock.demand.standard_deviation
        elif history.any():
            mean, sd = float(history.mean()), float(history.std())
        else:
            stocks.append(stock)
            continue
        given = Demand(mean, sd, history=np.ascontiguousarray(history))
        # The table is what customers wanted: no regime may multiply it again.
        stocks.append(dataclasses.replace(stock, demand=given, demand_regimes=()))
    return dataclasses.replace(network, stocks=tuple(stocks))


def replay_orders(scenario: Scenario, orders: Floats, seed: int = 0, first: int = 0) -> Replay:
    """Order the given quantities [T, Q] on the lanes of the scenario's network.

    seed: of the lead times and regimes, where the network has random ones. first: the calendar
    period to begin in.
    """
    simulator = Simulator(scenario.compiled, 1, scenario.smoothing)
    simulator.reset(seed, starts=(first, 1))
    lanes = scenario.network.lanes
    changed: list[ChangedOrder] = []

    def close(period: int) -> None:
        raw = np.ascontiguousarray(orders[period][:, None])
        changes = explain_orders(simulator, raw)  # first: the rules look at the state
        simulator.close_period_with_orders(raw)
        ordered = simulator.flows.ordered[:, 0]
        for q in np.flatnonzero(np.abs(ordered - raw[:, 0]) > _LEAST_CHANGE):
            changed.append(
                ChangedOrder(
                    period, lanes[q].id, float(raw[q, 0]), float(ordered[q]), _rules(changes[q])
                )
            )

    table = _record(simulator, len(orders), close, simulator.open_period)
    return dataclasses.replace(table, changed=tuple(changed))


def replay_policy(
    scenario: Scenario, policy: Policy, periods: int, seed: int = 0, first: int = 0
) -> Replay:
    """Let a classical policy order on the scenario's network for so many periods; first: the
    calendar period to begin in."""
    # One period more than are played: the value of what is left at the horizon is no cost here.
    splits = {"train": Split(first, first + periods + 1)}
    unending = dataclasses.replace(scenario, horizon=periods + 1, warm_up=0, splits=splits)
    env = BatchedEnv(unending, 1, base_policy=policy, action_space=ActionSpace.residual)
    env.reset(seed)
    return _record(
        env.simulator, periods, lambda _: env.close_period(env.no_action), env.open_period
    )


def _rules(changes: list[Change]) -> tuple[str, ...]:
    return tuple(change.rule for change in changes)


def _record(
    simulator: Simulator, periods: int, close: Callable[[int], None], advance: Callable[[], None]
) -> Replay:
    """Play the periods and keep what the tables show; close(t) orders and ends period t."""
    net, state, flows = simulator.net, simulator.state, simulator.flows
    pairs, lanes = len(net.network.stocks), len(net.network.lanes)
    stocks = {name: np.zeros((periods, pairs)) for name in (*_STOCK_STATE, *_STOCK_FLOWS)}
    costs = {f"cost_{c.name.lower()}": np.zeros((periods, pairs)) for c in CostColumn}
    table = {name: np.zeros((periods, lanes)) for name in (*_LANE_FLOWS, *_LANE_STATE)}
    unused = np.zeros((periods, len(net.limit_ids)))
    for t in range(periods):
        close(t)
        for kept, source, names in (
            (stocks, state, _STOCK_STATE),
            (stocks, flows, _STOCK_FLOWS),
            (table, state, _LANE_STATE),
            (table, flows, _LANE_FLOWS),
        ):
            for name, attribute in names.items():
                kept[name][t] = getattr(source, attribute)[:, 0]
        for column, values in zip(CostColumn, costs.values(), strict=True):
            values[t] = flows.cost[column, :, 0]
        unused[t] = flows.limit_unused[:, 0]
        if t + 1 < periods:
            advance()
    total = np.sum(list(costs.values()), axis=0)
    stocks |= _sums_over_lanes(net, table) | costs | {"cost": total}
    return Replay(net, stocks, table, unused)


def _sums_over_lanes(net: CompiledNetwork, lanes: dict[str, Floats]) -> dict[str, Floats]:
    """Return [T, P] units of a stock that its inbound lanes bring and its outbound lanes take."""
    inputs, size = net.arrays.lanes.inputs, (len(net.network.lanes), len(net.network.stocks))
    takes: Any = sparse.csr_matrix((inputs.value, inputs.index, inputs.pointer), shape=size)
    rows = np.arange(size[0])
    brings: Any = sparse.csr_matrix((np.ones(size[0]), (rows, net.arrays.lanes.to)), shape=size)
    inbound = dict.fromkeys(("ordered", "received", "in_transit"), brings)
    outbound = dict.fromkeys(("shipped", "owed"), takes)
    return {name: lanes[name] @ matrix for name, matrix in {**inbound, **outbound}.items()}
