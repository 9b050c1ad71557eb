"""Compile lanes: what they connect, cost and take, and the beliefs about them."""

from __future__ import annotations

import numpy as np

from envs.compiled.arrays import BeliefArrays, FactorRows, LaneArrays, NodeArrays
from envs.compiled.lead_times import LeadTimes, can_be_at_once, is_stochastic
from envs.compiled.links import Links, turns
from envs.compiled.sparse import row_numbers
from envs.network.lane import Lane, Speed
from envs.network.network import InTransitPayer, SupplyNetwork
from envs.network.whole_units import shipping_step
from envs.types import Bools, Floats, Ints


def compile_lanes(links: Links, nodes: NodeArrays, factor_rows: FactorRows) -> LaneArrays:
    """Compile what kernels read of lanes."""
    network, lanes = links.network, links.network.lanes
    payer, rate = _in_transit(links)
    yields = np.array([q.yield_share for q in lanes], float)
    limited = np.isfinite(nodes.storage_capacity[links.node_of[links.lane_to]])
    stochastic = [is_stochastic(network, lane) for lane in lanes]

    def of(name: str) -> Floats:
        return np.array([getattr(q, name) for q in lanes], float)

    return LaneArrays(
        to=links.lane_to,
        inputs=links.inputs,
        uses=links.uses,
        unit_cost=of("unit_cost"),
        fixed_cost=of("fixed_cost"),
        seller=_seller(links),
        price=of("price"),
        unfilled_cost=np.array([q.unfilled_cost or 0.0 for q in lanes], float),
        in_transit_cost=rate,
        in_transit_payer=payer,
        priority=of("priority"),
        expedite=np.array([q.speed is Speed.expedite for q in lanes], bool),
        information_delay=np.array([q.information_delay for q in lanes], np.int64),
        lead_time=np.array([q.lead_time.minimum for q in lanes], np.int64),
        lead_row=row_numbers(stochastic),
        at_once=np.array([can_be_at_once(network, q) for q in lanes], bool),
        plain_receipt=~(limited | _is_disturbed(factor_rows) | (yields < 1.0)),
        yield_share=yields,
        expected_yield=np.array([_expected_yield(network, q) for q in lanes], float),
        split_share=of("split_share"),
        split_delay=np.array([q.split_delay for q in lanes], np.int64),
        step=np.array([shipping_step(q, links.whole) for q in lanes], float),
        turn=turns(lanes),
    )


def compile_beliefs(lanes: LaneArrays, factor_rows: FactorRows, leads: LeadTimes) -> BeliefArrays:
    """Number the lanes whose service varies."""
    varies = (lanes.lead_row >= 0) | _is_disturbed(factor_rows)
    varies |= (factor_rows.availability >= 0) | (factor_rows.ordering >= 0)
    lane = np.flatnonzero(varies)
    promised = np.ceil((leads.lane + leads.lane_sd)[lane] - 1e-9).astype(np.int64)
    return BeliefArrays(row_numbers(list(varies)), lane, promised)


def _is_disturbed(factor_rows: FactorRows) -> Bools:
    """[Q] whether regimes move what arrives."""
    rows = (factor_rows.yield_share, factor_rows.transit, factor_rows.receiving)
    disturbed: Bools = np.any([row >= 0 for row in rows], axis=0)
    return disturbed


def _expected_yield(network: SupplyNetwork, lane: Lane) -> float:
    share = lane.yield_share
    for regime in network.regimes:
        if regime.id in lane.regimes:
            share *= regime.for_mode(lane.mode).mean("yield_share")
    return max(share, 1e-3)


def _in_transit(links: Links) -> tuple[Ints, Floats]:
    """[Q] the pair that pays for goods in transit, and what [currency per unit per period]."""
    network, inputs = links.network, links.inputs
    payer = links.lane_to.copy()
    rate = np.zeros(len(payer))
    holding = np.array([s.holding_cost for s in network.stocks])
    who = network.timing.in_transit_payer
    for q, lane in enumerate(network.lanes):
        rows = slice(inputs.pointer[q], inputs.pointer[q + 1])
        if who is InTransitPayer.receiver:
            rate[q] = holding[links.lane_to[q]]
        elif who is InTransitPayer.sender and rows.stop > rows.start:
            payer[q] = inputs.index[rows.start]
            rate[q] = float(holding[inputs.index[rows]] @ inputs.value[rows])
        if lane.in_transit_cost is not None:
            payer[q], rate[q] = links.lane_to[q], lane.in_transit_cost
    return payer, rate


def _seller(links: Links) -> Ints:
    """[Q] the pair of the first input; without inputs, the lane's own."""
    inputs, seller = links.inputs, links.lane_to.copy()
    has = np.diff(inputs.pointer) > 0
    seller[has] = inputs.index[inputs.pointer[:-1][has]]
    return seller
