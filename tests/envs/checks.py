"""What is always true of a simulated supply network, as checks on a recorded run.

The checks work from the network's definition, not from its compiled arrays, and from the flows
and states of every period. `test_properties.py` runs them on random networks, and
`test_mutations.py` proves that they bite, on simulators with a bug planted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from envs.batched_env import BatchedEnv
from envs.compiled import CompiledNetwork, compile_network
from envs.network import InTransitPayer, Receive, ServeOrder, SupplyNetwork, Unfilled
from envs.scenario import Scenario
from envs.simulator import Simulator
from envs.state import CostColumn, Flows, State
from tests.envs.networks import random_network

__all__ = ["COMPARISONS", "LAWS", "Run", "play_actions", "play_orders", "random_run"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Run:
    """A recorded run; every array has the period T in front of its usual letters."""

    net: CompiledNetwork
    raw: Floats  # [T, Q, B] units asked for
    opened: State  # before orders
    closed: State  # at the end of the period
    flows: Flows
    demand: Floats  # [T, D, B] units drawn
    lead_time: Floats  # [T, Q, B] periods of what ships now
    availability: Floats  # [T, Q, B] share of owed units that can ship

    @property
    def network(self) -> SupplyNetwork:
        """The definition, with its stocks sorted as the rows are."""
        return self.net.network

    @property
    def delivers(self) -> Floats:
        """[P, Q] 1 where the lane delivers to the pair."""
        pairs = [(s.node, s.sku) for s in self.network.stocks]
        return np.array(
            [[float((q.node, q.sku) == p) for q in self.network.lanes] for p in pairs]
        )

    @property
    def consumes(self) -> Floats:
        """[P, Q] units of the pair that a unit on the lane takes."""
        pairs = [(s.node, s.sku) for s in self.network.stocks]
        return np.array(
            [
                [sum(i.quantity for i in q.inputs if (i.node, i.sku) == p) for q in self.network.lanes]
                for p in pairs
            ],
            float,
        )

    @property
    def owed_at_ship(self) -> Floats:
        """[T, Q, B] units that the sender knows of when goods leave."""
        at_once = self.per_lane("information_delay") == 0
        return self.opened.owed + np.where(at_once, self.flows.ordered, 0.0)

    def per_lane(self, name: str) -> Floats:
        """[Q, 1] a number of every lane."""
        return np.array([[getattr(lane, name)] for lane in self.network.lanes], float)

    def per_pair(self, name: str) -> Floats:
        """[P, 1] a number of every pair."""
        return np.array([[getattr(stock, name)] for stock in self.network.stocks], float)


def record(
    simulator: Simulator, periods: int, close: Callable[[int], None], move_on: Callable[[], None]
) -> Run:
    """Play from a reset on, and copy everything twice a period."""
    opened: list[State] = []
    closed: list[State] = []
    flows: list[Flows] = []
    chance: list[tuple[Floats, Floats, Floats]] = []
    arrays, trace = simulator.net.arrays, simulator.trace
    lead, row = simulator.net.arrays.lead_time[:, None], arrays.lead_row
    for t in range(periods):
        opened.append(State(*(a.copy() for a in simulator.state)))
        leads = np.repeat(lead, simulator.batch_size, axis=1).astype(float)
        leads[row >= 0] = trace.lead_time[row[row >= 0]]
        share = np.ones_like(leads)
        exposed = arrays.availability_row >= 0
        share[exposed] = trace.availability[arrays.availability_row[exposed]]
        chance.append((trace.demand.copy(), leads, share))
        close(t)
        closed.append(State(*(a.copy() for a in simulator.state)))
        flows.append(Flows(*(a.copy() for a in simulator.flows)))
        move_on()
    stacked_flows = Flows(*(np.stack(arrays) for arrays in zip(*flows, strict=True)))
    return Run(
        simulator.net,
        stacked_flows.raw_order,
        State(*(np.stack(arrays) for arrays in zip(*opened, strict=True))),
        State(*(np.stack(arrays) for arrays in zip(*closed, strict=True))),
        stacked_flows,
        *(np.stack(arrays) for arrays in zip(*chance, strict=True)),
    )


def play_orders(net: CompiledNetwork, orders: Floats, seed: int, first_episode: int = 0) -> Run:
    """Play raw orders [T, Q, B] straight on the lanes."""
    simulator = Simulator(net, orders.shape[2])
    simulator.reset(seed, first_episode)
    return record(
        simulator,
        len(orders),
        lambda t: simulator.close_period_with_orders(orders[t]),
        simulator.open_period,
    )


def play_actions(
    scenario: Scenario, actions: NDArray[np.float32], seed: int, first_episode: int = 0
) -> tuple[Run, NDArray[np.float32]]:
    """Play actions [T, P, A, B] on the scenario's base policy; also returns what was observed."""
    env = BatchedEnv(scenario, actions.shape[3])
    observed = [env.reset(seed, first_episode).copy()]

    def move_on() -> None:
        env.open_period()
        observed.append(env.observe().copy())

    run = record(env.simulator, len(actions), lambda t: env.close_period(actions[t]), move_on)
    return run, np.stack(observed)


def random_orders(random: Random, network: SupplyNetwork, periods: int, batch: int) -> Floats:
    """Return raw orders [T, Q, B] units: a third are zero or negative, some are large."""
    rng = np.random.default_rng(random.getrandbits(32))
    shape = (periods, len(network.lanes), batch)
    return np.where(rng.random(shape) < 0.1, 30.0, rng.uniform(-5.0, 10.0, shape))


def random_run(random: Random, periods: int = 24, batch: int = 2) -> Run:
    """Play random orders on a random network."""
    network = random_network(random)
    orders = random_orders(random, network, periods, batch)
    return play_orders(compile_network(network), orders, random.getrandbits(20))


def same(what: str, got: Floats, wanted: Floats, scale: float = 1e-8) -> None:
    """Assert got = wanted up to rounding; the message names the first place."""
    room = scale * (1.0 + np.abs(wanted))
    _assert_all(what, np.abs(got - wanted) <= room, got, wanted)


def at_most(what: str, got: Floats, limit: Floats | float) -> None:
    """Assert got <= limit up to rounding."""
    limit = np.broadcast_to(limit, got.shape)
    _assert_all(what, got <= limit + 1e-8 * (1.0 + np.abs(limit)), got, limit)


def _assert_all(what: str, good: NDArray[np.bool_], got: Floats, wanted: Floats) -> None:
    if not good.all():
        place = tuple(int(i) for i in np.argwhere(~good)[0])
        wanted = np.broadcast_to(wanted, got.shape)
        raise AssertionError(f"{what} at [T, ...] {place}: got {got[place]}, wanted {wanted[place]}")


def units_are_conserved(run: Run) -> None:
    """Per SKU: initial + bought + produced - consumed = on hand + in transit + sold."""
    skus = [s.id for s in run.network.skus]
    of_pair = np.array([[float(s.sku == k) for s in run.network.stocks] for k in skus])
    of_lane = np.array([[float(q.sku == k) for q in run.network.lanes] for k in skus])
    started = of_pair @ run.per_pair("initial_stock")
    started = started + of_lane @ np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    moved = (of_lane - of_pair @ run.consumes) @ np.cumsum(run.flows.shipped, axis=0)
    sold = np.cumsum(run.flows.sold + run.flows.backlog_served, axis=0)
    where = of_pair @ (run.closed.on_hand + sold) + of_lane @ run.closed.in_transit.sum(axis=2)
    same("units of a SKU", where, started + moved)


def shelves_balance(run: Run) -> None:
    """Per pair: on hand = initial + received - consumed by lanes - sold."""
    flows = run.flows
    change = run.delivers @ flows.received - run.consumes @ flows.shipped
    change = change - flows.sold - flows.backlog_served
    same(
        "on hand",
        run.closed.on_hand,
        run.per_pair("initial_stock") + np.cumsum(change, axis=0),
    )


def lanes_conserve_orders(run: Run) -> None:
    """Per lane: initial + ordered = shipped + owed + on the way to the sender + cancelled."""
    started = np.array([[sum(q.initial_orders)] for q in run.network.lanes])
    ended = np.cumsum(run.flows.shipped + run.flows.cancelled, axis=0) + run.closed.owed
    same(
        "orders of a lane",
        ended + run.closed.orders_on_way.sum(axis=2),
        started + np.cumsum(run.flows.ordered, axis=0),
    )
    same(
        "orders_on_way_total", run.closed.orders_on_way_total, run.closed.orders_on_way.sum(axis=2)
    )
    if run.network.timing.unfilled is Unfilled.backlog:
        same("cancelled", run.flows.cancelled, np.zeros_like(run.flows.cancelled))


def lanes_conserve_goods(run: Run) -> None:
    """Per lane: initially in transit + shipped = received + in transit."""
    started = np.array([[sum(q.initial_in_transit)] for q in run.network.lanes])
    same(
        "goods of a lane",
        np.cumsum(run.flows.received, axis=0) + run.closed.in_transit.sum(axis=2),
        started + np.cumsum(run.flows.shipped, axis=0),
    )
    same("in_transit_total", run.closed.in_transit_total, run.closed.in_transit.sum(axis=2))


def goods_arrive_when_due(run: Run) -> None:
    """What is received is what was shipped one drawn lead time ago."""
    due = np.zeros_like(run.flows.received)
    periods, lanes, batch = due.shape
    for q, lane in enumerate(run.network.lanes):
        for t, quantity in enumerate(lane.initial_in_transit[:periods]):
            due[t, q] += quantity
    for t, q, b in np.ndindex(periods, lanes, batch):
        arrival = t + int(run.lead_time[t, q, b])
        if arrival < periods:
            due[arrival, q, b] += run.flows.shipped[t, q, b]
    same("received", run.flows.received, due)


def orders_arrive_when_due(run: Run) -> None:
    """The sender knows of an order once its information delay has passed."""
    periods = len(run.raw)
    for q, lane in enumerate(run.network.lanes):
        delay = lane.information_delay
        ordered = run.flows.ordered[:, q]
        for t in range(periods):
            unknown = sum(lane.initial_orders[t + 1 :]) + ordered[max(0, t - delay + 1) : t + 1].sum(
                axis=0
            ) * (delay > 0)
            same(f"orders on the way of {lane.id}", run.closed.orders_on_way_total[t, q], unknown)


def orders_are_feasible(run: Run) -> None:
    """Executed orders are whole multiples between minimum and maximum, or nothing."""
    ordered = run.flows.ordered
    at_most("order", -ordered, 0.0)
    at_most("order", ordered, run.per_lane("maximum_order"))
    some = ordered > 0
    at_most("minimum order", np.where(some, run.per_lane("minimum_order"), 0.0), ordered)
    multiple = run.per_lane("order_multiple")
    packs = np.divide(ordered, multiple, where=multiple > 0, out=np.zeros_like(ordered))
    same("packs", packs, np.round(packs))
    free = (multiple == 0) & (run.per_lane("minimum_order") == 0)
    clipped = np.clip(run.raw, 0.0, run.per_lane("maximum_order"))
    same("free order", np.where(free, ordered, 0.0), np.where(free, clipped, 0.0))


def demand_is_conserved(run: Run) -> None:
    """Demand = sold + newly backlogged + lost; p_wait of the unmet waits; oldest first."""
    flows, pairs = run.flows, run.net.customer_pair
    same("demand", flows.demand[:, pairs], run.demand)
    unmet = flows.demand - flows.sold
    same("lost", flows.lost, (1.0 - run.per_pair("p_wait")) * unmet)
    before = np.concatenate([np.zeros_like(unmet[:1]), run.closed.backorders[:-1]])
    same("backlog", run.closed.backorders, before + unmet - flows.lost - flows.backlog_served)
    at_most("backlog served", flows.backlog_served, before)
    waiting = before - flows.backlog_served
    same("backlog overtaken by new demand", np.where(flows.sold > 1e-9, waiting, 0.0), 0 * waiting)
    at_most("served", flows.sold + flows.backlog_served, run.per_pair("serve_limit"))


def customers_get_what_is_there(run: Run) -> None:
    """Nobody is turned away while there is stock and the limit isn't reached."""
    first = run.network.timing.demand is ServeOrder.first
    shelf = (run.opened if first else run.closed).on_hand
    served = run.flows.sold + run.flows.backlog_served
    left = np.minimum(shelf, run.per_pair("serve_limit") - served)
    turned_away = run.flows.demand - run.flows.sold > 1e-9
    if not first and run.network.timing.receive is Receive.before_order:
        same("stock kept from customers", np.where(turned_away, left, 0.0), 0.0 * left)
    elif first:
        same("stock kept from customers", np.where(turned_away, left, 0.0), 0.0 * left)


def nothing_is_negative(run: Run) -> None:
    """Stock, backlog, pipelines and flows stay at or above zero."""
    signed = {"inventory_level", "inventory_position", "echelon_inventory_position", "raw_order"}
    for record_ in (run.opened, run.closed, run.flows):
        for name, values in record_._asdict().items():
            if name not in signed | {"cost", "total_cost"}:
                assert np.isfinite(values).all(), f"{name} isn't finite"
                at_most(f"minus {name}", -values, 0.0)


def shipments_are_possible(run: Run) -> None:
    """Shipped <= owed x availability; inputs and resources suffice for all lanes together."""
    flows = run.flows
    at_most("shipped", flows.shipped, run.owed_at_ship * run.availability)
    at_most("inputs taken", run.consumes @ flows.shipped, run.opened.on_hand)
    for resource in run.network.resources:
        use = np.array(
            [
                sum(u.per_unit for u in lane.resources if u.resource == resource.id)
                for lane in run.network.lanes
            ]
        )
        used = np.einsum("q,tqb->tb", use, flows.shipped)
        at_most(f"use of {resource.id}", used, resource.capacity)


def scarce_goods_are_shared(run: Run) -> None:
    """A lane with one input or resource at most ships its proportional share, where nobody else
    has a second limit; a lane without any ships all it may."""
    flows, lanes = run.flows, run.network.lanes
    want = run.owed_at_ship * run.availability
    limits = [len(q.inputs) + len(q.resources) for q in lanes]
    for q, lane in enumerate(lanes):
        if limits[q] == 0:
            same(f"shipped on unlimited {lane.id}", flows.shipped[:, q], want[:, q])
        if limits[q] != 1:
            continue
        if lane.inputs:
            pair = [(s.node, s.sku) for s in run.network.stocks].index(
                (lane.inputs[0].node, lane.inputs[0].sku)
            )
            users, there = run.consumes[pair], run.opened.on_hand[:, pair]
        else:
            name = lane.resources[0].resource
            users = np.array(
                [sum(u.per_unit for u in other.resources if u.resource == name) for other in lanes]
            )
            there = np.full(
                want[:, q].shape, next(r.capacity for r in run.network.resources if r.id == name)
            )
        if all(limits[k] == 1 for k in np.flatnonzero(users)):
            need = np.einsum("q,tqb->tb", users, want)
            part = np.minimum(1.0, there / np.maximum(need, 1e-300))
            same(f"shipped on {lane.id}", flows.shipped[:, q], want[:, q] * part)


def costs_add_up(run: Run) -> None:
    """Every column follows from states and flows; the total is their sum."""
    flows, closed, cost = run.flows, run.closed, run.flows.cost
    same("total cost", flows.total_cost, cost.sum(axis=1))
    holding, waiting = run.per_pair("holding_cost"), closed.backorders + run.consumes @ closed.owed
    expected = {
        CostColumn.HOLDING: holding * closed.on_hand,
        CostColumn.BACKLOG: run.per_pair("backlog_cost") * waiting,
        CostColumn.LOST_SALE: run.per_pair("lost_sale_cost") * flows.lost,
        CostColumn.REVENUE: -run.per_pair("price") * (flows.sold + flows.backlog_served),
        CostColumn.PURCHASE: run.delivers @ (run.per_lane("unit_cost") * flows.shipped),
        CostColumn.FIXED_ORDER: run.delivers @ (run.per_lane("fixed_cost") * (flows.ordered > 0)),
        CostColumn.SALVAGE: 0.0 * holding * closed.on_hand,
    }
    for column, wanted in expected.items():
        same(column.name, cost[:, column], wanted)
    on_way = closed.in_transit.sum(axis=2)
    payer = run.network.timing.in_transit_payer
    charged = {
        InTransitPayer.nobody: 0.0 * holding * closed.on_hand,
        InTransitPayer.receiver: holding * (run.delivers @ on_way),
        InTransitPayer.sender: np.einsum("pq,tqb->tpb", holding * run.consumes, on_way),
    }[payer]
    in_transit = cost[:, CostColumn.IN_TRANSIT]
    same("in-transit cost of the network", in_transit.sum(axis=1), charged.sum(axis=1))
    if all(len(q.inputs) < 2 for q in run.network.lanes):
        same("in-transit cost", in_transit, charged)


LAWS: dict[str, Callable[[Run], None]] = {
    law.__name__: law
    for law in (
        units_are_conserved,
        shelves_balance,
        lanes_conserve_orders,
        lanes_conserve_goods,
        goods_arrive_when_due,
        orders_arrive_when_due,
        orders_are_feasible,
        demand_is_conserved,
        customers_get_what_is_there,
        nothing_is_negative,
        shipments_are_possible,
        scarce_goods_are_shared,
        costs_add_up,
    )
}


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

    def times(part, *names: str):  # type: ignore[no-untyped-def]
        return dataclasses.replace(part, **{name: getattr(part, name) * k for name in names})

    stocks = [times(s, "initial_stock", "serve_limit") for s in network.stocks]
    for i, stock in enumerate(stocks):
        if stock.demand is not None:
            demand = times(stock.demand, "mean", "standard_deviation", "history")
            stocks[i] = dataclasses.replace(stock, demand=demand)
    lanes = [
        dataclasses.replace(
            times(q, "fixed_cost", "minimum_order", "maximum_order"),
            initial_in_transit=tuple(k * x for x in q.initial_in_transit),
            initial_orders=tuple(k * x for x in q.initial_orders),
        )
        for q in network.lanes
    ]
    return dataclasses.replace(
        network,
        stocks=tuple(stocks),
        lanes=tuple(lanes),
        resources=tuple(times(r, "capacity") for r in network.resources),
    )


def units_have_no_size(random: Random, periods: int = 16, batch: int = 2) -> None:
    """k units for every unit: flows and costs times k, observations unchanged.

    k is a power of two, so that both runs round alike and equality is exact.
    """
    network = random_network(random, drawn=False, divisible=True)
    k = random.choice([0.25, 4.0, 32.0])
    rng = np.random.default_rng(random.getrandbits(32))
    runs, observations = [], []
    actions: NDArray[np.float32] | None = None
    for one in (network, scaled(network, k)):
        scenario = Scenario("random", one, horizon=periods + 1, smoothing=0.25)
        if actions is None:
            heads = 1 + scenario.compiled.share_heads
            shape = (periods, len(one.stocks), heads, batch)
            actions = rng.uniform(-1.0, 1.0, shape).astype(np.float32)
        run, observed = play_actions(scenario, actions, seed=1)
        runs.append(run)
        observations.append(observed)
    for name, values in runs[0].flows._asdict().items():
        same(f"{name} at {k} times the units", getattr(runs[1].flows, name), k * values, 1e-10)
    same("on hand", runs[1].closed.on_hand, k * runs[0].closed.on_hand, 1e-10)
    used = runs[0].net.demand_mean > 0  # nothing is regularly drawn from the others: no scale
    same("observation", observations[1][:, used], observations[0][:, used], 1e-5)


def order_of_parts_is_free(random: Random, periods: int = 12, batch: int = 2) -> None:
    """The network's parts listed in another order: the same results, part by part."""
    network = random_network(random, drawn=False)
    orders = random_orders(random, network, periods, batch)

    def shuffled(parts: tuple) -> tuple:  # type: ignore[type-arg]
        return tuple(random.sample(parts, len(parts)))

    other = dataclasses.replace(
        network,
        **{
            name: shuffled(getattr(network, name))
            for name in ("nodes", "skus", "stocks", "lanes", "resources")
        },
    )
    lane = [[q.id for q in network.lanes].index(q.id) for q in other.lanes]
    first = play_orders(compile_network(network), orders, 1)
    second = play_orders(compile_network(other), orders[:, lane].copy(), 1)
    labels = [s.label for s in first.network.stocks]
    pair = [labels.index(s.label) for s in second.network.stocks]
    for name in ("ordered", "shipped", "received", "cancelled"):
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
    heads = 1 + scenario.compiled.share_heads
    run, _ = play_actions(
        scenario, np.zeros((periods, len(stocks), heads, 1), np.float32), seed=1
    )
    assert not run.flows.ordered.any(), "orders without demand"
    held = (CostColumn.HOLDING, CostColumn.IN_TRANSIT)
    for column in CostColumn:
        if column not in held:
            same(f"{column.name} without demand", run.flows.cost[:, column], 0.0)  # type: ignore[arg-type]
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
