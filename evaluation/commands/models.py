"""`echelon models`: what is registered, what the gate said, and who moved @champion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.table import Table

from conf.compose import CommandConfig, compose
from evaluation.console import make_console
from evaluation.gate.ledger import Ledger, Move, Version, model_names, moves_of
from evaluation.tracking.config import TrackingConfig


@dataclass(frozen=True)
class ModelsCommand(CommandConfig):
    """`echelon models`."""

    name: ClassVar = "models"
    model: str | None
    tracking: TrackingConfig


def models(argv: list[str]) -> int:
    """Run the command; returns the exit code. Raises ArtifactError."""
    command, console = compose(ModelsCommand, argv).command, make_console()
    uri = command.tracking.uri
    for name in [command.model] if command.model else model_names(uri):
        versions = Ledger(name, uri).versions()
        console.print(versions_table(name, versions))
        if moves := moves_of(versions):
            console.print(moves_table(moves))
    return 0


def versions_table(name: str, versions: list[Version]) -> Table:
    """One row a version, the newest first."""
    table = Table(title=name, title_justify="left")
    for heading in ("version", "aliases", "registered", "gate"):
        table.add_column(heading, justify="right" if heading == "version" else "left")
    for v in reversed(versions):
        table.add_row(
            v.version, " ".join(f"@{alias}" for alias in v.aliases), _time(v.registered),
            v.verdict or "not asked",
        )  # fmt: skip
    return table


def moves_table(moves: list[Move]) -> Table:
    """The history of @champion, the newest first."""
    table = Table(title="@champion", title_justify="left")
    for heading in ("when", "from", "to", "by", "who", "why"):
        table.add_column(heading, justify="right" if heading in ("from", "to") else "left")
    for move in reversed(moves):
        table.add_row(
            _time(move.when), move.before or "", move.version, move.how, move.who, move.why
        )
    return table


def _time(iso: str) -> str:
    return f"{iso[:10]} {iso[11:16]} UTC"
