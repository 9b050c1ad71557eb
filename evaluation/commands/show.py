"""`echelon show`: what a scenario is, as tables and pictures, and one run of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from conf.compose import Composed, ScenarioCommand, compose_runs
from envs.errors import ConfigError
from envs.policies import policy_class
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from evaluation.comparison.plots import save_figure
from evaluation.comparison.rollout import Competitor, play, record_timeline
from evaluation.comparison.units import in_words
from evaluation.console import ConsoleProgress, make_console
from evaluation.show.network_plot import draw_network, kind_colours
from evaluation.show.run_plot import draw_run
from evaluation.show.tables import figures_table, headline, network_tables
from evaluation.tuning.choose import choose_base_policy


@dataclass(frozen=True)
class ShowCommand(ScenarioCommand):
    """`echelon show`. policy: None for the scenario's base policy."""

    name: ClassVar = "show"
    policy: str | None
    policy_params: dict[str, Any]
    traces: int
    seed: int
    split: str
    out: str | None


def show(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    for composed in compose_runs(ShowCommand, argv):
        _run(composed)
    return 0


def _run(composed: Composed[ShowCommand]) -> None:
    command, console = composed.command, make_console()
    if command.traces < 1:
        raise ConfigError(f"traces is {command.traces}; expected at least one.")
    scenario = build_scenario(command.scenario)
    if command.policy is None and command.scenario.base_policy is None:
        with ConsoleProgress(console) as progress:
            chosen = choose_base_policy(scenario, composed.folder, progress)
        scenario = chosen.applied(scenario)
    competitor = _competitor(scenario, command)
    for line in (headline(scenario), f"{in_words(scenario)}."):
        console.print(line, highlight=False, soft_wrap=True)
    for table in network_tables(scenario):
        console.print(table)
    policy = competitor.build(scenario)
    kpis = play(scenario, policy, traces=command.traces, seed=command.seed, split=command.split)
    console.print(figures_table(scenario, competitor.name, kpis))
    composed.write()
    net, folder = scenario.compiled, composed.folder
    save_figure(draw_network(net, headline(scenario)), folder / "network.png")
    run = record_timeline(scenario, competitor, command.seed, command.split)
    title = f"{scenario.name}, {competitor.name}, trace 0 of seed {command.seed}"
    save_figure(draw_run(scenario, run, kind_colours(net), title), folder / "run.png")
    console.print(f"Wrote network.png and run.png to {folder}.", highlight=False, soft_wrap=True)


def _competitor(scenario: Scenario, command: ShowCommand) -> Competitor:
    """The given policy, or the scenario's own; parameters not given have textbook values."""
    name = command.policy or scenario.base_policy
    policy_class(name)  # an unknown name fails with the known ones
    return Competitor(name, name, command.policy_params or scenario.policy_params.get(name, {}))
