"""The policy that is served now, and how a newly promoted one takes its place.

A new version is loaded, verified and tried on one request before one assignment swaps it in; one
that fails leaves the old one serving and its reason in `last_load_error`. A copy of what was served
last is kept, so that a restarted process always has something to serve.
"""

from __future__ import annotations

import logging
import random
import shutil
import threading
from datetime import UTC, datetime
from pathlib import Path

from envs.errors import ArtifactError, EchelonError
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.registry import (
    ALIASES,
    ResolvedArtifact,
    current_version,
    resolve_artifact,
)
from evaluation.files.atomic_folder import flush_directory, write_folder
from evaluation.files.sealed_json import read_sealed, write_sealed
from evaluation.recommendation.recommender import Recommender
from evaluation.recommendation.schemas import RecentSales, RecommendationRequest, Scope
from serving.schemas import NetworkHealth
from serving.source import Source
from serving.switch import ClassicalSwitch

_POINTER = "last_good.json"  # in the state folder

_log = logging.getLogger(__name__)


class LivePolicy:
    """Holds the recommender that answers. Raises ArtifactError if there is none to start with."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.switch = ClassicalSwitch(source)
        self._stopped = threading.Event()
        self._last_poll: str | None = None
        self._last_load_error: str | None = None
        self._not_kept: ResolvedArtifact | None = None  # what the disk refused to keep a copy of
        try:
            self._recommender = self._load(self._resolve())
        except EchelonError as error:
            self._last_load_error = str(error)
            last_good = self._kept()
            if last_good is None:
                raise
            _log.error("%s Serving the last version that worked.", error)
            self._recommender = self._load(last_good)
        self._loaded_at = _now()

    @property
    def recommender(self) -> Recommender:
        """The current one: keep it for the length of a request."""
        return self._recommender

    def start_polling(self) -> None:
        """Look at the registry every `poll_seconds` in the background, if an alias is served."""
        if self.source.artifact in ALIASES:
            threading.Thread(target=self._keep_polling, name="registry poll", daemon=True).start()

    def stop(self) -> None:
        """End the polling."""
        self._stopped.set()

    def poll(self) -> bool:
        """Look once; returns whether another policy serves now. Never raises."""
        source, serving = self.source, self._recommender.info.version
        if self._not_kept is not None:
            self._keep(self._not_kept)
        try:
            self.switch.look()
            version = current_version(source.model, source.artifact, source.tracking_uri)
            self._last_poll = _now()
            if version is None:
                raise ArtifactError(f"no model is {source.model}@{source.artifact} any more.")
            if version == serving:
                self._last_load_error = None
                return False
            self._recommender = self._load(self._resolve())
            self._loaded_at, self._last_load_error = _now(), None
            _log.warning("Version %s is served instead of %s.", version, serving)
            return True
        except Exception as problem:  # a poll that dies would serve this version for ever
            text = str(problem) if isinstance(problem, EchelonError) else repr(problem)
            if text != self._last_load_error:
                _log.error("%s Version %s is still served.", text, serving)
            self._last_load_error = text
            return False

    def health(self) -> NetworkHealth:
        """What GET /v1/health says of it."""
        return NetworkHealth(
            model=self._recommender.info,
            loaded_at=self._loaded_at,
            last_poll=self._last_poll,
            last_load_error=self._last_load_error,
            classical_only=self.switch.current,
        )

    def _keep_polling(self) -> None:
        # Not all replicas at once: loading takes of the processor.
        while not self._stopped.wait(self.source.poll_seconds * random.uniform(0.8, 1.2)):
            self.poll()

    def _resolve(self) -> ResolvedArtifact:
        source = self.source
        return resolve_artifact(
            source.artifact, source.model, source.tracking_uri, option="serve.artifact"
        )

    def _load(self, resolved: ResolvedArtifact) -> Recommender:
        """Verify hashes, canary and fit; let it answer once; keep a copy."""
        recommender = Recommender(
            load_artifact(resolved.folder),
            name=self.source.model,
            version=resolved.version,
            run_id=resolved.run_id,
            stale_after=self.source.stale_after,
            refuse_after=self.source.refuse_after,
        )
        answer = recommender.recommend(_first_request(recommender))
        if answer.fallback.used:
            raise ArtifactError(
                f"the policy in '{resolved.folder}' can't answer: {answer.fallback.reasons[0]}"
            )
        self._keep(resolved)
        return recommender

    def _keep(self, resolved: ResolvedArtifact) -> None:
        state = self.source.state_folder
        if state is None:
            return
        name = f"version_{resolved.version or 'folder'}"

        def fill(folder: Path) -> None:
            for path in resolved.folder.iterdir():
                shutil.copyfile(path, folder / path.name)

        try:
            if resolved.folder == state / name:
                flush_directory(state)  # who wrote the pointer may have died before it did that
            else:
                write_folder(state / name, fill, replace=True, sealed=True, error=ArtifactError)
                pointer = {"name": name, "version": resolved.version, "run_id": resolved.run_id}
                write_sealed(state / _POINTER, pointer)
                for old in state.glob("version_*"):
                    if old.name != name:
                        shutil.rmtree(old, ignore_errors=True)
        except (OSError, ArtifactError) as problem:
            if resolved != self._not_kept:
                _log.warning("No copy of the served policy is kept: %s", problem)
            self._not_kept = resolved
        else:
            self._not_kept = None

    def _kept(self) -> ResolvedArtifact | None:
        state = self.source.state_folder
        if state is None:
            return None
        try:
            pointer = read_sealed(state / _POINTER)
        except EchelonError:
            return None
        return ResolvedArtifact(state / pointer["name"], pointer["version"], pointer["run_id"])


def _first_request(recommender: Recommender) -> RecommendationRequest:
    """One that calls every kernel, so that no caller waits for their compilation."""
    stocks = recommender.scenario.network.stocks
    stock = next(s for s in stocks if s.demand is not None)
    return RecommendationRequest(
        as_of=recommender.first_date,
        scope=Scope(),
        stock=[],
        recent_sales=[RecentSales(location=stock.node, item=stock.sku, quantities=[0.0])],
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
