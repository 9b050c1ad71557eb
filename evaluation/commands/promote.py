"""`echelon promote` and `echelon rollback`: move @champion, through the gate or by your word."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from conf.compose import CommandConfig, compose
from evaluation.console import ConsoleProgress, make_console
from evaluation.gate.config import GateConfig
from evaluation.gate.page import as_table
from evaluation.gate.promotion import promote, rollback
from evaluation.tracking.config import TrackingConfig
from evaluation.workers import open_workers


@dataclass(frozen=True)
class PromoteCommand(CommandConfig):
    """`echelon promote`."""

    name: ClassVar = "promote"
    model: str
    version: str
    force: bool
    reason: str | None
    gate: GateConfig
    workers: int
    tracking: TrackingConfig


@dataclass(frozen=True)
class RollbackCommand(CommandConfig):
    """`echelon rollback`."""

    name: ClassVar = "rollback"
    model: str
    reason: str | None
    tracking: TrackingConfig


def promote_command(argv: list[str]) -> int:
    """Run `echelon promote`; returns the exit code: 1 where the alias stays where it is."""
    command, console = compose(PromoteCommand, argv).command, make_console()
    with ConsoleProgress(console) as progress, open_workers(command.workers) as workers:
        done = promote(
            command.model, command.version, command.tracking.uri, command.gate,
            why=command.reason or "", force=command.force, workers=workers, progress=progress,
        )  # fmt: skip
    if done.decision is not None:
        console.print(as_table(done.decision))
    if done.moved:
        console.print(f"{command.model} version {done.version} is @champion.")
        return 0
    holder = "no version" if done.champion is None else f"version {done.champion}"
    console.print(
        f"{holder} of {command.model} is @champion, not version {done.version}. By your own word: "
        f"echelon promote model={command.model} version={done.version} force=true reason='...'",
        soft_wrap=True,
    )
    return 1


def rollback_command(argv: list[str]) -> int:
    """Run `echelon rollback`; returns the exit code."""
    command = compose(RollbackCommand, argv).command
    move = rollback(command.model, command.tracking.uri, why=command.reason or "")
    make_console().print(
        f"{command.model} version {move.version} is @champion again, instead of {move.before}."
    )
    return 0
