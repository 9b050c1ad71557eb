"""Bayes base-stock: filter and level by enumeration, and what knowing the model is worth."""

from __future__ import annotations

from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import DemandConfig
from envs.network.network import ServeOrder, Timing
from envs.policies import build_policy
from envs.policies.bayes_base_stock import BayesBaseStock
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.explicit import ExplicitConfig
from evaluation.comparison.rollout import play

STAY = np.array([[0.97, 0.03], [0.03, 0.97]])
MEANS = np.array([3.0, 9.0])


def market(
    lead_time: int,
    seen_after: int | None = None,
    regimes: tuple[str, ...] = ("market",),
    depot: bool = False,
    **fields: Any,
) -> Scenario:
    """A hidden demand regime: Poisson 3 or 9, customers wait; depot: behind it."""
    states = {"low": {"demand": 0.5}, "high": {"demand": 1.5}}
    store = {
        "node": "store", "sku": "item",
        "holding_cost": 1.0, "backlog_cost": 19.0, "initial_stock": 20.0,
        "demand": DemandConfig("poisson", mean=6.0), "demand_regimes": list(regimes),
    }  # fmt: skip
    stocks, lanes, nodes = {"store": store}, {}, {"store": "store"}
    source = {}
    if depot:
        nodes["depot"] = "depot"
        stocks["depot"] = {
            "node": "depot",
            "sku": "item",
            "holding_cost": 0.5,
            "initial_stock": 20.0,
        }
        lanes["deep"] = {"node": "depot", "sku": "item", "lead_time": 1, "order_multiple": 1.0}
        source = {"item@depot": 1.0}
    lanes["supplier"] = {
        "node": "store", "sku": "item",
        "lead_time": lead_time, "order_multiple": 1.0, "inputs": source,
        "initial_in_transit": [6.0, 6.0],
    }  # fmt: skip
    return build_scenario(
        ExplicitConfig(
            kind="explicit",
            name="market",
            base_policy="bayes_base_stock",
            nodes=nodes,
            skus={"item": 0},
            stocks=stocks,
            lanes=lanes,
            regimes={
                name: {"states": states, "transition": STAY.tolist(), "seen_after": seen_after}
                for name in regimes
            },
            **{"horizon": 100, **fields},
        )
    )


def history(scenario: Scenario, periods: int, batch: int = 3) -> tuple[Any, Any, Any]:
    """Play the base policy: (level [T, P, B], demand served [T, D, B], true states [T, G, B])."""
    env = BatchedEnv(scenario, batch)
    env.reset(4)
    levels, demands, states = [], [], []
    for _ in range(periods):
        levels.append(env.target + env.state.echelon_inventory_position)
        demands.append(np.array(env.simulator.trace.demand))
        states.append(np.array(env.simulator.trace.true_regime))
        env.close_period(env.no_action)
        env.open_period()
    return np.array(levels), np.array(demands), np.array(states)


def belief_by_enumeration(demands: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
    """[2] P(state after `steps` more periods | demands seen): a sum over all paths."""
    total = np.zeros(2)
    for path in product((0, 1), repeat=len(demands) + steps):
        chance = 0.5 * np.prod([STAY[a, b] for a, b in pairwise(path)])
        seen = [stats.poisson.pmf(d, MEANS[s]) for d, s in zip(demands, path, strict=False)]
        total[path[-1]] += chance * np.prod(seen)
    return total / total.sum()


def lead_time_cdf(belief: NDArray[np.float64], periods: int) -> NDArray[np.float64]:
    """CDF over 0..199 of Poisson demand over `periods`, from today's belief: a sum over paths."""
    cdf = np.zeros(200)
    for path in product((0, 1), repeat=periods):
        steps = np.prod([STAY[a, b] for a, b in pairwise(path)])
        mean = MEANS[list(path)].sum()
        cdf += belief[path[0]] * steps * stats.poisson.cdf(np.arange(200), mean)
    return cdf


@pytest.mark.parametrize("serve", ServeOrder)
def test_level_is_the_fractile_given_the_belief(serve: ServeOrder) -> None:
    """Belief and lead-time demand: sums over all paths of the chain give the same level."""
    levels, demands, _ = history(market(2, timing=Timing(demand=serve)), 9)
    first = serve is ServeOrder.first
    for t in range(9):
        for b in range(3):
            if first:  # today's demand is known, and the next to come is tomorrow's
                belief = belief_by_enumeration(demands[: t + 1, 0, b], 1)
            else:
                belief = belief_by_enumeration(demands[:t, 0, b], 1) if t else np.full(2, 0.5)
            cdf = lead_time_cdf(belief, 2 if first else 3)
            assert levels[t, 0, b] == np.searchsorted(cdf, 0.95)
    assert len(np.unique(levels)) > 3


def test_a_depot_shares_the_belief() -> None:
    """Above the store: the same belief, over the whole way down."""
    scenario = market(2, depot=True)
    levels, demands, _ = history(scenario, 8)
    depot = [s.node for s in scenario.compiled.network.stocks].index("depot")
    for b in range(3):
        cdf = lead_time_cdf(belief_by_enumeration(demands[:7, 0, b], 1), 4)
        assert levels[7, depot, b] == np.searchsorted(cdf, 19.0 / 19.5)


def test_a_seen_state_is_believed() -> None:
    """Two levels, one for each state."""
    levels, _, states = history(market(2, seen_after=0), 150)
    for state in (0, 1):
        cdf = lead_time_cdf(np.eye(2)[state], 3)
        assert (levels[:, 0][states[:, 0] == state] == np.searchsorted(cdf, 0.95)).all()
    assert len(np.unique(states)) == 2


def test_independent_regimes_are_one_chain() -> None:
    """Two regimes: the belief in four joint states, in the order of the first's states."""
    scenario = market(2, regimes=("market", "season"))
    policy = build_policy("bayes_base_stock", scenario.compiled, {})
    assert isinstance(policy, BayesBaseStock)
    (chain,) = policy._chains.values()
    assert chain.transition == pytest.approx(np.kron(STAY, STAY))
    assert chain.factors(scenario.compiled, 0) == pytest.approx([0.25, 0.75, 0.75, 2.25])


def test_too_many_states_are_refused() -> None:
    """Ten regimes of two states have too many joint ones to filter."""
    scenario = market(2, regimes=tuple(f"market_{i}" for i in range(10)))
    with pytest.raises(ConfigError, match="1024 joint states; expected 256 at most"):
        build_policy("bayes_base_stock", scenario.compiled, {})


@pytest.mark.parametrize(
    ("lead_time", "seen_after", "cost"),
    [(2, None, 14.96), (6, None, 30.26), (2, 0, 11.31), (6, 0, 26.28)],
)
def test_what_the_model_is_worth(lead_time: int, seen_after: int | None, cost: float) -> None:
    """At its textbook level within 1.5 % of the best of its kind that a search found; the paths of
    the regime leave 0.6 % of chance."""
    scenario = market(lead_time, seen_after, horizon=400, warm_up=50)
    policy = build_policy("bayes_base_stock", scenario.compiled, {})
    assert play(scenario, policy, traces=2048, seed=2).cost.mean() == pytest.approx(cost, rel=0.015)


def test_without_regimes_it_is_base_stock() -> None:
    """Nothing to infer: the exact newsvendor level of lead-time demand, Poisson 18."""
    levels, _, _ = history(market(2, regimes=()), 5)
    assert (levels == stats.poisson(18.0).ppf(0.95)).all()
