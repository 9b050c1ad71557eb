"""Everything that moves @champion: through the gate, by a person's word, and back."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass

from envs.errors import ArtifactError, ConfigError, EchelonError
from envs.scenario import Scenario
from evaluation.artifact.artifact import Artifact, load_artifact
from evaluation.artifact.registry import resolve_artifact
from evaluation.gate.checks import Check, Verdict, check_all
from evaluation.gate.config import GateConfig
from evaluation.gate.ledger import Ledger, Move
from evaluation.gate.page import Decision, undecided
from evaluation.gate.trial import another_network, fresh_seed, own_scenario, play_all
from evaluation.progress import SILENT, Progress
from evaluation.workers import IN_PROCESS, Workers


@dataclass(frozen=True)
class Promotion:
    """What became of it. champion: who has the alias now. decision: None where nobody judged."""

    version: str
    champion: str | None
    decision: Decision | None

    @property
    def moved(self) -> bool:
        """Whether the version is the champion."""
        return self.champion == self.version


def promote(
    model: str,
    version: str,
    tracking_uri: str,
    config: GateConfig,
    *,
    who: str = "",
    why: str = "",
    force: bool = False,
    scenario: Scenario | None = None,
    workers: Workers = IN_PROCESS,
    progress: Progress = SILENT,
) -> Promotion:
    """Make the version the champion, if it passes the gate; the decision is kept at the registry.

    version: a number, or challenger.
    who: the user of this process, where it is empty.
    force: without the gate, and then `why` has to say why; it must load all the same.
    scenario: what the version was trained on; None: as it says itself.

    Raises ConfigError (it is the champion; no reason is given) and ArtifactError (the registry
    doesn't answer; there is no such version; its files don't verify).
    """
    ledger, who = Ledger(model, tracking_uri), who or user()
    found = ledger.version(version)
    version = found.version
    if "champion" in found.aliases:
        raise ConfigError(f"version {version} of {model} is the champion already.")
    court = _Court(ledger, config, workers, progress)
    if scenario is not None:
        court.scenarios[version] = scenario
    court.artifact(version)  # what can't be loaded is never promoted
    if force:
        if not why:
            raise ConfigError("force=true needs a reason: reason='...', which is kept.")
        ledger.write(ledger.next_number(), version, ledger.champion(), "force", who, why)
        return Promotion(version, ledger.settle(court.judge), None)
    return Promotion(version, *ledger.contest(version, court.judge, who, why))


def rollback(model: str, tracking_uri: str, *, why: str, who: str = "") -> Move:
    """Give @champion back to the version that had it before the present one; returns the move.

    Raises ConfigError (no reason, no champion before) and ArtifactError, as `promote` does.
    """
    if not why:
        raise ConfigError("a rollback needs a reason: reason='...', which is kept.")
    ledger = Ledger(model, tracking_uri)
    number, moves, champion = ledger.next_number(), ledger.moves(), ledger.champion()
    before = _before(moves, champion)
    if before is None:
        raise ConfigError(
            f"model {model} has no champion before {'none' if champion is None else champion}; "
            "promote another version: echelon promote version=N."
        )
    load_artifact(resolve_artifact(before, model, tracking_uri).folder)
    move = ledger.write(number, before, champion, "rollback", who or user(), why)
    ledger.settle(lambda version, champion: undecided(model, version, "a person decides"))
    return move


def _before(moves: list[Move], champion: str | None) -> str | None:
    """Who had the alias before the champion got it, other than by a rollback."""
    own = [m for m in moves if m.version == champion and m.how != "rollback"]
    if own:
        return own[-1].before
    # Given by hand, by MLflow's client: the last one who got it here.
    return moves[-1].version if moves and moves[-1].version != champion else None


def user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in a container
        return str(os.getuid())


class _Court:
    """Judges versions of one model; a pair of them is played once."""

    def __init__(
        self, ledger: Ledger, config: GateConfig, workers: Workers, progress: Progress
    ) -> None:
        self._ledger, self._config = ledger, config
        self._workers, self._progress = workers, progress
        self.scenarios: dict[str, Scenario] = {}  # what versions were trained on, where it is known
        self._artifacts: dict[str, Artifact] = {}
        self._decisions: dict[tuple[str, str | None], Decision] = {}

    def artifact(self, version: str) -> Artifact:
        """Load it, verified. Raises ArtifactError."""
        if version not in self._artifacts:
            found = resolve_artifact(version, self._ledger.model, self._ledger.uri)
            self._artifacts[version] = load_artifact(found.folder)
        return self._artifacts[version]

    def judge(self, version: str, champion: str | None) -> Decision:
        """Play the version against the champion; without one, against the tuned rule. What can't be
        played isn't decided."""
        if (version, champion) not in self._decisions:
            try:
                decision = self._judge(version, champion)
            except EchelonError as error:
                decision = undecided(self._ledger.model, version, str(error))
            self._decisions[version, champion] = decision
        return self._decisions[version, champion]

    def _judge(self, version: str, champion: str | None) -> Decision:
        model, artifact, holder = self._ledger.model, self.artifact(version), None
        if champion is not None:
            try:
                holder = self.artifact(champion)
            except ArtifactError as error:
                check = Check(
                    "champion", Verdict.failed, None,
                    f"it can't be compared with the champion, whose files are no good ({error}): "
                    "promote it with force=true, or roll back",
                )  # fmt: skip
                return Decision(model, version, champion, (check,))
            if (other := another_network(artifact, holder)) is not None:
                return Decision(model, version, champion, (other,))
        scenario = self.scenarios.get(version) or own_scenario(artifact)
        comparison = play_all(
            artifact, holder, scenario, self._config,
            workers=self._workers, progress=self._progress,
        )  # fmt: skip
        checks = check_all(comparison, self._config, champion=champion)
        seed = fresh_seed(artifact, holder)
        return Decision(model, version, champion, checks, seed, self._config.traces)
