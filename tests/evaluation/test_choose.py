"""The base policy of a network that names none: quickly tuned, told, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from echelon import main
from envs.policies import POLICIES
from evaluation.console import ConsoleProgress, make_console
from evaluation.tuning import choose
from evaluation.tuning.config import ChooseConfig, TuneConfig
from tests.test_network_file import EXAMPLES, built


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer sets and episodes than users get."""
    monkeypatch.setattr(choose, "QUICK", TuneConfig(traces=4, budget=4, seed=1_000_000))
    monkeypatch.setattr(choose, "CHECK", ChooseConfig(traces=8, seed=2_000_000))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_show_plays_what_a_quick_tuning_chose(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It prints budget and costs, and keeps them."""
    run = tmp_path / "run"
    assert main(["show", f"network={path}", "smoke=true", "traces=2", f"out={run}"]) == 0
    record = json.loads((run / "base_policy.json").read_text(encoding="utf-8"))
    chosen = record["base_policy"]
    assert chosen in POLICIES
    assert record["tuning"] == {"traces": 4, "budget": 4, "seed": 1_000_000}
    cost = {name: policy["cost"]["mean"] for name, policy in record["policies"].items()}
    assert len(cost) > 1
    text = " ".join(capsys.readouterr().out.split())
    assert f"Base policy: {chosen}, the best rule of a quick tuning (4 parameter sets" in text
    assert f"{chosen} {cost[chosen]:,.5g}" in text
    assert f"base policy {chosen}" in text
    assert f"{chosen}: 2 traces" in text


def test_a_choice_is_found_again_for_the_same_network_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the file is damaged, it is made again."""
    made = []

    def choice(*_: Any) -> dict[str, Any]:
        made.append(1)
        entry = {"cost": {"mean": 1.0}, "parameters": {"level": {"warehouse": 3.0}}}
        return {"base_policy": "base_stock", "policies": {"base_stock": entry}}

    monkeypatch.setattr(choose, "_choose", choice)
    progress, scenario = ConsoleProgress(make_console()), built(EXAMPLES[1])
    for _ in range(2):
        chosen = choose.choose_base_policy(scenario, tmp_path, progress)
    assert len(made) == 1
    applied = chosen.applied(scenario)
    assert applied.base_policy == "base_stock"
    assert applied.policy_params == {"base_stock": {"level": {"warehouse": 3.0}}}
    choose.choose_base_policy(built(EXAMPLES[1], "scenario.horizon=20"), tmp_path, progress)
    assert len(made) == 2
    (tmp_path / "base_policy.json").write_text("{}", encoding="utf-8")
    choose.choose_base_policy(scenario, tmp_path, progress)
    assert len(made) == 3


def test_a_base_policy_that_is_named_is_kept(tmp_path: Path) -> None:
    """In the file, or on the command line: nothing is tuned."""
    arguments = ["show", f"network={EXAMPLES[1]}", "scenario.base_policy=base_stock"]
    assert main([*arguments, "smoke=true", "traces=2", f"out={tmp_path / 'run'}"]) == 0
    assert not (tmp_path / "run/base_policy.json").exists()
