"""Policies move with stock as they declare, or training by slopes refuses them, or says so."""

from __future__ import annotations

import functools
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import pytest

from conf.compose import compose_runs
from envs.compiled.network import CompiledNetwork
from envs.compiled.traits import expedites
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.policies import POLICIES, build_policy
from envs.policies.base import Follows, Policy, Target, View, Weights
from envs.policies.echelon_base_stock import EchelonBaseStock
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.commands.evaluate import EvaluateCommand
from evaluation.tuning.choose import unfit
from evaluation.value.candidates import candidates
from tests.settings import as_shipped, training
from training.pathwise.slope_check import Mismatch, check_slopes, find_mismatch
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.trainer import build_algorithm

# Echelons; information delays; expedite lanes below echelons; machines and parts; and what the
# approximate policies are approximate in: lots, trucks, suspects, senders, lost sales.
NETWORKS = (
    "serial", "beer_game", "two_echelon_dc", "assembly_plant", "joint_replenishment",
    "weather_routing", "disruption", "omni_fulfilment", "lost_sales",
)  # fmt: skip
PARAMETERS: Mapping[str, Any] = {"sterman": {"smoothing": 0.3, "fixed_periods": 8.0}}


@functools.cache
def scenario_of(name: str) -> Scenario:
    """A scenario at its smoke size."""
    composed = next(iter(compose_runs(EvaluateCommand, [f"scenario={name}", "smoke=true"])))
    return build_scenario(composed.command.scenario)


def env_of(scenario: Scenario, policy: Policy, batch: int = 16) -> BatchedEnv:
    return BatchedEnv(scenario, batch, base_policy=policy)


def mismatch_on(network: str, name: str) -> Mismatch | None:
    scenario = scenario_of(network)
    policy = build_policy(name, scenario.compiled, PARAMETERS.get(name, {}))
    env = env_of(scenario, policy)
    env.reset(0)
    return find_mismatch(env)


def test_networks_have_what_slopes_depend_on() -> None:
    nets = [scenario_of(name).compiled for name in NETWORKS]
    assert any((net.arrays.lanes.information_delay > 0).any() for net in nets)
    assert any(net.arrays.stocks.downstream.index.size and expedites(net) for net in nets)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"rolling_lp"}))
def test_policies_move_as_they_declare(name: str) -> None:
    """On every network; who says that its slopes are approximate has to have a reason."""
    found = [mismatch_on(network, name) for network in NETWORKS]
    assert any(found) == bool(POLICIES[name].approximate), [str(m) for m in found if m]


def test_rolling_lp_is_refused() -> None:
    scenario = scenario_of("serial")
    with pytest.raises(ConfigError, match=r"'rolling_lp' doesn't declare it \(its orders solve"):
        check_slopes(env_of(scenario, build_policy("rolling_lp", scenario.compiled, {})))


class Copy(EchelonBaseStock):
    """What somebody may write: a policy of their own, here with nothing declared."""

    name = "copy"
    follows: ClassVar[Follows | None] = None  # type: ignore[assignment]

    @classmethod
    def suits(cls, net: CompiledNetwork) -> bool:
        return Policy.suits(net)


class RightCopy(Copy):
    follows = Follows.echelon_inventory_position


class WrongCopy(Copy):
    follows = Follows.inventory_position


class RoughCopy(WrongCopy):
    approximate = "it is wrong"


class MovingCap(RightCopy):
    """Its cap follows stock, which no slope goes through."""

    decides = frozenset({"cap"})

    def target(self, view: View) -> Target:
        return super().target(view)._replace(cap=view.state.on_hand + 1.0)


class WrongExpedite(RightCopy):
    """Says nothing of what it expedites."""

    decides = frozenset({"expedite"})

    def target(self, view: View) -> Target:
        return super().target(view)._replace(expedite=10.0 - view.state.inventory_level)


class OwnWeights(Copy):
    """Half of its order follows the echelon, and it says so."""

    def target(self, view: View) -> Target:
        return Target(0.5 * super().target(view).order)

    def order_weights(self, view: View) -> Weights:
        return {Follows.echelon_inventory_position: np.full_like(self._parameters["level"], 0.5)}


def own(kind: type[Policy], network: str = "serial") -> BatchedEnv:
    scenario = scenario_of(network)
    values = {k: p.start[:, None] for k, p in kind.tunable(scenario.compiled).items()}
    return env_of(scenario, kind(scenario.compiled, values))


@pytest.mark.parametrize("kind", [RightCopy, OwnWeights])
def test_own_policy_that_declares_rightly_passes(kind: type[Policy]) -> None:
    check_slopes(own(kind))


@pytest.mark.parametrize(
    ("kind", "network", "message"),
    [
        (Copy, "serial", r"'copy' doesn't declare it; set `follows` in .*\.Copy"),
        (WrongCopy, "serial", r"more .* moves order of item@\w+ by -?1, and -?0 is declared"),
        (MovingCap, "serial", r"on hand at item@(\w+) moves cap of item@\1 by 1, and 0 is"),
        (WrongExpedite, "dual_sourcing", r"set `expedite_follows` in .*\.WrongExpedite"),
    ],
)
def test_own_policy_that_declares_wrongly_is_refused(
    kind: type[Policy], network: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_slopes(own(kind, network))


def test_approximate_policy_says_by_how_much(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        check_slopes(own(RoughCopy))
    assert "has approximate slopes (it is wrong): a unit more" in caplog.text


def test_own_policy_is_proposed_and_pathwise_refuses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(POLICIES, "copy", Copy)
    scenario = replace(scenario_of("serial"), base_policy="copy")
    assert "copy" in candidates(scenario_of("serial"))
    assert unfit(scenario, "copy") is None
    with pytest.raises(ConfigError, match="'copy' doesn't declare it"):
        build_algorithm(ScenarioEnvFactory(scenario), training(as_shipped("algorithm=pathwise")))
