"""Event 2: what agents know when they order: positions, forecasts, demand statistics."""

from __future__ import annotations

import math


from envs.kernel import kernel

__all__ = ["observe"]

_WEIGHT_7, _WEIGHT_28 = 2.0 / 8.0, 2.0 / 29.0  # exponential weights of 7- and 28-period spans


@kernel
def observe(net, forecast, state, flows, calendar, seen, lo, hi):
    """Refresh everything in State that is derived. seen: a period's demand has been served."""
    if seen:
        _learn_demand(net, forecast, state, flows, calendar, lo, hi)
    _positions(net, state, lo, hi)
    _forecasts(net, forecast, state, calendar, lo, hi)


@kernel
def _learn_demand(net, forecast, state, flows, calendar, lo, hi):
    """Smooth customer demand at multiplier 1, and what was asked of every pair."""
    weight = forecast.smoothing
    if weight > 0.0:
        for d in range(forecast.customer_pair.size):
            demand = flows.demand[forecast.customer_pair[d], lo:hi]
            level, variance = state.demand_level[d, lo:hi], state.demand_variance[d, lo:hi]
            for b in range(hi - lo):
                factor = 1.0
                if forecast.has_multiplier:
                    factor = forecast.multiplier[d, calendar[lo + b] - forecast.seen_lag]
                if factor > 0.0:
                    error = demand[b] - factor * level[b]
                    variance[b] += weight * (error * error / factor - variance[b])
                    level[b] += weight * error / factor
    for p in range(net.holding_cost.size):
        incoming, demand = state.incoming[p, lo:hi], flows.demand[p, lo:hi]
        requested = flows.requested[p, lo:hi]
        mean_7, mean_28 = state.mean_7[p, lo:hi], state.mean_28[p, lo:hi]
        for b in range(hi - lo):
            incoming[b] = demand[b] + requested[b]
            mean_7[b] += _WEIGHT_7 * (incoming[b] - mean_7[b])
            mean_28[b] += _WEIGHT_28 * (incoming[b] - mean_28[b])
        square, zero = state.square_28[p, lo:hi], state.zero_share_28[p, lo:hi]
        for b in range(hi - lo):
            square[b] += _WEIGHT_28 * (incoming[b] * incoming[b] - square[b])
            zero[b] += _WEIGHT_28 * ((1.0 if incoming[b] <= 0.0 else 0.0) - zero[b])


@kernel
def _positions(net, state, lo, hi):
    pairs = net.holding_cost.size
    for p in range(pairs):
        owed_to_lanes, on_order = state.owed_to_lanes[p, lo:hi], state.on_order[p, lo:hi]
        owed_to_lanes[:] = 0.0
        on_order[:] = 0.0
        for i in range(net.outbound.pointer[p], net.outbound.pointer[p + 1]):
            owed = state.owed[net.outbound.index[i], lo:hi]
            for b in range(hi - lo):
                owed_to_lanes[b] += net.outbound.value[i] * owed[b]
        for i in range(net.inbound.pointer[p], net.inbound.pointer[p + 1]):
            q = net.inbound.index[i]
            owed, on_way = state.owed[q, lo:hi], state.in_transit_total[q, lo:hi]
            for b in range(hi - lo):
                on_order[b] += owed[b] + on_way[b]
            if net.information_delay[q] > 0:
                orders = state.orders_on_way_total[q, lo:hi]
                for b in range(hi - lo):
                    on_order[b] += orders[b]
        on_hand, backorders = state.on_hand[p, lo:hi], state.backorders[p, lo:hi]
        level, position = state.inventory_level[p, lo:hi], state.inventory_position[p, lo:hi]
        for b in range(hi - lo):
            level[b] = on_hand[b] - backorders[b] - owed_to_lanes[b]
            position[b] = level[b] + on_order[b]
    for p in range(pairs):
        _echelon_position(net, state, p, lo, hi)


@kernel
def _echelon_position(net, state, p, lo, hi):
    """On hand + on order here, + stock and goods in transit below, - customers' backorders
    (Clark and Scarf 1960)."""
    echelon = state.echelon_inventory_position[p, lo:hi]
    on_hand, on_order = state.on_hand[p, lo:hi], state.on_order[p, lo:hi]
    backorders = state.backorders[p, lo:hi]
    for b in range(hi - lo):
        echelon[b] = on_hand[b] + on_order[b] - backorders[b]
    for i in range(net.downstream.pointer[p], net.downstream.pointer[p + 1]):
        below, weight = net.downstream.index[i], net.downstream.value[i]
        on_hand, backorders = state.on_hand[below, lo:hi], state.backorders[below, lo:hi]
        for b in range(hi - lo):
            echelon[b] += weight * (on_hand[b] - backorders[b])
        for k in range(net.inbound.pointer[below], net.inbound.pointer[below + 1]):
            on_way = state.in_transit_total[net.inbound.index[k], lo:hi]
            for b in range(hi - lo):
                echelon[b] += weight * on_way[b]


@kernel
def _forecasts(net, forecast, state, calendar, lo, hi):
    for p in range(net.holding_cost.size):
        first, last = net.leaves.pointer[p], net.leaves.pointer[p + 1]
        leaves, weights = net.leaves.index[first:last], net.leaves.value[first:last]
        mean, sd = state.forecast_mean[p, lo:hi], state.forecast_sd[p, lo:hi]
        horizon, lead_sd = forecast.horizon[p], forecast.lead_sd[p]
        _forecast(leaves, weights, forecast, state, calendar, horizon, lo, hi, mean, sd)
        _add_lead_time_spread(mean, sd, lead_sd / max(horizon, 1))
        if net.downstream.pointer[p + 1] == net.downstream.pointer[p]:
            state.echelon_forecast_mean[p, lo:hi] = mean
            state.echelon_forecast_sd[p, lo:hi] = sd
            continue
        mean, sd = state.echelon_forecast_mean[p, lo:hi], state.echelon_forecast_sd[p, lo:hi]
        horizon, lead_sd = forecast.path_horizon[p], forecast.path_lead_sd[p]
        _forecast(leaves, weights, forecast, state, calendar, horizon, lo, hi, mean, sd)
        _add_lead_time_spread(mean, sd, lead_sd / max(horizon, 1))


@kernel
def _forecast(leaves, weights, forecast, state, calendar, horizon, lo, hi, mean, sd):
    """Fill the mean and the variance of demand over `horizon` periods, summed over leaves."""
    mean[:] = 0.0
    sd[:] = 0.0
    for i in range(leaves.size):
        d, weight = leaves[i], weights[i]
        level, variance = state.demand_level[d, lo:hi], state.demand_variance[d, lo:hi]
        if forecast.has_multiplier:
            cumulative = forecast.cumulative[d]
            for b in range(hi - lo):
                start = calendar[lo + b] + forecast.first_ahead
                factor = cumulative[start + horizon] - cumulative[start]
                mean[b] += weight * level[b] * factor
                sd[b] += weight * weight * variance[b] * factor
        else:
            for b in range(hi - lo):
                mean[b] += weight * level[b] * horizon
                sd[b] += weight * weight * variance[b] * horizon


@kernel
def _add_lead_time_spread(mean, variance, spread):
    """Replace the variance by the sd: variance of demand + (demand per period x lead-time sd)^2
    (Silver, Pyke and Thomas 2017, section 7.9)."""
    for b in range(mean.size):
        lead = mean[b] * spread
        variance[b] = math.sqrt(variance[b] + lead * lead)
