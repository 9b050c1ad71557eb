"""The steps of compiling a network: sparse rows, flows, lead times, exposures, loads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from envs.compiled.arrays import CostColumn, Csr, NetworkArrays
from envs.errors import NetworkError
from envs.network.network import (
    InTransitPayer,
    Lane,
    Limits,
    Receive,
    Resource,
    Speed,
    Stock,
    SupplyNetwork,
)
from envs.network.regime import Regime

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Matrix = Any  # SciPy's sparse matrices


def csr(rows: list[list[tuple[int, float]]]) -> Csr:
    flat = [entry for row in rows for entry in row]
    return Csr(
        np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64),
        np.array([i for i, _ in flat], np.int64),
        np.array([v for _, v in flat], float),
    )


def grouped(group: Ints, index: Ints, value: Floats, groups: int) -> Csr:
    order = np.argsort(group, kind="stable")
    pointer = np.concatenate([[0], np.cumsum(np.bincount(group, minlength=groups))])
    return Csr(pointer.astype(np.int64), index[order].astype(np.int64), value[order])


def from_matrix(matrix: Matrix) -> Csr:
    csr = sparse.csr_matrix(matrix)
    csr.eliminate_zeros()
    csr.sort_indices()
    return Csr(csr.indptr.astype(np.int64), csr.indices.astype(np.int64), csr.data.astype(float))


def rows(used: list[bool]) -> Ints:
    flags = np.array(used, bool)
    return np.where(flags, np.cumsum(flags) - 1, -1).astype(np.int64)


def base_share(lanes: tuple[Lane, ...], lane_to: Ints, pairs: int) -> Floats:
    """[Q] shares that sum to 1 over the lanes of one speed to a pair. Raises NetworkError."""
    share = np.array([q.base_share for q in lanes], float)
    fast = np.array([q.speed is Speed.expedite for q in lanes], bool)
    slow = np.bincount(lane_to[~fast], share[~fast], minlength=pairs)
    if (slow[lane_to] <= 0).any():
        bad = lanes[int(np.flatnonzero(slow[lane_to] <= 0)[0])]
        raise NetworkError(
            f"Lane '{bad.id}': the base shares of all regular lanes to {bad.sku}@{bad.node} are 0; "
            "expected at least one above 0."
        )
    total = np.where(
        fast, np.bincount(lane_to[fast], share[fast], minlength=pairs)[lane_to], slow[lane_to]
    )
    return share / np.maximum(total, 1e-300)


def regular_share(lanes: tuple[Lane, ...], share: Floats) -> Floats:
    """[Q] the shares of regular flow: expedite lanes carry none of it."""
    return np.where([q.speed is Speed.expedite for q in lanes], 0.0, share)


def expedite_lead(lanes: tuple[Lane, ...], lane_lead: Floats, lane_to: Ints, pairs: int) -> Floats:
    """[P] periods from ordering on, the longest mean of the expedite lanes; -1: there are none."""
    fast = np.array([q.speed is Speed.expedite for q in lanes], bool)
    lead = np.full(pairs, -1.0)
    np.maximum.at(lead, lane_to[fast], lane_lead[fast])
    return lead


def _flow(lane_to: Ints, share: Floats, inputs: Csr, pairs: int) -> Matrix:
    """[P, P] units of a pair (row) that ordering one unit at a pair (column) consumes."""
    lane = np.repeat(np.arange(len(lane_to)), np.diff(inputs.pointer))
    entries = inputs.value * share[lane]
    return sparse.csr_matrix((entries, (inputs.index, lane_to[lane])), shape=(pairs, pairs))


def echelon_weight(lane_to: Ints, share: Floats, inputs: Csr, pairs: int) -> Matrix:
    """[P, P] (I - A)^-1 of the flow matrix A, as a series (it ends in a network without loops)."""
    flow = _flow(lane_to, share, inputs, pairs)
    total = power = sparse.identity(pairs, format="csr")
    for _ in range(200):
        power = power @ flow
        power.data[power.data < 1e-9] = 0.0
        power.eliminate_zeros()
        if power.nnz == 0:
            return total
        total = total + power
    raise NetworkError(
        "The base shares of the lanes send goods round in a circle; give transshipment lanes a "
        "base_share of 0."
    )


def calendar(stocks: tuple[Stock, ...], customers: Ints) -> tuple[Floats | None, int]:
    demands = [stocks[p].demand for p in customers]
    lengths = {
        values.size
        for demand in demands
        if demand is not None
        for values in (demand.history, demand.multiplier)
        if values is not None
    }
    if len(lengths) > 1:
        raise NetworkError(
            f"Demand histories and multipliers have {sorted(lengths)} periods; expected the same "
            "number everywhere."
        )
    length = lengths.pop() if lengths else 1
    if not any(d is not None and d.multiplier is not None for d in demands):
        return None, length
    rows = [np.ones(length) if d is None or d.multiplier is None else d.multiplier for d in demands]
    return np.array(rows, float), length


def is_stochastic(network: SupplyNetwork, lane: Lane) -> bool:
    """Whether the trace must say how long shipments on the lane take."""
    return not lane.lead_time.constant or any(
        state.lead_time != 1.0 for regime in _regimes_of(network, lane) for state in regime.states
    )


def longest(network: SupplyNetwork, lane: Lane) -> int:
    """The longest time from shipping to arrival under any states [periods], before pauses."""
    factor = spread = 1.0
    for regime in _regimes_of(network, lane):
        factor *= max(1.0, *(state.lead_time for state in regime.states))
        spread *= max(1.0, *(state.lead_time_spread for state in regime.states))
    mean = lane.lead_time.mean()
    return int(np.ceil((mean + (lane.lead_time.maximum - mean) * spread) * factor - 1e-9))


def can_be_at_once(network: SupplyNetwork, lane: Lane) -> bool:
    """Whether a shipment may arrive in the period it leaves in: a lead time below 1, rounded."""
    factor = spread = 1.0
    for regime in _regimes_of(network, lane):
        factor *= min(1.0, *(state.lead_time for state in regime.states))
        spread *= max(1.0, *(state.lead_time_spread for state in regime.states))
    mean = lane.lead_time.mean()
    return not lane.inputs and (mean + (lane.lead_time.minimum - mean) * spread) * factor < 1.0


def pipeline_slots(network: SupplyNetwork, lead_longest: Ints, arrays: NetworkArrays) -> int:
    """Slots of the pipeline: today's, one for each period of the longest way, and one more where
    a pause or a wait at the door can move goods beyond them.

    Goods that ship before today's receipts can be a full longest way off when a pause moves them;
    else they have come a period nearer, and only goods of a way of 0 have nowhere to wait.
    """
    longest_way = int((lead_longest + arrays.split_delay).max())
    waits = not arrays.plain_receipt.all()
    return longest_way + 1 + int(waits and (arrays.receive_after_ship or longest_way == 0))


def lane_lead(network: SupplyNetwork) -> tuple[Floats, Floats]:
    """[Q] mean and standard deviation of lane lead times [periods] with their regimes averaged,
    from ordering on."""
    means, sds = [], []
    for lane in network.lanes:
        mean, square = lane.lead_time.mean(), lane.lead_time.mean() ** 2 + lane.lead_time.sd() ** 2
        for regime in _regimes_of(network, lane):
            mean *= regime.mean("lead_time")
            square *= regime.mean_square("lead_time")
        mean += lane.split_share * lane.split_delay
        means.append(mean + ships_after(network, lane))
        spread = square - (mean - lane.split_share * lane.split_delay) ** 2
        sds.append(float(np.sqrt(max(0.0, spread))))
    return np.array(means), np.array(sds)


def ships_after(network: SupplyNetwork, lane: Lane) -> int:
    """Return the periods from an order until it ships: the information delay, and one more where
    orders, like goods, are received after the period's shipments have left."""
    late = network.timing.receive is Receive.after_ship
    return lane.information_delay + int(late and lane.information_delay > 0)


def _regimes_of(network: SupplyNetwork, lane: Lane) -> list[Regime]:
    return [r.for_mode(lane.mode) for r in network.regimes if r.id in lane.regimes]


def customer_demand(network: SupplyNetwork, customers: Ints) -> tuple[Floats, Floats]:
    """[D] mean and standard deviation of demand [units per period], its regimes averaged."""
    means, sds = [], []
    for p in customers:
        stock = network.stocks[p]
        assert stock.demand is not None
        factor = square = 1.0
        for regime in network.regimes:
            if regime.id in stock.demand_regimes:
                factor *= regime.mean("demand")
                square *= regime.mean_square("demand")
        mean, variance = stock.demand.mean, stock.demand.standard_deviation**2
        means.append(mean * factor)
        sds.append(np.sqrt(variance * factor + mean**2 * max(0.0, square - factor**2)))
    return np.array(means, float), np.array(sds, float)


def review_gap(network: SupplyNetwork, lane_to: Ints, share: Floats) -> Ints:
    """[P] periods between two chances to order, on the lane in regular use that waits longest."""
    gap = np.ones(len(network.stocks), np.int64)
    reviews = {n.id: n.review for n in network.nodes}
    for q, lane in enumerate(network.lanes):
        calendars = [c for c in (reviews[lane.node], lane.calendar) if c is not None]
        if share[q] > 0 and calendars:
            gap[lane_to[q]] = max(gap[lane_to[q]], *(c.longest_gap for c in calendars))
    return gap


def joint_resource(lane_to: Ints, uses: Csr, resources: tuple[Resource, ...], pairs: int) -> Ints:
    """[P] the first resource that a lane to the pair uses and whose cost is borne together, or -1:
    a fixed cost, or the loads of several pairs."""
    to = np.repeat(lane_to, np.diff(uses.pointer))
    users = np.bincount(np.unique(uses.index * pairs + to) // pairs, minlength=len(resources))
    joint = np.full(pairs, -1, np.int64)
    for p, r in zip(to, uses.index, strict=True):
        is_joint = resources[r].fixed_cost > 0 or (resources[r].load_cost > 0 and users[r] > 1)
        if is_joint and joint[p] < 0:
            joint[p] = r
    return joint


def ship_rounds(inputs: Csr, uses: Csr, resources: tuple[Resource, ...]) -> int:
    """Passes of joint allocation: one is enough where no lane has two limits."""
    limits = np.diff(inputs.pointer).astype(np.int64)
    lane = np.repeat(np.arange(len(limits)), np.diff(uses.pointer))
    limiting = np.array([_limits_shipments(resources[r]) for r in uses.index], bool)
    limits += np.bincount(lane[limiting], minlength=len(limits))
    return 1 if (limits < 2).all() else 3


def _limits_shipments(resource: Resource) -> bool:
    """By its capacity, or because its regimes can stop it."""
    limited = np.isfinite(resource.capacity) or bool(resource.regimes)
    return bool(limited and resource.limits is Limits.shipments)


def in_transit(network: SupplyNetwork, lane_to: Ints, inputs: Csr) -> tuple[Ints, Floats]:
    payer = lane_to.copy()
    rate = np.zeros(len(lane_to))
    holding = np.array([s.holding_cost for s in network.stocks])
    who = network.timing.in_transit_payer
    for q in range(len(lane_to)):
        rows = slice(inputs.pointer[q], inputs.pointer[q + 1])
        if who is InTransitPayer.receiver:
            rate[q] = holding[lane_to[q]]
        elif who is InTransitPayer.sender and rows.stop > rows.start:
            payer[q] = inputs.index[rows.start]
            rate[q] = float(holding[inputs.index[rows]] @ inputs.value[rows])
        own = network.lanes[q].in_transit_cost
        if own is not None:
            payer[q], rate[q] = lane_to[q], own
    return payer, rate


def lane_terms(network: SupplyNetwork, lane_to: Ints, inputs: Csr, outbound: Csr) -> dict[str, Any]:
    """Return the fields of NetworkArrays about what senders earn and pay for unfilled orders."""
    lanes = network.lanes
    first = inputs.pointer[:-1]
    has = np.diff(inputs.pointer) > 0
    seller = lane_to.copy()
    seller[has] = inputs.index[first[has]]
    own = np.array([q.unfilled_cost is not None for q in lanes], bool)
    backlog = np.array([s.backlog_cost for s in network.stocks], float)
    pair = np.repeat(np.arange(len(network.stocks)), np.diff(outbound.pointer))
    return {
        "seller": seller,
        "lane_price": np.array([q.price for q in lanes], float),
        "unfilled_cost": np.array([q.unfilled_cost or 0.0 for q in lanes], float),
        "waiting_cost": np.where(own[outbound.index], 0.0, backlog[pair] * outbound.value),
        "has_lane_terms": any(q.price or q.unfilled_cost for q in lanes),
    }


def columns_used(
    network: SupplyNetwork, in_transit_rate: Floats, resources: tuple[Resource, ...]
) -> NDArray[np.bool_]:
    """[C] cost columns that can differ from 0."""
    stocks, lanes = network.stocks, network.lanes
    unfilled = any(q.unfilled_cost for q in lanes)
    used = {
        CostColumn.HOLDING: any(s.holding_cost for s in stocks),
        CostColumn.IN_TRANSIT: bool(in_transit_rate.any()),
        CostColumn.BACKLOG: any(s.backlog_cost for s in stocks) or unfilled,
        CostColumn.LOST_SALE: any(s.lost_sale_cost for s in stocks) or unfilled,
        CostColumn.PURCHASE: any(q.unit_cost for q in lanes),
        CostColumn.FIXED_ORDER: any(q.fixed_cost for q in lanes)
        or any(r.fixed_cost for r in resources),
        CostColumn.REVENUE: any(s.price for s in stocks) or any(q.price for q in lanes),
        CostColumn.SALVAGE: any(s.value for s in network.skus),
        CostColumn.LOAD: any(r.load_cost for r in resources),
    }
    return np.array([used[column] for column in CostColumn], bool)


def pair_lead(
    lead: Floats, lead_sd: Floats, lane_to: Ints, share: Floats, pairs: int
) -> tuple[Floats, Floats]:
    """[P] mean and sd of the lead time over the lanes in regular use [periods]."""
    mean: Floats = np.bincount(lane_to, share * lead, minlength=pairs).astype(float)
    variance: Floats = np.bincount(lane_to, share * lead_sd**2, minlength=pairs).astype(float)
    return mean, np.sqrt(variance)


def path_lead(
    lane_to: Ints, inputs: Csr, share: Floats, lead_mean: Floats, lead_sd: Floats
) -> tuple[Floats, Floats]:
    """Longest lead time from ordering at a pair down to customers, over lanes in regular use."""
    lane = np.repeat(np.arange(len(lane_to)), np.diff(inputs.pointer))
    edges = [(inputs.index[i], lane_to[q]) for i, q in enumerate(lane) if share[q] > 0]
    mean, variance = lead_mean.copy(), lead_sd**2
    for _ in range(len(lead_mean)):
        before = mean.copy()
        for upper, lower in edges:
            if lead_mean[upper] + mean[lower] > mean[upper] + 1e-12:
                mean[upper] = lead_mean[upper] + mean[lower]
                variance[upper] = lead_sd[upper] ** 2 + variance[lower]
        if np.array_equal(before, mean):
            break
    return mean, np.sqrt(variance)
