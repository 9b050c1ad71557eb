"""`echelon show`: tables that tell what there is, pictures with everything in its place."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from numpy.typing import NDArray
from rich.console import Console

from conf.compose import compose
from echelon import main
from envs.compiled.network import CompiledNetwork, compile_network
from envs.network.generate import generate_network
from envs.network.generate_config import GenerateConfig
from envs.network.network import Node, SupplyNetwork
from envs.network.regime import MarkovChain, Regime, RegimeState
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.comparison.rollout import Competitor, Timeline, play, record_timeline
from evaluation.comparison.units import in_words
from evaluation.show.network_plot import OUTSIDE, connect, draw_network, kind_colours
from evaluation.show.run_plot import draw_run
from evaluation.show.tables import figures_table, network_tables
from tests.envs.networks import map_config
from training.commands.train import TrainCommand

SCENARIOS = sorted(p.stem for p in Path("conf/scenario").glob("*.yaml"))


def built(name: str, *arguments: str) -> Scenario:
    """A scenario that ships, at its smoke size."""
    composed = compose(TrainCommand, [f"scenario={name}", "smoke=true", *arguments])
    return build_scenario(composed.command.scenario)


def test_the_command_tells_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 0; the tables name kinds, modes, suppliers, heads and figures; two pictures appear."""
    arguments = ["scenario=scale_1000", "smoke=true", "traces=2", f"out={tmp_path}"]
    assert main(["show", *arguments]) == 0
    printed = capsys.readouterr().out
    for word in (
        "19 nodes", "51 stocked pairs", "warehouse", "share_0", "outside > plant", "expedite",
        "supplier_1", "degraded", "never", "forecast_base_stock", "fill rate", "otif inbound",
    ):  # fmt: skip
        assert word in printed
    for name in ("network.png", "run.png"):
        picture = imread(tmp_path / name)
        drawn = (picture[:, :, :3] < 0.9).any(axis=2).mean()
        assert min(picture.shape[:2]) > 300
        assert 0.01 < drawn < 0.6  # neither blank nor black


def test_another_policy_can_be_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With its own parameters; an unknown one is one line."""
    arguments = ["show", "scenario=lost_sales", "smoke=true", "traces=2", f"out={tmp_path}"]
    level = "policy_params.level=30"
    assert main([*arguments, "policy=base_stock", level]) == 0
    assert "base_stock: 2 traces of 40" in capsys.readouterr().out
    assert main([*arguments, "policy=base_stok"]) == 1
    assert "Did you mean 'base_stock'?" in capsys.readouterr().err
    assert main([*arguments, "traces=0"]) == 1
    assert "traces is 0" in capsys.readouterr().err


@pytest.mark.parametrize("name", SCENARIOS)
def test_every_scenario_can_be_told(name: str) -> None:
    """All nodes, lanes, resources and regimes are in the tables."""
    scenario = built(name)
    network, text = scenario.network, ""
    for table in network_tables(scenario):
        console = Console(width=200, file=io.StringIO(), record=True)
        console.print(table)
        text += console.export_text()
    for word in {n.kind for n in network.nodes} | {lane.mode for lane in network.lanes}:
        assert word in text
    for word in [r.id for r in network.resources[:12]] + [r.id for r in network.regimes[:12]]:
        assert word in text


def test_connections_carry_what_the_base_shares_send() -> None:
    """Flows of all SKUs add up to demand; suppliers are where their lanes begin."""
    net = compile_network(generate_network(map_config(modes=["truck", "air"])))
    links = connect(net)
    demand = net.demand.customer_mean.sum()
    assert {c.source for c in links if c.target == "plant_1"} == {"supplier_1", "supplier_2"}
    for kind in ("plant", "warehouse", "store"):
        flow = sum(c.flow for c in links if c.target.startswith(kind))
        assert flow == pytest.approx(demand)
    assert all(c.flow == 0.0 for c in links if c.mode == "air")
    assert sum(c.lanes for c in links) == len(net.network.lanes)


def test_columns_run_from_the_outside_to_customers() -> None:
    """The beer game, written from the retailer up, is drawn from the outside down."""
    places = named(draw_network(built("beer_game").compiled, "beer"))
    order = [OUTSIDE, "factory", "distributor", "wholesaler", "retailer"]
    assert sorted(places, key=lambda name: places[name][0]) == order


def test_neighbours_that_help_each_other_share_a_column() -> None:
    """Transshipment doesn't make one warehouse come before the other."""
    places = named(draw_network(without_map(map_config()), "columns"))
    assert places["warehouse_1"][0] == places["warehouse_2"][0]
    columns = [places[f"{kind}_1"][0] for kind in ("supplier", "plant", "warehouse", "store")]
    assert columns == sorted(columns)


def test_a_map_keeps_positions() -> None:
    """Nodes are where they are; the outside is put beside the map only where it is needed."""
    network = generate_network(map_config())
    places = named(draw_network(compile_network(network), "map"))
    for node in network.nodes:
        assert places[node.id] == node.position
    assert OUTSIDE not in places
    nameless = tuple(n for n in network.nodes if n.kind != "supplier")
    places = named(draw_network(compile_network(replace(network, nodes=nameless)), "map"))
    assert places[OUTSIDE][0] < min(n.position[0] for n in nameless if n.position)


def test_a_large_network_without_a_map_is_drawn_by_kind() -> None:
    """A dot per kind, with its count."""
    places = named(draw_network(without_map(map_config(stores=300, skus=1)), "kinds"))
    assert set(places) == {"2 x supplier", "1 x plant", "2 x warehouse", "300 x store"}


def without_map(config: GenerateConfig) -> CompiledNetwork:
    network: SupplyNetwork = generate_network(config)
    return compile_network(replace(network, nodes=tuple(Node(n.id, n.kind) for n in network.nodes)))


def named(figure: Figure) -> dict[str, tuple[float, float]]:
    """Where the names stand: what, and the place that it belongs to."""
    return {text.get_text(): text.xy for text in figure.axes[0].texts}  # type: ignore[attr-defined]


def test_a_run_shows_who_waits_and_what_struck() -> None:
    """A row per regime, shading while it isn't as usual, bars for lost sales."""
    scenario = built("scale_1000")
    run = record_timeline(scenario, Competitor("base", scenario.base_policy), 3)
    assert run.regimes.shape == (40, 2)
    figure = draw_run(scenario, run, kind_colours(scenario.compiled), "run")
    labels = [label.get_text() for axis in figure.axes for label in axis.get_yticklabels()]
    assert labels[-2:] == [r.id for r in scenario.network.regimes]
    assert run.lost.sum() > 0
    assert run.waiting.sum() == 0  # nobody waits here


def test_regimes_need_not_have_the_same_states() -> None:
    """Two states, three, and a market that is usual in its second one: the colour tells."""
    up, down = RegimeState("up"), RegimeState("down", availability=0.0)
    slow, low = RegimeState("slow", lead_time=2.0), RegimeState("low", demand=0.5)
    even, third = MarkovChain(((0.5, 0.5),) * 2), MarkovChain(((1 / 3,) * 3,) * 3)
    regimes = (
        Regime("supplier", (up, slow, down), third),
        Regime("market", (low, RegimeState("normal")), even),
    )
    states = np.array([[0, 1], [1, 0], [2, 1], [0, 0]])
    figure = draw_run(*flat_run(regimes, states), {"store": "red"}, "run")
    (picture,) = figure.axes[-1].images
    usual = [[0, 1, 1, 0], [0, 1, 0, 1]]  # 1: struck
    assert len(set(np.asarray(picture.get_array())[np.array(usual) == 1].tolist())) == 3
    shaded = [a for a in figure.axes[0].patches]
    assert len(shaded) == 2  # periods 1, and 2 to 3: two regimes, then one and one


def flat_run(regimes: tuple[Regime, ...], states: NDArray[np.int64]) -> tuple[Scenario, Timeline]:
    """A shop where nothing happens but regimes. states [T, G]."""
    shop = built("lost_sales")
    flat = np.ones(len(states))
    run = Timeline({"store": flat}, {"store": flat}, flat, 0 * flat, 0 * flat, states, 0)
    return replace(shop, network=replace(shop.network, regimes=regimes)), run


@pytest.mark.parametrize(
    ("period", "start", "first", "periods", "ticks"),
    [
        ("day", "2024-02-28", 1, 4, {1: "Fri 1 Mar", 2: "Sat 2 Mar", 3: "Sun 3 Mar"}),
        ("day", "2024-01-01", 2, 20, {5: "8 Jan", 12: "15 Jan", 19: "22 Jan"}),
        ("shift", "2024-01-01", 2, 8, {1: "Tue 2 Jan", 4: "Wed 3 Jan", 7: "Thu 4 Jan"}),
        (
            "week", "2024-01-01", 0, 26,
            {5: "Feb 2024", 9: "Mar 2024", 13: "Apr 2024", 18: "May 2024", 22: "Jun 2024"},
        ),
        (
            "day", "2024-01-01", 0, 5000,
            {366: "2025", 1096: "2027", 1827: "2029", 2557: "2031", 3288: "2033", 4018: "2035",
             4749: "2037"},
        ),
        ("month", "2024-03-31", 0, 1, {0: "Sun 31 Mar"}),
    ],
)  # fmt: skip
def test_periods_of_a_plot_are_dates(
    period: str, start: str, first: int, periods: int, ticks: dict[int, str]
) -> None:
    """Of days, weeks, months, years: as fine as there is room for; without a date, numbers."""
    scenario, run = flat_run((), np.zeros((periods, 0), np.int64))
    axis = draw_run(scenario, run, {}, "run").axes[-1]
    assert axis.get_xlabel() == "day, after the warm-up"
    dated = replace(scenario, start_date=start, period_name=period)
    axis = draw_run(dated, replace(run, first=first), {}, "run").axes[-1]
    begins = dated.date_of(first)
    assert axis.get_xlabel() == f"{period}, after the warm-up, from {begins:%a} {begins}"
    names = [label.get_text() for label in axis.get_xticklabels()]
    assert dict(zip(axis.get_xticks().tolist(), names, strict=True)) == ticks


def test_what_moves_demand_is_told() -> None:
    """In the row of the nodes whose customers it is."""
    year = ",".join(["1"] * 6 + ["2"] * 6)
    moves = [
        "scenario.demand.weekday=[1,1,1,1,1,2,0]", f"scenario.demand.yearly=[{year}]",
        "scenario.demand.trend=0.05",
    ]  # fmt: skip
    for arguments, told in (([], ""), (moves[:1], "weekday"), (moves, "weekday, month, trend")):
        nodes = network_tables(built("lost_sales", *arguments))[0]
        [column] = [column for column in nodes.columns if column.header == "moves by"]
        assert [*column.cells] == [told]


def test_a_run_knows_its_calendar_periods() -> None:
    """From where its trace began, past the warm-up."""
    scenario = replace(built("lost_sales"), warm_up=5)
    competitor = Competitor("it", "base_stock")
    assert record_timeline(scenario, competitor, 0).first == 5


def test_key_figures_have_units() -> None:
    """In the scenario's currency and periods."""
    scenario = built("lost_sales", "scenario.currency=USD", "scenario.period_name=week")
    policy = Competitor("it", "base_stock").build(scenario)
    table = figures_table(scenario, "it", play(scenario, policy, traces=2, seed=0))
    names, _, units = ([*column.cells] for column in table.columns)
    unit = dict(zip(names, units, strict=True))
    assert all(unit.values())
    assert unit["cost"] == unit["  holding"] == unit["cvar90 cost"] == "USD per week"
    assert unit["fill rate"] == "%"
    assert (unit["weeks of supply"], unit["turns"]) == ("weeks", "a year")
    assert unit["lost sales"] == "units per week"
    assert in_words(scenario) == "Costs in USD per week"
    dated = built("lost_sales", "scenario.currency=USD", "scenario.period_name=week",
                  "scenario.start_date=2024-01-03")  # fmt: skip
    assert in_words(dated) == "Costs in USD per week; week 0 is Wednesday 2024-01-03"


def test_many_regimes_become_one_curve() -> None:
    """How many of them strike; 40 rows would be too many."""
    states = (RegimeState("up"), RegimeState("down", availability=0.0))
    moves = MarkovChain(((0.9, 0.1), (0.5, 0.5)))
    regimes = tuple(Regime(f"regime {i}", states, moves) for i in range(40))
    scenario, run = flat_run(regimes, np.ones((12, 40), np.int64))
    figure = draw_run(scenario, run, {"store": "red"}, "run")
    assert figure.axes[-1].get_ylabel() == "of 40\nregimes struck"
    assert figure.axes[-1].dataLim.y1 == 40
