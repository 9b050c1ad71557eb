"""Every YAML composes, every scenario builds, and every mistake is one readable line."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from conf.compose import CommandConfig, compose, compose_runs, help_text
from echelon import COMMANDS, main
from envs.environment.batched_env import BatchedEnv
from envs.errors import EchelonError
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from tests.envs.networks import rows_are_the_stocks
from training.commands.train import TrainCommand
from training.rllib.algorithms import ALGORITHMS

SCENARIOS = sorted(p.stem for p in Path("conf/scenario").glob("*.yaml"))


def command_config(name: str) -> type[CommandConfig]:
    """The dataclass of a registered command."""
    command = COMMANDS[name]
    config: type[CommandConfig] = getattr(importlib.import_module(command.module), command.config)
    return config


def build(*arguments: str) -> Scenario:
    """Build the scenario a command line describes."""
    composed = compose(TrainCommand, list(arguments))
    return build_scenario(composed.command.scenario)


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_runs_at_its_smoke_size(name: str) -> None:
    """The smoke size builds, steps to its horizon and stays finite."""
    scenario = build(f"scenario={name}", "smoke=true")
    assert scenario.name == name
    env = BatchedEnv(scenario, 2)
    env.reset(0)
    truncated = False
    while not truncated:
        observation, reward, truncated = env.step(env.no_action)
        assert np.isfinite(observation).all()
        assert np.isfinite(reward).all()
    assert env.elapsed == scenario.horizon
    rows_are_the_stocks(scenario.network, scenario.compiled)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_composes_and_explains_itself(name: str) -> None:
    """Defaults compose, and --help lists every key of the command's YAML."""
    config = command_config(name)
    composed = compose(config)
    text = help_text(config, "summary", [])
    for key in composed.resolved:
        if key not in ("scenario", "algorithm", "model", "resources", "reward", "tracking"):
            assert f"{key}:" in text
    assert ("scenario=<" in text) == ("scenario" in composed.resolved)


def test_every_algorithm_has_a_yaml_and_none_is_left_over() -> None:
    """`algorithm=NAME` gives the settings that are registered under the name."""
    assert {path.stem for path in Path("conf/algorithm").glob("*.yaml")} == set(ALGORITHMS)
    for name, settings in ALGORITHMS.items():
        composed = compose(TrainCommand, ["scenario=lost_sales", f"algorithm={name}"])
        assert type(composed.command.algorithm) is settings


def test_every_number_of_a_single_node_is_an_override() -> None:
    """The keys that users are promised."""
    scenario = build(
        "scenario=lost_sales",
        "scenario.demand.distribution=geometric",
        "scenario.demand.mean=7",
        "scenario.lead_time=3",
        "scenario.holding_cost=2",
        "scenario.lost_sale_cost=11",
    )
    stock, lane = scenario.network.stocks[0], scenario.network.lanes[0]
    assert stock.demand is not None
    assert stock.demand.mean == pytest.approx(7)
    assert stock.demand.standard_deviation == pytest.approx(np.sqrt(7 + 49))
    assert (lane.lead_time.minimum, stock.holding_cost, stock.lost_sale_cost) == (3, 2, 11)


def test_a_sweep_gives_one_run_per_combination() -> None:
    """key=a,b -m multiplies out."""
    runs = list(
        compose_runs(
            TrainCommand, ["scenario=lost_sales", "seed=1,2", "reward.network_share=0,1", "-m"]
        )
    )
    assert [(r.command.seed, r.command.reward.network_share) for r in runs] == [
        (1, 0), (1, 1), (2, 0), (2, 1),
    ]  # fmt: skip
    assert len({r.folder for r in runs}) == 4


MISTAKES = {
    "unknown scenario": (["scenario=lost_salez"], "lost_sales"),
    "unknown key": (["scenario=lost_sales", "scenario.leadtime=3"], "leadtime"),
    "negative lead time": (["scenario=lost_sales", "scenario.lead_time=-1"], "lead_time is -1"),
    "negative lane lead time": (
        ["scenario=assembly", "scenario.lanes.truck.lead_time=-1"],
        "lanes.truck: lead_time is -1",
    ),
    "lane to a missing node": (
        ["scenario=assembly", "scenario.lanes.truck.node=nowhere"],
        "nowhere",
    ),
    "cyclic bill of materials": (
        ["scenario=assembly", "scenario.lanes.buy_motors.inputs={machine@plant: 1}"],
        "Cyclic bill of materials",
    ),
    "wrong type": (["scenario=lost_sales", "scenario.lead_time=soon"], "scenario.lead_time"),
    "both costs": (["scenario=lost_sales", "scenario.backlog_cost=1"], "exactly one"),
    "unknown distribution": (
        ["scenario=lost_sales", "scenario.demand.distribution=posson"],
        "poisson",
    ),
    "part of a null": (
        [
            "scenario=two_echelon_dc",
            "scenario.transshipment=null",
            "scenario.transshipment.lead_time=1",
        ],
        "null in its YAML",
    ),
    "part of a lane's part": (
        ["scenario=assembly", "scenario.lanes.truck.calendar.cycle=7"],
        "lanes.truck.calendar: calendar has cycle 7 and open []",
    ),
    "unknown key of a lane": (
        ["scenario=assembly", "scenario.lanes.truck.led_time=3"],
        "'led_time' is unknown in lanes.truck. Did you mean 'lead_time'?",
    ),
    "wrong type in a lane": (
        ["scenario=assembly", "scenario.lanes.truck.lead_time=soon"],
        "lanes.truck.lead_time is 'soon'; expected a whole number",
    ),
    "name that YAML takes for a number": (
        ["scenario=assembly", "scenario.lanes.truck.sku=17"],
        "lanes.truck.sku is 17; expected text; put it in quotes",
    ),
    "negative learning rate": (["algorithm.learning_rate=-1"], "learning_rate"),
    "not a key=value": (["fast"], "key=value"),
    "missing run to resume": (["resume=no/such/run"], "no/such/run"),
    "impossible horizon": (["smoke=true", "scenario.horizon=900"], "shorten horizon"),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_readable_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Non-zero exit, one line on stderr that names the trouble, and no run folder left behind."""
    monkeypatch.chdir(tmp_path)
    code = main(["train", *arguments])
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert told in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "outputs").exists()


def test_missing_data_is_one_readable_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the demo extra, the retail scenario says what to install."""
    import envs.scenarios.retail as retail
    from envs.data.grocery_files import load_grocery_demand

    monkeypatch.setattr(
        retail,
        "load_grocery_demand",
        lambda *args, **kwargs: load_grocery_demand(
            *args, **kwargs, folder=Path("/no/such/folder")
        ),
    )
    with pytest.raises(EchelonError, match="/no/such/folder") as caught:
        build("scenario=retail", "smoke=true")
    assert "\n" not in str(caught.value)
