"""Training, sweeps and reports on network files, and what is served of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conf.compose import Composed, compose
from echelon import main
from envs.errors import ConfigError
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.network_io import same_network
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecommendationRequest
from tests.test_network_file import EXAMPLES, built
from training.commands.arguments import keep_record, record_of, with_resumed
from training.commands.report import ReportCommand, _scenario_name, _train_command, _with_network
from training.commands.train import MAY_DIFFER, TrainCommand


def report(*arguments: str) -> Composed[ReportCommand]:
    """The report that a command line describes."""
    return _with_network(compose(ReportCommand, list(arguments)))


def test_a_report_studies_the_file(tmp_path: Path) -> None:
    """Alone, or among scenarios; spaces in its path are no words."""
    path = tmp_path / "my plant.yaml"
    path.write_text(EXAMPLES[2].read_text(encoding="utf-8"), encoding="utf-8")
    command = report(f"network={path}", "smoke=true").command
    [label] = command.scenarios
    assert _train_command(label, command).scenario.name == "my plant"
    assert _scenario_name(label) == "my plant"
    several = f"scenarios=[serial,network={EXAMPLES[2]}]"
    assert [_scenario_name(one) for one in report(several).command.scenarios] == ["serial", "plant"]
    with pytest.raises(ConfigError, match="both given"):
        report(f"network={path}", several)
    with pytest.raises(ConfigError, match="can't be read"):
        _scenario_name("serial 'x")


def test_tracking_lists_no_lanes() -> None:
    """Of a network file its numbers; all of it is in config.yaml."""
    listed = compose(TrainCommand, [f"network={EXAMPLES[2]}"]).parameters
    assert listed["scenario.horizon"] == 100
    assert listed["network"] == str(EXAMPLES[2])
    assert not [key for key in listed if key.startswith("scenario.lanes")]


@pytest.mark.nightly
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_trained_and_its_policy_serves(path: Path, tmp_path: Path) -> None:
    """Chosen base policy, tuned parameters, an artifact that answers, the same network; resumed."""
    run = tmp_path / "run"
    own = [f"network={path}", "smoke=true", "tracking.enabled=false", "register=false"]
    assert main(["train", *own, f"out={run}"]) == 0
    record = json.loads((run / "base_policy.json").read_text(encoding="utf-8"))
    artifact = load_artifact(run / "policy")
    assert artifact.manifest["scenario"] == path.stem
    assert artifact.manifest["base_policy"]["name"] == record["base_policy"]
    recommender = Recommender(artifact)
    assert same_network(recommender.scenario, built(path))
    stock = recommender.scenario.network.stocks[0]
    row = {"location": stock.node, "item": stock.sku, "on_hand": 0}
    body = {"as_of": "2024-03-01", "stock": [row], "scope": {}}
    answer = recommender.recommend(RecommendationRequest.model_validate_json(json.dumps(body)))
    assert answer.lines
    stored = f"network={run / 'policy/network.json'}"
    arguments = ["evaluate", stored, "traces=2", "policies=[learned]", "tracking.enabled=false"]
    out = f"out={tmp_path / 'evaluation'}"
    assert main([*arguments, f"artifact={run / 'policy'}", out]) == 0
    assert main(["train", f"resume={run}", "algorithm.iterations=4"]) == 0


@pytest.mark.nightly
def test_bound_tune_sweep_and_report_run(tmp_path: Path) -> None:
    """The rest of the commands, at their smallest."""
    own = [f"network={EXAMPLES[1]}", "smoke=true", "tracking.enabled=false"]
    assert main(["bound", *own[:2]]) == 0
    assert main(["tune", *own, "cache=null", f"out={tmp_path / 'tune'}"]) == 0
    space = "space={algorithm.learning_rate: {choices: [1e-3, 1e-4]}}"
    sweep = ["sweep", *own, space, "trials=1", "workers=1", "register=false"]
    assert main([*sweep, f"out={tmp_path / 'sweep'}"]) == 0
    assert (tmp_path / "sweep/base_policy.json").exists()
    assert main(["report", *own, "seeds=1", "workers=1", f"out={tmp_path / 'report'}"]) == 0
    assert "distributor" in (tmp_path / "report/report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["tea.yaml", "my tea (2).yaml"])
def test_a_run_goes_on_with_the_network_it_began_with(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that has changed, or is gone, is told before anything is done; its copy is taken."""
    network, run = tmp_path / name, tmp_path / "run"
    network.write_text(EXAMPLES[0].read_text(encoding="utf-8"), encoding="utf-8")
    run.mkdir()
    begun = compose(TrainCommand, [f"network={network}", "smoke=true"])
    keep_record(run, record_of(run, "train", begun.arguments, begun.resolved, MAY_DIFFER))
    again = [f"resume={run}"]
    assert len(with_resumed(again, "train", "a run", ConfigError)) == 4
    with network.open("a", encoding="utf-8") as file:
        file.write("horizon: 90\n")
    assert main(["train", *again]) == 1
    told = capsys.readouterr().err
    assert f"network={network} is gone, or not what it was when the run began" in told
    kept = f"network={run / 'network' / name}"
    assert f"Give {kept} to go on" in told
    network.unlink()
    with pytest.raises(ConfigError, match="is gone"):
        with_resumed(again, "train", "a run", ConfigError)
    resumed = with_resumed([*again, kept], "train", "a run", ConfigError)
    composed = compose(TrainCommand, resumed)
    assert composed.command.scenario.name == network.stem
    keep_record(run, record_of(run, "train", composed.arguments, composed.resolved, MAY_DIFFER))
    resumed = with_resumed(again, "train", "a run", ConfigError)
    assert compose(TrainCommand, resumed).resolved["network"] == str(run / "network" / name)
    (run / "network" / name).write_text("nodes: {}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="Bring it back, or begin a new run"):
        with_resumed(again, "train", "a run", ConfigError)
