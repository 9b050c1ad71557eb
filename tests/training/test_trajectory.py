"""Trajectories: they cost what the simulator says, and networks get the slopes that differences
find."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from conf.compose import compose
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import DemandConfig
from envs.observation.features import FEATURES
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.models import build_model
from evaluation.commands.evaluate import EvaluateCommand
from tests.envs.networks import one_warehouse
from tests.settings import cost_alone
from training.pathwise.networks import NetworkSlopes, kept_bytes, network_slopes
from training.pathwise.trajectory import (
    Shard,
    Trajectories,
    Trajectory,
    horizon_of,
    period_bytes,
    periods_kept,
    plan_for,
)

Actors = dict[str, Actor]


def scenario_of(name: str) -> Scenario:
    """A scenario at its smoke size."""
    composed = compose(EvaluateCommand, [f"scenario={name}", "smoke=true"])
    return build_scenario(composed.command.scenario)


def continuous(stores: int) -> Scenario:
    """Demand and orders without whole units: costs have slopes almost everywhere."""
    return build_scenario(
        one_warehouse(
            name="continuous",
            stores=stores,
            lost_sale_cost=9.0,
            order_multiple=0.0,
            demand=DemandConfig(distribution="uniform", low=0.0, high=10.0),
            horizon=60,
            warm_up=10,
        )
    )


def plain_actors(env: BatchedEnv) -> Actors:
    return {group.name: Actor(env.observation_size, group.action_size) for group in env.groups}


def last_bias(actor: Actor) -> nn.Parameter:
    return actor.layers[-1].get_parameter("bias")


def play(
    env: BatchedEnv,
    actors: Actors,
    periods: int,
    tail: int = 0,
    seed: int = 3,
    kept: int | None = None,
) -> tuple[Trajectory, dict[torch.Tensor, torch.Tensor]]:
    """A trajectory, and the slopes of its mean cost per period."""
    trajectories = Trajectories(env, seed, periods, kept)
    networks: dict[str, NetworkSlopes] = {
        group.name: network_slopes(
            actors[group.name], group.stop - group.start, env.batch_size,
            trajectories.moving.columns, thrifty=trajectories.kept < periods,
        )
        for group in env.groups
    }  # fmt: skip
    trajectory = trajectories.play(Shard(0, 0, 0), networks, tail)
    weight = np.full(env.batch_size, 1.0 / (env.batch_size * periods))
    trajectories.reverse(networks, weight)
    slopes: dict[torch.Tensor, torch.Tensor] = {}
    for network in networks.values():
        slopes |= network.gradients()
    return trajectory, slopes


@pytest.mark.parametrize(("network", "companions"), [("mlp", 0), ("graph_attention", 4)])
def test_slopes_are_differences(network: str, companions: int) -> None:
    """Networks in, cost out: the whole chain against central differences of the simulator."""
    scenario = dataclasses.replace(continuous(3), companions=companions)
    env = BatchedEnv(scenario, 32, reward=cost_alone(salvage_share=0.0))
    torch.manual_seed(0)
    actors = {
        group.name: build_model(network, env.feature_names, group.action_size, (64, 64), 0)
        for group in env.groups
    }
    # What orders did to the demand on a warehouse has no slope: the networks don't look at it.
    flat = [
        place
        for place, name in enumerate(env.feature_names)
        if name.startswith(("demand_", "zero_")) or name == "downstream_shortage_max"
    ]
    looking = ("layers.0.weight", "query.weight", "embed.weight")
    with torch.no_grad():
        for actor in actors.values():
            actor.layers[-1].get_parameter("weight").normal_(std=0.1)
            for name, parameter in actor.named_parameters():
                if name in looking:
                    kept = [f for f in flat if f < parameter.shape[1]]
                    parameter[:, kept] = 0.0
    trajectory, found = play(env, actors, 40)
    cost = float(trajectory.cost.mean())
    named = [
        (name, parameter)
        for actor in actors.values()
        for name, parameter in actor.named_parameters()
        if parameter in found
    ]
    assert not companions or any(name == "embed.weight" for name, _ in named)
    rng = torch.Generator().manual_seed(1)
    for _ in range(3):
        ways = [torch.randn(parameter.shape, generator=rng) for _, parameter in named]
        for (name, parameter), way in zip(named, ways, strict=True):
            if name in looking:
                way[:, [f for f in flat if f < parameter.shape[1]]] = 0.0
        wanted = sum(float((found[p] * way).sum()) for (_, p), way in zip(named, ways, strict=True))
        ends = []
        for step in (3e-4, -3e-4):
            with torch.no_grad():
                for (_, parameter), way in zip(named, ways, strict=True):
                    parameter.add_(way, alpha=step)
                ends.append(float(play(env, actors, 40)[0].cost.mean()))
                for (_, parameter), way in zip(named, ways, strict=True):
                    parameter.sub_(way, alpha=step)
        assert (ends[0] - ends[1]) / 6e-4 == pytest.approx(wanted, rel=0.03, abs=2e-3 * cost)


def test_costs_are_the_simulators() -> None:
    """Whole packs and all: a trajectory costs what the simulator says."""
    env = BatchedEnv(scenario_of("one_warehouse_n_stores"), 8, reward=cost_alone(salvage_share=0))
    played, _ = play(env, plain_actors(env), 20, 4, seed=5)
    env.reset(5, 0)
    cost = np.zeros(8)
    for _ in range(20):
        env.step(env.no_action)
        cost += env.flows.total_cost.sum(axis=0)
    assert played.cost == pytest.approx(cost / 20)
    assert played.node_cost.sum() == pytest.approx(cost.mean() / 20)


@pytest.mark.parametrize(
    "name", ["one_warehouse_n_stores", "beer_game", "disruption", "omni_fulfilment"]
)
def test_a_short_tape_finds_the_same(name: str) -> None:
    """Stretches that are played twice cost the same, teach the same, and leave the same behind."""
    ends: list[list[np.ndarray]] = []
    for kept in (None, 5, 7):
        env = BatchedEnv(scenario_of(name), 4)
        torch.manual_seed(0)
        actors = plain_actors(env)
        for actor in actors.values():
            nn.init.normal_(actor.layers[-1].get_parameter("weight"), std=0.1)
        trajectory, slopes = play(env, actors, 17, 4, kept=kept)
        ends.append([trajectory.cost, env.observe().copy(), *(s.numpy() for s in slopes.values())])
    for other in ends[1:]:
        assert len(other) == len(ends[0])
        for one, two in zip(ends[0], other, strict=True):
            assert np.array_equal(one, two)


def test_the_tape_is_as_long_as_takes_least_memory() -> None:
    """With the starts of stretches: the dearer these are, the fewer and longer stretches are."""
    assert periods_kept(64, period=1_000, start=1_000) == 8
    assert periods_kept(64, period=1_000, start=4_000) == 16
    assert periods_kept(64, period=1_000, start=100_000) == 64


def test_what_networks_keep_is_counted() -> None:
    """Written-out layers their outputs, unless thrifty; a graph what was seen, and the answer."""

    class Other(Actor):
        """The same layers, by automatic differentiation."""

    own, other = Actor(30, 2, (8, 4)), Other(30, 2, (8, 4))
    assert kept_bytes(own, 7, 5) == 4 * 7 * 5 * (8 + 4)
    assert kept_bytes(own, 7, 5, thrifty=True) == 0
    for thrifty in (False, True):
        assert kept_bytes(other, 7, 5, thrifty=thrifty) == 4 * 7 * 5 * (30 + 8 + 4 + 2)


def test_the_plan_counts_all_that_is_kept() -> None:
    """Networks too; where they take all room, what they needn't keep is dropped first."""
    env = BatchedEnv(scenario_of("two_echelon_dc"), 4)
    env.reset(0)
    actors = plain_actors(env)
    period, tape = period_bytes(env, actors), period_bytes(env, {})
    assert period == tape + 4 * 4 * env.num_rows * (64 + 64)
    whole = plan_for(env, actors, 40, 40 * period)
    assert (whole.kept, whole.thrifty, whole.nbytes) == (40, False, 40 * period)
    thrifty = plan_for(env, actors, 40, 40 * period - 1)
    assert (thrifty.kept, thrifty.thrifty, thrifty.nbytes) == (40, True, 40 * tape)
    part = plan_for(env, actors, 40, 40 * tape - 1)
    start = env.mark().nbytes
    assert part.thrifty
    assert part.period_bytes == tape
    assert part.kept == periods_kept(40, tape, start) < 40
    assert part.nbytes == part.kept * tape + (-(-40 // part.kept) + 1) * start


def test_tail_teaches_nothing() -> None:
    """Orders of the tail change the cost, and don't move the networks."""
    env = BatchedEnv(continuous(2), 4, reward=cost_alone(salvage_share=0.0))
    actors = plain_actors(env)
    assert play(env, actors, 20, 10)[1]
    assert not play(env, actors, 20, 20)[1]


def test_stock_at_the_horizon_is_worth_its_salvage() -> None:
    """In the last period of an episode, and there alone: with it, levels rise in value."""
    slopes = []
    for share in (0.0, 1.0):
        scenario = dataclasses.replace(continuous(2), horizon=20)
        skus = tuple(dataclasses.replace(sku, value=5.0) for sku in scenario.network.skus)
        network = dataclasses.replace(scenario.network, skus=skus)
        scenario = dataclasses.replace(scenario, network=network)
        env = BatchedEnv(scenario, 4, reward=cost_alone(salvage_share=share))
        torch.manual_seed(0)
        actors = plain_actors(env)
        found = play(env, actors, 20)[1]
        slopes.append(sum(float(found[last_bias(a)].sum()) for a in actors.values()))
    assert slopes[1] < slopes[0]


def test_actions_beyond_their_bounds_find_their_way_back() -> None:
    """Descent moves against the slope: at 2 only a positive one leads back inside."""
    env = BatchedEnv(continuous(1), 8, reward=cost_alone(salvage_share=0.0))
    found = []
    for beyond in (2.0, -2.0):
        actors = plain_actors(env)
        for actor in actors.values():
            nn.init.constant_(last_bias(actor), beyond)
        slopes = play(env, actors, 30)[1]
        found.append([float(slopes[last_bias(actor)]) for actor in actors.values()])
    assert min(found[0]) >= 0.0
    assert max(found[1]) <= 0.0
    assert max(found[0]) > 0.0
    assert min(found[1]) < 0.0


def test_trajectories_are_longer_than_the_way_to_the_customer() -> None:
    scenario = scenario_of("two_echelon_dc")
    env = BatchedEnv(dataclasses.replace(scenario, horizon=365), 1)
    periods, tail = horizon_of(env, None, None)
    assert periods > 2 * env.net.leads.path.max()
    assert tail > env.net.leads.path.max()
    assert horizon_of(env, 40, 30) == (40, 20)


def test_a_slope_that_is_nowhere_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever adds a feature with a slope and forgets its reverse learns where it is missing."""
    entry = dataclasses.replace(FEATURES["demand_last"], slope=True)
    monkeypatch.setitem(FEATURES, "demand_last", entry)
    with pytest.raises(ConfigError, match=r"'demand_last' claims a slope .* add it, or set"):
        Trajectories(BatchedEnv(continuous(1), 1), 0, 4)
