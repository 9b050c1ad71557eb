"""`echelon promote`, `rollback` and `models`; and where a training's registry is gone."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient
from rich.console import Console

from conf.compose import compose
from echelon import main
from evaluation.artifact.registry import model_name
from evaluation.gate.ledger import Ledger
from evaluation.tracking.tracker import Tracker, resend
from tests.evaluation.conftest import config_for
from tests.evaluation.gate.trainings import MODEL, register, shop, train
from training.commands.train import TrainCommand
from training.commands.train import register as register_trained


def test_promote_list_and_roll_back(
    uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is printed says what to do; the exit code says whether the alias has moved."""
    options = [f"model={MODEL}", f"tracking.uri={uri}"]
    for name, correction in (("one", 0.0), ("two", 0.5), ("three", -0.2)):
        register(uri, train(tmp_path / name, correction))
    assert main(["promote", *options, "version=1"]) == 0
    assert main(["promote", *options, "version=2", "reason=spring"]) == 0
    assert f"{MODEL} version 2 is @champion." in capsys.readouterr().out
    assert main(["promote", *options]) == 1
    printed = capsys.readouterr().out
    assert "Gate: failed against version 2: cost, service, segments, tail" in printed
    assert f"echelon promote model={MODEL} version=3 force=true reason='...'" in printed
    assert main(["rollback", *options]) == 1
    assert "needs a reason" in capsys.readouterr().err
    assert main(["rollback", *options, "reason=stores complain"]) == 0
    assert f"{MODEL} version 1 is @champion again, instead of 2." in capsys.readouterr().out
    assert main(["models", f"tracking.uri={uri}"]) == 0
    table = capsys.readouterr().out
    for text in ("stores complain", "rollback", "spring", "@challenger", "@champion", MODEL):
        assert text in table
    assert main(["models", "tracking.uri=sqlite:///nowhere.db"]) == 1
    assert "there is no model registry" in capsys.readouterr().err


@pytest.mark.parametrize("is_there", [True, False])
def test_a_training_leaves_the_gates_page_whether_or_not_the_registry_answers(
    uri: str, tmp_path: Path, is_there: bool
) -> None:
    """Where it doesn't, the page says why, and the version waits as @challenger."""
    folder, scenario = tmp_path / "run", shop()
    train(folder / "policy", 0.5)
    composed = dataclasses.replace(compose(TrainCommand, ["smoke=true"]), folder=folder)
    config = config_for(uri if is_there else "http://127.0.0.1:9", flush_timeout=60.0)
    if not is_there:
        config = dataclasses.replace(config, flush_timeout=0.5)
    console = Console(file=io.StringIO(), width=200)
    with Tracker(config, folder) as tracker:
        tracker.start("run")
        register_trained(scenario, composed, tracker, console)
    printed = console.file.getvalue()  # type: ignore[attr-defined]
    page = json.loads((folder / "gate.json").read_text())
    if is_there:
        assert f"Registered {MODEL} version 1 as @champion: passed against the tuned" in printed
    else:
        assert "Not registered yet" in printed
        assert "did not answer" in page["checks"][0]["reason"]
        assert resend(folder, config_for(uri)) == 0
    assert page["passed"] is is_there
    ledger = Ledger(model_name(scenario.name), uri)
    (version,) = ledger.versions()
    assert version.aliases == (("challenger", "champion") if is_there else ("challenger",))
    client = MlflowClient(uri)
    assert version.run_id is not None
    assert {f.path for f in client.list_artifacts(version.run_id, "gate")} == {
        "gate/gate.json", "gate/gate.md",
    }  # fmt: skip
    tags = client.get_run(version.run_id).data.tags
    assert tags.get("echelon.gate", "") == version.verdict
