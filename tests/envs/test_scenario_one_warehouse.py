"""One warehouse behind N stores: its YAML says how it shares what is scarce."""

from __future__ import annotations

import pytest

from conf.compose import compose
from envs.errors import ConfigError
from envs.network.lane import Allocation
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play


def build(*overrides: str) -> Scenario:
    """The scenario from its YAML, with overrides."""
    composed = compose(EvaluateCommand, ["scenario=one_warehouse_n_stores", *overrides])
    return build_scenario(composed.command.scenario)


@pytest.mark.parametrize("rule", Allocation)
def test_allocation_is_chosen_by_name(rule: Allocation) -> None:
    """The warehouse gets the rule; stores, which send nothing, keep the default."""
    stocks = build(f"scenario.allocation={rule}").network.stocks
    rules = {stock.node: stock.allocation for stock in stocks}
    assert rules.pop("warehouse") is rule
    assert set(rules.values()) == {Allocation.proportional}


def test_unknown_allocation_is_refused() -> None:
    """A name that no rule has."""
    with pytest.raises(ConfigError, match="fair_shares"):
        build("scenario.allocation=fair_shares")


def test_fair_share_differs_where_stock_is_scarce() -> None:
    """A warehouse that is short shares by days of cover: other costs than in proportion."""
    levels = {"level": {"warehouse": 260.0, "store": 21.0}}
    costs = []
    for rule in (Allocation.proportional, Allocation.fair_share):
        scenario = build(f"scenario.allocation={rule}")
        policy = build_policy("echelon_base_stock", scenario.compiled, levels)
        costs.append(play(scenario, policy, traces=32, seed=1).cost.mean())
    assert costs[0] != pytest.approx(costs[1], rel=1e-4)
