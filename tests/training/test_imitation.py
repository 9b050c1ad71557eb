"""training/job/imitation.py: networks that order what another policy would."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import torch

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.policies import build_policy
from envs.policies.base import Policy, View
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.simulation.action_spaces import ActionSpace
from envs.simulation.actions import compile_heads
from evaluation.artifact.actor import Actor
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.rollout import play
from tests.conftest import Recorder
from tests.settings import as_shipped
from training.commands.train import TrainCommand
from training.job.imitation import (
    Demonstrations,
    _TeacherQuery,
    imitate,
    teachers_action,
)

LEVELS = {"base_stock": {"level": 22.0}, "capped_base_stock": {"level": 23.0, "cap": 6.0}}


def scenario_of(name: str, base: str, params: dict[str, Any] | None = None) -> Scenario:
    """A shipped scenario, short, with another base policy; textbook parameters if none."""
    composed = compose(TrainCommand, [f"scenario={name}", "smoke=true", "out=unused"])
    scenario = build_scenario(composed.command.scenario)
    return replace(scenario, base_policy=base, policy_params={base: {}, **(params or {})})


def policy_of(scenario: Scenario, name: str) -> Policy:
    return build_policy(name, scenario.compiled, scenario.policy_params.get(name, {}))


class Far(_TeacherQuery):
    """Whose actions reach so far that none is clipped."""

    def spread(self, view: View) -> Any:
        return 200.0 * super().spread(view)


def networks_for(scenario: Scenario) -> dict[str, Actor]:
    """Untrained."""
    torch.manual_seed(0)
    env = BatchedEnv(scenario, 1)
    return {g.name: Actor(env.observation_size, g.action_size, (32,)) for g in env.groups}


def cost_of(scenario: Scenario, name: str, actors: dict[str, Actor] | None = None) -> float:
    correction = None if actors is None else learned_correction(actors, scenario)
    policy = policy_of(scenario, name)
    return float(play(scenario, policy, correction, traces=128, seed=5).cost.mean())


@pytest.mark.parametrize(
    ("name", "base", "teacher", "params"),
    [
        ("lost_sales", "base_stock", "capped_base_stock", LEVELS),
        ("lost_sales", "base_stock", "s_s", LEVELS),  # a gate: there is no head for it
        ("lost_sales", "base_stock", "myopic", LEVELS),
        ("joint_replenishment", "base_stock", "can_order", {}),  # pairs join others' orders
        ("hidden_regime", "base_stock", "ewma_base_stock", {}),  # remembers demand
        ("dual_sourcing", "dual_index", "capped_dual_index", {}),  # both expedite, one caps
        ("dual_sourcing", "dual_index", "base_stock", {}),  # the teacher doesn't expedite
    ],
)
def test_the_teachers_action_orders_what_the_teacher_orders(
    name: str, base: str, teacher: str, params: dict[str, Any]
) -> None:
    """On every lane and in every period."""
    scenario = replace(scenario_of(name, base, params), warm_up=0)
    asked = Far(policy_of(scenario, base), policy_of(scenario, teacher))
    env = BatchedEnv(scenario, 16, base_policy=cast(Policy, asked))
    heads, _ = compile_heads(env.net, asked.decides, scenario.extra_heads)
    alone = BatchedEnv(replace(scenario, base_policy=teacher), 16)
    env.reset(3)
    alone.reset(3)
    ordered = corrected = 0.0
    for _ in range(env.horizon):
        action, _ = teachers_action(env, heads, asked.answer)
        assert np.abs(action).max() < 1.0
        env.close_period(action)
        alone.close_period(alone.no_action)
        wanted = alone.flows.ordered
        np.testing.assert_allclose(env.flows.ordered, wanted, rtol=1e-4, atol=1e-4)
        ordered += wanted.sum()
        corrected += np.abs(action).sum()
        env.open_period()
        alone.open_period()
    assert ordered > 0.0
    assert corrected > 0.0


def test_a_teacher_with_a_memory_looks_on_while_the_system_warms_up() -> None:
    """The base policy itself as the teacher: it asks for nothing else, from the first period on."""
    scenario = scenario_of("hidden_regime", "ewma_base_stock")
    assert scenario.warm_up > 0
    asked = _TeacherQuery(*(policy_of(scenario, "ewma_base_stock") for _ in range(2)))
    env = BatchedEnv(scenario, 8, base_policy=cast(Policy, asked))
    heads, _ = compile_heads(env.net, asked.decides, scenario.extra_heads)
    env.reset(1)
    action, at_most = teachers_action(env, heads, asked.answer)
    assert np.abs(action[~at_most]).max() < 1e-6


def test_less_than_nothing_is_no_error() -> None:
    """Where the teacher orders nothing, any smaller action is as good; a larger one is not."""
    shown = Demonstrations(torch.zeros(3, 1), torch.full((3, 1), -0.2), torch.tensor([[True]] * 3))
    errors = shown.errors(torch.tensor([[-0.9], [-0.2], [0.1]]))
    torch.testing.assert_close(errors, torch.tensor([[0.0], [0.0], [0.3]]))


def test_networks_learn_to_act_like_a_better_policy() -> None:
    """Nearly all that capped base-stock is better by; the same seed gives the same networks."""
    scenario = scenario_of("lost_sales", "base_stock", LEVELS)
    results = []
    config = as_shipped("imitate", policy="capped_base_stock", rounds=4, passes=20)
    for _ in range(2):
        actors = networks_for(scenario)
        recorder = Recorder()
        error = imitate(
            scenario, policy_of(scenario, "base_stock"), policy_of(scenario, "capped_base_stock"),
            actors, config, seed=1, batch_size=64, progress=recorder,
        )  # fmt: skip
        (actor,) = actors.values()
        results.append(actor.state_dict())
    assert [done for done, _ in recorder.updates] == [1, 2, 3, 4]
    assert recorder.updates[-1][1] == f"error {error:.4f}"
    assert error < 0.1
    for name, tensor in results[0].items():
        assert torch.equal(tensor, results[1][name])
    base, teacher = cost_of(scenario, "base_stock"), cost_of(scenario, "capped_base_stock")
    assert teacher < 0.97 * base
    student = cost_of(scenario, "base_stock", actors)
    assert student < teacher + 0.3 * (base - teacher)


def test_another_action_space_begins_as_the_base_policy() -> None:
    """Zero is a fixed quantity there; imitating the base policy gives its cost."""
    scenario = scenario_of("lost_sales", "base_stock", LEVELS)
    scenario = replace(scenario, action_space=ActionSpace.direct)
    actors = networks_for(scenario)
    base, untrained = cost_of(scenario, "base_stock"), cost_of(scenario, "base_stock", actors)
    base_policy, teacher = (policy_of(scenario, "base_stock") for _ in range(2))
    assert as_shipped("imitate", policy="base").teacher(scenario) == "base_stock"
    imitate(
        scenario, base_policy, teacher, actors, as_shipped("imitate", rounds=3, passes=6),
        seed=1, batch_size=64,
    )  # fmt: skip
    student = cost_of(scenario, "base_stock", actors)
    assert abs(student - base) < 0.25 * abs(untrained - base)


@pytest.mark.parametrize(
    ("name", "base", "teacher", "message"),
    [
        ("lost_sales", "base_stock", "base_stock", "which action 0 already is"),
        ("disruption", "base_stock", "detecting_base_stock", "decides lane_share too"),
        ("lost_sales", "base_stock", "capped_base_stok", "Did you mean"),
    ],
)
def test_what_cannot_be_imitated_is_said(name: str, base: str, teacher: str, message: str) -> None:
    """Before anything is played."""
    with pytest.raises(ConfigError, match=message):
        as_shipped("imitate", policy=teacher).teacher(scenario_of(name, base))
