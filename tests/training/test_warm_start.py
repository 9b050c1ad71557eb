"""Learning that begins with a policy: an exported one, or an imitated one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from conf.compose import compose
from echelon import main
from envs.errors import ConfigError
from envs.scenarios import build_scenario
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import load_artifact
from tests.settings import as_shipped, training
from tests.training.conftest import small_config, small_factory
from training.commands.train import TrainCommand
from training.job.run_record import checkpoints_of
from training.job.warm_start import load_start
from training.rllib.trainer import build_algorithm, set_actors, trained_actors

SMALL = [
    "scenario=lost_sales",
    "scenario.base_policy=base_stock",
    "smoke=true",
    "resources.envs_per_runner=16",
    "validation.traces=16",
    "tracking.system_metrics=false",
    "register=false",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a run that ended far below the base policy's cost: `first`."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        arguments = ["imitate.policy=capped_base_stock", "algorithm=ppo", "algorithm.iterations=1"]
        assert main(["train", *SMALL, *arguments, "out=first"]) == 0
    return folder


def metrics_of(run: Path) -> dict[int, dict[str, float]]:
    """step -> what was logged there."""
    result: dict[int, dict[str, float]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        entry = json.loads(line)
        result.setdefault(entry["step"], {}).update(entry["metrics"])
    return result


def test_an_imitated_policy_is_where_learning_begins(workplace: Path) -> None:
    """Its cost is logged beside its teacher's, and it is the first candidate for the best."""
    first = metrics_of(workplace / "first")[0]
    imitated, teacher = (first[f"imitation/{name}cost_per_period"] for name in ("", "teachers_"))
    base = first["validation/base_policy_cost_per_period"]
    assert first["validation/cost_per_period"] == pytest.approx(imitated)
    assert teacher < base
    assert imitated < 0.5 * (teacher + base)
    assert first["imitation/error"] < 0.2
    best = checkpoints_of(workplace / "first").best()
    assert best is not None
    assert best.meta["best_cost"] <= imitated


def test_a_start_is_kept_when_nothing_beats_it(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another algorithm begins with it, ruins it by huge steps, and falls back to it: same
    networks, same parameters of the base policy, none of them tuned again."""
    monkeypatch.chdir(workplace)
    arguments = ["start=first", "algorithm=pathwise", "algorithm.learning_rate=1.0"]
    assert main(["train", *SMALL, *arguments, "out=kept"]) == 0
    assert "what learning began with was best on validation" in capsys.readouterr().out
    before, after = (load_artifact(workplace / name / "policy") for name in ("first", "kept"))
    assert after.manifest["base_policy"] == before.manifest["base_policy"]
    for kind, actor in before.policy.actors.items():
        for name, tensor in actor.state_dict().items():
            assert torch.equal(tensor, after.policy.actors[kind].state_dict()[name])
    numbers = metrics_of(workplace / "kept")
    assert numbers[1]["validation/cost_per_period"] > numbers[0]["validation/cost_per_period"]
    best = checkpoints_of(workplace / "kept").best()
    assert best is not None
    assert best.step == 0


def test_resume_needs_the_start_no_more(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the checkpoint; a start that is better than what comes later stays the best."""
    monkeypatch.chdir(workplace)
    shutil.copytree("first", "gone")
    arguments = ["start=gone/policy", "algorithm=ppo", "algorithm.learning_rate=1.0"]
    assert main(["train", *SMALL, *arguments, "algorithm.iterations=2", "out=resumed"]) == 0
    cost = metrics_of(workplace / "resumed")[0]["validation/cost_per_period"]
    shutil.rmtree("gone")
    shutil.rmtree("resumed/checkpoints/step_000000002", ignore_errors=True)
    assert main(["train", "resume=resumed", "algorithm.iterations=3"]) == 0
    store = checkpoints_of(workplace / "resumed")
    best = store.best()
    assert best is not None
    assert best.step == 0
    assert best.meta["best_cost"] == pytest.approx(cost)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scenario.base_policy=capped_base_stock"], "corrects the policy base_stock; expected"),
        (["scenario.action_space=direct"], "trained with scenario.action_space=residual"),
        (["scenario.action_scale=2"], "trained with scenario.action_scale=1.0; expected 2.0"),
        (["scenario.memory=3"], "features, scenario 'lost_sales' shows"),
        (["scenario.extra_heads=[smoothing]"], "decides level for nodes of kind"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    workplace: Path, arguments: list[str], message: str
) -> None:
    """With what is different and what to set."""
    composed = compose(TrainCommand, [*SMALL, *arguments, "out=unused"])
    with pytest.raises(ConfigError, match=message):
        load_start(workplace / "first", build_scenario(composed.command.scenario))


def test_a_start_and_a_teacher_exclude_each_other() -> None:
    """Both say what learning begins with."""
    arguments = ["start=first", "imitate.policy=capped_base_stock", "out=unused"]
    with pytest.raises(ConfigError, match="both say what learning begins with"):
        compose(TrainCommand, [*SMALL, *arguments])


@pytest.mark.parametrize("algorithm", ["ppo", "pathwise"])
def test_actors_that_are_set_are_those_that_act(algorithm: str) -> None:
    """On the learner and on the runner, after an iteration too; the critic is left alone."""
    config = small_config(critic_first=1)
    if algorithm == "pathwise":
        config = training(as_shipped("algorithm=pathwise"), config.model, config.resources)
    built = build_algorithm(small_factory(), config)
    actors = trained_actors(built)
    generator = torch.Generator().manual_seed(0)
    for actor in actors.values():
        for parameter in actor.parameters():
            parameter.data.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
    set_actors(built, actors)
    for kind, actor in trained_actors(built).items():
        for name, tensor in actor.state_dict().items():
            assert torch.equal(tensor, actors[kind].state_dict()[name])
    if algorithm == "ppo":
        built.train()
        runner = built.env_runner
        for kind, actor in actors.items():
            seen = torch.randn(4, actor.observation_size)
            acting = runner.module[kind].action_inputs(seen).chunk(2, dim=-1)[0]
            torch.testing.assert_close(acting, actor(seen))
    built.stop()


def test_actors_of_another_form_are_refused() -> None:
    """Or for other kinds of nodes."""
    built = build_algorithm(small_factory(), small_config())
    actors = trained_actors(built)
    wide = {
        kind: Actor(actor.observation_size, actor.action_size, (8,))
        for kind, actor in actors.items()
    }
    with pytest.raises(ConfigError, match="set model to what it was trained with"):
        set_actors(built, wide)
    del actors["store"]
    with pytest.raises(ConfigError, match="no model for node kind 'store'"):
        set_actors(built, actors)
    built.stop()
