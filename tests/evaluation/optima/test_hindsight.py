"""Nobody pays less than who knew the future."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from conf.compose import compose
from envs.errors import ConfigError, NetworkError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane, LaneInput
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.comparison.rollout import play
from evaluation.optima.bound import BoundKind
from evaluation.optima.hindsight import hindsight_bound
from tests.conftest import Recorder
from tests.hindsight import hindsight_costs
from training.commands.train import TrainCommand

SCENARIOS = sorted(path.stem for path in Path("conf/scenario").glob("*.yaml"))
TRACES = 2


def build(*arguments: str) -> Scenario:
    """Build the scenario a command line describes."""
    return build_scenario(compose(TrainCommand, list(arguments)).command.scenario)


def shop(**changes: object) -> Scenario:
    """A shop that sells 5 a period, 2 periods behind a depot, which is 1 behind a supplier."""
    demand = Demand.from_config(DemandConfig("uniform", low=5.0, high=5.0), 0)
    settings: dict[str, object] = {"holding_cost": 1.0, "backlog_cost": 10.0, "demand": demand}
    stocks = (
        Stock("depot", "item", holding_cost=0.25),
        Stock("shop", "item", **{**settings, **changes}),  # type: ignore[arg-type]
    )
    lanes = (
        Lane("buy", "depot", "item", LeadTime(1), unit_cost=3.0),
        Lane("truck", "shop", "item", LeadTime(2), (LaneInput("depot", "item"),)),
    )
    nodes = (Node("depot", "warehouse"), Node("shop", "store"))
    return Scenario("shop", SupplyNetwork(nodes, (Sku("item"),), stocks, lanes), horizon=10)


def test_by_hand() -> None:
    """Nothing can be sold for three periods, at whose ends 5, 10 and 15 wait; then all are served.
    What ten periods ask for is bought, just in time."""
    waiting = 10.0 * (5.0 + 10.0 + 15.0)
    bought = 3.0 * (5.0 * 10.0)
    costs = hindsight_costs(shop(), traces=2, seed=0)
    assert costs == pytest.approx((waiting + bought) / 10.0)


def test_lost_sales_and_price_by_hand() -> None:
    """Who isn't served in the first three periods is lost; who is later, pays."""
    scenario = shop(p_wait=0.0, lost_sale_cost=4.0, price=8.0, backlog_cost=0.0)
    costs = hindsight_costs(scenario, traces=2, seed=0)
    assert costs == pytest.approx((3 * 5 * 4.0 + 7 * 5 * (3.0 - 8.0)) / 10.0)


def test_salvage_by_hand() -> None:
    """40 units are there at the start and charged; 20 are left after four periods."""
    base = shop(initial_stock=40.0)
    network = replace(base.network, skus=(Sku("item", value=2.0),))
    costs = hindsight_costs(replace(base, network=network, horizon=4), traces=2, seed=0)
    holding = 35.0 + 30.0 + 25.0 + 20.0
    assert costs == pytest.approx((2.0 * 40.0 + holding - 2.0 * 20.0) / 4.0)


@pytest.mark.parametrize("name", SCENARIOS)
def test_no_policy_pays_less(name: str) -> None:
    """On every trace of every scenario, of two policies."""
    scenario = build(f"scenario={name}", "smoke=true")
    net, base = scenario.compiled, scenario.base_policy
    free = hindsight_costs(scenario, traces=TRACES, seed=3)
    for other in (base, "constant_order"):
        parameters = scenario.policy_params.get(other, {})
        policy = build_policy(other, net, parameters)
        paid = play(scenario, policy, traces=TRACES, seed=3).cost.mean(axis=0)
        assert (free <= paid + 1e-6 * (1.0 + np.abs(paid))).all()


def test_cost_without_lower_end() -> None:
    """Where buying to sell at the horizon pays, there is no bound, and that is said."""
    scenario = build("scenario=single_backlog", "smoke=true")
    network = replace(scenario.network, skus=(Sku("item", 5.0),))
    generous = replace(scenario, network=network)
    with pytest.raises(NetworkError, match="no lower end"):
        hindsight_bound(generous, traces=2, seed=0)


def test_bound_is_the_mean_over_traces(recorder: Recorder) -> None:
    """With Student's interval; fractions of units are named."""
    scenario = build("scenario=dual_sourcing", "smoke=true")
    bound = hindsight_bound(scenario, traces=5, seed=2, progress=recorder)
    costs = hindsight_costs(scenario, traces=5, seed=2)
    assert [done for done, _ in recorder.updates] == [1, 2, 3, 4, 5]
    assert bound.kind is BoundKind.bound
    assert bound.cost == pytest.approx(costs.mean())
    error = costs.std(ddof=1) / 5**0.5
    assert bound.half_width == pytest.approx(stats.t.ppf(0.975, 4) * error)
    assert bound.method == "hindsight linear programme, relaxing order multiples"


def test_what_cannot_be_done_is_said() -> None:
    """One trace has no interval; a network can be too large."""
    with pytest.raises(ConfigError, match="at least 2"):
        hindsight_bound(shop(), traces=1, seed=0)
    with pytest.raises(ConfigError, match="longer than 0 s: 1 of 2 traces are solved"):
        hindsight_bound(shop(), traces=2, seed=0, time_limit=0.0)
    with pytest.raises(ConfigError, match="too many for a linear"):
        hindsight_bound(replace(shop(), horizon=900_000), traces=2, seed=0)
