"""Finding the policy to use; looking changes nothing."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest
from mlflow import MlflowClient

from envs.errors import ArtifactError
from evaluation.artifact.registry import current_version, resolve_artifact


@pytest.fixture
def uri(tmp_path: Path, migrated: Path) -> str:
    """A registry with two versions of `echelon`: 1 challenger, 2 champion."""
    shutil.copy(migrated, tmp_path / "mlflow.db")
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    client.create_registered_model("echelon")
    for version in ("1", "2"):
        folder = tmp_path / f"policy {version}"
        folder.mkdir()
        (folder / "manifest.json").touch()
        client.create_model_version("echelon", folder.as_uri(), run_id=None)
    client.set_registered_model_alias("echelon", "challenger", "1")
    client.set_registered_model_alias("echelon", "champion", "2")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_aliases_versions_and_folders_are_found(uri: str, tmp_path: Path) -> None:
    champion = resolve_artifact("champion", tracking_uri=uri)
    assert (champion.folder, champion.version) == (tmp_path / "policy 2", "2")
    assert champion.alias == "champion"
    challenger = resolve_artifact("challenger", tracking_uri=uri)
    assert (challenger.folder, challenger.version) == (tmp_path / "policy 1", "1")
    by_number = resolve_artifact("1", tracking_uri=uri)
    assert (by_number.folder, by_number.alias) == (tmp_path / "policy 1", None)
    folder = resolve_artifact(str(tmp_path / "policy 1"), tracking_uri=uri)
    assert (folder.folder, folder.version) == (tmp_path / "policy 1", None)


def test_the_policy_in_a_model_is_found(uri: str, tmp_path: Path) -> None:
    """Older versions are the policy's folder itself, newer ones hold it in a model's."""
    policy = tmp_path / "model" / "artifacts" / "policy"
    policy.mkdir(parents=True)
    client = MlflowClient(uri)
    client.create_model_version("echelon", (tmp_path / "model").as_uri(), run_id=None)
    assert resolve_artifact("3", tracking_uri=uri).folder == policy
    assert resolve_artifact("2", tracking_uri=uri).folder == tmp_path / "policy 2"


def test_the_version_of_an_alias(uri: str) -> None:
    assert current_version(tracking_uri=uri) == "2"
    assert current_version(alias="challenger", tracking_uri=uri) == "1"
    assert current_version("other", tracking_uri=uri) is None


@pytest.mark.parametrize("name", ["champion", "7"])
def test_none_registered_is_told_with_what_to_do(uri: str, name: str) -> None:
    with pytest.raises(ArtifactError, match=r"run `echelon train` first, or give artifact=FOLDER"):
        resolve_artifact(name, model="other", tracking_uri=uri)


def test_looking_makes_no_database(tmp_path: Path) -> None:
    """A missing file stays missing."""
    path = tmp_path / "mlflow.db"
    with pytest.raises(ArtifactError, match="no model is registered as echelon@champion in sqlite"):
        resolve_artifact("champion", tracking_uri=f"sqlite:///{path}")
    assert current_version(tracking_uri=f"sqlite:///{path}") is None
    assert not path.exists()


def test_looking_makes_no_tables(tmp_path: Path) -> None:
    """A database of something else stays as it is."""
    path = tmp_path / "mlflow.db"
    sqlite3.connect(path).execute("create table other (x)").connection.close()
    before = path.read_bytes()
    assert current_version(tracking_uri=f"sqlite:///{path}") is None
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"x" * 99])
def test_a_broken_database_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "mlflow.db"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="does not answer"):
        current_version(tracking_uri=f"sqlite:///{path}")


def test_a_server_that_refuses_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ArtifactError, match="does not answer") as caught:
        current_version(tracking_uri="http://ann:s3cret@127.0.0.1:9")
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("name", ["nowhere", "", "champions", "²", "-1"])
def test_a_wrong_name_or_folder_is_told(name: str, uri: str) -> None:
    with pytest.raises(ArtifactError, match="expected champion, challenger, a version number"):
        resolve_artifact(name, tracking_uri=uri)


def test_files_that_are_gone_are_told(uri: str, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "policy 2")
    with pytest.raises(ArtifactError, match="which is gone"):
        resolve_artifact("champion", tracking_uri=uri)
