"""What a scenario is, as tables: nodes, lanes, resources, regimes, what agents see and do."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from rich.table import Table

from envs.compiled.network import CompiledNetwork
from envs.environment.batched_env import BatchedEnv
from envs.kpis.pairs import EpisodeKpis
from envs.network.lane import Lane, Speed
from envs.network.network import Stock
from envs.network.regime import Regime
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from envs.simulation.actions import Group
from evaluation.comparison.compare import estimate
from evaluation.comparison.units import SHARE, cost_unit, name_of, unit_of
from evaluation.show.network_plot import connect

_MOST_ROWS = 12  # of resources and regimes


def headline(scenario: Scenario) -> str:
    """Say in one line how large the scenario is."""
    network = scenario.network
    what = [
        _count(network.nodes, "node"), _count(network.skus, "SKU"),
        _count(network.stocks, "stocked pair"), _count(network.lanes, "lane"),
    ]  # fmt: skip
    warm_up = f" after {scenario.warm_up} of warm-up" if scenario.warm_up else ""
    return (
        f"{scenario.name}: {', '.join(what)}; {scenario.horizon} {scenario.period_name}s{warm_up}"
    )


def network_tables(scenario: Scenario) -> list[Table]:
    """Return the tables that a network calls for."""
    net = scenario.compiled
    tables = [_nodes(scenario), _lanes(net)]
    if net.network.resources:
        tables.append(_resources(net))
    if net.network.regimes:
        tables.append(_regimes(net, scenario.period_name))
    return tables


def figures_table(scenario: Scenario, policy: str, kpis: EpisodeKpis) -> Table:
    """Return the key figures of a policy."""
    title = f"{policy}: {kpis.episodes} traces of {kpis.periods} {scenario.period_name}s"
    table = _table(title, "key figure", "value", "Unit")
    cost = estimate(kpis.cost.mean(axis=0))
    spread = f" ± {_number(cost.half_width)}" if np.isfinite(cost.half_width) else ""
    table.add_row("cost", f"{_number(cost.mean)}{spread}", cost_unit(scenario))
    for column, value in kpis.cost_columns().items():
        table.add_row(f"  {column.replace('_', ' ')}", _number(value), cost_unit(scenario))
    for name, value in kpis.summary().items():
        unit = unit_of(name, scenario)
        shown = f"{100.0 * value:.1f}" if unit == SHARE else _number(value)
        table.add_row(name_of(name, scenario).replace("_", " "), shown, unit)
    return table


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000.0 else f"{value:.4g}"


def _table(title: str, *headings: str) -> Table:
    """The first column is text, the others numbers, but for headings that begin with a capital."""
    table = Table(title=title, title_justify="left")
    for i, heading in enumerate(headings):
        is_text = i == 0 or heading[0].isupper()
        table.add_column(heading.lower(), justify="left" if is_text else "right")
    return table


def _count(things: Sequence[object], what: str) -> str:
    return f"{len(things):,} {what}{'s' * (len(things) != 1)}"


def _nodes(scenario: Scenario) -> Table:
    net, env = scenario.compiled, BatchedEnv(scenario, 1, action_space=ActionSpace.residual)
    policy = scenario.base_policy
    table = _table(
        f"Nodes; base policy {policy}", "kind", "nodes", "pairs", "with customers",
        f"demand per {scenario.period_name}", "Moves by", "features", "Action heads",
    )  # fmt: skip
    demand = np.zeros(len(net.network.stocks))
    demand[net.customer_pair] = net.demand.customer_mean
    groups = {group.name: group for group in env.groups}
    for kind, nodes in Counter(n.kind for n in net.network.nodes).items():
        if kind not in groups:
            table.add_row(kind, f"{nodes:,}", "0", "", "", "", "", "none: no stock")
            continue
        group = groups[kind]
        own = demand[group.start : group.stop]
        table.add_row(
            kind, f"{nodes:,}", f"{own.size:,}", f"{np.count_nonzero(own):,}",
            _number(own.sum()), ", ".join(_movements(scenario.network.stocks, group)),
            str(env.observation_size), ", ".join(group.heads),
        )  # fmt: skip
    return table


def _movements(stocks: Sequence[Stock], group: Group) -> Iterable[str]:
    """What moves the demand of a kind's nodes; ahead of time, but for regimes."""
    own = stocks[group.start : group.stop]
    demands = [stock.demand for stock in own if stock.demand is not None]
    seasons = [demand.season for demand in demands if demand.season is not None]
    for what, moves in (
        ("weekday", any(season.weekday for season in seasons)),
        ("month", any(season.yearly for season in seasons)),
        ("trend", any(season.trend for season in seasons)),
        ("known factors", any(demand.multiplier is not None for demand in demands)),
        ("regimes", any(stock.demand_regimes for stock in own)),
    ):
        if moves:
            yield what


def _lanes(net: CompiledNetwork) -> Table:
    table = _table(
        "Lanes", "from > to", "Mode", "Speed", "connections", "lanes", "lead time",
        "in base use", "Limits and more",
    )  # fmt: skip
    kinds = {n.id: n.kind for n in net.network.nodes}
    several = _limits(net) > 1
    groups: dict[tuple[str, str, Speed], list[int]] = defaultdict(list)
    for q, lane in enumerate(net.network.lanes):
        source = kinds[lane.inputs[0].node] if lane.inputs else "outside"
        groups[f"{source} > {kinds[lane.node]}", lane.mode, lane.speed].append(q)
    connected = Counter(
        (kinds.get(c.source, "outside"), kinds[c.target], c.mode, c.speed) for c in connect(net)
    )
    suppliers = {n.id for n in net.network.nodes} - {n.id for n in net.agent_nodes}
    for (way, mode, speed), rows in groups.items():
        source, target = way.split(" > ")
        begins = [source] if source != "outside" else ["outside", *{kinds[s] for s in suppliers}]
        many = sum(connected[begin, target, mode, speed] for begin in begins)
        lanes = [net.network.lanes[q] for q in rows]
        used = sum(lane.base_share > 0.0 for lane in lanes)
        lead, sd = net.leads.lane[rows], net.leads.lane_sd[rows]
        table.add_row(
            way, mode, speed.value, f"{many:,}", f"{len(rows):,}", _lead(lead, sd), f"{used:,}",
            ", ".join([*_features(lanes), *["several limits"] * bool(several[rows].any())]),
        )  # fmt: skip
    return table


def _limits(net: CompiledNetwork) -> np.ndarray:
    """[Q] how many stocks and capacities limit what a lane ships; of several, one may be left
    unused while the lane waits for another."""
    arrays, uses = net.arrays, net.arrays.lanes.uses
    limiting = np.isfinite(arrays.resources.capacity) | (arrays.factor_rows.capacity >= 0)
    limiting &= ~arrays.resources.limits_orders
    used = np.bincount(uses.rows, limiting[uses.index], minlength=len(arrays.lanes.to))
    return np.diff(arrays.lanes.inputs.pointer) + used


def _lead(mean: np.ndarray, sd: np.ndarray) -> str:
    low, high = float(mean.min()), float(mean.max())
    text = f"{low:.3g}" if high - low < 0.05 else f"{low:.3g} to {high:.3g}"
    return f"{text} ± {float(sd.mean()):.2g}" if sd.any() else text


def _features(lanes: list[Lane]) -> Iterable[str]:
    """What some of these lanes have beyond a time and a price."""
    for what, has in (
        ("several inputs", lambda q: len(q.inputs) > 1),
        ("resources", lambda q: q.resources),
        ("fixed cost", lambda q: q.fixed_cost > 0.0),
        ("loads", lambda q: q.load_size is not None),
        ("minimum order", lambda q: q.minimum_order > 0.0),
        ("maximum order", lambda q: np.isfinite(q.maximum_order)),
        ("packs", lambda q: q.order_multiple > 1.0),
        ("calendar", lambda q: any((q.calendar, q.shipping, q.transit, q.receiving))),
        ("yield", lambda q: q.yield_share < 1.0),
        ("split delivery", lambda q: q.split_share > 0.0),
        ("information delay", lambda q: q.information_delay > 0),
        ("regimes", lambda q: q.regimes),
    ):
        if any(has(lane) for lane in lanes):
            yield what


def _resources(net: CompiledNetwork) -> Table:
    table = _table(
        "Resources", "resource", "capacity", "Limits", "lanes", "load", "load cost", "joint cost",
        "Regimes",
    )  # fmt: skip
    uses = Counter(u.resource for lane in net.network.lanes for u in lane.resources)
    for r in net.network.resources[:_MOST_ROWS]:
        is_limit = np.isfinite(r.capacity)
        table.add_row(
            r.id, _number(r.capacity) if is_limit else "", r.limits.value if is_limit else "",
            f"{uses[r.id]:,}", f"{r.load_size:g}" if r.load_size else "",
            f"{r.load_cost:g}" if r.load_cost else "", f"{r.fixed_cost:g}" if r.fixed_cost else "",
            ", ".join(r.regimes),
        )  # fmt: skip
    return _note_rest(table, len(net.network.resources))


def _regimes(net: CompiledNetwork, period: str) -> Table:
    table = _table("Regimes", "regime", "Path", "States", "Agents see", "Strikes")
    network = net.network
    lanes = Counter(r for lane in network.lanes for r in lane.regimes)
    resources = Counter(r for resource in network.resources for r in resource.regimes)
    demands = Counter(r for stock in network.stocks for r in stock.demand_regimes)
    for regime in network.regimes[:_MOST_ROWS]:
        struck = [
            f"{many[regime.id]:,} {what}{'s' * (many[regime.id] > 1)}"
            for many, what in ((lanes, "lane"), (resources, "resource"), (demands, "demand"))
            if many[regime.id]
        ]
        states = ", ".join(state.name for state in regime.states)
        path, seen = regime.process.describe(period), _seen(regime, period)
        table.add_row(regime.id, path, states, seen, ", ".join(struck))
    return _note_rest(table, len(network.regimes))


def _seen(regime: Regime, period: str) -> str:
    after = regime.seen_after
    text = "never" if after is None else "at once" if after == 0 else f"after {after} {period}s"
    ahead = len(regime.forecast_accuracy)
    return f"{text}; forecast {ahead} {period}s ahead" if ahead else text


def _note_rest(table: Table, count: int) -> Table:
    if count > _MOST_ROWS:
        table.add_row(f"... {count - _MOST_ROWS:,} more")
    return table
