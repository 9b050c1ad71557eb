"""Where a served policy comes from, and what is kept of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from evaluation.recommendation.recommender import REFUSE_AFTER, STALE_AFTER


@dataclass(frozen=True)
class Source:
    """Where policies come from.

    artifact: an alias (champion, challenger), a version or a folder; only an alias is polled.
    model: name of the registered model.
    stale_after, refuse_after: see `Recommender`.
    cache: folder that keeps a copy of what was served last of each model; None: none is kept.
    shadow: folder that gets the challenger's answers to the same requests; None: it isn't asked.
    """

    artifact: str = "champion"
    model: str = "echelon"
    tracking_uri: str = "sqlite:///mlflow.db"
    poll_seconds: float = 10.0
    cache: str | None = None
    stale_after: int = STALE_AFTER
    refuse_after: int = REFUSE_AFTER
    shadow: str | None = None

    @property
    def network(self) -> str:
        """The name by which requests mean it: the model's without `echelon-`."""
        return self.model.removeprefix("echelon-")

    @property
    def state_folder(self) -> Path | None:
        """Where the copy is, one folder for each model of each registry."""
        if self.cache is None:
            return None
        name = json.dumps([self.tracking_uri, self.model, self.artifact])
        return Path(self.cache).absolute() / hashlib.sha256(name.encode()).hexdigest()[:16]
