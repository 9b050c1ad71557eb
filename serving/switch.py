"""Whether a network is answered by its base policy alone: a tag of its registered model.

The registry has it, so that it holds for every replica within `poll_seconds`, and for those that
start later; a copy is kept for a start without the registry.
"""

from __future__ import annotations

import contextlib
import json
import threading
from datetime import UTC, datetime

from envs.errors import ConfigError, EchelonError
from evaluation.artifact.registry import ALIASES, classical_only, set_classical_only
from evaluation.files.atomic_folder import make_folder
from evaluation.files.sealed_json import read_sealed, write_sealed
from serving.schemas import Switched
from serving.source import Source

_FILE = "classical_only.json"


class ClassicalSwitch:
    """Of one network. current: who had it switched; None: the model answers."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = threading.Lock()
        self.current: Switched | None = None
        self._restore()
        with contextlib.suppress(EchelonError):  # the poll will tell
            self.look()

    def look(self) -> None:
        """Take what the registry says now. Raises ArtifactError where it doesn't answer."""
        if self._source.artifact not in ALIASES:
            return
        with self._lock:
            note = classical_only(self._source.model, self._source.tracking_uri)
            self._take(_read(note))

    def set(self, on: bool, who: str, why: str) -> None:
        """Switch it, here and in the registry.

        Raises ConfigError where no alias is served, and ArtifactError where the registry doesn't
        answer: then nothing has changed.
        """
        source = self._source
        if source.artifact not in ALIASES:
            raise ConfigError(
                f"{source.network} is served from {source.artifact}, which is never asked again; "
                "expected an alias: start the service with serve.artifact=champion."
            )
        when = datetime.now(UTC).isoformat(timespec="seconds")
        switched = Switched(who=who, when=when, why=why) if on else None
        with self._lock:
            note = switched.model_dump_json() if switched else None
            set_classical_only(source.model, source.tracking_uri, note)
            self._take(switched)

    def _take(self, switched: Switched | None) -> None:
        if switched == self.current:
            return
        self.current = switched
        state = self._source.state_folder
        if state is not None:
            with contextlib.suppress(OSError, EchelonError):  # the registry has it
                make_folder(state)
                plain = switched.model_dump() if switched else None
                write_sealed(state / _FILE, {"switched": plain})

    def _restore(self) -> None:
        if self._source.state_folder is not None:
            with contextlib.suppress(EchelonError):
                plain = read_sealed(self._source.state_folder / _FILE)["switched"]
                self.current = Switched(**plain) if plain else None


def _read(note: str | None) -> Switched | None:
    """A tag that is no note was set by hand: it counts all the same."""
    if not note:
        return None
    try:
        return Switched.model_validate(json.loads(note))
    except ValueError:
        return Switched(who="", when="", why=note[:500])
