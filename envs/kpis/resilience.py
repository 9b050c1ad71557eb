"""What failures of supply did to customers, and how long it took to get round them.

A failure begins when a regime enters a state that stops lanes: availability, ordering, transit or
receiving of 0, of the lanes themselves or of a resource they use. It concerns the pairs that get at
least half of their regular supply over these lanes, and the customers below them. A period is short
when less than SHORT of what these customers ask for is served at once.

time to survive: periods from the beginning of a failure to the first short period.
time to recover: periods from the beginning of a failure to the first of CALM periods in a row,
  after the first short one, that are not short; where the episode ends before, to its end.
time to shift: periods from the beginning of a failure to the first in which more than half of what
  is ordered for the pairs is ordered on lanes that still work.

A failure is felt where a period is short while it lasts, or after it for as long as goods take from
its lanes to customers. The first two times are means over felt failures; the third over those that
were shifted around while they lasted. (After Simchi-Levi et al. 2015, "Identifying risks and
mitigating disruptions in the automotive supply chain", who ask how long each could be.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import sparse

from envs.compiled.network import CompiledNetwork
from envs.network.regime import Regime
from envs.simulation.state import Flows
from envs.types import Bools, Floats, Ints, Matrix

SHORT = 0.8  # share of demand served at once
CALM = 3  # periods


class Failure(NamedTuple):
    """One failure that began in a counted period. Times in periods; None: it didn't happen."""

    regime: str
    survive: int | None
    recover: int | None
    shift: int | None
    shiftable: bool  # there are other lanes, in use or not


class _Exposed(NamedTuple):
    """What a regime can stop."""

    regime: int
    stops: Bools  # [states]
    pairs: Ints  # that get at least half of their supply over its lanes
    others: Ints  # lanes to the pairs that the regime doesn't stop
    customers: Ints  # of D, below the pairs
    lag: int  # periods that goods take from its lanes to customers


class ResilienceTally:
    """Follows failures through the periods of B episodes; costs nothing where none can happen."""

    def __init__(self, net: CompiledNetwork, batch_size: int) -> None:
        self._net = net
        found = (_exposed(net, g, r) for g, r in enumerate(net.network.regimes))
        self._exposed = [e for e in found if e is not None]
        self._customer = _members([e.customers for e in self._exposed], len(net.customer_pair))
        self._pair = _members([e.pairs for e in self._exposed], len(net.network.stocks))
        self._other = _members([e.others for e in self._exposed], len(net.network.lanes))
        self._down: list[Bools] = []
        self._short: list[Bools] = []
        self._shifted: list[Bools] = []

    def add(self, regime: Ints, flows: Flows, order: Floats) -> None:
        """Count a closed period. regime [G, B]: its states; order [P, B]: units ordered."""
        if not self._exposed:
            return
        self._down.append(np.stack([e.stops[regime[e.regime]] for e in self._exposed]))
        rows = self._net.customer_pair
        demand, sold = self._customer @ flows.demand[rows], self._customer @ flows.sold[rows]
        self._short.append(sold < SHORT * demand - 1e-9)
        self._shifted.append(self._other @ flows.ordered > 0.5 * (self._pair @ order) + 1e-9)

    def failures(self) -> list[Failure]:
        """Return every failure that began after the first counted period."""
        if not self._down:
            return []
        down, short, shifted = map(np.array, (self._down, self._short, self._shifted))
        began = np.argwhere(down[1:] & ~down[:-1])
        return [
            _failure(self._net, self._exposed[e], t + 1, down[t + 1 :, e, b], short[:, e, b],
                     shifted[:, e, b])
            for t, e, b in began
        ]  # fmt: skip


def _failure(
    net: CompiledNetwork, exposed: _Exposed, start: int, down: Bools, short: Bools, shifted: Bools
) -> Failure:
    """down [periods from start on]; short, shifted [T]."""
    up_again = np.flatnonzero(~down)
    length = int(up_again[0]) if up_again.size else len(down)
    felt = np.flatnonzero(short[start : start + length + exposed.lag])
    survive = int(felt[0]) if felt.size else None
    recover = None if survive is None else survive + _until_calm(short[start + survive :])
    moved = np.flatnonzero(shifted[start : start + length])
    return Failure(
        net.network.regimes[exposed.regime].id,
        survive,
        recover,
        int(moved[0]) if moved.size else None,
        bool(exposed.others.size),
    )


def _until_calm(short: Bools) -> int:
    calm = 0
    for t, is_short in enumerate(short):
        calm = 0 if is_short else calm + 1
        if calm == CALM:
            return t + 1 - CALM
    return len(short)


def resilience_figures(failures: Sequence[Failure]) -> dict[str, float]:
    """Return means over failures; a time that no failure has is left out, as is all without any.

    survived_share: of all failures, those not felt. shifted_share: of those with other lanes.
    """
    if not failures:
        return {}
    figures = {"failures": float(len(failures))}
    figures["survived_share"] = sum(f.survive is None for f in failures) / len(failures)
    shiftable = [f for f in failures if f.shiftable]
    if shiftable:
        figures["shifted_share"] = sum(f.shift is not None for f in shiftable) / len(shiftable)
    for name, times in (
        ("time_to_survive", [f.survive for f in failures]),
        ("time_to_recover", [f.recover for f in failures]),
        ("time_to_shift", [f.shift for f in shiftable]),
    ):
        known = [t for t in times if t is not None]
        if known:
            figures[name] = sum(known) / len(known)
    return figures


def _exposed(net: CompiledNetwork, g: int, regime: Regime) -> _Exposed | None:
    """What the regime can stop, or None: nothing that matters."""
    stops = np.array(
        [0.0 in (s.availability, s.ordering, s.transit, s.receiving) for s in regime.states]
    )
    network, arrays = net.network, net.arrays
    resources = {r.id for r in network.resources if regime.id in r.regimes}
    hit = np.array(
        [
            regime.id in lane.regimes or any(u.resource in resources for u in lane.resources)
            for lane in network.lanes
        ]
    )
    if not (stops.any() and hit.any()):
        return None
    share = net.base_share * (hit & ~arrays.lanes.expedite)
    lost = np.bincount(arrays.lanes.to, share, minlength=len(network.stocks))
    pairs = np.flatnonzero(lost >= 0.5 - 1e-9)
    leaves = arrays.stocks.leaves
    below = [leaves.row(p) for p in pairs]
    customers = np.unique(np.concatenate(below)) if below else np.zeros(0, np.int64)
    if not customers.size:
        return None
    others = np.flatnonzero(~hit & np.isin(arrays.lanes.to, pairs))
    return _Exposed(g, stops, pairs, others, customers, math.ceil(net.leads.path[pairs].max()))


def _members(groups: list[Ints], size: int) -> Matrix:
    """[groups, size] 1 where a thing belongs to the group."""
    rows = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    columns = np.concatenate(groups) if groups else np.zeros(0, np.int64)
    return sparse.csr_matrix((np.ones(len(columns)), (rows, columns)), shape=(len(groups), size))
