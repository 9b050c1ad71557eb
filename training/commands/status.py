"""`echelon status`: what a Ray cluster has, and what it does."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, ClassVar

from rich.table import Table

from conf.compose import CommandConfig, compose
from envs.redact import redact
from evaluation.console import make_console
from evaluation.workers import prepare_ray

_GIB = 2**30


@dataclass(frozen=True)
class StatusCommand(CommandConfig):
    """`echelon status`."""

    name: ClassVar = "status"
    address: str | None
    jobs: int


def status(argv: list[str]) -> int:
    """Run the command; returns the exit code. Raises ClusterError."""
    command = compose(StatusCommand, argv).command
    prepare_ray()
    from training.cluster import jobs  # Ray takes seconds to import

    ran, nodes = jobs.jobs_and_nodes(jobs.connect(command.address))
    console = make_console()
    console.print(nodes_table(nodes))
    console.print(jobs_table(ran[-command.jobs :] if command.jobs > 0 else []))
    return 0


def nodes_table(nodes: list[dict[str, Any]]) -> Table:
    """One row a node, the head first."""
    table = Table(title="Nodes", title_justify="left")
    for heading in ("node", "state", "in use", "CPU", "memory"):
        right = heading in ("CPU", "memory")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for node in sorted(nodes, key=lambda node: (not node["head"], node["ip"])):
        total, free = (part / _GIB for part in node["memory"])
        table.add_row(
            f"{node['name']} {node['ip']}{' (head)' * node['head']}", node["state"],
            ", ".join(str(node["resources"]).split("\n")),
            "" if node["cpu"] is None else f"{node['cpu']:.0f} %",
            f"{total - free:.1f} of {total:.1f} GiB",
        )  # fmt: skip
    return table


def jobs_table(jobs: list[Any]) -> Table:
    """One row a job; of those that were sent, the newest last."""
    table = Table(title="Jobs", title_justify="left")
    for heading in ("job", "state", "began", "took", "exit code", "command"):
        right = heading in ("took", "exit code")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for job in jobs:
        began = dt.datetime.fromtimestamp((job.start_time or 0) / 1000).astimezone()
        ended = dt.datetime.now().astimezone()
        if job.end_time:
            ended = dt.datetime.fromtimestamp(job.end_time / 1000).astimezone()
        code = job.driver_exit_code
        table.add_row(
            job.submission_id, job.status.value.lower(), f"{began:%Y-%m-%d %H:%M:%S}",
            str(ended - began).partition(".")[0], "" if code is None else str(code),
            redact(job.entrypoint.removeprefix("exec python -m ")),
        )  # fmt: skip
    return table
