"""The lines of one network: tables and a policy in, a table out; in any process, on any node."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

import echelon
from envs.errors import ArtifactError, DataError
from evaluation.artifact.artifact import load_artifact
from evaluation.artifact.network_io import physical_hash
from evaluation.artifact.registry import resolve_artifact
from evaluation.batch.lines import lines_table
from evaluation.batch.tables import TableRequest, read_request
from evaluation.files.atomic_folder import file_hash
from evaluation.files.storage import is_uri, open_storage
from evaluation.progress import Progress
from evaluation.recommendation.findings import RequestError, classical_only
from evaluation.recommendation.recommender import DecidedLines, Recommender, sources_of
from evaluation.recommendation.schemas import RecommendationRequest

_STEPS = ("read the policy", "read the tables", "decide", "write lines")
_OUTSIDE = "outside supplier"


class Lines(NamedTuple):
    """The lines, and what there is to say of them, as plain values."""

    table: pa.Table
    about: dict[str, Any]


@dataclass(frozen=True)
class NetworkJob:
    """What the lines of a network are computed from.

    network: name of its registered model.
    data, folder: where the tables are, here or in a storage: in this folder of it, "": in itself.
    files: SHA-256 of each.
    artifact: version of the registered model, or where an exported policy is.
    manifest: SHA-256 of that policy's manifest; None for a version, which never changes.
    base: the request without entries.
    classical_only: whether an operator has the network answered by its base policy alone.
    physical: what the policy's network must be, `network_io.physical_hash`; None: anything.
    stale_after, refuse_after: see `Recommender`.
    """

    network: str
    data: str
    folder: str
    files: Mapping[str, str]
    artifact: str
    manifest: str | None
    tracking_uri: str
    base: RecommendationRequest
    classical_only: bool
    physical: str | None
    stale_after: int
    refuse_after: int

    def depends_on(self) -> dict[str, Any]:
        """Return all that the lines depend on, as plain values."""
        return {
            "echelon": echelon.__version__,
            "network": self.network,
            "files": dict(self.files),
            "policy": self.manifest or self.artifact,
            "request": self.base.model_dump(mode="json"),
            "classical_only": self.classical_only,
            "ages": [self.stale_after, self.refuse_after],
        }

    def run(self, progress: Progress) -> Lines:
        """Compute them. Raises DataError for tables that are wrong or have changed, ArtifactError
        for a policy that doesn't verify or isn't the one that was meant."""
        progress.phase(self.network, len(_STEPS))
        progress.update(0, _STEPS[0])
        recommender = self._recommender()
        progress.update(1, _STEPS[1])
        asked = self._request(recommender)
        progress.update(2, _STEPS[2])
        try:
            decided = recommender.decide(asked.request)
        except RequestError as problem:
            raise DataError(self._said(str(asked.error(problem)), asked)) from problem
        progress.update(3, _STEPS[3])
        table = lines_table(self.network, recommender.scenario, decided)
        about = _about(self.network, recommender, decided)
        if self.classical_only:
            notices = [notice.model_dump() for notice in classical_only(self.network)]
            about["warnings"] = [*notices, *about["warnings"]]
        return Lines(table, about)

    def _recommender(self) -> Recommender:
        found = resolve_artifact(self.artifact, self.network, self.tracking_uri)
        artifact = load_artifact(found.folder)
        if self.manifest not in (None, artifact.version):
            raise ArtifactError(
                f"the policy in {self.artifact} is another than when this run began; expected the "
                "same to the end. Run it again, from a folder that stays."
            )
        recommender = Recommender(
            artifact, name=self.network, version=found.version, run_id=found.run_id,
            stale_after=self.stale_after, refuse_after=self.refuse_after,
        )  # fmt: skip
        if self.physical not in (None, physical_hash(recommender.scenario)):
            raise ArtifactError(
                f"the policy of {self.network} was trained on another network than that of the "
                "file network=FILE is now; train on it, or give the file of that training."
            )
        return recommender

    @property
    def _where(self) -> str:
        """The tables' folder, as messages name it."""
        return f"{self.data.rstrip('/')}/{self.folder}" if self.folder else self.data

    def _request(self, recommender: Recommender) -> TableRequest:
        with self._tables() as folder:
            try:
                base = self.base
                if self.classical_only:
                    base = base.model_copy(update={"policy": "classical"})
                return read_request(folder, self.files, base, recommender.scenario)
            except DataError as problem:
                raise DataError(str(problem).replace(str(folder), self._where)) from problem

    @contextmanager
    def _tables(self) -> Iterator[Path]:
        """The tables on this machine."""
        with tempfile.TemporaryDirectory(prefix="echelon_tables_") as scratch:
            folder = Path(scratch if is_uri(self.data) else self._where)
            for name, wanted in self.files.items():
                if is_uri(self.data):
                    place = open_storage(self.data)
                    place = place.at(self.folder) if self.folder else place
                    got = place.fetch_file(name, folder / name)
                else:
                    got = file_hash(folder / name, DataError)
                if got != wanted:
                    raise DataError(
                        f"{self._where}/{name} has changed since this run began; expected tables "
                        "that stay as they are. Run it again when they are complete."
                    )
            yield folder

    def _said(self, text: str, asked: TableRequest) -> str:
        """With the place that the user gave."""
        folder = str(asked.tables["stock"].path.parent)
        text = text.replace(folder, self._where)
        return text if self._where in text else f"{self._where}: {text}"


def _about(network: str, recommender: Recommender, decided: DecidedLines) -> dict[str, Any]:
    by_supplier: dict[str, dict[str, float]] = {}
    columns = (decided.lanes, decided.quantity, decided.value)
    for q, quantity, value in zip(*(c.tolist() for c in columns), strict=True):
        if quantity > 0.0:
            lane = recommender.scenario.network.lanes[q]
            resources = sorted({use.resource for use in lane.resources})
            name = " + ".join(sources_of(lane) or resources) or _OUTSIDE
            sums = by_supplier.setdefault(name, {"lines": 0, "units": 0.0, "value": 0.0})
            for key, more in (("lines", 1), ("units", quantity), ("value", value)):
                sums[key] += more
    return {
        "network": network,
        "model": recommender.info.model_dump(),
        "rows": len(decided.lanes),
        "summary": decided.summary.model_dump(),
        "by_supplier": by_supplier,
        "fallback": decided.fallback.model_dump(),
        "fallback_lines": int(decided.by_rule.sum()),
        "warnings": [notice.model_dump() for notice in decided.warnings],
    }
