"""Numbers and names that only a slip, or somebody who means harm, would give."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.environment.batched_env import BatchedEnv
from envs.errors import EchelonError
from envs.network.calendar import Calendar
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.scenario import Scenario

NETWORK = SupplyNetwork(
    (Node("shop"),), (Sku("tea"),), (Stock("shop", "tea"),), (Lane("truck", "shop", "tea"),)
)


def demand(distribution: str = "poisson", **numbers: Any) -> Demand:
    return Demand.from_config(DemandConfig(distribution, **numbers), 10)


def with_demand(**numbers: Any) -> BatchedEnv:
    """The environment's tables are made of the distribution."""
    stock = replace(NETWORK.stocks[0], demand=demand(**numbers))
    return BatchedEnv(Scenario("s", replace(NETWORK, stocks=(stock,)), 5), 1)


REFUSED = {
    "half a character": (lambda: replace(NETWORK, skus=(Sku("a\ud800"),)), "controls a terminal"),
    "a change of direction": (lambda: replace(NETWORK, skus=(Sku("a\u202eb"),)), "a terminal"),
    "a line's end": (lambda: replace(NETWORK, nodes=(Node("a\u2028b"),)), "controls a terminal"),
    "a lead time of centuries": (lambda: LeadTime(2_000_000_000), "at most 10000 periods"),
    "half a lead time": (lambda: LeadTime(1.5), "expected an integer >= 0"),  # type: ignore[arg-type]
    "a delay of centuries": (lambda: LeadTime(1, 1e7, 1e6), "at most 10000"),
    "a tail of centuries": (lambda: LeadTime(1, 9e3, 9e3), "lead_time longest is .* most 10000"),
    "no distribution": (lambda: LeadTime(1, 1.0, 1e-200), "no distribution can be computed"),
    "a delay of news": (lambda: Lane("q", "shop", "tea", information_delay=10**9), "at most 10000"),
    "a calendar of aeons": (lambda: Calendar(10**9, (0,)), "calendar cycle is 1000000000"),
    "a stock beyond all": (lambda: Stock("shop", "tea", initial_stock=1e308), "at most 1e.12"),
    "demand beyond all": (lambda: demand(mean=1e300), r"mean is 1e\+300; .* at most 1e\+09"),
    "a history beyond all": (
        lambda: demand(distribution="history", history=[1, 1e10]), "in period 1; .* most 1e.09"
    ),
    "huge rare orders": (
        lambda: demand(distribution="compound", mean=1e6, order_size=1e6), "larger units"
    ),
    "a table of billions": (
        lambda: with_demand(distribution="geometric", mean=1e9), "whole numbers; expected at most"
    ),
    "episodes for ever": (lambda: Scenario("s", NETWORK, 10**12), "at most 1000000 together"),
    "memory for ever": (lambda: Scenario("s", NETWORK, 9, memory=10**9), "expected 0 to 1000 per"),
    "a name of a page": (
        lambda: replace(NETWORK, nodes=(Node("shop"), Node("x" * 10**6))), "1000000 characters"
    ),
    "a name that clears the screen": (
        lambda: replace(NETWORK, skus=(Sku("tea"), Sku("\x1b[2J"))), r"SKU '\\x1b\[2J' has"
    ),
    "no name": (lambda: replace(NETWORK, nodes=(Node("shop"), Node(""))), "1 to 200"),
}  # fmt: skip


@pytest.mark.parametrize(("build", "told"), REFUSED.values(), ids=REFUSED)
def test_impossible_sizes_are_refused_at_once(build: Any, told: str) -> None:
    """In a line that says what is expected, before anything is computed from them."""
    with pytest.raises(EchelonError, match=told) as caught:
        build()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(("low", "high"), [(4, 4), (0, 0), (3.8, 4.2)])
def test_uniform_demand_of_one_number_is_that_number(low: float, high: float) -> None:
    """SciPy's own divides by the spread, and warns."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        given = demand(distribution="uniform", low=low, high=high)
        env = with_demand(distribution="uniform", low=low, high=high)
    assert (given.mean, given.standard_deviation) == (round(low), 0.0)
    env.reset(3)
    env.step(env.no_action)
    assert env.flows.demand.tolist() == [[round(low)]]
    assert given.process is not None
    chances = given.process.distribution(1.0).pmf(np.arange(6))
    assert chances.tolist() == [float(k == round(low)) for k in range(6)]
