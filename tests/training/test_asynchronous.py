"""APPO and IMPALA from the command line: metrics, checkpoints, resume, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echelon import main
from envs.errors import ConfigError
from envs.network.demand import DemandConfig
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.artifact.artifact import load_artifact
from tests.settings import as_shipped, cost_alone, training
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.trainer import build_algorithm

COUNT = "sampling/num_env_steps_sampled_lifetime"


def metrics_of(run: Path, name: str) -> list[float]:
    """All values of a metric, in the order in which they were written."""
    lines = [
        json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()
    ]
    return [line[name] for line in lines if name in line]


@pytest.mark.nightly  # starts worker processes
@pytest.mark.parametrize("name", ["appo", "impala"])
def test_a_run_is_measured_resumed_and_exported(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Simulated periods go on from the checkpoint's; the artifact loads."""
    monkeypatch.chdir(tmp_path)
    rest = ["register=false", "tracking.enabled=false"]
    begin = ["scenario=lost_sales", "smoke=true", f"algorithm={name}", "resources.env_runners=1"]
    assert main(["train", *begin, *rest, "checkpoint_every=1", "out=run"]) == 0
    run = tmp_path / "run"
    before = metrics_of(run, COUNT)
    assert len(before) == 3
    assert before[-1] >= 3 * 64  # 8 periods of 8 replications
    assert min(metrics_of(run, "sampling/cost_per_period")) > 0.0
    assert 0.0 < metrics_of(run, "sampling/fill_rate")[-1] <= 1.0
    assert main(["train", "resume=run", "algorithm.iterations=5", *rest]) == 0
    after = metrics_of(run, COUNT)
    assert len(after) == 5
    assert after[3] > before[-1]
    assert load_artifact(run / "policy").manifest


@pytest.mark.parametrize("name", ["appo", "impala"])
def test_what_they_cannot_do_is_refused(name: str) -> None:
    """No runner beside the learner; a service target without its price; the worst episodes."""
    algorithm = as_shipped(f"algorithm={name}")
    scenario = build_scenario(
        SingleNodeConfig(
            kind="single_node",
            horizon=100,
            base_policy="forecast_base_stock",
            name="small",
            lost_sale_cost=9.0,
            demand=DemandConfig("poisson", mean=5.0),
            lead_time=2,
            holding_cost=1.0,
        )
    )
    with pytest.raises(ConfigError, match=r"resources.env_runners is 0; expected at least 1"):
        build_algorithm(
            ScenarioEnvFactory(scenario),
            training(algorithm=algorithm, resources=as_shipped("resources", env_runners=0)),
        )
    with pytest.raises(ConfigError, match=r"reward.target_fill_rate is set; expected null"):
        build_algorithm(
            ScenarioEnvFactory(scenario, reward=cost_alone(target_fill_rate=0.95)),
            training(algorithm=algorithm, resources=as_shipped("resources", env_runners=1)),
        )
    others = "take algorithm=pathwise or ppo or mappo"
    with pytest.raises(ConfigError, match=rf"reward.tail_share is 0.1; expected 1, .*{others}"):
        build_algorithm(
            ScenarioEnvFactory(scenario, reward=cost_alone(tail_share=0.1)),
            training(algorithm=algorithm, resources=as_shipped("resources", env_runners=1)),
        )


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("algorithm=impala", {"discount": 1.0}, "discount is 1.0"),
        ("algorithm=impala", {"entropy_weight": -1.0}, "entropy_weight is -1.0"),
        ("algorithm=appo", {"clip": 0.0}, "clip is 0.0"),
    ],
)
def test_settings_out_of_range_are_refused(
    section: str, values: dict[str, object], message: str
) -> None:
    """With the name and what was got."""
    with pytest.raises(ConfigError, match=message):
        as_shipped(section, **values)
