"""Event 2: what agents know when they order: positions, forecasts, demand statistics."""

from __future__ import annotations

import math

from envs.compiled.dated_periods import longer_on
from envs.kernel import add_scaled, copy_row, kernel
from envs.simulation.slopes import Slopes
from envs.simulation.state import State
from envs.simulation.world import World
from envs.types import Floats

Sums = tuple[int, int, int]  # of a multiplier: pair if it has dates of its own, season, horizon

_WEIGHT_7, _WEIGHT_28 = 2.0 / 8.0, 2.0 / 29.0  # exponential weights of 7- and 28-period spans


@kernel
def observe(world: World, period: int, first: bool, seen: bool, lo: int, hi: int) -> None:
    """Refresh everything in State that is derived.

    first: nothing has been derived from this state yet. seen: a period's demand has been served.
    """
    forecast, state = world.forecast, world.state
    if seen:
        if forecast.smoothing > 0.0:
            _learn_level(world, lo, hi)
        _learn_demand(world, lo, hi)
        if state.history.shape[1] > 0:
            _remember(state, period, lo, hi)
    _positions(world, period, lo, hi)
    moves = forecast.smoothing > 0.0 or forecast.has_multiplier or forecast.dates.matter
    if first or moves:
        _forecasts(world, period, lo, hi)


@kernel
def _learn_level(world: World, lo: int, hi: int) -> None:
    """Smooth customer demand at multiplier 1."""
    forecast, state, flows, calendar = world.forecast, world.state, world.flows, world.calendar
    weight, lag, has_multiplier = forecast.smoothing, forecast.seen_lag, forecast.has_multiplier
    factor, known = world.scratch.row[lo:hi], -1  # whose season it holds
    for d in range(forecast.customer_pair.size):
        demand = flows.demand[forecast.customer_pair[d], lo:hi]
        level, variance = state.demand_level[d, lo:hi], state.demand_variance[d, lo:hi]
        if forecast.season[d] != known:
            known = forecast.season[d]
            for b in range(hi - lo):
                day = calendar[lo + b] - lag if has_multiplier else 0
                factor[b] = forecast.multiplier[known, day]
        for b in range(hi - lo):
            if factor[b] > 0.0:
                error = demand[b] - factor[b] * level[b]
                variance[b] += weight * (error * error / factor[b] - variance[b])
                level[b] += weight * error / factor[b]


@kernel
def _learn_demand(world: World, lo: int, hi: int) -> None:
    """Smooth the demand on every pair."""
    net, state, flows = world.net, world.state, world.flows
    for p in range(net.stocks.holding_cost.size):
        incoming, demand = state.incoming[p, lo:hi], flows.demand[p, lo:hi]
        requested = flows.requested[p, lo:hi]
        for b in range(hi - lo):
            incoming[b] = demand[b] + requested[b]
        mean_7, mean_28 = state.mean_7[p, lo:hi], state.mean_28[p, lo:hi]
        for b in range(hi - lo):
            mean_7[b] += _WEIGHT_7 * (incoming[b] - mean_7[b])
            mean_28[b] += _WEIGHT_28 * (incoming[b] - mean_28[b])
        square, zero = state.square_28[p, lo:hi], state.zero_share_28[p, lo:hi]
        for b in range(hi - lo):
            square[b] += _WEIGHT_28 * (incoming[b] * incoming[b] - square[b])
            zero[b] += _WEIGHT_28 * ((1.0 if incoming[b] <= 0.0 else 0.0) - zero[b])


@kernel
def _remember(state: State, period: int, lo: int, hi: int) -> None:
    slot = period % state.history.shape[1]
    for p in range(state.incoming.shape[0]):
        copy_row(state.history[p, slot, lo:hi], state.incoming[p, lo:hi])


@kernel
def _positions(world: World, period: int, lo: int, hi: int) -> None:
    net, state = world.net, world.state
    pairs = net.stocks.holding_cost.size
    for p in range(pairs):
        on_hand, backorders = state.on_hand[p, lo:hi], state.backorders[p, lo:hi]
        level, position = state.inventory_level[p, lo:hi], state.inventory_position[p, lo:hi]
        on_order = state.on_order[p, lo:hi]
        for b in range(hi - lo):
            level[b] = on_hand[b] - backorders[b]
        first, last = net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]
        if first < last:
            owed_to_lanes = state.owed_to_lanes[p, lo:hi]
            owed_to_lanes[:] = 0.0
            for i in range(first, last):
                owed = state.owed[net.stocks.outbound.index[i], lo:hi]
                add_scaled(owed_to_lanes, net.stocks.outbound.value[i], owed)
            add_scaled(level, -1.0, owed_to_lanes)
        on_order[:] = 0.0
        for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
            q = net.stocks.inbound.index[i]
            owed, on_way = state.owed[q, lo:hi], state.in_transit_total[q, lo:hi]
            good = net.lanes.expected_yield[q]  # only this share of it will reach the shelf
            for b in range(hi - lo):
                on_order[b] += good * (owed[b] + on_way[b])
            if net.lanes.information_delay[q] > 0:
                add_scaled(on_order, good, state.orders_on_way_total[q, lo:hi])
        for b in range(hi - lo):
            position[b] = level[b] + on_order[b]
        if net.stocks.expedite_periods[p] >= 0:
            _expedite_position(world, p, period, lo, hi)
    for p in range(pairs):
        _echelon_position(world, p, lo, hi)


@kernel
def _expedite_position(world: World, p: int, period: int, lo: int, hi: int) -> None:
    """Inventory level + what arrives before or with goods that are expedited now."""
    net, state = world.net, world.state
    slots, first = state.in_transit.shape[1], 0 if net.switches.receive_after_ship else 1
    position = state.expedite_position[p, lo:hi]
    copy_row(position, state.inventory_level[p, lo:hi])
    for ahead in range(first, min(net.stocks.expedite_periods[p], slots - 1) + 1):
        for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
            q = net.stocks.inbound.index[i]
            due = state.in_transit[q, (period + ahead) % slots, lo:hi]
            add_scaled(position, net.lanes.expected_yield[q], due)


@kernel
def _echelon_position(world: World, p: int, lo: int, hi: int) -> None:
    """On hand + on order here, + stock and goods in transit below, - customers' backorders
    (Clark and Scarf 1960)."""
    net, state = world.net, world.state
    echelon = state.echelon_inventory_position[p, lo:hi]
    on_hand, on_order = state.on_hand[p, lo:hi], state.on_order[p, lo:hi]
    backorders = state.backorders[p, lo:hi]
    for b in range(hi - lo):
        echelon[b] = on_hand[b] + on_order[b] - backorders[b]
    for i in range(net.stocks.downstream.pointer[p], net.stocks.downstream.pointer[p + 1]):
        below, weight = net.stocks.downstream.index[i], net.stocks.downstream.value[i]
        stock, waiting = state.on_hand[below, lo:hi], state.backorders[below, lo:hi]
        for b in range(hi - lo):
            echelon[b] += weight * (stock[b] - waiting[b])
        for k in range(net.stocks.inbound.pointer[below], net.stocks.inbound.pointer[below + 1]):
            q = net.stocks.inbound.index[k]
            add_scaled(
                echelon, weight * net.lanes.expected_yield[q], state.in_transit_total[q, lo:hi]
            )


@kernel
def _forecasts(world: World, period: int, lo: int, hi: int) -> None:
    net, forecast, state = world.net, world.forecast, world.state
    known = (-1, -1, -1)
    for p in range(net.stocks.holding_cost.size):
        mean, sd = state.forecast_mean[p, lo:hi], state.forecast_sd[p, lo:hi]
        horizon, lead_sd = forecast.horizon[p], forecast.lead_sd[p]
        known = _forecast(world, p, horizon, period, known, lo, hi, mean, sd)
        _add_lead_time_spread(mean, sd, lead_sd / max(horizon, 1))
        path_mean = state.echelon_forecast_mean[p, lo:hi]
        path_sd = state.echelon_forecast_sd[p, lo:hi]
        if net.stocks.downstream.pointer[p + 1] == net.stocks.downstream.pointer[p]:
            copy_row(path_mean, mean)
            copy_row(path_sd, sd)
            continue
        horizon, lead_sd = forecast.path_horizon[p], forecast.path_lead_sd[p]
        known = _forecast(world, p, horizon, period, known, lo, hi, path_mean, path_sd)
        _add_lead_time_spread(path_mean, path_sd, lead_sd / max(horizon, 1))


@kernel
def _forecast(
    world: World, p: int, horizon: int, period: int, known: Sums, lo: int, hi: int, mean: Floats,
    variance: Floats,
) -> Sums:  # fmt: skip
    """Fill the mean and the variance of demand over `horizon` periods, or as many as the date
    wants, summed over leaves.

    Sums of the multiplier stay in the scratch row for the next leaf, which most often has the same
    season; known: which they are, and so is what is returned.
    """
    net, forecast, state = world.net, world.forecast, world.state
    is_dated, factor = forecast.dates.row[p] >= 0, world.scratch.row[lo:hi]
    mean[:] = 0.0
    variance[:] = 0.0
    for i in range(net.stocks.leaves.pointer[p], net.stocks.leaves.pointer[p + 1]):
        d, weight = net.stocks.leaves.index[i], net.stocks.leaves.value[i]
        level, spread = state.demand_level[d, lo:hi], state.demand_variance[d, lo:hi]
        if forecast.has_multiplier or is_dated:
            wanted = (p if is_dated else -1, forecast.season[d], horizon)  # dates are the pair's
            if wanted != known:
                known = wanted
                _sum_multipliers(world, p, forecast.season[d], horizon, period, lo, hi)
            for b in range(hi - lo):
                mean[b] += weight * level[b] * factor[b]
                variance[b] += weight * weight * spread[b] * factor[b]
        else:
            add_scaled(mean, weight * horizon, level)
            add_scaled(variance, weight * weight * horizon, spread)
    return known


@kernel
def _sum_multipliers(
    world: World, p: int, season: int, horizon: int, period: int, lo: int, hi: int
) -> None:
    """Fill the scratch row with the multiplier's sum over the periods that pair p covers."""
    forecast, factor, dates = world.forecast, world.scratch.row, world.forecast.dates
    cumulative = forecast.cumulative[season]
    for b in range(lo, hi):
        periods = horizon + longer_on(dates, p, period + world.offset[b])
        if forecast.has_multiplier:
            start = world.calendar[b] + forecast.first_ahead
            factor[b] = cumulative[start + periods] - cumulative[start]
        else:
            factor[b] = periods


@kernel
def _add_lead_time_spread(mean: Floats, variance: Floats, spread: float) -> None:
    """Replace the variance by the sd: variance of demand + (demand per period x lead-time sd)^2
    (Silver, Pyke and Thomas 2017, section 7.9)."""
    for b in range(mean.size):
        lead = mean[b] * spread
        variance[b] = math.sqrt(variance[b] + lead * lead)


@kernel
def reverse_positions(world: World, slopes: Slopes, period: int, lo: int, hi: int) -> None:
    """Slopes of stock and of what is on its way, by those of positions, which are 0 afterwards."""
    net = world.net
    pairs = net.stocks.holding_cost.size
    for p in range(pairs):
        _reverse_echelon_position(world, slopes, p, lo, hi)
    for p in range(pairs):
        level, position = slopes.inventory_level[p, lo:hi], slopes.inventory_position[p, lo:hi]
        on_order, quick = slopes.on_order[p, lo:hi], slopes.expedite_position[p, lo:hi]
        add_scaled(level, 1.0, position)
        add_scaled(on_order, 1.0, position)
        if net.stocks.expedite_periods[p] >= 0:
            _reverse_expedite_position(world, slopes, p, period, lo, hi)
        add_scaled(slopes.on_hand[p, lo:hi], 1.0, level)
        add_scaled(slopes.backorders[p, lo:hi], -1.0, level)
        waiting = slopes.owed_to_lanes[p, lo:hi]
        add_scaled(waiting, -1.0, level)
        for i in range(net.stocks.outbound.pointer[p], net.stocks.outbound.pointer[p + 1]):
            owed = slopes.owed[net.stocks.outbound.index[i], lo:hi]
            add_scaled(owed, net.stocks.outbound.value[i], waiting)
        for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
            q = net.stocks.inbound.index[i]
            good = net.lanes.expected_yield[q]
            add_scaled(slopes.owed[q, lo:hi], good, on_order)
            add_scaled(slopes.in_transit_total[q, lo:hi], good, on_order)
            if net.lanes.information_delay[q] > 0:
                add_scaled(slopes.orders_on_way_total[q, lo:hi], good, on_order)
        level[:] = 0.0
        position[:] = 0.0
        on_order[:] = 0.0
        quick[:] = 0.0
        waiting[:] = 0.0


@kernel
def _reverse_expedite_position(
    world: World, slopes: Slopes, p: int, period: int, lo: int, hi: int
) -> None:
    net, slots = world.net, slopes.in_transit.shape[1]
    first, position = 0 if net.switches.receive_after_ship else 1, slopes.expedite_position[p]
    add_scaled(slopes.inventory_level[p, lo:hi], 1.0, position[lo:hi])
    for ahead in range(first, min(net.stocks.expedite_periods[p], slots - 1) + 1):
        for i in range(net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]):
            q = net.stocks.inbound.index[i]
            due = slopes.in_transit[q, (period + ahead) % slots, lo:hi]
            add_scaled(due, net.lanes.expected_yield[q], position[lo:hi])


@kernel
def _reverse_echelon_position(world: World, slopes: Slopes, p: int, lo: int, hi: int) -> None:
    net, echelon = world.net, slopes.echelon_inventory_position[p, lo:hi]
    largest = 0.0
    for b in range(hi - lo):
        largest = max(largest, abs(echelon[b]))
    if largest == 0.0:  # most policies follow another position
        return
    add_scaled(slopes.on_hand[p, lo:hi], 1.0, echelon)
    add_scaled(slopes.on_order[p, lo:hi], 1.0, echelon)
    add_scaled(slopes.backorders[p, lo:hi], -1.0, echelon)
    for i in range(net.stocks.downstream.pointer[p], net.stocks.downstream.pointer[p + 1]):
        below, weight = net.stocks.downstream.index[i], net.stocks.downstream.value[i]
        add_scaled(slopes.on_hand[below, lo:hi], weight, echelon)
        add_scaled(slopes.backorders[below, lo:hi], -weight, echelon)
        for k in range(net.stocks.inbound.pointer[below], net.stocks.inbound.pointer[below + 1]):
            q = net.stocks.inbound.index[k]
            good = weight * net.lanes.expected_yield[q]
            add_scaled(slopes.in_transit_total[q, lo:hi], good, echelon)
    echelon[:] = 0.0
