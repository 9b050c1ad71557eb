"""Key figures of episodes, tallied period by period: ratios of sums, never means of ratios.

Service
  fill_rate (type 2): units served from stock at once / units demanded.
  ready_rate: share of (customer-facing pair, period) without unmet demand.
  cycle_service_level (type 1): share of cycles, arrival to arrival, without a stock-out.
  otif_outbound: customers' orders (a pair's demand of a period, if any) served at once in full /
    customers' orders. On time is at once, for customers who would wait too.
  otif_inbound: orders on lanes that had arrived in full, all older ones included, by their promised
    time / orders whose promised time came. Promised: the lane's mean lead time, rounded up,
    without regimes, plus delays of information and of split deliveries, on the days that
    calendars leave open; what is promised for one period counts together.
  lost_share: units lost / units demanded.
  lost_sales: units lost per period.
  backlog_age: mean periods that customers of whom not all could be served at once wait: sum of
    backorders at the ends of periods / units backlogged (Little 1961).
Stock
  days_of_supply: mean stock / mean customer demand, in periods.
  turns: customer units per year / mean stock.
  forward_days_of_supply: stock at the ends of periods / mean demand per period of the FORWARD
    periods that follow each.
  excess_share: stock beyond EXCESS_COVER periods of a pair's mean demand / all stock.
Orders
  bullwhip_KIND: squared coefficient of variation of a node kind's orders / that of customer demand.
  nervousness_KIND: mean absolute change of a pair's order from one period to the next / mean order.
Cost and means
  cost: what stock is worth at the start is charged to the first period, as what is left is paid for
    in the last: goods bought before the counted periods are no gift.
  cvar90_cost: mean cost per period of the worst tenth of the episodes, at least of one.
  co2: kg per period.
  scrap_share: units scrapped / units arrived.
  bottleneck_utilisation: used / available capacity of the resource where it is highest.
  load_fill: loads' worth of goods / loads begun.
Resilience: see `envs.kpis.resilience`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import CostColumn
from envs.compiled.network import CompiledNetwork
from envs.dates import PERIODS_PER_YEAR
from envs.environment.batched_env import BatchedEnv
from envs.kpis.lanes import LaneTally, LaneTotals, ResourceTotals, lane_groups, resource_figures
from envs.kpis.resilience import Failure, ResilienceTally, resilience_figures
from envs.types import Bools, Floats

FORWARD = 28  # periods
EXCESS_COVER = 28.0  # periods


class EpisodeSums(NamedTuple):
    """Sums over the counted periods, of each episode."""

    sold: Floats  # [B] units served at once
    lost: Floats  # [B] units
    backlogged: Floats  # [B] units that began to wait
    backorders: Floats  # [B] units waiting, sum over the ends of periods
    ready: Floats  # [B] pair-periods without unmet demand
    asked: Floats  # [B] pair-periods with demand
    in_full: Floats  # [B] of these, those served at once in full
    cycles: Floats  # [B]
    good_cycles: Floats  # [B]
    excess: Floats  # [B] units on hand beyond the stated cover, sum over periods
    shortage_charge: Floats  # [B] currency; what is not served at once, priced; not in cost


@dataclass(frozen=True, eq=False)
class EpisodeKpis:
    """Sums over the counted periods of B episodes; KPIs are ratios of their sums."""

    net: CompiledNetwork
    periods: int
    per_year: float  # periods in a year
    cost: Floats  # [T, B] currency per period, whole network
    demand: Floats  # [T, B] units
    stock: Floats  # [T, B] units on hand at the end of the period
    orders: dict[str, Floats]  # node kind -> [T, B] units
    sums: EpisodeSums
    pair_demand: Floats  # [D, B] units, of each customer-facing pair
    pair_sold: Floats  # [D, B] units served at once
    columns: Floats  # [C, P] currency, summed over episodes
    lanes: LaneTotals
    resources: ResourceTotals
    failures: tuple[Failure, ...]

    @property
    def episodes(self) -> int:
        """B."""
        return len(self.sums.sold)

    @property
    def _totals(self) -> dict[str, float]:
        return {name: float(sums.sum()) for name, sums in self.sums._asdict().items()}

    def summary(self) -> dict[str, float]:
        """Return the KPIs by name; NaN-free (a network without demand has service 1), and without
        those that the network has no use for."""
        demand, stock = float(self.demand.sum()), float(self.stock.sum())
        total, count = self._totals, self.periods * self.episodes
        pair_periods = len(self.net.customer_pair) * count
        figures = {
            "fill_rate": _ratio(total["sold"], demand, 1.0),
            "ready_rate": total["ready"] / max(pair_periods, 1),
            "cycle_service_level": total["good_cycles"] / max(total["cycles"], 1.0),
            "otif_outbound": _ratio(total["in_full"], total["asked"], 1.0),
            "lost_share": _ratio(total["lost"], demand, 0.0),
            "lost_sales": total["lost"] / count,
            "days_of_supply": _ratio(stock, demand, 0.0),
            "forward_days_of_supply": _forward_cover(self.stock, self.demand),
            "excess_share": _ratio(total["excess"], stock, 0.0),
            "turns": _ratio(demand - total["lost"], stock, 0.0) * self.per_year,
            "cvar90_cost": _worst_tenth(self.cost.mean(axis=0)),
        }
        spread = _squared_cv(self.demand)
        for kind, orders in self.orders.items():
            figures[f"bullwhip_{kind}"] = _squared_cv(orders) / spread if spread else 0.0
        return {**figures, **self._figures_of_some(count)}

    def _figures_of_some(self, count: int) -> dict[str, float]:
        """The KPIs that only some networks have."""
        net, lanes = self.net, self.lanes
        figures: dict[str, float] = {}
        if lanes.due.any():
            figures["otif_inbound"] = float(lanes.on_time.sum() / lanes.due.sum())
        if (net.arrays.stocks.p_wait[net.customer_pair] > 0.0).any():
            total = self._totals
            figures["backlog_age"] = _ratio(total["backorders"], total["backlogged"], 0.0)
        ordered = np.bincount(net.arrays.lanes.to, lanes.ordered, minlength=len(lanes.changed))
        kinds = np.array([n.kind for n in net.agent_nodes])[net.arrays.stocks.node_of]
        # The first period has none before it: its share of the orders is left out.
        later = (self.periods - 1) / self.periods
        for kind in self.orders:
            rows = kinds == kind
            mean = float(ordered[rows].sum()) * later
            figures[f"nervousness_{kind}"] = _ratio(lanes.changed[rows].sum(), mean, 0.0)
        co2 = float(lanes.shipped @ [lane.co2 for lane in net.network.lanes])
        if co2:
            figures["co2"] = co2 / count
        if lanes.scrapped.any():
            figures["scrap_share"] = float(lanes.scrapped.sum() / lanes.arrived.sum())
        used, there, loads = self.resources[:3]
        if there.any():
            limited = there > 0.0
            figures["bottleneck_utilisation"] = float((used[limited] / there[limited]).max())
        if loads.any():
            begun = loads > 0.0
            worth = used[begun] / net.arrays.resources.load_size[begun]
            figures["load_fill"] = float(worth.sum() / loads[begun].sum())
        return {**figures, **resilience_figures(self.failures)}

    def cost_columns(self) -> dict[str, float]:
        """Return the mean of every cost column that is used [currency per period]."""
        return self._columns(np.ones(self.columns.shape[1], bool))

    def cost_by_node(self) -> dict[str, dict[str, float]]:
        """Return node -> cost columns [currency per period]."""
        node = self.net.arrays.stocks.node_of
        return {n.id: self._columns(node == i) for i, n in enumerate(self.net.agent_nodes)}

    def cost_by_sku(self) -> dict[str, dict[str, float]]:
        """Return SKU -> cost columns [currency per period]."""
        skus = np.array([s.sku for s in self.net.network.stocks])
        return {str(sku): self._columns(skus == sku) for sku in dict.fromkeys(skus)}

    def by_lane(self) -> dict[str, dict[str, float]]:
        """Return kind of lane -> its sums per period, and its share of orders on time in full."""
        return self._per_period(lane_groups(self.net, self.lanes), "otif")

    def by_resource(self) -> dict[str, dict[str, float]]:
        """Return resource -> utilisation, loads per period, load fill, unused per period, share of
        periods with something unused."""
        figures = resource_figures(self.net, self.resources)
        return self._per_period(figures, "utilisation", "load_fill")

    def _per_period(
        self, figures: dict[str, dict[str, float]], *shares: str
    ) -> dict[str, dict[str, float]]:
        count = self.periods * self.episodes
        return {
            label: {name: x if name in shares else x / count for name, x in entry.items()}
            for label, entry in figures.items()
        }

    def _columns(self, rows: Bools) -> dict[str, float]:
        means = self.columns[:, rows].sum(axis=1) / (self.periods * self.episodes)
        return {column.name.lower(): float(means[column]) for column in CostColumn if means[column]}

    @staticmethod
    def join(parts: list[EpisodeKpis]) -> EpisodeKpis:
        """Put batches of episodes of equal length side by side."""
        first = parts[0]

        def beside(name: str) -> Floats:
            return np.concatenate([getattr(part, name) for part in parts], axis=-1)

        return EpisodeKpis(
            net=first.net,
            periods=first.periods,
            per_year=first.per_year,
            cost=beside("cost"),
            demand=beside("demand"),
            stock=beside("stock"),
            orders={
                kind: np.concatenate([part.orders[kind] for part in parts], axis=-1)
                for kind in first.orders
            },
            sums=EpisodeSums._make(map(np.concatenate, zip(*(p.sums for p in parts), strict=True))),
            pair_demand=beside("pair_demand"),
            pair_sold=beside("pair_sold"),
            columns=np.sum([part.columns for part in parts], axis=0),
            lanes=LaneTotals._make(map(sum, zip(*(p.lanes for p in parts), strict=True))),
            resources=ResourceTotals._make(
                map(sum, zip(*(p.resources for p in parts), strict=True))
            ),
            failures=tuple(failure for part in parts for failure in part.failures),
        )


def _ratio(part: float, whole: float, empty: float) -> float:
    return float(part) / float(whole) if whole else empty


def _squared_cv(series: Floats) -> float:
    """Mean over episodes of (sd / mean)^2 over time, weighted by the squared mean. [T, B]"""
    mean_square = float((series.mean(axis=0) ** 2).sum())
    return float(series.var(axis=0).sum()) / mean_square if mean_square else 0.0


def _worst_tenth(cost: Floats) -> float:
    """[B] -> the conditional value at risk at 90 %, of at least one episode."""
    worst = np.sort(cost)[-max(1, round(0.1 * cost.size)) :]
    return float(worst.mean())


def _forward_cover(stock: Floats, demand: Floats) -> float:
    """[T, B], [T, B]; the last period, which nothing follows, is left out."""
    periods = len(demand)
    total = np.concatenate([np.zeros((1, demand.shape[1])), np.cumsum(demand, axis=0)])
    after = np.arange(1, periods)  # periods 0..T-2 are followed by after..end-1
    end = np.minimum(after + FORWARD, periods)
    ahead = (total[end] - total[after]) / (end - after)[:, None]
    return _ratio(stock[:-1].sum(), ahead.sum(), 0.0)


class KpiTally:
    """Collects what an environment's periods did; call `add` after each close_period."""

    def __init__(self, env: BatchedEnv) -> None:
        self._env = env
        batch, net = env.batch_size, env.net
        self._customers = net.customer_pair
        self._lanes = LaneTally(net, batch)
        self._resilience = ResilienceTally(net, batch)
        self._cover = EXCESS_COVER * net.arrays.stocks.demand_rate[:, None]
        self._used_columns = np.flatnonzero(net.arrays.switches.column_used)
        self._cost: list[Floats] = []
        self._demand: list[Floats] = []
        self._stock: list[Floats] = []
        self._orders: dict[str, list[Floats]] = {group.name: [] for group in env.groups}
        self._columns = np.zeros((len(CostColumn), len(net.network.stocks)))
        self._sums = EpisodeSums(*np.zeros((len(EpisodeSums._fields), batch)))
        self._pair_demand, self._pair_sold = np.zeros((2, len(self._customers), batch))
        self._clean = np.ones((len(self._customers), batch), bool)
        self._started = np.zeros((len(self._customers), batch), bool)
        self._opening = self._worth_of_stock()

    def _worth_of_stock(self) -> Floats:
        """[P, B] currency: what `account` pays for stock at the horizon, as it is now."""
        state, net = self._env.state, self._env.net.arrays
        stock = state.on_hand.copy()
        for q in np.flatnonzero(net.stocks.salvage[net.lanes.to] > 0.0):
            stock[net.lanes.to[q]] += net.lanes.expected_yield[q] * state.in_transit_total[q]
        share = self._env.reward_config.salvage_share
        return share * net.stocks.salvage[:, None] * stock

    def add(self) -> None:
        """Count the period just closed."""
        env, rows, sums = self._env, self._customers, self._sums
        flows, state, trace = env.flows, env.state, env.simulator.trace
        self._lanes.add(env.simulator)
        self._resilience.add(trace.true_regime, flows, self._lanes.order)
        self._cost.append(flows.total_cost.sum(axis=0))
        if len(self._cost) == 1 and self._opening.any():
            self._cost[0] += self._opening.sum(axis=0)
            self._columns[CostColumn.SALVAGE] += self._opening.sum(axis=1)
        for column in self._used_columns:
            self._columns[column] += flows.cost[column].sum(axis=1)
        demand, sold = flows.demand[rows], flows.sold[rows]
        lost, total = flows.lost[rows].sum(axis=0), demand.sum(axis=0)
        self._pair_demand += demand
        self._pair_sold += sold
        self._demand.append(total)
        self._stock.append(state.on_hand.sum(axis=0))
        sums.sold[...] += sold.sum(axis=0)
        sums.lost[...] += lost
        sums.shortage_charge[...] += env.shortage_price * (total - sold.sum(axis=0))
        sums.backlogged[...] += total - sold.sum(axis=0) - lost
        sums.backorders[...] += state.backorders[rows].sum(axis=0)
        sums.excess[...] += np.maximum(state.on_hand - self._cover, 0.0).sum(axis=0)
        for group in env.groups:
            orders = self._lanes.order[group.start : group.stop].sum(axis=0)
            self._orders[group.name].append(orders)
        short, asked = sold < demand - 1e-9, demand > 0.0
        sums.ready[...] += (~short).sum(axis=0)
        sums.asked[...] += asked.sum(axis=0)
        sums.in_full[...] += (asked & ~short).sum(axis=0)
        self._end_cycles(self._lanes.arrived[rows])
        self._clean &= ~short
        self._end_cycles(self._lanes.arrived_late[rows])

    def _end_cycles(self, arrived: Bools) -> None:
        """Goods end a cycle, and begin the next one. [D, B]"""
        ended, sums = arrived & self._started, self._sums
        sums.cycles[...] += ended.sum(axis=0)
        sums.good_cycles[...] += (ended & self._clean).sum(axis=0)
        self._clean |= arrived
        self._started |= arrived

    def result(self) -> EpisodeKpis:
        """Return what was tallied."""
        return EpisodeKpis(
            net=self._env.net,
            periods=len(self._cost),
            per_year=PERIODS_PER_YEAR[self._env.scenario.period_name],
            cost=np.array(self._cost),
            demand=np.array(self._demand),
            stock=np.array(self._stock),
            orders={name: np.array(orders) for name, orders in self._orders.items()},
            sums=self._sums,
            pair_demand=self._pair_demand,
            pair_sold=self._pair_sold,
            columns=self._columns,
            lanes=self._lanes.totals,
            resources=self._lanes.resources,
            failures=tuple(self._resilience.failures()),
        )
