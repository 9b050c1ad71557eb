"""Whether a base policy's orders move with stock as it says, tried out before anything is learned.

Stock, backlogs, pipelines and past orders to inner nodes are raised, one entry in each
replication, and what the policy then wants is compared with what it declares: a wrong slope trains
on wrong gradients, and nothing else would show it.
"""

from __future__ import annotations

import copy
import logging
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.policies.base import Follows, Policy, Weights
from envs.types import Floats
from training.pathwise.base_policy import class_path, declared_weights

_MOMENTS = 4  # of an episode, at which it is tried
_APART = 5  # periods between them
_MOST = 128  # entries of the state that are raised at a moment
_TOLERANCE = 1e-6  # units per unit raised
_ROUNDING = 1e-9  # of what is wanted
_GATES = {"gate", "can_gate"}  # whether to order: what has no slope, whatever the policy

_log = logging.getLogger(__name__)


class Mismatch(NamedTuple):
    """Units of a field, of `Target` or the spread, per unit that something is raised by."""

    field: str
    row: str  # the pair or lane that the field is of
    raised: str
    declared: float
    found: float

    def __str__(self) -> str:
        return (
            f"a unit more {self.raised} moves {self.field} of {self.row} by {self.found:.3g}, "
            f"and {self.declared:.3g} is declared"
        )


def check_slopes(env: BatchedEnv) -> None:
    """Compare how the base policy's orders move with what it declares. Ends any episode.

    Raises:
        ConfigError: it declares nothing, or something else and no reason in `approximate`; with
            a reason, the difference is logged.
    """
    policy = env.base_policy
    declared_weights(policy, env.action_space, env.view)  # refused before anything is played
    env.reset(0)
    mismatch = find_mismatch(env)
    if mismatch is not None and policy.approximate:
        _log.warning(
            "Policy '%s' has approximate slopes (%s): %s. Where that matters, take algorithm=ppo.",
            policy.name, policy.approximate, mismatch,
        )  # fmt: skip
    elif mismatch is not None:
        raise ConfigError(
            f"algorithm=pathwise learns from how orders move with stock, and policy "
            f"'{policy.name}' declares it wrongly: {mismatch}; correct `follows` (or "
            "order_weights) and `expedite_follows` (or expedite_weights) in "
            f"{class_path(policy)}, or say in its `approximate` why orders move otherwise, or take "
            "algorithm=ppo."
        )


def find_mismatch(env: BatchedEnv) -> Mismatch | None:
    """Return where the base policy moves most differently from what it declares; None: nowhere.

    Plays on from where the episode is.
    """
    drawing, worst, worst_size = np.random.default_rng(0), None, _TOLERANCE
    for _ in range(_MOMENTS):
        for _ in range(_APART):
            env.step(env.no_action)
        entries = _entries(env, drawing)
        for first in range(0, len(entries), env.batch_size):
            found, size = _try(env, entries[first : first + env.batch_size], drawing)
            if size > worst_size:
                worst, worst_size = found, size
    return worst


class _Entry(NamedTuple):
    """A number of the state that can be raised, in arrays [rows, B] or [rows, slots, B] of it."""

    arrays: tuple[Floats, ...]
    row: int
    pair: int  # whose demand says by how much
    name: str


def _entries(env: BatchedEnv, drawing: np.random.Generator) -> list[_Entry]:
    """Some of each kind, in turns."""
    state, arrays, network = env.state, env.net.arrays, env.net.network
    pairs, lanes = np.arange(env.num_rows), np.arange(len(arrays.lanes.to))
    delayed = np.flatnonzero(arrays.lanes.information_delay > 0)
    inner = np.flatnonzero(np.diff(arrays.stocks.outbound.pointer) > 0)
    of_pairs = (
        ("on hand at", (state.on_hand,), pairs),
        ("backordered at", (state.backorders,), env.net.customer_pair),
        ("ordered from", (state.incoming, state.mean_7, state.mean_28), inner),
    )
    of_lanes = (
        ("in transit on", (state.in_transit, state.in_transit_total), lanes, lanes),
        ("owed on", (state.owed,), lanes, lanes),
        ("on its way as an order on", (state.orders_on_way, state.orders_on_way_total), delayed,
         delayed),
        ("overdue on", (state.overdue,), np.arange(len(arrays.beliefs.lane)), arrays.beliefs.lane),
    )  # fmt: skip
    kinds = [
        [_Entry(where, p, p, f"{what} {network.stocks[p].label}") for p in rows.tolist()]
        for what, where, rows in of_pairs
    ] + [
        [
            _Entry(where, row, int(arrays.lanes.to[q]), f"{what} {network.lanes[q].id}")
            for row, q in zip(rows.tolist(), of_lane.tolist(), strict=True)
        ]
        for what, where, rows, of_lane in of_lanes
    ]
    for kind in kinds:
        drawing.shuffle(kind)
    turns = [entry for turn in zip_longest(*kinds) for entry in turn if entry is not None]
    return turns[:_MOST]


class _Answer(NamedTuple):
    """What the policy wants, [rows, B] by field, and how it says that this moves."""

    wanted: dict[str, Floats]
    positions: dict[Follows, Floats]  # [P, B]
    weights: dict[str, Weights]

    @classmethod
    def of(cls, env: BatchedEnv, policy: Policy) -> _Answer:
        """Ask a copy: policies may remember what they saw."""
        env.base_policy = copy.deepcopy(policy)
        env.refresh()
        decided = {name: getattr(env.simulator.decision, name) for name in policy.decides - _GATES}
        wanted = {"order": env.target, "spread": env.spread, **decided}
        return cls(
            {name: values.copy() for name, values in wanted.items()},
            {f: getattr(env.state, f).copy() for f in Follows if f is not Follows.nothing},
            declared_weights(policy, env.action_space, env.view),
        )

    def change(self, field: str, moved: dict[Follows, Floats]) -> Floats:
        """[P, B] units by which the field should change as positions moved."""
        total = np.zeros_like(self.wanted[field])
        for name, weight in self.weights.get(field, {}).items():
            total -= weight * moved[name]
        return total


def _try(
    env: BatchedEnv, entries: list[_Entry], drawing: np.random.Generator
) -> tuple[Mismatch | None, float]:
    """Raise each entry in a replication of its own; the largest mismatch, and its size."""
    net, policy, before_state = env.net, env.base_policy, [part.copy() for part in env.state]
    units = np.ones(env.batch_size)
    for b, entry in enumerate(entries):
        units[b] = net.arrays.stocks.demand_rate[entry.pair] * drawing.uniform(0.5, 1.5)
        slot = int(drawing.integers(1 << 30))
        for array in entry.arrays:
            row = array[entry.row]
            (row[slot % len(row)] if row.ndim == 2 else row)[b] += units[b]
    after = _Answer.of(env, policy)
    for part, kept in zip(env.state, before_state, strict=True):
        part[...] = kept
    before = _Answer.of(env, policy)
    env.base_policy = policy
    moved = {name: after.positions[name] - values for name, values in before.positions.items()}
    worst, size = None, 0.0
    for field, values in before.wanted.items():
        found = after.wanted[field] - values
        # Where the slope itself changes on the way, anything between both ends is right.
        ends = [answer.change(field, moved) for answer in (before, after)]
        declared = np.clip(found, np.minimum(*ends), np.maximum(*ends))
        off = np.maximum(np.abs(found - declared) - _ROUNDING * np.abs(values), 0.0) / units
        if field == "expedite":
            off[net.leads.expedite < 0.0] = 0.0  # no lanes to do it
        row, b = (int(i) for i in np.unravel_index(np.argmax(np.nan_to_num(off)), off.shape))
        if off[row, b] > size:
            network = net.network
            of = network.lanes[row].id if field == "lane_share" else network.stocks[row].label
            slopes = (float(values[row, b] / units[b]) for values in (declared, found))
            worst, size = Mismatch(field, of, entries[b].name, *slopes), float(off[row, b])
    return worst, size
