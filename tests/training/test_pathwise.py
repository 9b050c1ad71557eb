"""The pathwise trainer as an RLlib algorithm: learns, resumes, in shards, a service aim."""

from __future__ import annotations

import dataclasses
import gc
from pathlib import Path

import pytest
import torch

from envs.errors import ConfigError
from envs.reward import RewardConfig
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.rollout import Competitor, play
from tests.settings import as_shipped, cost_alone, training
from tests.training.conftest import small_config, small_factory, textbook_factory, weights
from training.rllib.algorithms import check_capabilities
from training.rllib.algorithms.pathwise import shards_of
from training.rllib.pathwise import Pathwise, _Total
from training.rllib.saved_state import restore_state, take_state
from training.rllib.trainer import build_algorithm, iteration_metrics, trained_actors
from training.rllib.trajectory_runner import Played

pytestmark = pytest.mark.usefixtures("ray_cluster")


def built(
    reward: RewardConfig | None = None, *, shards: int = 1, runners: int = 0, seed: int = 0
) -> Pathwise:
    """Ready to train; 32 episodes a trajectory."""
    factory = textbook_factory()
    if reward is not None:
        factory = dataclasses.replace(factory, reward=reward)
    resources = as_shipped(
        "resources", envs_per_runner=32, fragment_periods=32, env_runners=runners
    )
    algorithm = build_algorithm(
        factory,
        training(as_shipped("algorithm=pathwise", shards=shards), resources=resources, seed=seed),
    )
    assert isinstance(algorithm, Pathwise)
    return algorithm


def test_little_memory_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Trajectories are played in stretches then, as is said; the weights are the same."""
    caplog.set_level("INFO", logger="training")
    found = []
    for share in (0.5, 1e-9):
        monkeypatch.setattr("training.rllib.trajectory_runner._SHARE_OF_MEMORY", share)
        algorithm = built()
        algorithm.train()
        algorithm.train()
        found.append(weights(algorithm))
        algorithm.stop()
    assert torch.equal(*found)
    said = [record.getMessage() for record in caplog.records if "Trajectories" in record.msg]
    assert "64 periods of 32 episodes" in said[0]
    assert "; 64 of them kept at once" in said[0]
    assert "; 64 of them kept at once" not in said[1]


def test_what_does_not_fit_is_refused_with_what_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulators before they are built, a trajectory before it is played."""
    monkeypatch.setattr("training.rllib.trainer.free_for_each", lambda *_, **__: 8_000.0)
    with pytest.raises(ConfigError, match=r"the simulators of .*=32 episodes .*per_runner=\d+, or"):
        built()
    monkeypatch.undo()
    monkeypatch.setattr("training.rllib.batched_runner.free_for_each", lambda *_, **__: 50_000.0)
    algorithm = built()
    with pytest.raises(ConfigError, match=r"a trajectory of resources.envs_per_runner=32 episodes"):
        algorithm.train()
    algorithm.stop()
    with pytest.raises(ConfigError, match=r"a fragment of resources.envs_per_runner=8 episodes"):
        build_algorithm(small_factory(), small_config())


@pytest.mark.parametrize(
    ("runners", "at_once"), [(0, 1), pytest.param(2, 4, marks=pytest.mark.nightly)]
)
def test_slopes_of_all_shards_are_never_here_at_once(
    runners: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand shards would take a thousand times the model; those of a runner are here."""
    algorithm = built(shards=2 * max(2, 2 * runners), runners=runners)
    add, counts = _Total.add, list[int]()

    def counting(total: _Total, played: Played) -> None:
        counts.append(sum(type(one) is Played for one in gc.get_objects()))
        add(total, played)

    gc.collect()
    monkeypatch.setattr(_Total, "add", counting)
    algorithm.train()
    algorithm.stop()
    assert len(counts) == 2 * max(2, 2 * runners)
    assert max(counts) <= at_once


def test_learns_what_base_stock_misses() -> None:
    """20 steps close more than half of the gap to the optimum, 4.7285 (Zipkin 2008)."""
    scenario = textbook_factory().scenario
    algorithm = built()
    for step in range(20):
        algorithm.progress = step / 20
        numbers = iteration_metrics(algorithm.train())
    actors = trained_actors(algorithm)
    algorithm.stop()
    base = Competitor("base_stock", "base_stock", scenario.policy_params["base_stock"])
    costs = [
        play(scenario, base.build(scenario), correction, traces=256, seed=9, split="test").cost
        for correction in (None, learned_correction(actors, scenario))
    ]
    classical, learned = (float(cost.sum(axis=0).mean()) for cost in costs)
    assert classical - learned > 0.5 * (classical - 4.7285 * scenario.horizon)
    assert numbers["sampling/num_env_steps_sampled_lifetime"] == 20 * 32 * 64
    assert numbers["sampling/base_policy_cost_per_period"] == pytest.approx(5.2, abs=0.15)


def test_goes_on_where_it_was(tmp_path: Path) -> None:
    """What is saved and restored learns on, from episodes not seen before, always the same way."""
    saved = built()
    for _ in range(2):
        saved.train()
    take_state(saved).write(tmp_path)
    ends = []
    for _ in range(2):
        restored = built()
        restore_state(restored, tmp_path)
        assert torch.equal(weights(restored), weights(saved))
        numbers = iteration_metrics(restored.train())
        assert numbers["sampling/num_env_steps_sampled_lifetime"] == 3 * 32 * 64
        ends.append(weights(restored))
        restored.stop()
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], weights(saved))
    saved.stop()


def test_same_seed_same_weights() -> None:
    ends = []
    for seed in (0, 0, 1):
        algorithm = built(seed=seed)
        algorithm.train()
        ends.append(weights(algorithm))
        algorithm.stop()
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


def test_price_rises_until_service_is_there() -> None:
    """The fill rate of the tuned policy is 88 %: a target of 97 % makes missing units dear."""
    reward = cost_alone(salvage_share=0.0, target_fill_rate=0.97)
    algorithm = built(reward)
    rates = [iteration_metrics(algorithm.train()) for _ in range(16)]
    algorithm.stop()
    assert rates[0]["sampling/shortage_price"] == 0.0
    assert rates[-1]["sampling/shortage_price"] > 1.0
    assert rates[-1]["sampling/fill_rate"] > rates[0]["sampling/fill_rate"] + 0.04


def test_bad_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"algorithm\.final_share is 2\.0"):
        as_shipped("algorithm=pathwise", final_share=2.0)
    with pytest.raises(ConfigError, match=r"algorithm\.periods is 1"):
        as_shipped("algorithm=pathwise", periods=1)
    with pytest.raises(ConfigError, match=r"algorithm\.shards is 5, of 32 episodes; .*=35"):
        built(shards=5)
    with pytest.raises(ConfigError, match=r"resources\.env_runners is 5; expected 4 at most"):
        built(shards=4, runners=5)
    resources = as_shipped("resources", learners=2)
    with pytest.raises(ConfigError, match=r"resources\.learners is 2; expected 1 at most"):
        check_capabilities(as_shipped("algorithm=pathwise"), resources, cost_alone())


@pytest.mark.parametrize(
    ("rows", "episodes", "cpus", "runners"),
    [(1, 512, 8, 0), (112, 16, 8, 0), (112, 128, 2, 2), (112, 128, 3, 2), (112, 128, 64, 4)],
)
def test_runners_are_started_where_that_is_faster(
    rows: int, episodes: int, cpus: int, runners: int
) -> None:
    """As many as get equal numbers of shards; for a few seconds of learning none."""
    resources = as_shipped("resources", envs_per_runner=episodes)
    algorithm = as_shipped("algorithm=pathwise", iterations=300)
    assert algorithm.runners_worth(rows, resources, cpus) == runners
    assert as_shipped("algorithm=pathwise", iterations=5).runners_worth(rows, resources, cpus) == 0
    assert as_shipped("algorithm=ppo").runners_worth(rows, resources, cpus) == 0


@pytest.mark.parametrize(
    ("rows", "episodes", "shards"),
    [(1, 512, 1), (112, 16, 1), (112, 128, 4), (112, 117, 1), (420, 64, 4), (19440, 16, 4)],
)
def test_shards_are_worth_their_calls(rows: int, episodes: int, shards: int) -> None:
    assert shards_of(rows, episodes) == shards


def test_shards_cost_and_learn_the_same() -> None:
    """Cut in four, the same episodes: slopes are equal but for the order of their sums; and one
    simulator plays all shards, of which each goes on where it was."""
    ends = []
    for shards in (1, 4):
        algorithm = built(shards=shards)
        numbers = [iteration_metrics(algorithm.train()) for _ in range(3)]
        ends.append((weights(algorithm), [one["sampling/cost_per_period"] for one in numbers]))
        algorithm.stop()
    assert torch.allclose(ends[0][0], ends[1][0], atol=2e-4)
    assert ends[0][1] == pytest.approx(ends[1][1], rel=1e-4)
    assert not torch.equal(ends[0][0], ends[1][0]), "not summed by shards"


@pytest.mark.nightly  # starts worker processes
def test_any_number_of_runners_gives_the_same_weights() -> None:
    ends = []
    for runners in (0, 1, 2, 4):
        algorithm = built(shards=4, runners=runners)
        for _ in range(3):
            numbers = iteration_metrics(algorithm.train())
        assert numbers["sampling/num_env_steps_sampled_lifetime"] == 3 * 32 * 64
        ends.append(weights(algorithm))
        algorithm.stop()
    for end in ends[1:]:
        assert torch.equal(ends[0], end)
