"""network=FILE: a scenario of every command, read from YAML or an exported policy's network."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from conf.compose import CommandConfig, compose
from conf.network_file import scenario_from_file
from echelon import COMMANDS, main
from envs.errors import EchelonError
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import network_hash, same_network, scenario_to_plain
from evaluation.commands.show import ShowCommand
from tests.test_configs import command_config

EXAMPLES = sorted((Path(__file__).parents[1] / "docs/how_to/your_network").glob("*.yaml"))
ON_A_NETWORK = [
    name for name in COMMANDS if "scenario" in {f.name for f in fields(command_config(name))}
]
TEA = """
nodes: {shop: store}
skus: {tea: {}}
stocks:
  tea:
    node: shop
    sku: tea
    holding_cost: 1
    backlog_cost: 9
    demand: {distribution: poisson, mean: 5}
lanes:
  buy: {node: shop, sku: tea, lead_time: 2}
"""


def built(path: Path, *overrides: str) -> Scenario:
    """The scenario that a command gets of a file."""
    composed = compose(ShowCommand, [f"network={path}", *overrides])
    return build_scenario(composed.command.scenario)


@pytest.fixture
def tea(tmp_path: Path) -> Path:
    """A network file that says no more than it has to."""
    path = tmp_path / "tea.yaml"
    path.write_text(TEA, encoding="utf-8")
    return path


def test_every_command_on_a_scenario_takes_a_file() -> None:
    """And those alone; `sweep` hands it on to `train`."""
    assert set(ON_A_NETWORK) == {
        "bound", "evaluate", "recommend", "replay", "serve", "show", "train", "tune",
    }  # fmt: skip


@pytest.mark.parametrize("name", ON_A_NETWORK)
def test_the_file_is_the_command_s_scenario(name: str, tea: Path) -> None:
    """Under its name, with what it leaves out from one YAML; kept whole in the configuration."""
    schema: type[CommandConfig] = command_config(name)
    composed = compose(schema, [f"network={tea}", "scenario.horizon=50"])
    command: Any = composed.command
    config = command.scenario
    assert (config.name, config.file, config.base_policy) == ("tea", str(tea), None)
    assert (config.horizon, config.warm_up) == (50, 20)
    assert composed.resolved["network"] == str(tea)
    assert composed.resolved["scenario"]["lanes"] == config.lanes
    scenario = build_scenario(config)
    assert [stock.label for stock in scenario.network.stocks] == ["tea@shop"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_build(path: Path) -> None:
    """Each with customers, and named as its file."""
    scenario = built(path)
    assert scenario.name == path.stem
    assert any(stock.demand is not None for stock in scenario.network.stocks)


def test_there_are_three_examples() -> None:
    """Those that the page names."""
    assert [path.stem for path in EXAMPLES] == ["bakery", "distributor", "plant"]


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """Values of any depth; what an alias shares stays as it is elsewhere."""
    path = tmp_path / "two.yaml"
    lanes = "lanes:\n  buy: &buy {node: shop, sku: tea, lead_time: 2}\n  again: *buy\n"
    path.write_text(TEA[: TEA.index("lanes:")] + lanes, encoding="utf-8")
    scenario = built(
        path,
        "scenario.lanes.buy.lead_time=4",
        "scenario.base_policy=base_stock",
        "scenario.policy_params.base_stock.level={store: 30}",
        "scenario.timing={demand: first}",
        "scenario.name=0017",
    )
    assert [lane.lead_time.minimum for lane in scenario.network.lanes] == [4, 2]
    assert scenario.policy_params == {"base_stock": {"level": {"store": 30}}}
    assert (scenario.name, scenario.base_policy) == ("0017", "base_stock")
    assert scenario.network.timing.demand == "first"


def test_smoke_takes_the_smaller_size(tea: Path) -> None:
    """The file's, else the common one; what is given stands."""
    assert built(tea, "smoke=true").horizon == 30
    tea.write_text(TEA + "smoke: {horizon: 7}\n", encoding="utf-8")
    scenario = built(tea, "smoke=true")
    assert (scenario.horizon, scenario.warm_up) == (7, 20)
    assert built(tea, "smoke=true", "scenario.horizon=9").horizon == 9


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_what_an_export_wrote_is_read_again(path: Path, tmp_path: Path) -> None:
    """The network.json of a policy gives the same scenario; keys of it can be overridden."""
    scenario = built(path, "scenario.base_policy=base_stock", "scenario.memory=3")
    stored = tmp_path / "network.json"
    stored.write_text(json.dumps(scenario_to_plain(scenario)), encoding="utf-8")
    again = built(stored)
    assert network_hash(again) == network_hash(scenario)
    longer = built(stored, "scenario.horizon=77")
    assert longer.horizon == 77
    assert same_network(longer, scenario)
    assert not same_network(built(path, "scenario.timing.demand=first"), scenario)


def test_json_of_the_yaml_s_form_is_yaml(tea: Path, tmp_path: Path) -> None:
    """For those whose systems write JSON."""
    written = scenario_from_file(tea)
    parts = ("nodes", "skus", "stocks", "lanes")
    path = tmp_path / "tea.json"
    path.write_text(json.dumps({part: getattr(written, part) for part in parts}), "utf-8")
    assert same_network(built(path), built(tea))


def test_text_of_a_file_resolves_to_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the configuration that is kept, either."""
    monkeypatch.setenv("PLANTED", "s3cret")
    path = tmp_path / "tea.yaml"
    path.write_text(TEA.replace("tea", '"${oc.env:PLANTED}"') + 'name: "${"\n', encoding="utf-8")
    composed = compose(ShowCommand, [f"network={path}", f"out={tmp_path / 'run'}"])
    network = build_scenario(composed.command.scenario).network
    assert network.skus[0].id == "${oc.env:PLANTED}"
    composed.write()
    text = (tmp_path / "run/config.yaml").read_text(encoding="utf-8")
    assert "${oc.env:PLANTED}" in text
    assert "s3cret" not in text


MISTAKES = {
    "no such file": (["network=no.yaml"], "no.yaml: no such file"),
    "two networks": (["network=tea.yaml", "scenario=serial"], "both are given"),
    "an unknown key": (["network=tea.yaml", "scenario.lanez.x=1"], "Did you mean 'lanes'?"),
    "an unknown key of a lane": (
        ["network=tea.yaml", "scenario.lanes.buy.leadtime=3"],
        "tea.yaml: 'leadtime' is unknown in lanes.buy. Did you mean 'lead_time'?",
    ),
    "no number": (["network=tea.yaml", "scenario.horizon=1_0"], "tea.yaml: horizon is '1_0'"),
    "a part of a value": (
        ["network=tea.yaml", "scenario.nodes.shop.review=3"],
        "'nodes.shop' is 'store' in tea.yaml; expected keys and values",
    ),
    "removal": (["network=tea.yaml", "~scenario.lanes.buy=null"], "can't be removed"),
    "a name with folders": (["network=tea.yaml", "scenario.name=../x"], "name is '../x'"),
    "what a builder refuses": (
        ["network=tea.yaml", "scenario.lanes.buy.lead_time=-1"],
        "tea.yaml: lanes.buy: lead_time is -1",
    ),
    "broken JSON": (["network=broken.json"], "broken.json: no JSON"),
    "deep JSON": (["network=deep.json"], "deep.json: no JSON"),
    "another version": (["network=old.json"], "old.json: format_version isn't"),
    "JSON with a hole": (["network=hole.json"], "hole.json: 'network' is missing"),
}


@pytest.mark.parametrize(("arguments", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line(
    arguments: list[str], told: str, tea: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """It names the file, and nothing is left behind."""
    written = {
        "broken.json": "{",
        "deep.json": "[" * 100_000,
        "old.json": '{"format_version": 1}',
        "hole.json": '{"format_version": 4, "period_name": "day", "currency": "EUR"}',
    }
    for name, text in written.items():
        (tea.parent / name).write_text(text, encoding="utf-8")
    monkeypatch.chdir(tea.parent)
    before = set(tea.parent.iterdir())
    assert main(["show", *arguments]) == 1
    error = capsys.readouterr().err.strip()
    assert told in error
    assert len(error.splitlines()) == 1
    assert set(tea.parent.iterdir()) == before


def test_demand_that_an_export_does_not_hold_is_refused(tmp_path: Path) -> None:
    """Replayed histories come back as zeros: nothing is to be planned on them."""
    demand = "demand: {distribution: history, history: [3, 4, 5]}"
    path = tmp_path / "tea.yaml"
    text = TEA.replace("demand: {distribution: poisson, mean: 5}", demand)
    path.write_text(text, encoding="utf-8")
    stored = tmp_path / "network.json"
    stored.write_text(json.dumps(scenario_to_plain(built(path))), encoding="utf-8")
    with pytest.raises(EchelonError, match=r"network\.json: demand of 'tea@shop' was replayed"):
        built(stored)
