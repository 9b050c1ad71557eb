"""`echelon doctor`: whether a long job would find what it needs, before hours are spent."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.table import Table

from conf.compose import CommandConfig, compose
from envs.errors import ClusterError, ConfigError, EchelonError, shown
from evaluation.console import ConsoleProgress, make_console
from evaluation.files.storage import open_storage
from evaluation.tracking.config import TrackingConfig
from evaluation.workers import prepare_ray


@dataclass(frozen=True)
class DoctorCommand(CommandConfig):
    """`echelon doctor`."""

    name: ClassVar = "doctor"
    storage: str | None
    device: str
    timeout: float
    tracking: TrackingConfig

    def __post_init__(self) -> None:
        if self.device not in ("cpu", "cuda"):
            raise ConfigError(f"device is {shown(self.device)}; expected cpu or cuda.")


def doctor(argv: list[str]) -> int:
    """Run the command; returns 1 where something is wrong. Raises ClusterError."""
    command = compose(DoctorCommand, argv).command
    if command.storage is not None:
        open_storage(command.storage)  # one that no node could use is a mistake
    prepare_ray()
    from training.cluster.checkup import findings, node_facts, tracking_finding  # takes seconds

    console = make_console()
    with ConsoleProgress(console) as progress:
        progress.phase("looking at this machine")
        nodes = [{**node_facts(command.storage), "node": "here"}]
        if "RAY_ADDRESS" in os.environ:
            progress.phase("looking at the cluster's nodes")
            nodes += _nodes_of_cluster(command.storage, command.timeout)
        progress.phase("asking the tracking server")
        found = [*findings(nodes, command.device, command.storage)]
        found.append(tracking_finding(command.tracking))
    console.print(_table(found))
    wrong = [finding for finding in found if finding.is_wrong]
    if not wrong:
        console.print("Nothing is wrong.")
    for finding in wrong:
        console.print(f"{finding.node}: {finding.what}: {finding.advice}.", highlight=False)
    return int(bool(wrong))


def _nodes_of_cluster(storage: str | None, seconds: float) -> list[dict[str, Any]]:
    from evaluation.ray_workers import ray_session
    from training.cluster.checkup import facts_of_nodes

    try:
        with ray_session(1):
            return facts_of_nodes(storage, seconds)
    except EchelonError:
        raise
    except Exception as error:  # Ray raises many kinds where it can't connect
        text = " ".join(str(error).split())[:300]
        raise ClusterError(
            f"RAY_ADDRESS={os.environ['RAY_ADDRESS']} can't be joined ({text}); expected a running "
            "Ray of this version. Start it, or unset RAY_ADDRESS to look at this machine alone."
        ) from error


def _table(found: list[Any]) -> Table:
    table = Table(title="Doctor", title_justify="left")
    for heading in ("node", "what", "found", "", "to do"):
        table.add_column(heading, overflow="fold")
    for finding in found:
        state = "WRONG" if finding.is_wrong else "slow" if finding.advice else "ok"
        table.add_row(finding.node, finding.what, finding.found, state, finding.advice)
    return table
