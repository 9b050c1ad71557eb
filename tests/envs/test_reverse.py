"""The reverse pass is held to the simulator: differences of what periods cost, and of what is
seen."""

from __future__ import annotations

from collections import Counter
from operator import attrgetter
from random import Random

import numpy as np
import pytest

from envs.environment.batched_env import BatchedEnv
from envs.kernel import Handle
from envs.observation.companions import CompanionsOf
from envs.observation.features import FEATURES, Scale
from envs.observation.slopes import MovingFeatures, reverse_observation
from envs.scenario import Scenario
from envs.simulation.reverse import Tape
from tests.envs.networks import random_network
from tests.envs.reverse_cases import CASES, HandMade
from tests.envs.reverse_judge import POLICIES, STATE, Difference, Judge, wrong

MOVED = ("on_hand", "backorders", "owed", "in_transit", "orders_on_way")


@pytest.mark.parametrize(
    "seeds", [range(28), pytest.param(range(28, 628), marks=pytest.mark.nightly)]
)
def test_slopes_on_random_networks_are_differences(seeds: range) -> None:
    """Stock, orders, pipelines and all heads of actions, on networks with everything in them.

    Where several rules bend at once, a slope can be right for each of them and yet not lie between
    the differences.
    """
    met: Counter[str] = Counter()
    contradicted: list[tuple[Difference, float]] = []
    count = moving = 0
    for seed in seeds:
        judge = Judge(seed)
        slopes, differences = judge.slopes(), judge.differences()
        contradicted += wrong(slopes, differences)
        count += len(differences)
        fields = [
            f for f, place in map(attrgetter("entry"), differences) if slopes[f][place] != 0.0
        ]
        met.update([judge.policy, *fields])
        moving += len(fields)
    assert not [one for one in contradicted if one[0].is_smooth]
    assert len(contradicted) <= 0.0001 * count, contradicted
    assert set(met) >= {*POLICIES, *STATE, "action"}
    assert moving > 0.3 * count


@pytest.mark.parametrize("name", CASES)
def test_slopes_where_nothing_is_there_or_wanted(name: str) -> None:
    """They are what a little more brings."""
    judge = HandMade(name)
    assert wrong(judge.slopes(), judge.differences()) == []


def moving_features() -> set[str]:
    return {name for name, feature in FEATURES.items() if feature.slope}


def seen_at(env: BatchedEnv, ways: dict[str, np.ndarray], step: float) -> np.ndarray:
    """What agents see where the state is moved so far along the ways; it is moved back."""
    before = {name: getattr(env.state, name).copy() for name in ways}
    for name, way in ways.items():
        getattr(env.state, name)[...] += step * way
    env.state.in_transit_total[...] = env.state.in_transit.sum(axis=1)
    env.state.orders_on_way_total[...] = env.state.orders_on_way.sum(axis=1)
    seen = env.refresh().astype(float)
    for name, values in before.items():
        getattr(env.state, name)[...] = values
    return seen


@pytest.mark.parametrize("companions", [0, 3])
def test_features_move_as_their_slopes_say(companions: int) -> None:
    """Of every feature with a slope, in random directions of the state, by differences."""
    met = set()
    for seed in (0, 4, 10, 20, 21):
        scenario = Scenario(
            "random", random_network(Random(seed)), 30, base_policy="base_stock",
            companions=companions, companions_of=CompanionsOf.lanes_and_node,
        )  # fmt: skip
        env, rng = BatchedEnv(scenario, 3), np.random.default_rng(seed)
        env.reset(seed)
        ways = {}
        for name in MOVED:
            part = getattr(env.state, name)
            part += rng.uniform(0.5, 1.5, part.shape)  # away from bends
            ways[name] = rng.uniform(-1.0, 1.0, part.shape)
        at_once = env.net.arrays.lanes.information_delay == 0
        env.state.orders_on_way[at_once] = ways["orders_on_way"][at_once] = 0.0
        if not env.net.arrays.switches.receive_after_ship:  # what was due today is on the shelf
            ways["in_transit"][:, env.simulator.period % env.net.slots] = 0.0
        up, down = seen_at(env, ways, 0.02), seen_at(env, ways, -0.02)
        seen = seen_at(env, ways, 0.0).astype(np.float32)
        moving = MovingFeatures(env.layout, env.companions)
        assert len(moving.columns) == len(set(moving.columns))
        for column in range(len(moving.columns)):
            tape = Tape(env.simulator, env.action_size, 1)
            tape.begin()
            by_features = np.zeros((env.num_rows, len(moving.columns), 3), np.float32)
            by_features[:, column] = weights = rng.uniform(-1.0, 1.0, (env.num_rows, 3))
            moving.gather(by_features)
            parts = env.simulator.handles
            reverse_observation(
                parts.net, parts.forecast, env.observed, Handle(moving.at), seen, by_features,
                env.target, tape.marks[0], tape.slopes_handle, np.zeros((5, 3)),
                env.simulator.period,
            )  # fmt: skip
            slopes = tape.slopes
            for position, per_unit in (env.base_policy.order_weights(env.view) or {}).items():
                by_position = getattr(slopes, position)
                by_position -= per_unit * slopes.order
            tape.reverse_open(0, plays=False)
            slopes.in_transit[...] += slopes.in_transit_total[:, None]
            slopes.orders_on_way[...] += slopes.orders_on_way_total[:, None]
            wanted = sum(
                (getattr(slopes, name) * way).sum(axis=tuple(range(way.ndim - 1)))
                for name, way in ways.items()
            )
            place = moving.columns[column]
            found = (weights * (up - down)[:, place] / 0.04).sum(axis=0)
            name = env.feature_names[place]
            assert wanted == pytest.approx(found, abs=2e-3), name
            met |= {name} if np.abs(wanted).max() > 0.01 else set()
    assert met >= moving_features()


def test_only_what_is_scaled_has_a_slope() -> None:
    """What is undone is the scale's squashing."""
    assert all(FEATURES[name].scale is not Scale.none for name in moving_features())
