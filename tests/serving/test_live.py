"""Promotion while serving: verified, swapped, or refused with the old one serving on."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from envs.errors import ArtifactError
from envs.scenario import Scenario
from evaluation.recommendation.schemas import RecommendationRequest, Scope
from serving.live import LivePolicy
from serving.source import Source
from tests.evaluation.recommendation.artifacts import write_artifact
from tests.serving.registry import Registry, spoil_weights
from tests.waiting import wait_for


def source(registry: Registry, poll_seconds: float = 60.0) -> Source:
    return Source(
        tracking_uri=registry.uri,
        poll_seconds=poll_seconds,
        cache=str(registry.folder / "cache"),
    )


def units(live: LivePolicy) -> float:
    return live.recommender.recommend(RecommendationRequest(stock=[], scope=Scope())).summary.units


def test_a_promoted_version_takes_over_and_a_broken_one_does_not(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """The whole life: start, promote, promote a broken one, start again, repair, unregister."""
    for seed in (1, 2, 3):
        write_artifact(tmp_path / f"policy_{seed}", chain, seed=seed)
    assert registry.register(tmp_path / "policy_1") == "1"
    live = LivePolicy(source(registry))
    first = units(live)
    assert live.recommender.info.version == "1"
    assert live.recommender.info.run_id
    assert not live.poll()
    assert live.health().last_poll is not None

    registry.register(tmp_path / "policy_2")
    assert live.poll()
    second = units(live)
    assert live.recommender.info.version == "2"
    assert second != first

    registry.register(tmp_path / "policy_3")
    spoil_weights(registry.files_of("3"))
    for _ in range(2):
        assert not live.poll()
        assert live.recommender.info.version == "2"
        assert "policy.safetensors" in (live.health().last_load_error or "")
        assert units(live) == second

    again = LivePolicy(source(registry))  # a process started again, while the champion is broken
    assert again.recommender.info.version == "2"
    assert units(again) == second
    assert "policy.safetensors" in (again.health().last_load_error or "")

    spoil_weights(registry.files_of("3"))  # the same bit again: whole
    assert live.poll()
    assert live.recommender.info.version == "3"
    assert live.health().last_load_error is None

    MlflowClient(registry.uri).delete_registered_model_alias("echelon", "champion")
    assert not live.poll()
    assert live.recommender.info.version == "3"
    assert "echelon@champion" in (live.health().last_load_error or "")


def test_the_background_thread_polls(registry: Registry, chain: Scenario, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_artifact(tmp_path / f"policy_{seed}", chain, seed=seed)
    registry.register(tmp_path / "policy_1")
    live = LivePolicy(source(registry, poll_seconds=0.1))
    live.start_polling()
    try:
        registry.register(tmp_path / "policy_2")
        wait_for(lambda: live.recommender.info.version == "2")
    finally:
        live.stop()


@pytest.mark.parametrize("harm", ["pickle", "network", "no network"])
def test_a_policy_that_cannot_be_served_is_refused(
    chain: Scenario, tmp_path: Path, harm: str
) -> None:
    """A pickle is not opened, a changed network not believed."""
    folder = tmp_path / "policy"
    marker = tmp_path / "executed"
    write_artifact(folder, chain, network=harm != "no network")
    if harm == "pickle":
        (folder / "model.pkl").write_bytes(pickle.dumps(_Exploit(str(marker))))
    elif harm == "network":
        plain = json.loads((folder / "network.json").read_text())
        plain["horizon"] += 1
        text = json.dumps(plain)
        (folder / "network.json").write_text(text)
        # Whoever can change it can change the lists of hashes too.
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"]["network.json"] = hashlib.sha256(text.encode()).hexdigest()
        (folder / "manifest.json").write_text(json.dumps(manifest))
        sums = [
            f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
            for path in sorted(folder.iterdir())
            if path.name != "SHA256SUMS"
        ]
        (folder / "SHA256SUMS").write_text("".join(sums))
    messages = {"pickle": "not listed", "network": "network_sha256", "no network": "no network"}
    with pytest.raises(ArtifactError, match=messages[harm]):
        LivePolicy(Source(artifact=str(folder)))
    assert not marker.exists()


class _Exploit:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.path, "w")


def test_a_folder_is_served_without_a_registry(artifact_folder: Path, tmp_path: Path) -> None:
    live = LivePolicy(Source(str(artifact_folder), tracking_uri=f"sqlite:///{tmp_path / 'no.db'}"))
    assert live.recommender.info.version is None
    assert not (tmp_path / "no.db").exists()


def test_copies_of_two_services_are_kept_apart(
    registry: Registry, chain: Scenario, tmp_path: Path
) -> None:
    """In one cache folder: by registry, model and alias."""
    write_artifact(tmp_path / "policy", chain, seed=1)
    registry.register(tmp_path / "policy")
    LivePolicy(source(registry))
    other = replace(source(registry), artifact="challenger")
    with pytest.raises(ArtifactError, match="echelon@challenger"):
        LivePolicy(other)
    LivePolicy(replace(source(registry), artifact="1"))
    assert len(list((registry.folder / "cache").iterdir())) == 2


def test_a_copy_that_the_disk_refused_is_kept_later(
    registry: Registry, chain: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the next look at the registry: else a process that starts without one has nothing."""
    write_artifact(tmp_path / "policy", chain, seed=1)
    registry.register(tmp_path / "policy")
    with monkeypatch.context() as full:

        def refuse(*_: object, **__: object) -> None:
            raise OSError("no space left on device")

        full.setattr("serving.live.write_folder", refuse)
        live = LivePolicy(source(registry))
        assert not live.poll()
    state = source(registry).state_folder
    assert state is not None
    assert not (state / "version_1").exists()
    assert not live.poll()
    assert (state / "version_1" / "manifest.json").exists()
    registry.folder.joinpath("mlflow.db").rename(tmp_path / "gone.db")
    assert LivePolicy(source(registry)).recommender.info.version == "1"


def test_a_version_damaged_while_it_is_copied_is_not_kept(
    registry: Registry, chain: Scenario, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy sealed anew would make the damage the last version that worked."""
    write_artifact(tmp_path / "policy", chain, seed=1)
    registry.register(tmp_path / "policy")

    def copy(source: Path, target: Path) -> None:
        content = bytearray(Path(source).read_bytes())
        if target.suffix == ".safetensors":
            content[-1] ^= 1
        target.write_bytes(content)

    monkeypatch.setattr(shutil, "copyfile", copy)
    assert LivePolicy(source(registry)).recommender.info.version == "1"
    assert not list((registry.folder / "cache").glob("*/version_*"))
