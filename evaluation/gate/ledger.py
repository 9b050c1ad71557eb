"""The registry's side of the gate: versions, their verdicts, and the moves of @champion.

A move is a tag of the version that it gives the alias to, `echelon.move.NUMBER`; all of them are
the history. MLflow can't give an alias under a condition, so two processes may each give it away
for the same predecessor. Whoever moves it therefore writes the move down first, under the number
after the last one that it knew before it judged, and then settles: it reads all moves, and gives
the alias to the version that the last number is of, until that has it. Where two have the same
number, all who look decide alike (`Ledger.settle`). A move that is written later is its own
writer's to settle, so whoever gives the alias last has seen all.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from envs.errors import ArtifactError
from envs.redact import redact
from evaluation.artifact.registry import asking, current_version
from evaluation.gate.checks import Verdict
from evaluation.gate.page import Decision, as_json, as_markdown

How = Literal["gate", "force", "rollback"]
Judge = Callable[[str, str | None], Decision]  # (version, champion)
_MOVE = "echelon.move."
_VERDICT = "echelon.gate"
_LONGEST = 1_000  # characters of a reason that are kept

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Move:
    """@champion goes to `version`, as the `number`-th move; `before` had it."""

    number: int
    version: str
    before: str | None
    how: How
    who: str
    when: str  # ISO, UTC
    why: str


@dataclass(frozen=True)
class Version:
    """A registered version. verdict: of the gate, the last time it was asked; "" before."""

    version: str
    aliases: tuple[str, ...]
    registered: str  # ISO, UTC
    verdict: str
    run_id: str | None
    moves: tuple[Move, ...]


class Ledger:
    """One registered model. Every method raises ArtifactError where the registry doesn't answer."""

    def __init__(self, model: str, tracking_uri: str) -> None:
        self.model, self.uri = model, tracking_uri

    def champion(self) -> str | None:
        """The version that has the alias now."""
        return current_version(self.model, "champion", self.uri)

    def versions(self) -> list[Version]:
        """All of them, oldest first."""
        with asking(self.uri) as client:
            models = client.search_registered_models(f"name = '{self.model}'")
            if not models:
                raise ArtifactError(
                    f"no model is registered as {self.model}; `echelon models` lists those that "
                    "are."
                )
            aliases = models[0].aliases
            found = client.search_model_versions(f"name = '{self.model}'")
        return sorted((_version(v, aliases) for v in found), key=lambda v: int(v.version))

    def version(self, name: str) -> Version:
        """By its number, or an alias. Raises ArtifactError where there is none."""
        for version in self.versions():
            if name == version.version or name in version.aliases:
                return version
        raise ArtifactError(
            f"model {self.model} has no version {name}; `echelon models model={self.model}` lists "
            "them."
        )

    def moves(self) -> list[Move]:
        """The history, oldest first."""
        return moves_of(self.versions())

    def next_number(self) -> int:
        """What the next move is, as far as is known now."""
        return 1 + max((move.number for move in self.moves()), default=0)

    def contest(
        self, version: str, judge: Judge, who: str, why: str
    ) -> tuple[str | None, Decision | None]:
        """Let the version take the alias if it is better than whoever has it; returns who has it
        then, and the last decision. why: of the move; "": the decision's verdict."""
        decision = None
        while True:  # once, but where others move the alias meanwhile
            number, champion = self.next_number(), self.champion()
            if champion == version:  # a rival has found so
                return champion, decision
            decision = judge(version, champion)
            self.record(decision)
            if not decision.passed:
                return champion, decision
            if self.champion() == champion:
                self.write(number, version, champion, "gate", who, why or decision.verdict)
                if self.settle(judge) == version:
                    return version, decision

    def write(
        self, number: int, version: str, before: str | None, how: How, who: str, why: str
    ) -> Move:
        """Write a move down; `settle` gives the alias."""
        when = datetime.now(UTC).isoformat(timespec="milliseconds")
        move = Move(number, version, before, how, who, when, why[:_LONGEST])
        text = json.dumps({k: v for k, v in asdict(move).items() if k not in ("number", "version")})
        with asking(self.uri) as client:
            client.set_model_version_tag(self.model, version, f"{_MOVE}{number}", text)
        return move

    def settle(self, judge: Judge) -> str:
        """Give the alias to the version of the last move, until it has it, and return that one.

        Of rivals for the same number, the earliest version has it, but for later ones that judge
        finds better. What a person wants goes before what the gate found.
        """
        while True:
            moves = self.moves()
            last = [move for move in moves if move.number == moves[-1].number]
            wanted = [move.version for move in last if move.how != "gate"]
            rivals = wanted[-1:] or sorted((move.version for move in last), key=int)
            winner = rivals[0]
            for rival in rivals[1:]:
                if judge(rival, winner).passed:
                    winner = rival
            if self.champion() == winner:
                return winner
            self.give(winner)

    def give(self, version: str) -> None:
        """Give the alias, whoever has it."""
        with asking(self.uri) as client:
            client.set_registered_model_alias(self.model, "champion", version)

    def record(self, decision: Decision) -> None:
        """Keep a decision: tags of the version and of its run, JSON and a page in the run."""
        tags = {_VERDICT: decision.verdict}
        for check in decision.checks:
            if check.verdict is not Verdict.no_evidence:
                tags[f"{_VERDICT}.{check.name}"] = f"{check.verdict}: {check.reason}"[:_LONGEST]
        with asking(self.uri) as client:
            run_id = client.get_model_version(self.model, decision.version).run_id
            for key, value in tags.items():
                client.set_model_version_tag(self.model, decision.version, key, value)
            if not run_id:
                return
            try:
                for key, value in tags.items():
                    client.set_tag(run_id, key, value)
                client.log_dict(run_id, as_json(decision), "gate/gate.json")
                client.log_text(run_id, as_markdown(decision), "gate/gate.md")
            except Exception as problem:  # run or artifact store is gone: the version has it
                _log.warning("Run %s has no page of the gate: %s", run_id, redact(str(problem)))


def moves_of(versions: Iterable[Version]) -> list[Move]:
    """Return the history of a model's versions, oldest first."""
    moves = [move for version in versions for move in version.moves]
    return sorted(moves, key=lambda move: (move.number, move.when))


def _version(found: Any, aliases: dict[str, str]) -> Version:
    version, tags = str(found.version), found.tags
    moves = [
        Move(number=int(key.removeprefix(_MOVE)), version=version, **json.loads(text))
        for key, text in tags.items()
        if key.startswith(_MOVE)
    ]
    return Version(
        version,
        tuple(sorted(name for name, holder in aliases.items() if str(holder) == version)),
        datetime.fromtimestamp(found.creation_timestamp / 1000, UTC).isoformat(timespec="seconds"),
        tags.get(_VERDICT, ""),
        found.run_id or None,
        tuple(sorted(moves, key=lambda m: m.number)),
    )


def model_names(tracking_uri: str) -> list[str]:
    """Return the names of all registered models. Raises ArtifactError."""
    with asking(tracking_uri) as client:
        return sorted(model.name for model in client.search_registered_models())
