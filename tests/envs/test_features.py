"""The table of features: names, order, writers."""

from __future__ import annotations

from functools import cache
from random import Random

import numpy as np

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.observation.features import (
    ARRIVALS,
    FEATURES,
    FLOW_FEATURES,
    Scale,
    Setting,
    compile_layout,
    write_fixed,
)
from envs.reward import Preference
from envs.scenario import Scenario
from tests.envs.networks import random_network

LANES = ("lead_time", "lead_time_sd", "on_time", "in_full", "overdue", "price", "usable_as_seen")
ORDER = (
    "on_hand", "backorders",
    "arriving_in_1", "arriving_in_2_to_3", "arriving_in_4_to_7", "arriving_later", "owed_to_me",
    "demand_last", "demand_mean_7", "demand_mean_28", "demand_sd_28", "zero_share_28",
    "forecast_per_period", "forecast_sd_per_period", "stock_gap", "base_order",
    "owed_by_me", "downstream_shortage_sum", "downstream_shortage_max", "upstream_cover",
    "promotion_ahead", "week_sin", "week_cos", "year_sin", "year_cos",
    "demand_2_ago", "demand_3_ago", "...lanes",
    "storage_room", "periods_until_order", "expedite_position", "preference",
    "critical_ratio", "lead_time", "lead_time_sd", "demand_cv",
)  # fmt: skip


@cache
def everything() -> Scenario:
    """A random network that has every feature."""
    for seed in range(1000):
        network = random_network(Random(seed))
        if min(compile_layout(Setting(compile_network(network), 3, True)).at) >= 0:
            preference = Preference(1.0, 9.0)
            return Scenario("all", network, horizon=30, memory=3, preference=preference)
    raise AssertionError("no random network has all features")


def full() -> BatchedEnv:
    """The environment of that network, at its beginning."""
    env = BatchedEnv(everything(), 2)
    env.reset(0)
    return env


def columns_of(env: BatchedEnv, field: str) -> slice:
    """Of an entry; of lanes: the first's."""
    first = getattr(env.layout.at, field)
    return slice(first, first + getattr(env.layout.width, field))


def test_names_and_their_order() -> None:
    """Policies in use read columns in this order: new ones may come, none may move or go."""
    env = full()
    ahead = [f"speed_in_{k + 1}" for k in range(env.layout.width.lane_speed_in)]
    of_lane = [*LANES, *ahead, "open_now", "arrives_in"]
    lanes = [f"lane_{slot}_{name}" for slot in range(env.layout.lane_slots) for name in of_lane]
    assert len(lanes) > len(of_lane)
    place = ORDER.index("...lanes")
    assert list(env.feature_names) == [*ORDER[:place], *lanes, *ORDER[place + 1 :]]
    assert ORDER[:16] == FLOW_FEATURES


def test_every_feature_is_written() -> None:
    """In every period, or once by `fixed`."""
    env = full()
    observation = env.observe()
    observation[:] = np.nan
    env.observe()
    by_period = {field for field in FEATURES if is_written(env, field)}
    write_fixed(env.net, env.layout, observation)
    for field, feature in FEATURES.items():
        assert is_written(env, field), f"nobody writes {field}"
        if not feature.of_lane:  # of some lanes kernels write what is fixed for others
            is_fixed = feature.fixed is not None
            assert is_fixed != (field in by_period), f"{field} is written twice"


def test_agents_see_the_same_in_any_array() -> None:
    """What `new_observation` gave is as good as the environment's own, whatever it held before."""
    env, numbers = full(), np.random.default_rng(0)
    arrays = [env.new_observation() for _ in range(2)]
    for t in range(6):
        env.step(numbers.uniform(-1.0, 1.0, env.no_action.shape).astype(np.float32))
        np.testing.assert_array_equal(env.observe(into=arrays[t % 2]), env.observe())


def is_written(env: BatchedEnv, field: str) -> bool:
    """Whether some row has a number in every column of an entry."""
    columns = env._observation[:, columns_of(env, field)]
    return bool(np.isfinite(columns).any(axis=(0, 2)).all())


def test_columns_are_found_by_name() -> None:
    """An entry's column bears its name; of lanes, every lane's does."""
    env = full()
    layout = env.layout
    first = layout.at.arriving_in_1
    assert layout.names[first : first + len(ARRIVALS)] == tuple(ARRIVALS)  # as kernels count
    for field, feature in FEATURES.items():
        columns = columns_of(env, field)
        if feature.columns is None and not feature.of_lane:
            assert layout.names[columns] == (field,)
        for slot in range(layout.lane_slots if feature.of_lane else 0):
            name = layout.names[columns.start + slot * layout.lane_size]
            assert name.startswith(f"lane_{slot}_{field.removeprefix('lane_')}")


def test_scales() -> None:
    """What is scaled by demand is never negative; some of what has a sign is."""
    env = full()
    observation = env.observe()
    for field, feature in FEATURES.items():
        if feature.scale is Scale.demand:
            assert (observation[:, columns_of(env, field)] >= 0.0).all(), field
