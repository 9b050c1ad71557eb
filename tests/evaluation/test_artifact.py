"""The exported policy: complete, verified, and never a pickle."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from envs.errors import ArtifactError
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import Description, Quantity, load_artifact, save_artifact

DESCRIPTION = Description(
    scenario="two_echelons",
    scenario_config={"horizon": 52, "lead_time": [1, 2]},
    network_sha256="ab" * 32,
    observation=tuple(Quantity(name, "units") for name in ("on_hand", "on_order", "demand_mean")),
    actions={
        "warehouse": (Quantity("base_stock", "1"), Quantity("share", "1")),
        "store": (Quantity("base_stock", "1"),),
    },
    base_policy={"name": "echelon_base_stock", "levels": {"dc": 41.0}},
    config={"seed": 0, "tracking": {"uri": "http://ann:canary-s3cret@host:5000"}},
    evaluation={"cost": 81.2, "base_cost": 84.0},
    git_revision="0123abc",
)
Harm = Callable[[Path], None]


def make_actors() -> dict[str, Actor]:
    torch.manual_seed(0)
    actors = {"warehouse": Actor(3, 2, (8, 8)), "store": Actor(3, 1, (4,))}
    for actor in actors.values():
        for parameter in actor.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
    return actors


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "policy", make_actors(), DESCRIPTION)
    return tmp_path / "policy"


def seal(folder: Path) -> None:
    """List whatever lies in the folder: what an attacker or a careless tool can do as well."""
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def edit_manifest(change: Callable[[dict[str, Any]], Any]) -> Harm:
    def harm(folder: Path) -> None:
        manifest = json.loads((folder / "manifest.json").read_text())
        change(manifest)
        (folder / "manifest.json").write_text(json.dumps(manifest))

    return harm


def edit_weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Harm:
    def harm(folder: Path) -> None:
        tensors = safetensors.torch.load_file(folder / "policy.safetensors")
        change(tensors)
        safetensors.torch.save_file(tensors, folder / "policy.safetensors")
        digest = hashlib.sha256((folder / "policy.safetensors").read_bytes()).hexdigest()
        edit_manifest(lambda m: m["files"].update({"policy.safetensors": digest}))(folder)

    return harm


def test_loaded_policy_is_the_saved_one(folder: Path) -> None:
    """To the bit, with all that was said about it."""
    artifact = load_artifact(folder)
    rows = torch.randn(20, 3)
    for kind, actor in make_actors().items():
        assert torch.equal(artifact.policy.actors[kind](rows), actor(rows))
        assert artifact.policy.actors[kind].hidden == actor.hidden
    manifest = artifact.manifest
    assert [feature["name"] for feature in manifest["observation"]] == [
        "on_hand", "on_order", "demand_mean",
    ]  # fmt: skip
    assert manifest["actions"]["store"] == [{"name": "base_stock", "unit": "1"}]
    assert manifest["scenario_config"] == {"horizon": 52, "lead_time": [1, 2]}
    assert manifest["evaluation"]["cost"] == 81.2
    assert manifest["data_sha256"] is None
    assert manifest["created_at"].endswith("+00:00")


def test_version_names_the_content(folder: Path, tmp_path: Path) -> None:
    """Other weights, other version."""
    assert load_artifact(folder).version == load_artifact(folder).version
    actors = make_actors()
    with torch.no_grad():
        next(actors["store"].parameters()).add_(1)
    other = save_artifact(tmp_path / "other", actors, DESCRIPTION)
    assert other.version == load_artifact(tmp_path / "other").version
    assert other.version != load_artifact(folder).version


def test_folder_holds_no_secret(folder: Path) -> None:
    """The password in the tracking address stays out."""
    for path in folder.iterdir():
        assert b"canary-s3cret" not in path.read_bytes()
    uri = load_artifact(folder).manifest["config"]["tracking"]["uri"]
    assert uri == "http://***@host:5000"


def test_every_random_bit_flip_is_found(folder: Path) -> None:
    """In the manifest, the weights and the list of hashes."""
    chance = random.Random(0)
    for path in sorted(folder.iterdir()):
        good = path.read_bytes()
        for _ in range(150):
            bad = bytearray(good)
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
            path.write_bytes(bad)
            with pytest.raises(ArtifactError, match="File '"):
                load_artifact(folder)
        path.write_bytes(good)
    load_artifact(folder)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (edit_manifest(lambda m: m.update(format_version=2)), "format_version is 2; expected 1"),
        (edit_manifest(lambda m: m.pop("canary")), "a field is missing or malformed"),
        (edit_manifest(lambda m: m.pop("format_version")), "can't be read"),
        (edit_manifest(lambda m: m.update(hidden=[])), "a field is missing or malformed"),
        (edit_manifest(lambda m: m["files"].clear()), "its SHA-256 is not the one"),
        (edit_manifest(lambda m: m["hidden"].pop("store")), "a field is missing"),
        (edit_manifest(lambda m: m["observation"].pop()), "has shape .*, expected"),
        (edit_manifest(lambda m: m["actions"]["store"].pop()), "has shape .*, expected"),
        (edit_manifest(lambda m: m["hidden"].update(store=[10**12])), "has shape .*, expected"),
        (edit_manifest(lambda m: m["canary"]["store"].update(output=[[9.0]] * 4)), "the canary"),
        (edit_manifest(lambda m: m["canary"]["store"].update(input="x")), "malformed"),
        (edit_manifest(lambda m: m["canary"]["store"].update(input=[])), "canary"),
        (lambda f: (f / "manifest.json").write_text("[" * 100_000), "can't be read"),
        (lambda f: (f / "manifest.json").write_text("[]"), "can't be read"),
        (edit_weights(lambda t: t["store.layers.0.bias"].fill_(float("nan"))), "not all finite"),
        (edit_weights(lambda t: t["store.layers.0.bias"].add_(0.01)), "the canary"),
        (edit_weights(lambda t: t.pop("store.layers.0.bias")), "has shape None, expected"),
        (edit_weights(lambda t: t.update(extra=torch.zeros(2))), "expected None"),
        (
            edit_weights(lambda t: t.update({k: v.double() for k, v in t.items()})),
            "not all finite float32",
        ),
    ],
)
def test_resealed_harm_is_found(folder: Path, harm: Harm, message: str) -> None:
    """Where the hashes are right, the content is still checked."""
    harm(folder)
    seal(folder)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def test_pickle_is_never_read(folder: Path, tmp_path: Path) -> None:
    """A pickle that would leave a marker: beside the files, listed as one, or in place of one."""
    marker = tmp_path / "marker"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(marker),))

    evil = pickle.dumps(Malicious())
    (folder / "policy.pkl").write_bytes(evil)
    with pytest.raises(ArtifactError, match=r"policy\.pkl' is not listed"):
        load_artifact(folder)
    seal(folder)
    with pytest.raises(ArtifactError, match=r"policy\.pkl' does not belong here"):
        load_artifact(folder)
    (folder / "policy.pkl").unlink()
    (folder / "policy.safetensors").write_bytes(evil)
    digest = hashlib.sha256(evil).hexdigest()
    edit_manifest(lambda m: m["files"].update({"policy.safetensors": digest}))(folder)
    seal(folder)
    with pytest.raises(ArtifactError, match="can't be read"):
        load_artifact(folder)
    assert not marker.exists()
    pickle.loads(evil)  # the bait does bite
    assert marker.exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"observation": DESCRIPTION.observation[:2]}, "has shape"),
        ({"actions": {"store": DESCRIPTION.actions["store"]}}, "different node kinds"),
        ({"evaluation": {"cost": float("nan")}}, "not plain JSON"),
        ({"config": {"weights": np.zeros(3)}}, "not plain JSON"),
    ],
    ids=["features", "kinds", "nan", "array"],
)
def test_wrong_description_is_refused(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """At the export, with nothing written."""
    with pytest.raises(ArtifactError, match=message):
        save_artifact(tmp_path / "policy", make_actors(), replace(DESCRIPTION, **change))
    assert not list(tmp_path.iterdir())


def test_non_finite_weights_are_not_exported(tmp_path: Path) -> None:
    """A diverged policy must not leave the trainer."""
    actors = make_actors()
    with torch.no_grad():
        next(actors["store"].parameters())[0, 0] = float("inf")
    with pytest.raises(ArtifactError, match="not all finite"):
        save_artifact(tmp_path / "policy", actors, DESCRIPTION)


def test_loading_needs_no_ray(folder: Path) -> None:
    """Nor MLflow, Hydra or the trainer."""
    code = (
        "import sys; from pathlib import Path\n"
        "from evaluation.artifact.artifact import load_artifact\n"
        "load_artifact(Path(sys.argv[1]))\n"
        "print(sorted({'ray', 'mlflow', 'hydra', 'training', 'serving'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
