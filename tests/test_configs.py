"""Every YAML composes, every scenario builds, and every mistake is one readable line."""

from __future__ import annotations

import dataclasses
import importlib
import typing
from collections.abc import Iterator, Mapping
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import yaml

from conf.compose import CommandConfig, compose, compose_runs
from conf.help import help_text
from echelon import COMMANDS, main
from envs.environment.batched_env import BatchedEnv
from envs.errors import EchelonError
from envs.scenario import Scenario
from envs.scenarios import BUILDERS, ScenarioConfig, build_scenario
from envs.scenarios.stored import StoredConfig
from evaluation.commands.evaluate import EvaluateCommand
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


def keys_of(values: Mapping[str, Any], typed: Any) -> Iterator[str]:
    """All keys, nested ones too; of named entries such as lanes, those of the first."""
    entries = isinstance(typed, Mapping) and all(is_dataclass(entry) for entry in typed.values())
    for key, value in list(values.items())[: 1 if entries else None]:
        yield key
        if isinstance(value, Mapping):
            inner = typed.get(key) if isinstance(typed, Mapping) else getattr(typed, key, None)
            yield from keys_of(value, inner)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_key_with_its_value(name: str) -> None:
    """In the order of the configuration, those of the groups included."""
    config = command_config(name)
    composed = compose(config)
    lines = iter(help_text(config, COMMANDS[name].summary).splitlines())
    for key in keys_of(composed.resolved, composed.command):
        assert any(line.lstrip().startswith(f"{key}:") for line in lines), key


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["algorithm=impala"], "# IMPALA (Espeholt et al. 2018)"),
        (["scenario=disruption_stress"], "  # Learned policies come from there."),
        (["reward=service_first"], "  # Share of units to be served from stock at once."),
        (["reward=cvar"], "  # Share of the cost of every pair below"),
        (["scenario=serial"], "  # periods of demand that agents see one by one"),
    ],
)
def test_help_shows_what_is_chosen_with_its_comments(arguments: list[str], expected: str) -> None:
    """Comments of the chosen file, and of those it is based on."""
    text = help_text(TrainCommand, "", arguments)
    assert expected in text
    for argument in arguments:
        assert f"shown: {argument.split('=')[1]}\n" in text


def test_every_algorithm_has_a_yaml_and_none_is_left_over() -> None:
    """`algorithm=NAME` gives the settings that are registered under the name."""
    assert {path.stem for path in Path("conf/algorithm").glob("*.yaml")} == set(ALGORITHMS)
    for name, settings in ALGORITHMS.items():
        composed = compose(TrainCommand, ["scenario=lost_sales", f"algorithm={name}"])
        assert type(composed.command.algorithm) is settings


def sections(cls: type) -> Iterator[type]:
    """A dataclass and those in its fields, groups' own ones aside."""
    yield cls
    for hint in typing.get_type_hints(cls).values():
        for part in (hint, *typing.get_args(hint)):
            if is_dataclass(part) and not issubclass(cast(type, part), ScenarioConfig):
                yield from sections(cast(type, part))


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether the class says a value."""
    return default_of(field) is not dataclasses.MISSING


def default_of(field: dataclasses.Field[Any]) -> Any:
    """The value that the class says, MISSING where it says none."""
    made = field.default_factory
    return field.default if made is dataclasses.MISSING else made()


@pytest.mark.parametrize("name", COMMANDS)
def test_values_live_in_yaml_alone(name: str) -> None:
    """The classes of a command, its sections and its groups have no defaults of their own."""
    config = command_config(name)
    groups = [cls for classes in config.groups.values() for cls in classes.values()]
    chosen = {"scenario"}  # null in YAML where it is not asked for
    for cls in {part for top in (config, *groups) for part in sections(top)}:
        for field in dataclasses.fields(cls):
            assert field.name in chosen or not has_default(field), f"{cls.__name__}.{field.name}"


def stated(cls: type, values: Mapping[str, Any]) -> Iterator[tuple[type, set[str]]]:
    """What a YAML states of a class, and of the classes of its sections and entries."""
    yield cls, set(values)
    hints = typing.get_type_hints(cls)
    for key, value in values.items():
        parts = [c for c in (hints[key], *typing.get_args(hints[key])) if is_dataclass(c)]
        if parts and isinstance(value, Mapping):
            entries = typing.get_origin(hints[key]) is dict
            for entry in value.values() if entries else [value]:
                yield from stated(cast(type, parts[0]), entry)


def test_what_every_scenario_of_a_kind_states_has_no_default() -> None:
    """Plain values stand in the class only for what a YAML may leave out; see conf/compose.py."""
    found: dict[type, list[set[str]]] = {}
    for path in Path("conf/scenario").glob("*.yaml"):
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        base = values.pop("defaults")[0]
        if base.startswith("schema_"):  # others are based on one of these
            for cls, keys in stated(BUILDERS[base.removeprefix("schema_")][0], values):
                found.setdefault(cls, []).append(keys)
                if issubclass(cls, ScenarioConfig):
                    found.setdefault(ScenarioConfig, []).append(keys)
    shared = {f.name: default_of(f) for f in dataclasses.fields(ScenarioConfig)}
    written_by_programs = {StoredConfig}
    assert set(found) >= {cls for cls, _ in BUILDERS.values()} - written_by_programs
    for cls, stated_by in found.items():
        own = set(shared) if issubclass(cls, ScenarioConfig) else set()
        if cls is ScenarioConfig:
            own = {name for name, default in shared.items() if not default}  # none, off, empty
        for field in dataclasses.fields(cls):
            if field.name not in own and has_default(field):
                assert not all(field.name in keys for keys in stated_by), (cls, field.name)


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
    "unknown scenario": (["scenario=lost_salez"], "Did you mean 'lost_sales'?"),
    "unknown algorithm": (["algorithm=pathwse"], "Did you mean 'pathwise'?"),
    "unknown reward": (["reward=cost s"], "reward 'cost s' is unknown. Did you mean 'cost'?"),
    "unknown key": (
        ["scenario=lost_sales", "scenario.leadtime=3"],
        "no 'leadtime' in 'scenario'. Did you mean 'lead_time'?",
    ),
    "unknown group": (["scenari=serial"], "no 'scenari'. Did you mean 'scenario'?"),
    "unknown first part": (["resuorces.threads=1"], "Did you mean 'resources'?"),
    "unknown key of an entry": (
        ["scenario=assembly", "scenario.lanes.truck.leadtime=3"],
        "'leadtime' is unknown in lanes.truck. Did you mean 'lead_time'?",
    ),
    "unknown entry's part": (["tracking.urn=x"], "no 'urn' in 'tracking'. Did you mean 'uri'?"),
    "unknown enum value": (["scenario.action_space=residul"], "Did you mean 'residual'?"),
    "several values without -m": (
        ["seed=1,2"],
        "To run once with each value, add -m.",
    ),
    "unknown device": (["resources.device=cdua"], "Did you mean 'cuda'?"),
    "a mapping that can't be read": (["scenario.events={a #1: {}}"], "can't be read"),
    "unknown key with an accent": (
        ["scenario=assembly", "scenario.lanes.trück.lead_time=3"],
        "no 'trück' in 'scenario.lanes'. Did you mean 'truck'?",
    ),
    "unknown key in a named mapping": (
        ["scenario.events={Zürich: {lane: [x]}}"],
        "Key 'lane' not in 'EventConfig' (key: scenario.events.Zürich.lane)",
    ),
    "unknown key to add": (["+scenario.lanez=3"], "'lanez'; + adds to mappings"),
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
        "distribution 'posson' is unknown. Did you mean 'poisson'?",
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


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_readable_line(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """Non-zero exit, one line on stderr that names the trouble, and no run folder left behind."""
    monkeypatch.chdir(tmp_path)
    code = main(["train", *arguments])
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert expected in error
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


def test_the_configuration_is_kept_without_credentials(tmp_path: Path) -> None:
    """config.yaml is what people pass around."""
    uri = "tracking.uri=http://ann:s3cret@tracking.example:5000"
    composed = compose(EvaluateCommand, ["scenario=serial", uri, f"out={tmp_path / 'run'}"])
    composed.write()
    text = (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")
    assert "http://***@tracking.example:5000" in text
    assert "s3cret" not in text
    assert composed.command.tracking.uri.startswith("http://ann:s3cret@")
