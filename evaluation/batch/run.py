"""A run of the nightly batch: one file of lines, written once, whatever interrupts it.

Beside the file `OUT` stands `OUT.json`, the run's record. While a run goes on, what is done lies in
`.OUT.parts`, a sealed folder for each network under the hash of all that its lines depend on: a run
that was killed goes on with those, and a run whose tables were mended computes only the others.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from envs.errors import ConfigError, DataError, shown
from evaluation.artifact.registry import (
    ALIASES,
    classical_only,
    current_version,
    local_policy,
    resolve_artifact,
)
from evaluation.batch.lines import ENDINGS, write_lines
from evaluation.batch.network import Lines, NetworkJob
from evaluation.batch.tables import table_files
from evaluation.files.atomic_folder import file_hash, write_folder
from evaluation.files.storage import Storage, is_uri, open_storage
from evaluation.recommendation.schemas import RecommendationRequest

_LINES, _ABOUT = "lines.parquet", "about.json"


@dataclass(frozen=True)
class BatchConfig:
    """What a run is of.

    data: folder of tables, or of one such folder for each network under its model's name.
    out: the file, .parquet or .csv.
    model: name of the registered model where `data` has the tables itself.
    artifact: an alias or a version of each model, or a policy's folder; of several networks, the
      folder with one for each, under its model's name.
    run_id: None: made of all that the lines depend on.
    physical: `network_io.physical_hash` of the network that policies must be of; None: of any.
    """

    data: str
    out: str
    model: str
    artifact: str
    tracking_uri: str
    base: RecommendationRequest
    stale_after: int
    refuse_after: int
    run_id: str | None = None
    physical: str | None = None


class BatchRun:
    """Says what is to do, and keeps what is done.

    Raises ConfigError, DataError or StorageError for what can't be begun.
    """

    def __init__(self, config: BatchConfig) -> None:
        self._folder, self._name = _place(config.out)
        self._parts = self._folder.at(f".{self._name}.parts")
        tables = _tables(config.data)
        single = list(tables) == [""]
        pinned = self._pinned(config.run_id)
        self.jobs: list[NetworkJob] = []
        for name, files in sorted(tables.items()):
            network = config.model if single else name
            artifact = config.artifact
            if not single and not _is_registered(artifact):
                artifact = f"{artifact.rstrip('/')}/{name}"
            version, manifest = pinned.get(network) or _pin(artifact, network, config.tracking_uri)
            self.jobs.append(NetworkJob(
                network=network,
                data=config.data,
                folder=name,
                files=files,
                artifact=version or artifact,
                manifest=manifest,
                tracking_uri=config.tracking_uri,
                base=config.base,
                classical_only=_is_switched(config, network),
                physical=config.physical,
                stale_after=config.stale_after,
                refuse_after=config.refuse_after,
            ))  # fmt: skip
        self._input = _hash({
            "tables": tables,
            "request": config.base.model_dump(mode="json"),
            "ages": [config.stale_after, config.refuse_after],
        })  # fmt: skip
        self._keys = [_hash(job.depends_on()) for job in self.jobs]
        self.run_id = config.run_id or _hash(self._keys)[:16]

    def finished(self) -> dict[str, Any] | None:
        """Return the record where this run has written its file already, which is still that.

        Raises ConfigError where another input has, under the same run id.
        """
        record = self._record()
        if record is None or record["run_id"] != self.run_id:
            return None
        if record["input"] != self._input:
            raise ConfigError(
                f"run_id {shown(self.run_id)} has written {self.out} from other tables or another "
                "request; expected one run id for each. Give another run_id, or none."
            )
        is_there = self._folder.file_hash(self._name) == record["sha256_of_lines"]
        return record if is_there else None

    @property
    def out(self) -> str:
        """Where the lines are written."""
        return f"{self._folder.uri}/{self._name}"

    def begin(self) -> list[NetworkJob]:
        """Note which models it takes; return the jobs that aren't done yet."""
        models = {job.network: _pin_of(job) for job in self.jobs}
        self._parts.write(self._pins_file(self.run_id), {"run_id": self.run_id, "models": models})
        done = set(self._parts.folders())
        return [job for job, key in zip(self.jobs, self._keys, strict=True) if key not in done]

    def keep(self, job: NetworkJob, lines: Lines) -> None:
        """Keep what a job gave."""
        with tempfile.TemporaryDirectory(prefix="echelon_part_") as scratch:

            def fill(folder: Path) -> None:
                parquet.write_table(lines.table, folder / _LINES)
                (folder / _ABOUT).write_text(json.dumps(lines.about), encoding="utf-8")

            write_folder(Path(scratch, "part"), fill)
            self._parts.at(self._keys[self.jobs.index(job)]).put(Path(scratch, "part"))

    def finish(self) -> dict[str, Any]:
        """Write the file and its record, of jobs that are all kept; return the record."""
        about: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(prefix="echelon_lines_") as scratch:

            def pieces() -> Iterator[pa.Table]:
                for number, key in enumerate(self._keys):
                    part = Path(scratch, str(number))
                    self._parts.at(key).fetch(part)
                    about.append(json.loads((part / _ABOUT).read_text(encoding="utf-8")))
                    yield parquet.read_table(part / _LINES)

            file = Path(scratch, self._name)
            write_lines(file, pieces())
            self._folder.put_file(file, self._name)
            record = {
                "run_id": self.run_id,
                "input": self._input,
                "models": {job.network: _pin_of(job) for job in self.jobs},
                "sha256_of_lines": file_hash(file),
                "networks": about,
            }
        self._folder.write(f"{self._name}.json", record)
        self._parts.remove()
        return record

    def _record(self) -> dict[str, Any] | None:
        return self._folder.read(f"{self._name}.json")

    def _pinned(self, run_id: str | None) -> Mapping[str, Any]:
        """The models that the run with this id began with."""
        if run_id is None:
            return {}
        for found in (self._record(), self._parts.read(self._pins_file(run_id))):
            if found is not None and found["run_id"] == run_id:
                return dict(found["models"])
        return {}

    @staticmethod
    def _pins_file(run_id: str) -> str:
        return f"run_{_hash(run_id)[:16]}.json"


def _place(out: str) -> tuple[Storage, str]:
    """Part the address of a file into its folder and its name."""
    head, _, name = out.rpartition("/")
    if not name or PurePosixPath(name).suffix.lower() not in ENDINGS:
        raise ConfigError(
            f"out is {shown(out)}; expected a file that ends in {' or '.join(ENDINGS)}."
        )
    if not is_uri(out):
        head = str(Path(out).absolute().parent)
    return open_storage(head), name


def _tables(data: str) -> dict[str, dict[str, str]]:
    """Return, by network, the SHA-256 of each table's file; "": the tables are in the folder."""
    place = open_storage(data)
    by_folder: dict[str, list[str]] = {}
    for path in place.files():
        folder, _, name = path.rpartition("/")
        if any(part.startswith((".", "_")) for part in path.split("/")):
            continue
        if "/" in folder:
            raise DataError(
                f"data={data}: {path} lies too deep; expected tables in it, or in one folder for "
                "each network."
            )
        by_folder.setdefault(folder, []).append(name)
    if not by_folder:
        raise DataError(f"data={data}: there is nothing; expected tables. Check the address.")
    if "" in by_folder and len(by_folder) > 1:
        raise DataError(
            f"data={data}: has both tables and folders of tables; expected tables of one network, "
            "or a folder for each."
        )
    found: dict[str, dict[str, str]] = {}
    for folder, names in by_folder.items():
        files = table_files(names, f"data={data}" + (f"/{folder}" if folder else "")).values()
        within = place.at(folder) if folder else place
        found[folder] = {name: within.file_hash(name) or "" for name in files}
    return found


def _is_registered(artifact: str) -> bool:
    return artifact in ALIASES or artifact.isdecimal()


def _is_switched(config: BatchConfig, model: str) -> bool:
    """Whether an operator has the model answered by its base policy alone, as endpoints heed it."""
    if config.artifact not in ALIASES or config.base.policy == "classical":
        return False
    return classical_only(model, config.tracking_uri) is not None


def _pin(artifact: str, model: str, tracking_uri: str) -> tuple[str | None, str | None]:
    """Return the version that an alias means now, or the SHA-256 of a policy's manifest.

    Raises ArtifactError where there is none.
    """
    if artifact in ALIASES and (found := current_version(model, artifact, tracking_uri)):
        return found, None
    if _is_registered(artifact):
        return resolve_artifact(artifact, model, tracking_uri).version, None
    folder = resolve_artifact(str(local_policy(artifact)), model, tracking_uri).folder
    return None, file_hash(folder / "manifest.json")


def _pin_of(job: NetworkJob) -> list[str | None]:
    return [job.artifact if job.manifest is None else None, job.manifest]


def _hash(plain: Any) -> str:
    text = json.dumps(plain, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()
