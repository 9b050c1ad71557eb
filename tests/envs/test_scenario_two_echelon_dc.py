"""The flagship: all its decisions work, and its base policy beats the simpler ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from conf.compose import compose
from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.kpis.pairs import EpisodeKpis
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play
from tests.envs.runs import same

NAME = "forecast_dual_index"


def build(*arguments: str) -> Scenario:
    """Build the scenario with overrides."""
    composed = compose(EvaluateCommand, ["scenario=two_echelon_dc", *arguments])
    return build_scenario(composed.command.scenario)


def run(scenario: Scenario, policy: str, parameters: Any) -> EpisodeKpis:
    """Play 64 traces."""
    return play(scenario, build_policy(policy, scenario.compiled, parameters), traces=64, seed=5)


def test_the_network_is_what_its_numbers_say() -> None:
    """Two centres, twelve stores, eight SKUs; lead times and prices; nearshore capacity 60 %."""
    scenario = build()
    network, net = scenario.network, scenario.compiled
    assert [sum(n.kind == kind for n in network.nodes) for kind in ("warehouse", "store")] == [
        2,
        12,
    ]
    assert (len(network.stocks), len(network.lanes)) == (14 * 8, 2 * 4 * 8 + 12 * 8)
    by_mode = {lane.mode: lane for lane in network.lanes}
    for mode, mean, sd in (("sea", 30.0, 6.0), ("air", 5.0, 1.0), ("nearshore", 4.0, 1.0)):
        assert by_mode[mode].lead_time.mean() == pytest.approx(mean, abs=0.05)
        assert by_mode[mode].lead_time.sd() == pytest.approx(sd, abs=0.1)
    premium = {mode: by_mode[mode].unit_cost for mode in ("sea", "nearshore", "air")}
    assert premium["sea"] == 0.0
    assert premium["air"] / premium["nearshore"] == pytest.approx(0.60 / 0.18, rel=1e-3)
    (nearshore,) = network.resources
    assert nearshore.capacity == pytest.approx(0.6 * net.demand.customer_mean.sum())
    beside = [q for q in network.lanes if q.inputs and q.node.startswith("centre")]
    assert len(beside) == 2 * 8
    assert not any(lane.base_share for lane in beside)


def test_days_of_the_week_are_those_of_the_dates() -> None:
    """A start on a Sunday begins with a Sunday's demand, of every SKU."""
    monday, sunday = (
        build("smoke=true", "scenario.start_date=" + day).compiled.demand.multiplier
        for day in ("2024-01-01", "2024-01-07")
    )
    assert monday is not None
    assert sunday is not None
    # The week's season and promotions stay; only days change places.
    np.testing.assert_allclose(sunday[:, 1:7], monday[:, :6], rtol=0.15)
    np.testing.assert_allclose(sunday[:, 0], monday[:, 6], rtol=0.15)


@pytest.mark.parametrize(("centres", "stores", "skus"), [(1, 1, 1), (3, 7, 2)])
def test_its_size_is_free(centres: int, stores: int, skus: int) -> None:
    """Any number of centres, stores and SKUs; one centre has nobody to help."""
    sizes = {"centres": centres, "stores": stores, "skus": skus, "horizon": 5, "warm_up": 5}
    scenario = build(*(f"scenario.{name}={value}" for name, value in sizes.items()))
    stocks = scenario.network.stocks
    assert len(stocks) == (centres + stores) * skus
    beside = [q for q in scenario.network.lanes if q.inputs and q.node.startswith("centre")]
    assert len(beside) == (centres * (centres - 1) * skus if centres > 1 else 0)
    assert np.isfinite(run(scenario, NAME, {}).cost).all()


def test_the_seed_draws_the_structure() -> None:
    """Equal seeds give equal demand, another seed another one; multipliers average 1."""
    one, again, other = (
        build("smoke=true", f"scenario.structure_seed={seed}").compiled for seed in (0, 0, 1)
    )
    assert one.demand.multiplier is not None
    assert again.demand.multiplier is not None
    assert np.array_equal(one.demand.mean, again.demand.mean)
    assert np.array_equal(one.demand.multiplier, again.demand.multiplier)
    assert not np.array_equal(one.demand.mean, other.demand.mean)
    np.testing.assert_allclose(one.demand.multiplier.mean(axis=1), 1.0, atol=0.02)
    weekly = one.demand.multiplier[0].reshape(52, 7).mean(axis=1)
    promoted = weekly > 1.35 * np.median(weekly)
    assert 3 <= promoted.sum() <= 6  # of six, those in the low season stand out less


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("scenario.stores=0", "stores is 0"),
        ("scenario.supplies.sea.unit_cost=0.9", "sea: unit_cost is 0.9"),
        ("scenario.market.weekdays=[1,1]", "weekdays"),
        ("scenario.period_name=week", "expected 'day': the market has days of the week"),
        ("scenario.market.swing=1", "swing is 1"),
        ("scenario.market.promotions=40", "promotions is 40"),
        ("scenario.market.lift_low=4", "lift_low 4"),
    ],
)
def test_a_mistake_is_told(override: str, told: str) -> None:
    """One line that names the number."""
    with pytest.raises(ConfigError, match=told) as caught:
        build(override)
    assert "\n" not in str(caught.value)


def test_the_rule_is_its_formula() -> None:
    """Order and expedite of a centre's pair, from stocks, pipelines and the calendar."""
    factors = {"safety_factor": 1.5, "expedite_factor": 4.0, "cap_factor": 2.0}
    scenario = build("smoke=true", f"+scenario.policy_params.{NAME}={factors}".replace("'", ""))
    env = BatchedEnv(scenario, 3)
    env.reset(4)
    net, lanes = env.net, env.net.network.lanes
    p = next(i for i, s in enumerate(net.network.stocks) if s.node == "centre_2")
    sku = net.network.stocks[p].sku
    fed = {q.node for q in lanes if q.inputs and q.inputs[0].node == "centre_2" and q.base_share}
    below = [i for i, s in enumerate(net.network.stocks) if s.sku == sku and s.node in fed]
    streams = [list(net.customer_pair).index(i) for i in below]
    own = [q for q, lane in enumerate(lanes) if (lane.node, lane.sku) == ("centre_2", sku)]
    onward = [q for q, lane in enumerate(lanes) if lane.node in fed and lane.sku == sku]
    assert net.demand.multiplier is not None
    expedited = 0.0
    for _ in range(scenario.horizon):
        state, slots = env.state, net.slots
        today = env.simulator.trace.calendar
        stock = state.on_hand[p] + sum(state.on_hand[i] for i in below)
        stock = stock + sum(state.in_transit[q].sum(axis=0) for q in onward)
        when = (env.simulator.period + np.arange(1, 6)) % slots  # air takes 5 periods on average
        soon = stock + sum(state.in_transit[q][when].sum(axis=0) for q in own)
        coming = stock + sum(state.in_transit[q].sum(axis=0) + state.owed[q] for q in own)
        for periods, position, k, lead_sd, got in (
            (5 + 2 + 1, soon, 4.0, None, env.simulator.decision.expedite[p]),
            (30 + 2 + 1, coming, 1.5, net.leads.pair_sd[p], env.target[p]),
        ):
            days = (today[:, None] + np.arange(periods)) % net.demand.calendar_length
            ahead = net.demand.multiplier[streams][:, days].sum(axis=2)
            mean = (state.demand_level[streams] * ahead).sum(axis=0)
            variance = (state.demand_variance[streams] * ahead).sum(axis=0)
            fast = [net.leads.lane_sd[q] for q in own if lanes[q].speed == "expedite"]
            spread = max(fast) if lead_sd is None else lead_sd
            sd = np.sqrt(variance + (mean * spread / periods) ** 2)
            same("wanted", got, mean + k * sd - position)
        cap = 2.0 * state.echelon_forecast_mean[p] / 33
        same("cap", env.simulator.decision.cap[p], cap)
        expedited += float(np.maximum(env.simulator.decision.expedite[p], 0.0).sum())
        env.step(env.no_action)
    assert expedited > 0.0


@pytest.mark.nightly  # 6 s
def test_the_base_policy_beats_simpler_ones() -> None:
    """Against the same rule without expediting, and against constant levels (textbook values), on
    the same traces; service is high and not free."""
    scenario = build()
    tuned = scenario.policy_params[NAME]
    best = run(scenario, NAME, tuned)
    never = run(scenario, NAME, {**tuned, "expedite_factor": -12.0})
    slower = run(scenario, "forecast_base_stock", {"safety_factor": tuned["safety_factor"]})
    constant = run(scenario, "echelon_base_stock", {})
    cost = [float(r.cost.mean()) for r in (best, never, slower, constant)]
    assert cost[0] < 0.97 * cost[1]
    assert cost[0] < 0.97 * cost[2]
    assert cost[0] < 0.80 * cost[3]
    assert 0.97 < best.summary()["fill_rate"] < 0.995
    assert never.columns[CostColumn.LOST_SALE].sum() > best.columns[CostColumn.LOST_SALE].sum()
    used = set(np.flatnonzero(best.columns.sum(axis=1)))
    wanted = {"HOLDING", "IN_TRANSIT", "LOST_SALE", "PURCHASE"}
    assert {CostColumn(int(c)).name for c in used} == wanted


def test_every_decision_does_something() -> None:
    """Each head of a centre moves what it is named for; zero leaves the lanes of share 0 alone."""
    scenario = build("scenario.horizon=30", "scenario.warm_up=40")
    lanes = scenario.network.lanes
    mode = np.array([lane.mode for lane in lanes])
    beside = np.array([bool(q.inputs) and q.node.startswith("centre") for q in lanes])

    def shipped(**heads: float) -> np.ndarray:
        env = BatchedEnv(scenario, 4)
        env.reset(2)
        centre = env.groups[0]
        action = env.no_action.copy()
        for name, value in heads.items():
            action[centre.start : centre.stop, centre.heads.index(name)] = value
        total = np.zeros(len(lanes))
        for _ in range(scenario.horizon):
            env.close_period(action)
            total += env.flows.shipped.sum(axis=1)
            env.open_period()
        return total

    base = shipped()
    assert base[mode == "sea"].sum() > 0.0
    assert base[mode == "nearshore"].sum() > 0.0
    assert base[mode == "air"].sum() == 0.0
    assert base[beside].sum() == 0.0
    heads = BatchedEnv(scenario, 1).groups[0].heads
    assert {"level", "expedite", "cap", "share_0", "share_3", "weight_0"} <= set(heads)
    # Lanes of one speed are numbered in the order of the lanes: sea, transshipment; nearshore, air.
    assert shipped(share_1=1.0)[beside].sum() > 0.05 * base[mode == "sea"].sum()
    assert shipped(share_3=1.0)[mode == "air"].sum() > 0.0
    assert shipped(expedite=1.0)[mode == "nearshore"].sum() > base[mode == "nearshore"].sum()
    assert shipped(level=1.0)[mode == "sea"].sum() > base[mode == "sea"].sum()
    assert shipped(cap=-1.0)[mode == "sea"].sum() < base[mode == "sea"].sum()
