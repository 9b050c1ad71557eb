"""@champion is the best that was trained, within noise, and never goes to a worse one."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from envs.errors import ArtifactError, ConfigError
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.correction import learned_correction
from evaluation.comparison.compare import compare
from evaluation.comparison.rollout import Competitor
from evaluation.gate.checks import Verdict
from evaluation.gate.ledger import Ledger
from evaluation.gate.promotion import Promotion, promote, rollback
from tests.evaluation.gate.trainings import GATE, MODEL, register, shop, train

# (correction, noise of the weights): what 20 trainings came to, the sabotaged among them.
TRAININGS = [
    (0.0, 0.0),  # a zero correction, the first: not above the rule
    (0.0, 0.0), (-0.2, 0.0),  # a tie, a worse one
    (0.1, 0.0), (0.0, 0.0), (0.1, 0.0), (0.11, 0.0),  # better, zero, the same twice
    (-0.1, 0.3), (-0.5, 0.5), (0.3, 0.0), (0.2, 0.0),  # noise, worse noise, better, a tie
    (0.45, 0.0), (0.3, 0.0), (0.0, 0.0), (0.46, 0.0),  # better, worse, zero, a tie
    (0.5, 0.0), (0.9, 0.0), (1.0, 0.8), (0.55, 0.0), (0.0, 0.0),
]  # fmt: skip


@pytest.mark.nightly
def test_twenty_trainings_some_sabotaged(uri: str, tmp_path: Path) -> None:
    """Judged on 4,000 traces that the gate doesn't play: the alias never goes to a worse one, and
    ends on the best, within noise."""
    folders = [train(tmp_path / str(i), *t) for i, t in enumerate(TRAININGS)]
    holders = []
    for folder in folders:
        holder = promote(MODEL, register(uri, folder), uri, GATE).champion
        assert holder is not None
        holders.append(int(holder))
    costs = true_costs(folders)
    taken = [holder for i, holder in enumerate(holders) if i == 0 or holder != holders[i - 1]]
    assert taken[0] == 1
    assert len(taken) >= 4
    ladder = [costs[holder - 1] for holder in taken]
    assert ladder == sorted(ladder, reverse=True)
    assert costs[holders[-1] - 1] < min(costs) * 1.01
    worse = [i for i, cost in enumerate(costs, 1) if cost > costs[0] * 1.001]
    assert len(worse) >= 2  # there was something to keep out
    assert not {*worse} & {*taken}


def true_costs(folders: list[Path]) -> list[float]:
    """Of each policy, on common traces."""
    scenario = shop()
    policies = [load_artifact(folder).policy.actors for folder in folders]
    competitors = [
        Competitor(
            str(i), "base_stock", scenario.policy_params["base_stock"],
            learned_correction(actors, scenario),
        )
        for i, actors in enumerate(policies)
    ]  # fmt: skip
    played = compare(scenario, competitors, traces=4_000, seed=77)
    return [float(policy.cost.mean) for policy in played.policies]


def test_a_zero_correction_is_a_tie_and_takes_nothing(uri: str, tmp_path: Path) -> None:
    """The first version may be one; the next may not."""
    first = register(uri, train(tmp_path / "one", 0.0))
    assert promote(MODEL, first, uri, GATE).moved
    second = promote(MODEL, register(uri, train(tmp_path / "two", 0.0)), uri, GATE)
    assert not second.moved
    assert second.champion == first
    assert checks_of(second)["cost"] == Verdict.failed


def test_a_first_version_worse_than_the_rule_is_no_champion(uri: str, tmp_path: Path) -> None:
    """Nobody is; later evidence changes nothing of what it cost."""
    done = promote(MODEL, register(uri, train(tmp_path / "one", -0.2)), uri, GATE)
    assert done.champion is None
    assert checks_of(done)["cost"] == Verdict.failed
    assert "cost of the tuned rule" in reasons_of(done)["cost"]


def test_better_with_less_service_is_not_better(uri: str, tmp_path: Path) -> None:
    """The rule orders up to 20, which is too much: less costs less, and serves less."""
    scenario = shop(level=20.0)
    register(uri, train(tmp_path / "one", 0.0, scenario=scenario))
    promote(MODEL, "1", uri, GATE)
    register(uri, train(tmp_path / "two", -0.5, scenario=scenario))
    checks = checks_of(done := promote(MODEL, "2", uri, GATE))
    assert (done.champion, checks["cost"]) == ("1", Verdict.passed)
    assert (checks["service"], checks["segments"]) == (Verdict.failed, Verdict.failed)
    assert "/A: " in reasons_of(done)["service"]


def test_a_target_takes_the_place_of_the_rules_service(uri: str, tmp_path: Path) -> None:
    scenario = shop(level=20.0)
    register(uri, train(tmp_path / "one", -0.5, scenario=scenario))
    assert not promote(MODEL, "1", uri, GATE).moved
    assert promote(MODEL, "1", uri, replace(GATE, target_fill_rate=0.8)).moved


def test_another_network_is_not_compared(uri: str, tmp_path: Path) -> None:
    """Its costs are lower because it sells less."""
    register(uri, train(tmp_path / "one", 0.0))
    promote(MODEL, "1", uri, GATE)
    register(uri, train(tmp_path / "two", 0.5, scenario=shop(mean=2.0)))
    done = promote(MODEL, "2", uri, GATE)
    assert done.champion == "1"
    assert checks_of(done) == {"network": Verdict.failed}
    assert "scenario.name" in reasons_of(done)["network"]


def test_a_champion_whose_files_are_gone_blocks_and_says_so(uri: str, tmp_path: Path) -> None:
    register(uri, train(tmp_path / "one", 0.0))
    promote(MODEL, "1", uri, GATE)
    register(uri, train(tmp_path / "two", 0.5))
    (tmp_path / "one" / "policy.safetensors").write_bytes(b"")
    done = promote(MODEL, "2", uri, GATE)
    assert done.champion == "1"
    assert "force=true" in reasons_of(done)["champion"]
    assert promote(MODEL, "2", uri, GATE, force=True, why="version 1 is broken").moved


def test_who_when_why_are_kept_and_rollback_goes_back(uri: str, tmp_path: Path) -> None:
    """One step back each time; what was rolled back is not gone to again."""
    for name, correction in (("one", 0.0), ("two", 0.3), ("three", 0.5)):
        register(uri, train(tmp_path / name, correction))
        assert promote(MODEL, "challenger", uri, GATE, who="ann").moved
    with pytest.raises(ConfigError, match="needs a reason"):
        rollback(MODEL, uri, why="")
    assert rollback(MODEL, uri, why="stores complain", who="bob").version == "2"
    assert rollback(MODEL, uri, why="still").version == "1"
    with pytest.raises(ConfigError, match="no champion before 1"):
        rollback(MODEL, uri, why="again")
    ledger = Ledger(MODEL, uri)
    assert ledger.champion() == "1"
    moves = ledger.moves()
    assert [(m.before, m.version, m.how) for m in moves] == [
        (None, "1", "gate"), ("1", "2", "gate"), ("2", "3", "gate"),
        ("3", "2", "rollback"), ("2", "1", "rollback"),
    ]  # fmt: skip
    assert [m.who for m in moves[:4]] == ["ann", "ann", "ann", "bob"]
    assert moves[2].why == "passed against version 2"
    assert moves[3].why == "stores complain"
    assert sorted(m.when for m in moves) == [m.when for m in moves]
    tags = MlflowClient(uri).get_model_version(MODEL, "3").tags
    assert tags["echelon.gate"] == "passed against version 2"
    assert tags["echelon.gate.cost"].startswith("pass: ")
    assert promote(MODEL, "3", uri, GATE).moved  # by the gate, again


def test_force_needs_a_reason_and_a_policy_that_loads(uri: str, tmp_path: Path) -> None:
    register(uri, train(tmp_path / "one", -0.5))
    with pytest.raises(ConfigError, match="force=true needs a reason"):
        promote(MODEL, "1", uri, GATE, force=True)
    assert promote(MODEL, "1", uri, GATE, force=True, why="a trial").decision is None
    with pytest.raises(ConfigError, match="the champion already"):
        promote(MODEL, "1", uri, GATE, force=True, why="a trial")
    register(uri, train(tmp_path / "two", 0.5))
    (tmp_path / "two" / "policy.safetensors").write_bytes(b"")
    with pytest.raises(ArtifactError, match="SHA-256"):
        promote(MODEL, "2", uri, GATE, force=True, why="a trial")
    assert Ledger(MODEL, uri).champion() == "1"


@pytest.mark.parametrize(
    ("model", "version", "message"),
    [("other", "1", "no model is registered as other"), (MODEL, "7", "has no version 7")],
)
def test_what_is_not_there_is_named(
    uri: str, tmp_path: Path, model: str, version: str, message: str
) -> None:
    register(uri, train(tmp_path / "one", 0.0))
    with pytest.raises(ArtifactError, match=message):
        promote(model, version, uri, GATE)


@pytest.mark.parametrize("better", ["1", "2"])
def test_two_that_end_at_once_leave_the_better_one(
    uri: str, tmp_path: Path, better: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both judged against nobody, and write their moves down only when the other has judged."""
    for version in ("1", "2"):
        register(uri, train(tmp_path / version, 0.5 if version == better else 0.1))
    both, write = threading.Barrier(2, timeout=60), Ledger.write
    first = threading.local()

    def wait_and_write(ledger: Ledger, *arguments: object) -> object:
        if not hasattr(first, "done"):
            first.done = True
            both.wait()
        return write(ledger, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "write", wait_and_write)
    threads = [threading.Thread(target=promote, args=(MODEL, v, uri, GATE)) for v in ("1", "2")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert Ledger(MODEL, uri).champion() == better


def checks_of(done: Promotion) -> dict[str, Verdict]:
    assert done.decision is not None
    return {c.name: c.verdict for c in done.decision.checks if c.verdict != Verdict.no_evidence}


def reasons_of(done: Promotion) -> dict[str, str]:
    assert done.decision is not None
    return {check.name: check.reason for check in done.decision.checks}
