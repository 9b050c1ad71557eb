"""Which exported policy to use: a folder, or an entry of the model registry.

MLflow is imported when the registry is queried. Looking never changes anything: no database is
made, no table is created.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import re
import shutil
import sqlite3
import tempfile
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from envs.errors import ArtifactError, EchelonError
from envs.redact import redact
from evaluation.files.storage import is_uri, open_storage
from evaluation.tracking.mlflow_destination import POLICY, name_of_network, open_client

if TYPE_CHECKING:
    from mlflow import MlflowClient

ALIASES = ("champion", "challenger")
_MANIFEST = "manifest.json"
_CLASSICAL_ONLY = "echelon.classical_only"  # tag of a model
_SECONDS = 10  # per HTTP request to a tracking server


@dataclass(frozen=True)
class ResolvedArtifact:
    """Where an artifact is; all but the folder is None where no registry was queried."""

    folder: Path  # on this machine
    version: str | None = None
    run_id: str | None = None
    alias: str | None = None


def model_name(scenario: str) -> str:
    """Return the name of a scenario's registered model.

    A model holds policies of one network. Where another one had the name first, see `find_model`.
    """
    return f"echelon-{scenario}"


def find_model(scenario: str, network: str, tracking_uri: str = "sqlite:///mlflow.db") -> str:
    """Return the registered model of a network: `model_name`, or, where that holds policies of
    another network and this one has a model too, `model_name` with the beginning of its hash.

    network: `network_io.physical_hash`. Raises ArtifactError where the registry doesn't answer.
    """
    name = model_name(scenario)
    if not _has_registry(tracking_uri):
        return name
    with asking(tracking_uri) as client:
        own = name_of_network(client, name, network)
        return own if client.search_registered_models(f"name = '{own}'") else name


def are_several(scenario: str, tracking_uri: str) -> bool:
    """Return whether networks of this scenario's name have models of their own, see `find_model`.

    Raises ArtifactError where the registry doesn't answer, or there is none.
    """
    name = model_name(scenario)
    with asking(tracking_uri) as client:
        found = client.search_registered_models(f"name LIKE '{name}-%'")
    return any(re.fullmatch("-[0-9a-f]{8}", one.name.removeprefix(name)) for one in found)


def resolve_artifact(
    name_or_path: str,
    model: str = "echelon",
    tracking_uri: str = "sqlite:///mlflow.db",
    *,
    option: str = "artifact",
) -> ResolvedArtifact:
    """Find the artifact: `champion`, `challenger`, a version number of the model, or a folder, here
    or in a storage.

    option: the setting that takes a folder, for the hint. Raises ArtifactError with what to do.
    """
    if name_or_path not in ALIASES and not re.fullmatch("[0-9]+", name_or_path):
        folder = local_policy(name_or_path)
        if not (folder / _MANIFEST).is_file():
            raise ArtifactError(
                f"{option}={name_or_path} is no folder with a {_MANIFEST}; expected champion, "
                "challenger, a version number, or the folder of an exported policy, such as "
                "outputs/train/NAME/TIME/policy."
            )
        return ResolvedArtifact(folder)
    alias = name_or_path if name_or_path in ALIASES else None
    what = f"{model}@{alias}" if alias else f"{model} version {name_or_path}"
    found = _find(model, name_or_path, tracking_uri)
    if found is None:
        raise ArtifactError(
            f"no model is registered as {what} in {redact(tracking_uri)}; run `echelon train` "
            f"first, or give {option}=FOLDER. `echelon models` lists what there is."
        )
    folder = _local_folder(str(found.source), tracking_uri, what)
    return ResolvedArtifact(folder, str(found.version), found.run_id or None, alias)


def local_policy(path_or_uri: str) -> Path:
    """Return the folder; one of a storage is fetched first, and gone when the process ends.

    A run's place there stands for its policy. Raises StorageError.
    """
    if not is_uri(path_or_uri):
        return Path(path_or_uri)
    place = open_storage(path_or_uri)
    folder = Path(tempfile.mkdtemp(prefix="policy_", dir=_download_folder())) / "policy"
    versions = [n for n in place.folders() if n.startswith("policy/") or "/" not in n]
    (place.at(max(versions)) if versions else place).fetch(folder)
    return folder


def current_version(
    model: str = "echelon", alias: str = "champion", tracking_uri: str = "sqlite:///mlflow.db"
) -> str | None:
    """Return the version that has the alias now, or None. One query: cheap enough to poll.

    Raises ArtifactError where the registry does not answer.
    """
    found = _find(model, alias, tracking_uri)
    return None if found is None else str(found.version)


def classical_only(model: str, tracking_uri: str) -> str | None:
    """Return the note of who had the model answered by its base policy alone; None: it isn't.

    Raises ArtifactError where the registry does not answer.
    """
    with asking(tracking_uri) as client:
        tags: dict[str, str] = client.get_registered_model(model).tags
    return tags.get(_CLASSICAL_ONLY) or None


def set_classical_only(model: str, tracking_uri: str, note: str | None) -> None:
    """Have services answer by the base policy alone, or, for None, by the model again.

    Raises ArtifactError where the registry does not answer.
    """
    with asking(tracking_uri) as client:
        client.set_registered_model_tag(model, _CLASSICAL_ONLY, note or "")


def _find(model: str, name: str, tracking_uri: str) -> Any:
    """Return MLflow's model version for an alias or a number, or None where there is none."""
    if not _has_registry(tracking_uri):
        return None
    try:
        client = _client(tracking_uri)
        if name in ALIASES:
            return client.get_model_version_by_alias(model, name)
        return client.get_model_version(model, name)
    except Exception as problem:  # drivers and HTTP libraries have their own trees
        # An unknown alias is INVALID_PARAMETER_VALUE in MLflow's SQL store.
        unknown = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")
        if getattr(problem, "error_code", None) in unknown:
            return None
        raise _no_answer(tracking_uri, problem) from problem


def _no_answer(tracking_uri: str, problem: Exception) -> ArtifactError:
    lines = str(problem).splitlines() or [type(problem).__name__]
    return ArtifactError(
        f"the model registry at {redact(tracking_uri)} does not answer ({redact(lines[0])}); check "
        "tracking.uri and that the server runs."
    )


def _has_registry(tracking_uri: str) -> bool:
    """Whether a local database has MLflow's tables; connecting to it would create them."""
    match = re.fullmatch(r"sqlite:///([^?]+)(\?.*)?", tracking_uri)
    if match is None:
        return True
    path = Path(match[1])
    if not path.is_file():
        return False
    address = f"file:{urllib.parse.quote(str(path.absolute()))}?mode=ro"
    query = "select 1 from sqlite_master where type = 'table' and name = 'registered_models'"
    try:
        connection = sqlite3.connect(address, uri=True)
        try:
            return connection.execute(query).fetchone() is not None
        finally:
            connection.close()
    except sqlite3.Error as problem:
        raise _no_answer(tracking_uri, problem) from problem


@contextlib.contextmanager
def asking(tracking_uri: str) -> Iterator[MlflowClient]:
    """Give MLflow's client; whatever it raises is an ArtifactError, and so is no registry at all:
    a local database that isn't there is not made."""
    if not _has_registry(tracking_uri):
        raise ArtifactError(
            f"there is no model registry in {redact(tracking_uri)}; run `echelon train` first, or "
            "give its tracking.uri."
        )
    try:
        yield _client(tracking_uri)
    except EchelonError:
        raise
    except Exception as problem:  # drivers and HTTP libraries have their own trees
        raise _no_answer(tracking_uri, problem) from problem


@functools.lru_cache(maxsize=4)
def _client(tracking_uri: str) -> MlflowClient:
    return open_client(tracking_uri, _SECONDS)


def _local_folder(source: str, tracking_uri: str, what: str) -> Path:
    """Return where the version's policy lies; fetch it if that is another machine."""
    parts = urllib.parse.urlsplit(source)
    if parts.scheme in ("", "file"):
        folder = Path(urllib.parse.unquote(parts.path))
        if not folder.is_dir():
            raise ArtifactError(
                f"the files of {what} should be in '{folder}', which is gone; train and register "
                "again, or move @champion to another version."
            )
        return _policy_in(folder)
    from mlflow.artifacts import download_artifacts

    target = _download_folder()
    try:
        got = download_artifacts(
            artifact_uri=source,
            dst_path=tempfile.mkdtemp(prefix="policy_", dir=target),
            tracking_uri=tracking_uri,
        )
    except Exception as problem:  # whatever the artifact store's library raises
        raise _no_answer(tracking_uri, problem) from problem
    return _policy_in(Path(got))


def _policy_in(folder: Path) -> Path:
    """The policy of a version; those that earlier Echelons registered are nothing else."""
    return folder / POLICY if (folder / POLICY).is_dir() else folder


@functools.lru_cache(maxsize=1)
def _download_folder() -> str:
    folder = tempfile.mkdtemp(prefix="echelon_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
