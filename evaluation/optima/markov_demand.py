"""What a planner knows before a period, and what the period brings: demand and new knowledge.

Demand has a distribution per state of a Markov regime. A planner who sees the regime knows its
state; one who doesn't, and sees demand, knows the probability of each (Bayes' rule), which is put
on a grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from envs.types import Floats, Ints


@dataclass(frozen=True, eq=False)
class MarkovDemand:
    """I states of information, S of the regime, D sizes of demand.

    The outcomes of information state i are the entries pointer[i]..pointer[i + 1].
    """

    pmf: Floats  # [S, D] probability of each demand, 0 units first
    transition: Floats  # [S, S]
    weight: Floats  # [I, S] probability of each regime state, given the information
    pointer: Ints  # [I + 1]
    demand: Ints  # [outcomes] units
    successor: Ints  # [outcomes] information state of the next period
    probability: Floats  # [outcomes]

    def mean_demand(self) -> float:
        """Return units per period in the long run."""
        size = len(self.transition)
        system = np.vstack([self.transition.T - np.eye(size), np.ones(size)])
        share = np.linalg.lstsq(system, np.append(np.zeros(size), 1.0), rcond=None)[0]
        return float(share @ self.pmf @ np.arange(self.pmf.shape[1]))

    def demand_over(self, periods: int) -> Floats:
        """Return [S, units] the distribution of demand over `periods` >= 1 from each state on."""
        total = self.pmf
        for _ in range(periods - 1):
            later = self.transition @ total
            total = np.array([np.convolve(p, q) for p, q in zip(self.pmf, later, strict=True)])
        return total

    def quantile(self, periods: int, tail: float) -> int:
        """Return the least quantity that demand over `periods` tops with probability <= tail,
        whatever the regime's state."""
        beyond = 1.0 - np.cumsum(self.demand_over(periods), axis=1).min(axis=0)
        return int(np.argmax(beyond <= tail))


def seen(pmf: Floats, transition: Floats | None = None) -> MarkovDemand:
    """Demand [S, D] under a regime that the planner sees, or (S = 1) always alike."""
    step = np.eye(len(pmf)) if transition is None else np.asarray(transition, float)
    joint = step[:, :, None] * pmf[:, None, :]
    state, successor, demand = np.nonzero(joint)
    outcomes = (state, demand, successor, joint[state, successor, demand])
    return _collect(pmf, step, np.eye(len(pmf)), *outcomes)


def believed(pmf: Floats, transition: Floats, intervals: int = 200) -> MarkovDemand:
    """Demand [2, D] under a regime of two hidden states.

    A belief between two points of the grid is taken for one or the other, by a lottery with the
    right mean. The optimal cost is concave in the belief, so the lottery can only lower it: what
    comes out is a lower bound, which more `intervals` bring closer (Lovejoy 1991, "Computationally
    feasible bounds for partially observed Markov decision processes", Operations Research 39(1)).
    """
    point = 0.5 - 0.5 * np.cos(np.linspace(0.0, np.pi, intervals + 1))  # dense where one is sure
    weight = np.column_stack([1.0 - point, point])
    both = weight[:, :, None] * pmf  # [I, 2, D] probability of state and demand
    state, demand = np.nonzero(both.sum(axis=1))
    probability = both.sum(axis=1)[state, demand]
    is_second = both[state, 1, demand] / probability
    belief = (1.0 - is_second) * transition[0, 1] + is_second * transition[1, 1]
    below = np.clip(np.searchsorted(point, belief, side="right") - 1, 0, intervals - 1)
    part = np.clip((belief - point[below]) / (point[below + 1] - point[below]), 0.0, 1.0)
    return _collect(
        pmf,
        transition,
        weight,
        np.concatenate([state, state]),
        np.concatenate([demand, demand]),
        np.concatenate([below, below + 1]),
        np.concatenate([(1.0 - part) * probability, part * probability]),
    )


def _collect(
    pmf: Floats, transition: Floats, weight: Floats, state: Ints, demand: Ints, successor: Ints,
    probability: Floats,
) -> MarkovDemand:  # fmt: skip
    """Sort outcomes by the information state they follow."""
    order = np.argsort(state, kind="stable")
    pointer = np.searchsorted(state[order], np.arange(len(weight) + 1))
    return MarkovDemand(
        pmf,
        transition,
        weight,
        pointer.astype(np.int64),
        demand[order].astype(np.int64),
        successor[order].astype(np.int64),
        probability[order],
    )
