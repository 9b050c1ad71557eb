"""The base policy of a network that names none: quickly tuned, told, and kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from echelon import main
from envs.policies import POLICIES
from evaluation.tuning import choose
from evaluation.tuning.config import ChooseConfig, TuneConfig
from tests.test_network_file import EXAMPLES


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fewer sets and episodes than users get."""
    monkeypatch.setattr(choose, "QUICK", TuneConfig(traces=4, budget=4, seed=1_000_000))
    monkeypatch.setattr(choose, "CHECK", ChooseConfig(traces=8, seed=2_000_000))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_show_plays_what_a_quick_tuning_chose(
    path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It prints budget and costs, keeps them, and finds them again for the same network alone."""
    arguments = ["show", f"network={path}", "smoke=true", "traces=2", f"out={tmp_path / 'run'}"]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "run/base_policy.json").read_text(encoding="utf-8"))
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

    tuned = []
    monkeypatch.setattr(choose, "_choose", lambda *_: tuned.append(1) or record)
    assert main(arguments) == 0
    assert not tuned
    assert main([*arguments, "scenario.horizon=20"]) == 0
    assert tuned


def test_a_base_policy_that_is_named_is_kept(tmp_path: Path) -> None:
    """In the file, or on the command line: nothing is tuned."""
    arguments = ["show", f"network={EXAMPLES[1]}", "scenario.base_policy=base_stock"]
    assert main([*arguments, "smoke=true", "traces=2", f"out={tmp_path / 'run'}"]) == 0
    assert not (tmp_path / "run/base_policy.json").exists()
