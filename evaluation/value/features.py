"""What kind of a problem a network poses, in a dozen numbers: the features of the verdict tree.

Means of times, demand and costs are weighted by demand: a thousand slow movers don't hide the bulk.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import has_calendar, has_fixed_cost, has_hidden_state, has_seen_state
from envs.types import Bools, Floats

FEATURES: Mapping[str, str] = {
    "nodes": "nodes that hold stock",
    "pairs": "stocked (node, SKU) pairs",
    "lead_time": "mean lead time / periods between orders",
    "lead_time_sd": "standard deviation of lead time / periods between orders",
    "demand_cv": "standard deviation of a period's demand / its mean",
    "hidden_state": "1 where something that moves is not shown to planners, else 0",
    "seen_state": "1 where something that moves is shown to planners, else 0",
    "calendar": "1 where demand has factors known ahead (seasons, promotions), else 0",
    "lost_share": "share of unmet demand that is lost, not backlogged",
    "critical_ratio": "cost of a unit short / (that + cost of holding a unit for a period)",
    "fixed_cost": "1 where orders or loads cost something however small they are, else 0",
    "sourcing": "inbound lanes per pair",
    "shared_resources": "share of pairs that draw on a limit with others",
    "joint_costs": "share of pairs that share a cost per order or load with others",
    "competing": "share of pairs whose supplier's stock others draw on too",
    "coupling": "mean of shared_resources, joint_costs and competing",
}
_CLASS_LIMITS = (("A", 0.80), ("B", 0.95))  # cumulative share of demand x value; the rest is C


def features_of(net: CompiledNetwork) -> dict[str, float]:
    """Return the FEATURES of a network; every one is finite."""
    arrays = net.arrays
    weight = np.maximum(net.demand.mean, 0.0)
    weight = weight / weight.sum() if weight.sum() > 0 else np.full(weight.size, 1 / weight.size)
    customers = net.customer_pair
    served = weight[customers]
    served = served / served.sum() if served.sum() > 0 else np.full(served.size, 1 / served.size)
    review = np.maximum(net.review + int(arrays.switches.demand_first), 1)
    cv = net.demand.customer_sd / np.maximum(net.demand.customer_mean, 1e-12)
    # Each pair counted once: coupling is about the structure, not about volume.
    share, costs, competing = (float(rows.mean()) for rows in _coupled_pairs(net))
    return {
        "nodes": float(len(net.agent_nodes)),
        "pairs": float(len(net.network.stocks)),
        "lead_time": float(weight @ (net.leads.pair / review)),
        "lead_time_sd": float(weight @ (net.leads.pair_sd / review)),
        "demand_cv": float(served @ cv),
        "hidden_state": float(has_hidden_state(net)),
        "seen_state": float(has_seen_state(net)),
        "calendar": float(has_calendar(net)),
        "lost_share": float(served @ (1.0 - arrays.stocks.p_wait[customers])),
        "critical_ratio": float(served @ _critical_ratio(net)),
        "fixed_cost": float(has_fixed_cost(net)),
        "sourcing": float(weight @ np.bincount(arrays.lanes.to, minlength=weight.size)),
        "shared_resources": share,
        "joint_costs": costs,
        "competing": competing,
        "coupling": (share + costs + competing) / 3.0,
    }


def sku_classes(net: CompiledNetwork) -> dict[str, str]:
    """Return SKU -> "A", "B" or "C" by demand x value: A is the first 80 %, B up to 95 %, C rest.

    Demand: customers' [units per period]; of a SKU that none buys, the largest of any pair. Value:
    the SKU's; where no SKU has one, its mean holding cost, which is proportional to value.
    Empty for fewer than three SKUs: there is nothing to classify.
    """
    network = net.network
    if len(network.skus) < 3:
        return {}
    sku_of = np.array([s.sku for s in network.stocks])
    has_value = any(sku.value > 0.0 for sku in network.skus)
    worth: dict[str, float] = {}
    for sku in network.skus:
        rows = np.flatnonzero(sku_of == sku.id)
        if not rows.size:
            continue
        sold = np.intersect1d(rows, net.customer_pair)
        demand = net.demand.mean[sold].sum() if sold.size else net.demand.mean[rows].max()
        value = sku.value if has_value else net.arrays.stocks.holding_cost[rows].mean()
        worth[sku.id] = float(demand * value)
    total, before = sum(worth.values()), 0.0
    classes: dict[str, str] = {}
    for sku_id in sorted(worth, key=lambda name: -worth[name]):
        share = before / total if total else 0.0
        classes[sku_id] = next((name for name, limit in _CLASS_LIMITS if share < limit), "C")
        before += worth[sku_id]
    return classes


def _critical_ratio(net: CompiledNetwork) -> Floats:
    """[D] (Arrow, Harris and Marschak 1951). Who waits costs b per period, who leaves p + price."""
    arrays, rows = net.arrays, net.customer_pair
    waits = arrays.stocks.p_wait[rows]
    leaves = arrays.stocks.lost_sale_cost[rows] + arrays.stocks.price[rows]
    short = waits * arrays.stocks.backlog_cost[rows] + (1.0 - waits) * leaves
    both = short + arrays.stocks.holding_cost[rows]
    ratio: Floats = np.divide(short, both, out=np.zeros_like(both), where=both > 0.0)
    return ratio


def _coupled_pairs(
    net: CompiledNetwork,
) -> tuple[Bools, Bools, Bools]:
    """Return [P] each: shares a limit, shares a cost, competes for the stock of a sender."""
    network, arrays = net.network, net.arrays
    size = len(network.stocks)
    limited, joint, competing = (np.zeros(size, bool) for _ in range(3))
    row = {(s.node, s.sku): p for p, s in enumerate(network.stocks)}
    users: dict[str, set[int]] = {}
    takers: dict[int, set[int]] = {}
    for lane in network.lanes:
        for use in lane.resources:
            users.setdefault(use.resource, set()).add(row[lane.node, lane.sku])
        for item in lane.inputs:
            takers.setdefault(row[item.node, item.sku], set()).add(row[lane.node, lane.sku])
    for resource in network.resources:
        rows = sorted(users.get(resource.id, ()))
        if len(rows) > 1:
            limited[rows] |= bool(np.isfinite(resource.capacity))
            joint[rows] |= resource.fixed_cost > 0.0 or resource.load_cost > 0.0
    for rows_below in takers.values():
        if len(rows_below) > 1:
            competing[sorted(rows_below)] = True
    per_node = np.bincount(arrays.stocks.node_of, minlength=len(net.agent_nodes))
    crowded = np.isfinite(arrays.nodes.storage_capacity) & (per_node > 1)
    return limited | crowded[arrays.stocks.node_of], joint, competing
