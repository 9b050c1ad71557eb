"""The linear programme of a network, written event by event.

What isn't decided any more (stock at the start, goods on their way) is a column with equal bounds,
so that every row is written once. Letters as in `envs.simulation.state`.
"""

from __future__ import annotations

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.linear_programme.draft import Draft, factors, roundings
from envs.linear_programme.programme import OpeningState, Outlook, Pricing, Programme
from envs.linear_programme.receipts import write_receipts
from envs.types import Bools, Floats, Ints


def build_programme(
    net: CompiledNetwork, outlook: Outlook, start: OpeningState, pricing: Pricing
) -> Programme:
    """Return the programme of the periods of the outlook, from `start` on."""
    draft = Draft.begin(net, outlook, start, pricing)
    _write_stock(draft)
    ordered, shipped = _write_lanes(draft)
    served = _write_customers(draft)
    write_receipts(draft, shipped, served)
    _write_resources(draft, shipped, ordered)
    columns, equal, at_most = draft.columns, draft.equal, draft.at_most
    lower, upper = columns.bounds()
    return Programme(
        cost=columns.cost(),
        lower=lower,
        upper=upper,
        equal=equal.matrix(columns.count),
        equal_to=equal.right(),
        at_most=at_most.matrix(columns.count),
        limit=at_most.right(),
        ordered=ordered,
        shipped=shipped,
        on_hand=draft.on_hand,
    )


def _write_stock(draft: Draft) -> None:
    """What stock costs, what it is worth, and what a safety stock that isn't there costs."""
    net, pricing, columns, on_hand = draft.net, draft.pricing, draft.columns, draft.on_hand
    columns.charge(on_hand[1:], draft.weight[:, None] * net.stocks.holding_cost)
    columns.charge(on_hand[-1], -pricing.end_worth)
    columns.charge(on_hand[pricing.first_counted], pricing.opening_worth)
    missing = columns.new(draft.balance.shape, where=pricing.safety_stock > 0.0)
    columns.charge(missing, pricing.safety_cost)
    rows = draft.at_most.new(missing.shape, -pricing.safety_stock, missing >= 0)
    draft.at_most.put(rows, on_hand[1:], -1.0)
    draft.at_most.put(rows, missing, -1.0)


def _write_lanes(draft: Draft) -> tuple[Ints, Ints]:
    """Orders are owed and shipped. Returns columns (ordered [T, Q], shipped [T, Q]).

    Where orders can always be placed and heard of at once, to order before goods can ship never
    helps: there what is ordered is what ships.
    """
    net, start, columns, equal = draft.net, draft.start, draft.columns, draft.equal
    is_open, usable = _is_open(draft), factors(draft.outlook, net.factor_rows.availability)
    shape = is_open.shape
    lane_of_use = net.lanes.uses.rows
    limited = np.isfinite(net.rules.maximum_order)
    limited[lane_of_use[net.resources.limits_orders[net.lanes.uses.index]]] = True  # budgets
    at_once = (net.lanes.information_delay == 0) & (start.owed <= 0.0) & ~limited
    direct = at_once & is_open.all(axis=0) & ((usable == 0.0) | (usable == 1.0)).all(axis=0)
    shipped = columns.new(shape, upper=np.where(usable == 0.0, 0.0, np.inf))
    placed = columns.new(
        shape, upper=np.where(is_open, net.rules.maximum_order, 0.0), where=~direct
    )
    known = _known_orders(draft, placed)
    left = np.concatenate([columns.given(start.owed[None]), columns.new(shape, where=~direct)])
    stays = np.full((shape[0], 1), 0.0 if net.switches.cancel_unfilled else 1.0)
    stays[0] = 1.0  # what is owed when agents order is owed when goods ship
    rows = equal.new(shape, where=~direct)
    for column, value in ((left[1:], 1.0), (left[:-1], -stays), (known, -1.0), (shipped, 1.0)):
        equal.put(rows, column, value)
    partly = draft.at_most.new(shape, where=(usable > 0.0) & (usable < 1.0))
    for column, value in ((left[:-1], -stays * usable), (known, -usable), (shipped, 1.0)):
        draft.at_most.put(partly, column, value)

    weight = draft.weight[:, None]
    price = net.lanes.unit_cost * factors(draft.outlook, net.factor_rows.cost) - net.lanes.price
    columns.charge(shipped, weight * price)
    waiting = 0.0 if net.switches.cancel_unfilled else _waiting_cost(draft)
    columns.charge(left[1:], weight * (waiting + net.lanes.unfilled_cost))
    largest = np.where(net.rules.maximum_order > 0.0, net.rules.maximum_order, np.inf)
    columns.charge(placed, weight * net.lanes.fixed_cost / largest)
    inputs = net.lanes.inputs
    draft.withdraw(shipped[:, inputs.rows], inputs.value, inputs.index, early=True)
    return np.where(direct, shipped, placed), shipped


def _is_open(draft: Draft) -> Bools:
    """[T, Q] whether orders can be placed: calendars, and regimes that pause ordering."""
    net, outlook = draft.net, draft.outlook
    is_open = factors(outlook, net.factor_rows.ordering) > 0.0
    first = outlook.period + outlook.offset
    for q in np.flatnonzero(net.rules.calendar_row >= 0):
        row = net.rules.calendar_row[q]
        is_open[:, q] &= net.calendars.open_periods(row, first, draft.periods)
    return is_open


def _known_orders(draft: Draft, placed: Ints) -> Ints:
    """[T, Q] columns of the orders that the sender has heard of since goods were last shipped."""
    net, known = draft.net, placed.copy()
    for q in np.flatnonzero(net.lanes.information_delay > 0):
        delay = int(net.lanes.information_delay[q])
        on_way = draft.columns.given(draft.start.orders_on_way[:delay, q])
        known[:, q] = np.concatenate([on_way, placed[:, q]])[: draft.periods]
    return known


def _waiting_cost(draft: Draft) -> Floats:
    """[Q] currency per unit owed and period, of the senders."""
    net = draft.net
    cost = np.zeros(len(net.lanes.to))
    np.add.at(cost, net.stocks.outbound.index, net.stocks.waiting_cost)
    return cost


def _write_customers(draft: Draft) -> Ints:
    """Customers are served, wait or are lost. Returns columns [T, P] of what they get (of pairs
    where some wait and some don't: what they get at once)."""
    net, columns, equal, at_most = draft.net, draft.columns, draft.equal, draft.at_most
    pairs = np.flatnonzero(net.stocks.demand_of >= 0)
    demand = draft.outlook.demand[:, net.stocks.demand_of[pairs]].copy()
    open_ = np.ones((draft.periods, 1))
    if net.switches.demand_first:
        open_[0] = demand[0] = 0.0  # they have been there already
    share, most = net.stocks.p_wait[pairs], net.stocks.serve_limit[pairs]
    before = draft.start.backorders[pairs]
    waits = (share > 0.0) | (before > 0.0)
    mixed = waits & (share < 1.0)  # older and newer customers are counted apart
    shape = demand.shape
    upper = np.where(waits & ~mixed, most, np.minimum(demand, most))
    now = columns.new(shape, upper=np.where(open_ > 0.0, upper, 0.0))
    later = columns.new(shape, upper=np.where(open_ > 0.0, most, 0.0), where=mixed)
    waiting = np.concatenate([columns.given(before[None]), columns.new(shape, where=waits)])
    joins = np.where(mixed, share, 1.0)
    rows = equal.new(shape, joins * demand, waits)
    for column, value in ((waiting[1:], 1.0), (waiting[:-1], -1.0), (now, joins), (later, 1.0)):
        equal.put(rows, column, value)
    up, is_rounded = roundings(draft.outlook), mixed & net.stocks.whole[pairs]
    rounded = columns.new(shape, up - 1.0, up, is_rounded & (open_ > 0.0))
    equal.put(rows, rounded, -1.0)
    columns.charge(rounded, -draft.weight[:, None] * net.stocks.lost_sale_cost[pairs])
    rows = at_most.new(shape, most, mixed & np.isfinite(most))
    at_most.put(rows, now, 1.0)
    at_most.put(rows, later, 1.0)
    rows = at_most.new(shape, where=mixed)
    at_most.put(rows, later, 1.0)
    at_most.put(rows, waiting[:-1], -1.0)
    for column in (now, later):
        draft.withdraw(column, 1.0, pairs, net.switches.demand_first)

    weight, gone = draft.weight[:, None], np.where(waits & ~mixed, 0.0, 1.0 - share)
    loss, price = net.stocks.lost_sale_cost[pairs], net.stocks.price[pairs]
    columns.charge(now, -weight * (price + gone * loss))
    columns.charge(later, -weight * price)
    columns.charge(waiting[1:], weight * net.stocks.backlog_cost[pairs])
    columns.charge(waiting[-1], draft.pricing.end_backlog[pairs])
    columns.charge(columns.given(demand), weight * gone * loss)
    columns.charge(columns.given(draft.start.served), -draft.weight[0] * net.stocks.price)
    columns.charge(columns.given(draft.start.lost), draft.weight[0] * net.stocks.lost_sale_cost)
    first = draft.pricing.first_counted
    if net.switches.demand_first and first > 0:  # served before stock is valued
        for column in (now, later):
            columns.charge(column[first], -draft.pricing.opening_worth[pairs])
    served = np.full(draft.balance.shape, -1, np.int64)
    served[:, pairs] = now
    return served


def _write_resources(draft: Draft, shipped: Ints, ordered: Ints) -> None:
    """Capacities and budgets; loads and joint costs by the part of them that is used."""
    net, columns, at_most = draft.net, draft.columns, draft.at_most
    uses = net.lanes.uses
    lane, used, per_unit = uses.rows, uses.index, uses.value
    flow = np.where(net.resources.limits_orders[used], ordered[:, lane], shipped[:, lane])
    share = factors(draft.outlook, net.factor_rows.capacity)
    capacity = np.where(share > 0.0, net.resources.capacity * np.maximum(share, 1e-300), 0.0)
    rows = at_most.new(capacity.shape, capacity, np.isfinite(capacity))
    at_most.put(rows[:, used], flow, per_unit)

    loads = _share(net.resources.load_cost, net.resources.load_size)
    joint = _share(net.resources.joint_cost, net.resources.capacity)
    cost_factor = factors(draft.outlook, net.factor_rows.cost)[:, lane]
    rate = per_unit * (loads[used] * cost_factor + joint[used])
    columns.charge(flow, draft.weight[:, None] * rate)


def _share(cost: Floats, whole: Floats) -> Floats:
    """Cost by the part of a whole that is used; 0 where there is no whole."""
    return np.where(whole > 0.0, cost / np.maximum(whole, 1e-300), 0.0)
