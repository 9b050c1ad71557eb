"""Yes-or-no facts about a network, by which policies say where they suit."""

from __future__ import annotations

from envs.compiled.network import CompiledNetwork


def has_several_pairs(net: CompiledNetwork) -> bool:
    """Whether more than one (node, SKU) pair is stocked."""
    return len(net.network.stocks) > 1


def loses_sales(net: CompiledNetwork) -> bool:
    """Whether most customers who aren't served at once leave."""
    customers = net.customer_pair
    return bool(net.demand.mean[customers] @ (net.arrays.stocks.p_wait[customers] - 0.5) < 0.0)


def has_calendar(net: CompiledNetwork) -> bool:
    """Whether demand has factors known ahead: seasons, promotions."""
    return net.demand.multiplier is not None


def has_hidden_state(net: CompiledNetwork) -> bool:
    """Whether something that moves is not shown to planners."""
    return any(regime.seen_after is None for regime in net.network.regimes)


def has_seen_state(net: CompiledNetwork) -> bool:
    """Whether something that moves is shown to planners."""
    return any(regime.seen_after is not None for regime in net.network.regimes)


def demand_moves(net: CompiledNetwork) -> bool:
    """Whether regimes move the mean of demand."""
    return any(stock.demand_regimes for stock in net.network.stocks)


def expedites(net: CompiledNetwork) -> bool:
    """Whether some lane is an expedite lane."""
    return bool(net.arrays.lanes.expedite.any())


def has_fixed_cost(net: CompiledNetwork) -> bool:
    """Whether orders or loads cost something however small they are."""
    lanes, resources = net.network.lanes, net.network.resources
    return any(q.fixed_cost > 0.0 or q.load_cost > 0.0 for q in lanes) or any(
        r.fixed_cost > 0.0 or r.load_cost > 0.0 for r in resources
    )


def shares_order_cost(net: CompiledNetwork) -> bool:
    """Whether pairs share a cost per order or load."""
    users: dict[str, set[tuple[str, str]]] = {}
    for lane in net.network.lanes:
        for use in lane.resources:
            users.setdefault(use.resource, set()).add((lane.node, lane.sku))
    return any(
        len(users.get(resource.id, ())) > 1
        for resource in net.network.resources
        if resource.fixed_cost > 0.0 or resource.load_cost > 0.0
    )
