"""Event 3: actions become orders on lanes, feasible ones, and are owed by the sender."""

from __future__ import annotations

import math

from envs.kernel import kernel
from envs.simulation.actions import (
    CAP_RANGE,
    LEAST_SHARE,
    LEVEL,
    LEVEL_RANGE,
    NEGLIGIBLE_SHARE,
    SHARE_RANGE,
    SMOOTHING_BOUNDS,
)
from envs.simulation.feasibility import execute, is_open, limit_orders
from envs.simulation.slopes import Marks, Slopes
from envs.simulation.world import World
from envs.types import Floats, Floats32

_SLOWEST, _FASTEST = SMOOTHING_BOUNDS


@kernel
def decide(
    world: World, target: Floats, spread: Floats, action: Floats32, lo: int, hi: int
) -> None:
    """Turn the base policy's decision and the residual action into raw orders on lanes.

    target [P, B] units (negative: stock is above target), spread [P, B] units, action [P, A, B]
    in [-1, 1]. The zero action orders exactly what the base policy does.
    """
    net, heads, flows = world.net, world.heads, world.flows
    if heads.joint:
        _find_triggers(world, target, spread, action, lo, hi)
    for p in range(target.shape[0]):
        want, sd, level = target[p, lo:hi], spread[p, lo:hi], action[p, LEVEL, lo:hi]
        if heads.simple[p]:
            raw = flows.raw_order[net.stocks.inbound.index[net.stocks.inbound.pointer[p]], lo:hi]
            for b in range(hi - lo):
                raw[b] = max(0.0, want[b] + LEVEL_RANGE * level[b] * sd[b])
            continue
        for b in range(lo, hi):
            act = action[p, :, b]
            quick = _expedite_quantity(world, p, b, spread[p, b], act)
            regular = _regular_quantity(world, p, b, target[p, b], spread[p, b], quick, act)
            _split_over_lanes(world, p, b, False, regular, act)
            if net.stocks.expedite_periods[p] >= 0:
                _split_over_lanes(world, p, b, True, quick, act)


@kernel
def _expedite_quantity(world: World, p: int, b: int, sd: float, act: Floats32) -> float:
    """q_exp = [S_exp - IP_e]+, the level moved by the action."""
    heads, decision = world.heads, world.decision
    head = heads.expedite[p]
    if head < 0:
        return 0.0
    moved = LEVEL_RANGE * act[head] * sd * heads.expedite_scale[p]
    quantity: float = max(0.0, decision.expedite[p, b] + moved)
    return quantity


@kernel
def _regular_quantity(
    world: World, p: int, b: int, want: float, sd: float, quick: float, act: Floats32
) -> float:
    """q_reg = min(cap, rho [S_reg - (IP + q_exp)]+), where a gate is open."""
    moved = want + LEVEL_RANGE * act[LEVEL] * sd
    if not _is_triggered(world, p, b, moved, sd, act):
        return 0.0
    quantity: float = max(0.0, moved - quick) * _smoothing(world, p, b, act)
    if world.decision.cap.size > 0:
        quantity = min(quantity, _cap(world, p, b, act))
    return quantity


@kernel
def _smoothing(world: World, p: int, b: int, act: Floats32) -> float:
    """Share of the gap that is ordered at once."""
    head, rho = world.heads.smoothing[p], _usual_smoothing(world, p, b)
    if head >= 0:
        a = act[head]
        rho += a * (_FASTEST - rho) if a > 0.0 else a * (rho - _SLOWEST)
    return rho


@kernel
def _usual_smoothing(world: World, p: int, b: int) -> float:
    smoothing = world.decision.smoothing
    usual: float = smoothing[p, b] if smoothing.size > 0 else 1.0
    return usual


@kernel
def _cap(world: World, p: int, b: int, act: Floats32) -> float:
    """Units of a regular order at most, where the base policy has a cap."""
    head, cap = world.heads.cap[p], world.decision.cap[p, b]
    factor = math.exp(CAP_RANGE * act[head]) if head >= 0 else 1.0
    capped: float = cap * factor
    return capped


@kernel
def _is_triggered(world: World, p: int, b: int, moved: float, sd: float, act: Floats32) -> bool:
    """Whether the pair's own reorder gate is open, or a joint order lets it join."""
    net, heads = world.net, world.heads
    decision, triggered = world.decision, world.scratch.triggered
    if _own_gate(world, p, b, moved, sd, act) >= 0.0:
        return True
    joint = net.stocks.joint_of[p]
    if not heads.joint or joint < 0 or triggered[joint, b] == 0.0:
        return False
    a = act[heads.can_gate[p]] if heads.can_gate[p] >= 0 else 0.0
    return bool(decision.can_gate[p, b] + a * sd >= 0.0)


@kernel
def _own_gate(world: World, p: int, b: int, moved: float, sd: float, act: Floats32) -> float:
    """Order only where this is >= 0: reorder point - position, or, without one, the target."""
    heads, decision = world.heads, world.decision
    gate: float = decision.gate[p, b] if heads.by_rule else moved
    return gate + act[heads.gate[p]] * sd if heads.gate[p] >= 0 else gate


@kernel
def _find_triggers(
    world: World, target: Floats, spread: Floats, action: Floats32, lo: int, hi: int
) -> None:
    """triggered [R, B] = 1 where some pair must order from the supplier they share."""
    net, triggered = world.net, world.scratch.triggered
    triggered[:, lo:hi] = 0.0
    for p in range(target.shape[0]):
        if net.stocks.joint_of[p] < 0:
            continue
        for b in range(lo, hi):
            sd, act = spread[p, b], action[p, :, b]
            moved = target[p, b] + LEVEL_RANGE * act[LEVEL] * sd
            if moved > 0.0 and _own_gate(world, p, b, moved, sd, act) >= 0.0:
                triggered[net.stocks.joint_of[p], b] = 1.0


@kernel
def _split_over_lanes(
    world: World, p: int, b: int, expedite: bool, quantity: float, act: Floats32
) -> None:
    """share = softmax(log base + 3 a) over the lanes of one speed, negligible shares dropped."""
    net, heads, decision, raw_order = world.net, world.heads, world.decision, world.flows.raw_order
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    whole = 0.0
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite:
            decided = decision.lane_share.size > 0
            raw_order[q, b] = decision.lane_share[q, b] if decided else net.stocks.inbound.value[i]
            whole += raw_order[q, b]
    total = 0.0
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite:
            share = raw_order[q, b] / whole if whole > 0.0 else 0.0
            if heads.share_head[q] >= 0:
                share = max(share, LEAST_SHARE) * math.exp(SHARE_RANGE * act[heads.share_head[q]])
            raw_order[q, b] = share
            total += share
    kept = 0.0
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite:
            if raw_order[q, b] < NEGLIGIBLE_SHARE * total:
                raw_order[q, b] = 0.0
            kept += raw_order[q, b]
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite and kept > 0.0:
            raw_order[q, b] *= quantity / kept / heads.yields[q]


@kernel
def order(world: World, period: int, lo: int, hi: int) -> None:
    """Make raw orders feasible; they join `owed`, after the information delay if there is one."""
    net, flows = world.net, world.flows
    for p in range(flows.requested.shape[0]):
        flows.requested[p, lo:hi] = 0.0
    if net.switches.has_order_rules:
        _apply_order_rules(world, period, lo, hi)
    for q in range(net.lanes.to.size):
        if not net.switches.has_order_rules:
            execute(net, q, flows.raw_order[q, lo:hi], flows.ordered[q, lo:hi])
        _place(world, q, period, lo, hi)


@kernel
def _apply_order_rules(world: World, period: int, lo: int, hi: int) -> None:
    """Calendars, storage and budgets: rules beyond a lane's own quantities."""
    net, state, flows = world.net, world.state, world.flows
    scratch, factor, offset = world.scratch, world.factor, world.offset
    for q in range(net.lanes.to.size):
        raw, wanted = flows.raw_order[q, lo:hi], scratch.wanted[q, lo:hi]
        for b in range(hi - lo):
            wanted[b] = max(0.0, raw[b])
        if net.rules.calendar_row[q] >= 0 or net.factor_rows.ordering[q] >= 0:
            for b in range(lo, hi):
                if not is_open(net, factor, q, period, offset[b], b):
                    wanted[b - lo] = 0.0
        execute(net, q, wanted, flows.ordered[q, lo:hi])
    limit_orders(net, state, factor, scratch, flows.ordered, True, lo, hi)


@kernel
def _place(world: World, q: int, period: int, lo: int, hi: int) -> None:
    """The order is owed by the sender, now or once it has heard of it."""
    net, state, flows = world.net, world.state, world.flows
    ordered, delay = flows.ordered[q, lo:hi], net.lanes.information_delay[q]
    if delay > 0:
        slot = (period + delay) % state.orders_on_way.shape[1]
        on_way = state.orders_on_way[q, slot, lo:hi]
        total = state.orders_on_way_total[q, lo:hi]
        for b in range(hi - lo):
            on_way[b] += ordered[b]
            total[b] += ordered[b]
        return
    owed = state.owed[q, lo:hi]
    for b in range(hi - lo):
        owed[b] += ordered[b]
    for i in range(net.lanes.inputs.pointer[q], net.lanes.inputs.pointer[q + 1]):
        requested = flows.requested[net.lanes.inputs.index[i], lo:hi]
        quantity = net.lanes.inputs.value[i]
        for b in range(hi - lo):
            requested[b] += quantity * ordered[b]


@kernel
def note_orders_placed(world: World, owed: Floats, marks: Marks, lo: int, hi: int) -> None:
    """owed [Q, B] += what was ordered and is known; moves: not beyond a maximum, not refused."""
    net, flows = world.net, world.flows
    for q in range(net.lanes.to.size):
        raw, ordered = flows.raw_order[q, lo:hi], flows.ordered[q, lo:hi]
        moves, most = marks.moves[q, lo:hi], net.rules.maximum_order[q]
        for b in range(hi - lo):
            refused = net.switches.has_order_rules and ordered[b] <= 0.0 and raw[b] > 0.0
            moves[b] = 0 if refused or raw[b] > most else 1
        if net.lanes.information_delay[q] == 0:
            for b in range(hi - lo):
                owed[q, lo + b] += ordered[b]


@kernel
def reverse_order(
    world: World, slopes: Slopes, marks: Marks, period: int, lo: int, hi: int
) -> None:
    """Slopes of raw orders: of what they cost at once, which is there already, and of what is owed;
    rounding to what can be ordered is passed straight through."""
    net = world.net
    for q in range(net.lanes.to.size):
        raw, moves = slopes.raw_order[q, lo:hi], marks.moves[q, lo:hi]
        owed, total = slopes.owed[q, lo:hi], slopes.orders_on_way_total[q, lo:hi]
        delay = net.lanes.information_delay[q]
        if delay > 0:
            slot = (period + delay) % slopes.orders_on_way.shape[1]
            on_way = slopes.orders_on_way[q, slot, lo:hi]
            for b in range(hi - lo):
                raw[b] = (raw[b] + on_way[b] + total[b]) * moves[b]
        else:
            for b in range(hi - lo):
                raw[b] = (raw[b] + owed[b]) * moves[b]


@kernel
def reverse_decide(
    world: World, slopes: Slopes, target: Floats, spread: Floats, action: Floats32, lo: int,
    hi: int,
) -> None:  # fmt: skip
    """Slopes of the base policy's order and of the action's heads, those of weights apart; whether
    a gate is open and which lanes have negligible shares stays as it was."""
    net, heads = world.net, world.heads
    if heads.joint:
        _find_triggers(world, target, spread, action, lo, hi)
    for p in range(target.shape[0]):
        order, by_level = slopes.order[p, lo:hi], slopes.action[p, LEVEL, lo:hi]
        if heads.simple[p]:
            want, sd, level = target[p, lo:hi], spread[p, lo:hi], action[p, LEVEL, lo:hi]
            q = net.stocks.inbound.index[net.stocks.inbound.pointer[p]]
            raw = slopes.raw_order[q, lo:hi]
            for b in range(hi - lo):
                is_moving = want[b] + LEVEL_RANGE * level[b] * sd[b] >= 0.0
                order[b] = raw[b] if is_moving else 0.0
            for b in range(hi - lo):
                by_level[b] += LEVEL_RANGE * sd[b] * order[b]
            continue
        for b in range(lo, hi):
            act, sd = action[p, :, b], spread[p, b]
            quick = _expedite_quantity(world, p, b, sd, act)
            regular = _regular_quantity(world, p, b, target[p, b], sd, quick, act)
            by_regular = _reverse_split(world, slopes, p, b, False, regular, act)
            by_quick = _reverse_split(world, slopes, p, b, True, quick, act)
            by_moved = _reverse_regular(
                world, slopes, p, b, target[p, b], sd, quick, by_regular, act
            )
            slopes.order[p, b] = by_moved
            slopes.action[p, LEVEL, b] += LEVEL_RANGE * sd * by_moved
            slopes.expedite[p, b] = 0.0
            head = heads.expedite[p]
            if head >= 0:
                scale = LEVEL_RANGE * sd * heads.expedite_scale[p]
                if world.decision.expedite[p, b] + act[head] * scale >= 0.0:
                    slopes.expedite[p, b] = by_quick - by_moved
                    slopes.action[p, head, b] += scale * (by_quick - by_moved)


@kernel
def _reverse_split(
    world: World, slopes: Slopes, p: int, b: int, expedite: bool, quantity: float, act: Floats32
) -> float:
    """How the loss moves with the quantity that the lanes of one speed share; adds the slopes of
    their heads."""
    net, heads, per_unit = world.net, world.heads, world.flows.raw_order
    first, last = net.stocks.inbound.pointer[p], net.stocks.inbound.pointer[p + 1]
    _split_over_lanes(world, p, b, expedite, 1.0, act)
    by_quantity = 0.0
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite:
            by_quantity += per_unit[q, b] * slopes.raw_order[q, b]
    for i in range(first, last):
        q = net.stocks.inbound.index[i]
        if net.lanes.expedite[q] == expedite and heads.share_head[q] >= 0:
            gain = slopes.raw_order[q, b] - heads.yields[q] * by_quantity
            by_share = SHARE_RANGE * quantity * per_unit[q, b] * gain
            slopes.action[p, heads.share_head[q], b] += by_share
    return by_quantity


@kernel
def _reverse_regular(
    world: World, slopes: Slopes, p: int, b: int, want: float, sd: float, quick: float,
    by_quantity: float, act: Floats32,
) -> float:  # fmt: skip
    """How the loss moves with the target; adds the slopes of smoothing and cap."""
    heads = world.heads
    moved = want + LEVEL_RANGE * act[LEVEL] * sd
    if not _is_triggered(world, p, b, moved, sd, act) or moved - quick < 0.0:
        return 0.0
    rho = _smoothing(world, p, b, act)
    if world.decision.cap.size > 0:
        cap = _cap(world, p, b, act)
        if (moved - quick) * rho > cap:
            if heads.cap[p] >= 0:
                slopes.action[p, heads.cap[p], b] += CAP_RANGE * cap * by_quantity
            return 0.0
    if heads.smoothing[p] >= 0:
        a, usual = act[heads.smoothing[p]], _usual_smoothing(world, p, b)
        up, down = _FASTEST - usual, usual - _SLOWEST
        slope = up if a > 0.0 else down
        slope = 0.5 * (up + down) if a == 0.0 else slope  # in the middle of the bend
        slopes.action[p, heads.smoothing[p], b] += (moved - quick) * slope * by_quantity
    return rho * by_quantity
