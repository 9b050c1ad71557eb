"""Disruption: what is hidden can be inferred, the rule that does so wins, and the stress bites."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from conf.compose import compose
from envs.compiled.arrays import CostColumn
from envs.environment.batched_env import BatchedEnv
from envs.kpis.pairs import EpisodeKpis
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.comparison.rollout import play
from tests.envs.runs import same

NAME = "detecting_base_stock"


def build(name: str, *arguments: str) -> Scenario:
    """Build a scenario with overrides."""
    composed = compose(EvaluateCommand, [f"scenario={name}", *arguments])
    return build_scenario(composed.command.scenario)


def run(scenario: Scenario, policy: str, parameters: Any) -> EpisodeKpis:
    """Play 256 traces."""
    return play(scenario, build_policy(policy, scenario.compiled, parameters), traces=256, seed=5)


def only(event: str) -> Scenario:
    """Build the stress set with one of its events."""
    config = compose(EvaluateCommand, ["scenario=disruption_stress"]).command.scenario
    return build_scenario(replace(config, events={event: config.events[event]}))


def test_a_policy_of_the_one_fits_the_other() -> None:
    """The stress set has the observations and the actions of training, in the same places."""
    calm, stress = (BatchedEnv(build(n), 1) for n in ("disruption", "disruption_stress"))
    assert calm.feature_names == stress.feature_names
    assert [g.heads for g in calm.groups] == [g.heads for g in stress.groups]
    assert len(calm.scenario.network.nodes) == 7


def test_nobody_says_what_state_a_supplier_is_in() -> None:
    """All regimes are hidden, in training and in the stress set."""
    for name in ("disruption", "disruption_stress"):
        assert all(regime.seen_after is None for regime in build(name).network.regimes)


def test_the_rule_is_its_formula() -> None:
    """Suspicion by what is unshipped or overdue; suspected lanes are ordered around, and what they
    owe is ordered again."""
    levels = {"level": 300.0, "level_suspected": 250.0, "patience": 1.0, "patience_overdue": 3.0}
    scenario = build("disruption")
    policy = build_policy(NAME, scenario.compiled, levels)
    env = BatchedEnv(scenario, 64, base_policy=policy)
    env.reset(3)
    net = env.net
    lanes = [lane.id for lane in net.network.lanes]
    p = [s.node for s in net.network.stocks].index("north")
    a, b = lanes.index("a_north"), lanes.index("b_north")
    belief = {q: k for k, q in enumerate(net.arrays.beliefs.lane)}
    switched = around = stranded = 0
    for _ in range(120):
        state, share = env.state, env.simulator.decision.lane_share
        a_bad, b_bad = ((state.owed[q] > 30.0) | (state.overdue[belief[q]] > 90.0) for q in (a, b))
        level = np.where(a_bad, 250.0, 300.0)
        good = net.arrays.lanes.expected_yield[a]
        on_order = good * (state.owed[a] + state.in_transit[a].sum(axis=0))
        for q in (b, lanes.index("south_north")):
            on_order += state.owed[q] + state.in_transit[q].sum(axis=0)
        below = sum(state.owed[q] for q, i in enumerate(lanes) if i.startswith("north_"))
        position = state.on_hand[p] - below + on_order
        again = np.where(a_bad & ~b_bad, good * state.owed[a], 0.0)
        again += np.where(b_bad & ~a_bad, state.owed[b], 0.0)
        same("order", env.target[p], level - (position - again), 1e-7)
        assert np.array_equal(share[a] > 0.0, ~a_bad | b_bad)
        assert np.array_equal(share[b] > 0.0, a_bad & ~b_bad)
        assert not share[lanes.index("south_north")].any()
        switched += int((a_bad & ~b_bad).sum())
        around += int((~a_bad & b_bad).sum())
        stranded += int((a_bad & b_bad).sum())
        env.step(env.no_action)
    assert switched > 0
    assert around > 0
    assert stranded > 0


def test_detecting_beats_not_looking() -> None:
    """On the same traces the rule that detects costs less than one level with the regular lanes,
    tuned the same way, and its worst tenth is much better; both in training and under stress."""
    static = {"level": {"warehouse": 499.0, "store": 110.0}}
    for name in ("disruption", "disruption_stress"):
        scenario = build(name)
        detecting = run(scenario, NAME, scenario.policy_params[NAME])
        blind = run(scenario, "base_stock", static)
        difference = blind.cost.mean(axis=0) - detecting.cost.mean(axis=0)
        error = difference.std(ddof=1) / np.sqrt(difference.size)
        assert difference.mean() > 4.0 * error
        good, bad = detecting.summary(), blind.summary()
        assert good["cvar90_cost"] < 0.85 * bad["cvar90_cost"]
        assert good["fill_rate"] > bad["fill_rate"]
        assert 0.9 < good["fill_rate"] < 0.995
        used = {CostColumn(int(c)).name for c in np.flatnonzero(detecting.columns.sum(axis=1))}
        assert used == {"HOLDING", "LOST_SALE", "PURCHASE"}


def test_each_event_of_the_stress_set_bites() -> None:
    """Drift, closure and spike each raise the cost of the base policy, alone, on the same traces
    of all else; a closed warehouse sends and is sent nothing, for ten periods."""
    calm = build("disruption")
    tuned = calm.policy_params[NAME]
    usual = run(calm, NAME, tuned).cost.mean(axis=0)
    for event in ("drift", "closure", "spike"):
        scenario = only(event)
        extra = run(scenario, NAME, tuned).cost.mean(axis=0) - usual
        assert extra.mean() > 3.0 * extra.std(ddof=1) / np.sqrt(extra.size), event

    scenario = only("closure")
    env = BatchedEnv(scenario, 32)
    env.reset(1)
    struck = [regime.id for regime in scenario.network.regimes].index("closure")
    at_north = ["north" in lane.id for lane in scenario.network.lanes]
    closed = np.zeros(32)
    for _ in range(scenario.horizon):
        now = env.simulator.trace.true_regime[struck] == 1
        closed += now
        env.close_period(env.no_action)
        assert not env.flows.shipped[at_north][:, now].any()
        env.open_period()
    assert (closed == 10).all()


def test_learned_policies_come_to_the_stress_set_from_training() -> None:
    """The stress set has no policies of its own: nothing may be trained on it."""
    composed = compose(EvaluateCommand, ["scenario=disruption_stress"])
    assert build_scenario(composed.command.scenario).stress_of == "disruption"
