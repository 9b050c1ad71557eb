"""Two runs that must agree: a row and its solo run, other units, another order of parts.

`test_properties.py` makes them on random networks, `test_mutations.py` on simulators with a bug.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.compiled.arrays import CostColumn
from envs.compiled.network import compile_network
from envs.network.network import SupplyNetwork
from envs.scenario import Scenario
from tests.envs.laws import costs_add_up
from tests.envs.networks import random_network
from tests.envs.runs import play_actions, play_orders, random_actions, random_orders, same

__all__ = ["COMPARISONS"]


def rows_equal_solo_runs(random: Random, periods: int = 12, batch: int = 3) -> None:
    """Row b of a batch is, bit for bit, the run of episode b alone."""
    network = random_network(random)
    net, seed = compile_network(network), random.getrandbits(20)
    orders = random_orders(random, network, periods, batch)
    together = play_orders(net, orders, seed, first_episode=5)
    for b in range(batch):
        alone = play_orders(net, orders[:, :, b : b + 1].copy(), seed, first_episode=5 + b)
        for got, wanted in ((alone.closed, together.closed), (alone.flows, together.flows)):
            for name, values in got._asdict().items():
                row = getattr(wanted, name)[..., b : b + 1]
                assert np.array_equal(values, row), f"{name} of row {b} isn't the solo run's"


def scaled(network: SupplyNetwork, k: float) -> SupplyNetwork:
    """Return the same network with k units for every unit."""

    def times(part: Any, *names: str, **changes: Any) -> Any:
        numbers = {name: getattr(part, name) * k for name in names}
        return dataclasses.replace(part, **numbers, **changes)

    stocks = [times(s, "initial_stock", "serve_limit") for s in network.stocks]
    for i, stock in enumerate(stocks):
        if stock.demand is not None:
            demand = times(stock.demand, "mean", "standard_deviation", "history")
            stocks[i] = dataclasses.replace(stock, demand=demand)
    lanes = [
        times(
            q,
            "fixed_cost",
            "load_cost",
            "minimum_order",
            "maximum_order",
            load_size=None if q.load_size is None else k * q.load_size,
            initial_in_transit=tuple(k * x for x in q.initial_in_transit),
            initial_orders=tuple(k * x for x in q.initial_orders),
        )
        for q in network.lanes
    ]
    resources = [
        dataclasses.replace(
            times(r, "capacity", "fixed_cost", "load_cost"),
            load_size=None if r.load_size is None else k * r.load_size,
        )
        for r in network.resources
    ]
    return dataclasses.replace(
        network,
        nodes=tuple(times(n, "storage_capacity") for n in network.nodes),
        stocks=tuple(stocks),
        lanes=tuple(lanes),
        resources=tuple(resources),
    )


def units_have_no_size(random: Random, periods: int = 16, batch: int = 2) -> None:
    """k units for every unit: flows and costs times k, observations unchanged.

    k is a power of two, so that both runs round alike and equality is exact.
    """
    network = random_network(random, drawn=False, divisible=True)
    k = random.choice([0.25, 4.0, 32.0])
    runs, observations = [], []
    actions: NDArray[np.float32] | None = None
    for one in (network, scaled(network, k)):
        scenario = Scenario("random", one, horizon=periods + 1, smoothing=0.25)
        if actions is None:
            actions = random_actions(random, scenario, periods, batch)
        run, observed = play_actions(scenario, actions, seed=1)
        runs.append(run)
        observations.append(observed)
    for name, values in runs[0].flows._asdict().items():
        if name != "resource_left":  # infinite, where there is no capacity
            same(f"{name} at {k} times the units", getattr(runs[1].flows, name), k * values, 1e-10)
    same("on hand", runs[1].closed.on_hand, k * runs[0].closed.on_hand, 1e-10)
    used = runs[0].net.demand.mean > 0  # nothing is regularly drawn from the others: no scale
    same("observation", observations[1][:, used], observations[0][:, used], 1e-5)


def order_of_parts_is_free(random: Random, periods: int = 12, batch: int = 2) -> None:
    """The network's parts listed in another order: the same results, part by part."""
    network = random_network(random, drawn=False)
    orders = random_orders(random, network, periods, batch)

    names = ("nodes", "skus", "stocks", "lanes", "resources", "regimes")
    parts = {name: getattr(network, name) for name in names}
    mixed: dict[str, Any] = {k: tuple(random.sample(v, len(v))) for k, v in parts.items()}
    other = dataclasses.replace(network, **mixed)
    lane = [[q.id for q in network.lanes].index(q.id) for q in other.lanes]
    first = play_orders(compile_network(network), orders, 1)
    second = play_orders(compile_network(other), orders[:, lane].copy(), 1)
    labels = [s.label for s in first.network.stocks]
    pair = [labels.index(s.label) for s in second.network.stocks]
    for name in ("ordered", "shipped", "received", "scrapped", "cancelled"):
        same(name, getattr(second.flows, name), getattr(first.flows, name)[:, lane])
    for name in ("sold", "lost", "backlog_served", "requested", "total_cost"):
        same(name, getattr(second.flows, name), getattr(first.flows, name)[:, pair])
    same("cost", second.flows.cost, first.flows.cost[:, :, pair])
    for name in ("on_hand", "inventory_position", "echelon_inventory_position"):
        same(name, getattr(second.closed, name), getattr(first.closed, name)[:, pair])


def zero_demand_costs_only_holding(random: Random, periods: int = 12) -> None:
    """Without demand and open orders nothing moves but the pipeline; only holding is paid."""
    network = random_network(random, drawn=False)
    stocks = [
        s if s.demand is None
        else dataclasses.replace(
            s, demand=dataclasses.replace(s.demand, history=np.zeros_like(s.demand.history))
        )
        for s in network.stocks
    ]  # fmt: skip
    lanes = [dataclasses.replace(q, initial_orders=()) for q in network.lanes]
    quiet = dataclasses.replace(network, stocks=tuple(stocks), lanes=tuple(lanes))
    scenario = Scenario(
        "quiet",
        quiet,
        horizon=periods + 1,
        base_policy="base_stock",
        policy_params={"base_stock": {"level": 0.0}},
    )
    nothing = 0.0 * random_actions(random, scenario, periods, 1)
    run, _ = play_actions(scenario, nothing, seed=1)
    assert not run.flows.ordered.any(), "orders without demand"
    held = (CostColumn.HOLDING, CostColumn.IN_TRANSIT)
    for column in CostColumn:
        if column not in held:
            same(f"{column.name} without demand", run.flows.cost[:, column], 0.0)
    costs_add_up(run)


COMPARISONS: dict[str, Callable[[Random], None]] = {
    check.__name__: check
    for check in (
        rows_equal_solo_runs,
        units_have_no_size,
        order_of_parts_is_free,
        zero_demand_costs_only_holding,
    )
}
