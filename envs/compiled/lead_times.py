"""Lead times: their rows in the trace, their bounds, and what is expected of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from envs.compiled.arrays import LaneArrays
from envs.compiled.links import Links
from envs.network.calendar import LaneCalendars
from envs.network.lane import Lane, Speed
from envs.network.lead_time import LeadTime
from envs.network.network import SupplyNetwork
from envs.network.regime import Regime
from envs.types import Floats, Ints


class LeadTimes(NamedTuple):
    """What is expected of lead times [periods], from ordering on; regimes averaged."""

    lane: Floats  # [Q] mean
    lane_sd: Floats  # [Q]
    pair: Floats  # [P] mean, over the lanes in regular use
    pair_sd: Floats  # [P]
    expedite: Floats  # [P] the longest mean of its expedite lanes; -1: none
    open_lane: Floats  # [Q] mean, from shipping to arrival, as if all calendars were always open
    open_pair_sd: Floats  # [P] as if they were
    path: Floats  # [P] from ordering here to the customer, the longest way down
    path_sd: Floats  # [P]


def expected_leads(links: Links) -> LeadTimes:
    """Expect lead times of lanes, of pairs and of the way down to customers."""
    lanes = links.network.lanes
    open_lane, open_sd = lane_lead(links.network)
    wait = cache(_calendar_wait)  # many lanes, few kinds of them
    waits = [
        wait(met, lane.lead_time, lane.information_delay)
        for lane, met in zip(lanes, links.calendars, strict=True)
    ]
    longer, wider = np.array(waits).T
    lane = open_lane + longer
    lane_sd = np.where(wider == 0.0, open_sd, np.sqrt(np.maximum(open_sd**2 + wider, 0.0)))
    delay = np.array([q.information_delay for q in lanes])
    to, share, pairs = links.lane_to, links.regular, links.pairs
    mean: Floats = np.bincount(to, share * lane, minlength=pairs).astype(float)
    variance: Floats = np.bincount(to, share * lane_sd**2, minlength=pairs).astype(float)
    sd = np.sqrt(variance)
    path, path_sd = _path_lead(links, mean, sd)
    return LeadTimes(
        lane,
        lane_sd,
        mean,
        sd,
        _expedite_lead(links, lane),
        open_lane - delay,
        np.sqrt(np.bincount(to, share * open_sd**2, minlength=pairs)),
        path,
        path_sd,
    )


def lane_lead(network: SupplyNetwork) -> tuple[Floats, Floats]:
    """[Q] mean and standard deviation of lane lead times [periods] with their regimes averaged,
    from ordering on, as if all calendars were always open."""
    means, sds = [], []
    for lane in network.lanes:
        mean, square = lane.lead_time.mean(), lane.lead_time.mean() ** 2 + lane.lead_time.sd() ** 2
        for regime in _regimes_of(network, lane):
            mean *= regime.mean("lead_time")
            square *= regime.mean_square("lead_time")
        mean += lane.split_share * lane.split_delay
        spread = square - (mean - lane.split_share * lane.split_delay) ** 2
        means.append(mean + lane.information_delay)
        sds.append(float(np.sqrt(max(0.0, spread))))
    return np.array(means), np.array(sds)


def _calendar_wait(met: LaneCalendars, lead_time: LeadTime, delay: int) -> tuple[float, float]:
    """By how much calendars raise the mean [periods] and the variance of a lead time; exceptions
    left aside."""
    usual = met.usual()
    if not usual._replace(ordering=None).known:
        return 0.0, 0.0
    cycle = math.lcm(*(c.cycle for c in usual.known))
    ordered = [t for t in range(cycle) if usual.ordering is None or usual.ordering.is_open(t)]
    chance = lead_time.probabilities()
    took = np.array(
        [
            [
                usual.arrival(t + delay, lead_time.minimum + k) - t - delay
                for k in range(len(chance))
            ]
            for t in ordered
        ]
    )
    mean = float((took @ chance).mean())
    variance = float((took**2 @ chance).mean()) - mean**2
    return mean - lead_time.mean(), variance - lead_time.sd() ** 2


def _expedite_lead(links: Links, lane_lead: Floats) -> Floats:
    fast = np.array([q.speed is Speed.expedite for q in links.network.lanes], bool)
    lead = np.full(links.pairs, -1.0)
    np.maximum.at(lead, links.lane_to[fast], lane_lead[fast])
    return lead


def _path_lead(links: Links, lead_mean: Floats, lead_sd: Floats) -> tuple[Floats, Floats]:
    """Longest lead time from ordering at a pair down to customers, over lanes in regular use."""
    inputs, lane = links.inputs, links.inputs.rows
    edges = [
        (inputs.index[i], links.lane_to[q]) for i, q in enumerate(lane) if links.regular[q] > 0
    ]
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


def is_stochastic(network: SupplyNetwork, lane: Lane) -> bool:
    """Whether the trace must say how long shipments on the lane take."""
    return not lane.lead_time.constant or any(
        state.lead_time != 1.0 for regime in _regimes_of(network, lane) for state in regime.states
    )


def longest_lead(network: SupplyNetwork, lane: Lane) -> int:
    """The longest time from shipping to arrival under any states [periods], before pauses."""
    factor = _extreme(network, lane, "lead_time", max)
    spread = _extreme(network, lane, "lead_time_spread", max)
    mean = lane.lead_time.mean()
    return int(np.ceil((mean + (lane.lead_time.maximum - mean) * spread) * factor - 1e-9))


def can_be_at_once(network: SupplyNetwork, lane: Lane) -> bool:
    """Whether a shipment may arrive in the period it leaves in: a lead time below 1, rounded."""
    factor = _extreme(network, lane, "lead_time", min)
    spread = _extreme(network, lane, "lead_time_spread", max)
    mean = lane.lead_time.mean()
    return not lane.inputs and (mean + (lane.lead_time.minimum - mean) * spread) * factor < 1.0


def _extreme(
    network: SupplyNetwork, lane: Lane, multiplier: str, of: Callable[..., float]
) -> float:
    """The product of each regime's smallest or largest multiplier, 1 among them."""
    regimes = _regimes_of(network, lane)
    return math.prod(of(1.0, *(getattr(s, multiplier) for s in r.states)) for r in regimes)


def pipeline_slots(lanes: LaneArrays, lead_longest: Ints, receive_after_ship: bool) -> int:
    """Slots of the pipeline: today's, one for each period of the longest way, and one more where
    a pause or a full node can move goods beyond them.

    Goods that ship before today's receipts can be a full longest way off when a pause moves them;
    else they have come a period nearer, and only goods of a way of 0 have nowhere to wait.
    """
    longest_way = int((lead_longest + lanes.split_delay).max())
    waits = not lanes.plain_receipt.all()
    return longest_way + 1 + int(waits and (receive_after_ship or longest_way == 0))


def _regimes_of(network: SupplyNetwork, lane: Lane) -> list[Regime]:
    return [r.for_mode(lane.mode) for r in network.regimes if r.id in lane.regimes]
