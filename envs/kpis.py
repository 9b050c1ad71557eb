"""Key figures of episodes, tallied period by period, as ratios of sums.

fill rate (type 2): units served from stock at once / units demanded.
ready rate: share of (customer-facing pair, period) without unmet demand.
cycle service level (type 1): share of cycles, arrival to arrival, without a stock-out.
bullwhip: squared coefficient of variation of a node kind's orders / that of customer demand.
days of supply: mean stock / mean customer demand. turns: customer units per period / mean stock,
times periods per year.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from envs.batched_env import BatchedEnv
from envs.state import CostColumn

__all__ = ["EpisodeKpis", "KpiTally"]

Floats = NDArray[np.float64]
PERIODS_PER_YEAR = 365.0


@dataclass(frozen=True, eq=False)
class EpisodeKpis:
    """Sums over the counted periods of B episodes; KPIs are ratios of their sums."""

    periods: int
    cost: Floats  # [T, B] currency per period, whole network
    columns: Floats  # [C, B] currency
    cost_by_node: Floats  # [N, T, B] currency
    demand: Floats  # [T, B] units
    sold: Floats  # [B] units served at once
    lost: Floats  # [B] units
    ready: Floats  # [B] pair-periods without unmet demand
    pair_periods: int
    cycles: Floats  # [B]
    good_cycles: Floats  # [B]
    stock: Floats  # [B] sum of on-hand units over periods
    orders: dict[str, Floats]  # node kind -> [T, B] units

    def summary(self) -> dict[str, float]:
        """Return the KPIs by name; NaN-free (a network without demand has service 1)."""
        demand = float(self.demand.sum())
        stock = float(self.stock.sum())
        episodes = self.cost.shape[1]
        sold = demand - float(self.lost.sum())
        figures = {
            "fill_rate": float(self.sold.sum()) / demand if demand else 1.0,
            "ready_rate": float(self.ready.sum()) / max(self.pair_periods * episodes, 1),
            "cycle_service_level": float(self.good_cycles.sum()) / max(self.cycles.sum(), 1.0),
            "lost_share": float(self.lost.sum()) / demand if demand else 0.0,
            "days_of_supply": stock / demand if demand else 0.0,
            "turns": sold / stock * PERIODS_PER_YEAR if stock else 0.0,
        }
        spread = _squared_cv(self.demand)
        for kind, orders in self.orders.items():
            figures[f"bullwhip_{kind}"] = _squared_cv(orders) / spread if spread else 0.0
        return figures

    def cost_columns(self) -> dict[str, float]:
        """Return the mean of every cost column that is used [currency per period]."""
        means = self.columns.mean(axis=1) / self.periods
        return {column.name.lower(): float(means[column]) for column in CostColumn if means[column]}

    @staticmethod
    def join(parts: list[EpisodeKpis]) -> EpisodeKpis:
        """Put batches of episodes of equal length side by side."""
        first = parts[0]
        joined = {
            name: np.concatenate([getattr(part, name) for part in parts], axis=-1)
            for name in (
                "cost", "columns", "cost_by_node", "demand", "sold", "lost", "ready", "cycles",
                "good_cycles", "stock",
            )
        }  # fmt: skip
        orders = {
            kind: np.concatenate([part.orders[kind] for part in parts], axis=-1)
            for kind in first.orders
        }
        return EpisodeKpis(
            periods=first.periods, pair_periods=first.pair_periods, orders=orders, **joined
        )


def _squared_cv(series: Floats) -> float:
    """Mean over episodes of (sd / mean)^2 over time, weighted by the squared mean. [T, B]"""
    mean_square = float((series.mean(axis=0) ** 2).sum())
    return float(series.var(axis=0).sum()) / mean_square if mean_square else 0.0


class KpiTally:
    """Collects what an environment's periods did; call `add` after each close_period."""

    def __init__(self, env: BatchedEnv) -> None:
        self._env = env
        batch, net = env.batch_size, env.net
        self._customers = net.customer_pair
        self._inbound = net.arrays.lane_to
        self._lanes = {
            group.name: np.flatnonzero(
                (net.arrays.lane_to >= group.start) & (net.arrays.lane_to < group.stop)
            )
            for group in env.groups
        }
        self._cost: list[Floats] = []
        self._demand: list[Floats] = []
        self._by_node: list[Floats] = []
        self._orders: dict[str, list[Floats]] = {name: [] for name in self._lanes}
        self._node_start = np.flatnonzero(np.diff(net.node_of_pair, prepend=-1))
        self._columns = np.zeros((len(CostColumn), batch))
        self._sold, self._lost, self._ready = np.zeros((3, batch))
        self._cycles, self._good_cycles, self._stock = np.zeros((3, batch))
        self._clean = np.ones((len(self._customers), batch), bool)
        self._started = np.zeros((len(self._customers), batch), bool)

    def add(self) -> None:
        """Count the period just closed."""
        env, rows = self._env, self._customers
        flows, state = env.flows, env.state
        self._cost.append(flows.total_cost.sum(axis=0))
        self._by_node.append(np.add.reduceat(flows.total_cost, self._node_start, axis=0))
        self._columns += flows.cost.sum(axis=1)
        demand, sold = flows.demand[rows], flows.sold[rows]
        self._demand.append(demand.sum(axis=0))
        self._sold += sold.sum(axis=0)
        self._lost += flows.lost[rows].sum(axis=0)
        self._stock += state.on_hand.sum(axis=0)
        for name, lanes in self._lanes.items():
            self._orders[name].append(flows.ordered[lanes].sum(axis=0))
        short = sold < demand - 1e-9
        self._ready += (~short).sum(axis=0)
        self._count_cycles(short)

    def _count_cycles(self, short: NDArray[np.bool_]) -> None:
        received = np.zeros((len(self._env.net.network.stocks), self._env.batch_size))
        np.add.at(received, self._inbound, self._env.flows.received)
        arrived = received[self._customers] > 0
        ended = arrived & self._started
        self._cycles += ended.sum(axis=0)
        self._good_cycles += (ended & self._clean).sum(axis=0)
        self._clean = np.where(arrived, ~short, self._clean & ~short)
        self._started |= arrived

    def result(self) -> EpisodeKpis:
        """Return what was tallied."""
        periods = len(self._cost)
        return EpisodeKpis(
            periods, np.array(self._cost), self._columns, np.array(self._by_node).swapaxes(0, 1),
            np.array(self._demand), self._sold, self._lost, self._ready,
            len(self._customers) * periods, self._cycles, self._good_cycles, self._stock,
            {name: np.array(orders) for name, orders in self._orders.items()},
        )  # fmt: skip
