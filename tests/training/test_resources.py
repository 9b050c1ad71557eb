"""What a training asks of machines, what it gets of them, and what is seen of that."""

from __future__ import annotations

from typing import Any

import pytest

from envs.errors import ConfigError
from tests.settings import as_shipped, training
from tests.training.conftest import run_module, small_factory
from training.rllib.scaling import IterationTimes, Spent


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_runners": 0}, "expected a whole number >= 1"),
        ({"env_runners": 2, "min_runners": 3}, "min_runners is 3, but resources.env_runners is 2"),
        ({"env_runners": 0, "min_runners": 2}, "expected no more than that"),
        ({"placement": "spred"}, "Did you mean 'spread'?"),
        ({"memory_per_runner": -1.0}, "expected a number >= 0"),
        ({"gpus_per_learner": 1}, "resources.device is cpu, so they would idle"),
        ({"gpus_per_runner": 1}, "resources.device is cpu, so they would idle"),
        ({"device": "cuda", "gpus_per_learner": 2}, "and <= 1"),
        ({"device": "cuda", "gpus_per_learner": 0.5, "learners": 2}, "NCCL"),
    ],
)
def test_what_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        as_shipped("resources", **given)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("algorithm", "given", "message"),
    [
        ("ppo", {"device": "cuda", "gpus_per_runner": 1}, "play on processors alone"),
        ("impala", {"env_runners": 2, "min_runners": 2}, "in its own way"),
        ("appo", {"env_runners": 1, "memory_per_runner": 1.0}, "in its own way"),
        ("appo", {"env_runners": 1, "placement": "spread"}, "take algorithm=pathwise or ppo"),
    ],
)
def test_what_an_algorithm_cannot_do_is_refused(
    algorithm: str, given: dict[str, Any], message: str
) -> None:
    from training.rllib.algorithms import check_capabilities

    one = training(as_shipped(f"algorithm={algorithm}"), resources=as_shipped("resources", **given))
    with pytest.raises(ConfigError, match=message):
        check_capabilities(one.algorithm, one.resources, as_shipped("reward"))


def test_actors_take_what_is_set() -> None:
    one = as_shipped(
        "resources", env_runners=2, learners=1, device="cuda", memory_per_runner=2.0,
        memory_per_learner=4.0, cpus_per_runner=0.5,
    )  # fmt: skip
    runner, learner = {"CPU": 0.5, "memory": 2e9}, {"CPU": 1.0, "GPU": 1.0, "memory": 4e9}
    assert one.bundles == [{"CPU": 1.0}, runner, runner, learner]
    assert as_shipped("resources").bundles == [{"CPU": 1.0}]


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learners": 1, "device": "cuda"}, "a learner takes 1 CPU, 1 GPU of one node"),
        ({"env_runners": 1, "memory_per_runner": 1e6}, r"a runner takes 1 CPU, 1e\+06 GB"),
        ({"env_runners": 1, "cpus_per_runner": 64}, "a runner takes 64 CPU"),
    ],
)
def test_what_this_machine_does_not_have_is_said_at_once(
    given: dict[str, Any], message: str
) -> None:
    """Ray would wait for ever for a node with it."""
    from training.rllib.trainer import build_algorithm

    config = training(as_shipped("algorithm=ppo"), resources=as_shipped("resources", **given))
    with pytest.raises(ConfigError, match=message):
        build_algorithm(small_factory(), config)


def test_the_time_of_an_iteration_has_shares() -> None:
    """Two runners, 10 s: the slower one plays for 8 of the 9 s in which they are asked; the other
    for 4, in 3 of which it has a core."""
    times = IterationTimes()
    assert times.shares(10.0) == {}
    times.note_round(2, 8.5, {1: Spent(8.0, 8.2), 2: Spent(4.0, 3.0)})
    times.note_fetched(0.5)
    shares = times.shares(10.0)
    assert shares == {
        "scaling_efficiency": pytest.approx(11 / 20),
        "waiting_share": pytest.approx(4 / 20),
        "communication_share": pytest.approx(0.1),
        "learning_share": pytest.approx(0.1),
    }
    assert sum(shares.values()) == pytest.approx(1.0 - 1 / 20)  # the second that others had


def test_a_silent_runner_is_waited_for() -> None:
    """It has done nothing; the other plays for it."""
    times = IterationTimes()
    times.note_round(2, 20.0, {1: Spent(4.0, 4.0)})
    times.note_round(1, 4.0, {1: Spent(4.0, 4.0)})
    shares = times.shares(25.0)
    assert shares["scaling_efficiency"] == pytest.approx(8 / 50)
    assert shares["waiting_share"] == pytest.approx(4 / 50)
    assert shares["communication_share"] == pytest.approx(16 / 25)


def test_a_watch_passes_on_and_sums_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows per second are of the iterations since the last call."""
    from training.job.watch import Watch  # Ray takes seconds to import

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    told: list[dict[str, float]] = []
    watch = Watch("run", 3, lambda step, values: told.append({"step": step, **values}))
    assert watch.summary == ""
    account = {
        "cluster/nodes": 2.0, "cluster/gpus": 1.0, "cluster/runners": 3.0,
        "cluster/node_hours": 0.05, "cluster/price": 0.1, "time/effective_share": 0.9,
        "time/to_first_iteration_seconds": 12.0, "time/lost_seconds": 4.0,
    }  # fmt: skip
    for step, efficiency in ((1, 0.7), (2, 0.9)):
        periods = {"sampling/num_env_steps_sampled_lifetime": 1000.0 * step}
        own = {"time/train_seconds": 2.0 * step, "cluster/scaling_efficiency": efficiency}
        watch(step, {**account, **periods, **own})
    assert "sampling/rows_per_second" not in told[0]
    assert told[1]["sampling/rows_per_second"] == pytest.approx(3 * 1000 / 2)
    assert watch.summary == (
        "2 nodes, 1 GPU, 3 runners (scaling efficiency 80%): first iteration after 12 s, 90% of "
        "the time learned, 4 s lost to faults, 0.05 node-hours, price 0.10."
    )


@pytest.mark.nightly
def test_learners_stay_and_all_is_seen() -> None:
    """On a Ray of several nodes, see tests/training/places.py."""
    done = run_module("tests.training.places")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    printed = done.stdout + done.stderr
    assert "a worker on another node says this" in printed
    assert "Prometheus sees it" in printed
