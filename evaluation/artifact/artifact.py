"""The exported policy: the folder in which training and serving meet.

``manifest.json`` says what the policy is (scenario, observation, actions with units, base policy,
config, evaluation), ``policy.safetensors`` holds the weights, ``network.json`` the network it was
trained on (serving needs it), ``SHA256SUMS`` the hash of each.
No pickle: any other file in the folder is refused unopened. Loading needs torch, not Ray.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch

from envs.errors import ArtifactError, ConfigError
from envs.json_text import parse_json
from envs.redact import redact_tree
from evaluation.artifact.actor import Actor, TorchPolicy
from evaluation.artifact.models import build_model
from evaluation.artifact.network_io import plain_hash
from evaluation.files.atomic_folder import read_folder, write_folder

FORMAT_VERSION = 1

_MANIFEST = "manifest.json"
_WEIGHTS = "policy.safetensors"
_NETWORK = "network.json"
_CANARY_ROWS = 4
_CANARY_TOLERANCE = 1e-5  # between machines, whose matrix products differ in the last digits


@dataclass(frozen=True)
class Quantity:
    """One feature or action head."""

    name: str
    unit: str  # "1" where it has none


@dataclass(frozen=True)
class Description:
    """What the manifest says beside the weights; all plain JSON values."""

    scenario: str
    scenario_config: Mapping[str, Any]
    network_sha256: str
    observation: tuple[Quantity, ...]  # features, in order
    actions: Mapping[str, tuple[Quantity, ...]]  # heads of each node kind, in order
    base_policy: Mapping[str, Any]  # its name and parameters
    config: Mapping[str, Any]  # the resolved config of the run
    evaluation: Mapping[str, Any] = field(default_factory=dict)  # summary
    git_revision: str | None = None
    data_sha256: str | None = None


@dataclass(frozen=True)
class Artifact:
    """A verified policy."""

    policy: TorchPolicy
    manifest: Mapping[str, Any]
    version: str  # SHA-256 of the manifest, which holds the hashes of the other files
    network: Mapping[str, Any] | None = (
        None  # for evaluation.artifact.network_io.scenario_from_plain
    )


def save_artifact(
    folder: Path,
    actors: Mapping[str, Actor],
    description: Description,
    *,
    network: Mapping[str, Any] | None = None,
    replace: bool = False,
) -> Artifact:
    """Write the folder whole or not at all, and return it as loaded back.

    network: as `evaluation.artifact.network_io.scenario_to_plain` gives it. Credentials in the
    config are left out. Raises ArtifactError when the weights are not finite, do not fit the
    description, or the description is not plain JSON.
    """
    tensors = {
        f"{kind}.{name}": tensor.detach().cpu().contiguous()
        for kind, actor in actors.items()
        for name, tensor in actor.state_dict().items()
    }
    files = {_WEIGHTS: safetensors.torch.save(tensors)}
    if network is not None:
        files[_NETWORK] = _to_json(folder, network, indent=None)
    manifest = redact_tree(asdict(description)) | {
        "format_version": FORMAT_VERSION,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "hidden": {kind: list(actor.hidden) for kind, actor in actors.items()},
        "networks": {
            kind: {"name": actor.form, "rows": actor.rows} for kind, actor in actors.items()
        },
        "canary": {kind: _canary(actor) for kind, actor in actors.items()},
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    files[_MANIFEST] = _to_json(folder, manifest, indent=2)
    artifact = _build(folder, files)  # refuse before anything is written

    def fill(temporary: Path) -> None:
        for name, data in files.items():
            (temporary / name).write_bytes(data)

    write_folder(folder, fill, replace=replace, error=ArtifactError)
    return artifact


def load_artifact(folder: Path) -> Artifact:
    """Verify hashes, format, tensor names, shapes, finiteness and canary; then return.

    Raises ArtifactError, naming the file and what to do.
    """
    names = {_MANIFEST, _WEIGHTS}
    if (Path(folder) / _NETWORK).exists():
        names.add(_NETWORK)
    return _build(folder, read_folder(folder, frozenset(names), error=ArtifactError))


def _build(folder: Path, files: Mapping[str, bytes]) -> Artifact:
    text = files[_MANIFEST]
    manifest = _read_manifest(folder, text)
    try:
        for name in sorted({*files, *manifest["files"]} - {_MANIFEST}):
            data = files.get(name)
            if data is None or manifest["files"].get(name) != hashlib.sha256(data).hexdigest():
                raise _bad(folder, name, f"its SHA-256 is not the one in {_MANIFEST}")
        network = _read_network(folder, manifest, files.get(_NETWORK))
        actors = _build_actors(folder, manifest, files[_WEIGHTS])
        for kind, actor in actors.items():
            _check_canary(folder, kind, actor, manifest["canary"][kind])
    except (KeyError, TypeError, AttributeError) as problem:
        raise _bad(folder, _MANIFEST, f"a field is missing or malformed ({problem!r})") from problem
    return Artifact(TorchPolicy(actors), manifest, hashlib.sha256(text).hexdigest(), network)


def _to_json(folder: Path, value: Mapping[str, Any], indent: int | None) -> bytes:
    try:
        return json.dumps(value, indent=indent, sort_keys=True, allow_nan=False).encode()
    except (TypeError, ValueError) as problem:
        raise ArtifactError(
            f"Artifact '{folder}': the description is not plain JSON ({problem}); expected text, "
            "finite numbers, lists and dicts. Convert or drop that value."
        ) from problem


def _read_network(
    folder: Path, manifest: dict[str, Any], text: bytes | None
) -> Mapping[str, Any] | None:
    if text is None:
        return None
    try:
        network = parse_json(text)
        digest = plain_hash(network)
    except ValueError as problem:
        raise _bad(folder, _NETWORK, f"it can't be read ({problem!r})") from problem
    if manifest["network_sha256"] != digest:
        raise _bad(folder, _NETWORK, f"it is not the network of {_MANIFEST} (network_sha256)")
    if not isinstance(network, dict):
        raise _bad(folder, _NETWORK, "it is no JSON object")
    return network


def _read_manifest(folder: Path, text: bytes) -> dict[str, Any]:
    try:
        manifest = parse_json(text)
        version = manifest["format_version"]
    except (ValueError, KeyError, TypeError) as problem:
        raise _bad(folder, _MANIFEST, f"it can't be read ({problem!r})") from problem
    if version != FORMAT_VERSION:
        raise ArtifactError(
            f"File '{folder / _MANIFEST}': format_version is {version!r}; expected "
            f"{FORMAT_VERSION}. Export the policy again, or use the Echelon that wrote it."
        )
    return dict(manifest)


def _build_actors(folder: Path, manifest: dict[str, Any], weights: bytes) -> dict[str, Actor]:
    """Compare names and shapes first, so that no size in the manifest can claim memory."""
    try:
        tensors = safetensors.torch.load(weights)
    except (safetensors.SafetensorError, ValueError, KeyError) as problem:
        raise _bad(folder, _WEIGHTS, f"it can't be read ({problem})") from problem
    with torch.device("meta"):  # shapes alone
        expected = {kind: _build_actor(folder, manifest, kind) for kind in manifest["actions"]}
    if set(expected) != set(manifest["hidden"]):
        raise _bad(folder, _MANIFEST, "'actions' and 'hidden' name different node kinds")
    wanted = {
        f"{kind}.{name}": tuple(tensor.shape)
        for kind, actor in expected.items()
        for name, tensor in actor.state_dict().items()
    }
    got = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    for name in sorted(wanted.keys() | got.keys()):
        if wanted.get(name) != got.get(name):
            raise _bad(
                folder,
                _WEIGHTS,
                f"tensor '{name}' has shape {got.get(name)}, expected {wanted.get(name)}",
            )
        tensor = tensors[name]
        if tensor.dtype != torch.float32 or not bool(torch.isfinite(tensor).all()):
            raise _bad(folder, _WEIGHTS, f"tensor '{name}' is not all finite float32 numbers")
    actors = {}
    for kind, actor in expected.items():
        actors[kind] = _build_actor(folder, manifest, kind)
        actors[kind].load_state_dict(
            {name: tensors[f"{kind}.{name}"] for name in actor.state_dict()}
        )
    return actors


def _build_actor(folder: Path, manifest: dict[str, Any], kind: str) -> Actor:
    """The kind's model as the manifest says, untrained; without 'networks': tanh layers."""
    model = manifest.get("networks", {}).get(kind, {"name": Actor.form, "rows": 0})
    features = [quantity["name"] for quantity in manifest["observation"]]
    heads, hidden = len(manifest["actions"][kind]), manifest["hidden"][kind]
    try:
        return build_model(model["name"], features, heads, hidden, model["rows"])
    except (ConfigError, ValueError, RuntimeError) as problem:
        what = f"no model of '{kind}' can be built from it ({problem})"
        raise _bad(folder, _MANIFEST, what) from problem


@torch.inference_mode()
def _canary(actor: Actor) -> dict[str, Any]:
    """A fixed input [rows, F] and the mean action [rows, A] it must give again."""
    inputs = np.random.default_rng(0).standard_normal((_CANARY_ROWS, actor.observation_size))
    if actor.rows:  # each has weights of its own, and says its number last
        inputs[:, -1] = np.arange(_CANARY_ROWS) % actor.rows
    rows = torch.from_numpy(inputs.round(3).astype(np.float32))
    device = next(actor.parameters()).device
    return {"input": rows.tolist(), "output": actor(rows.to(device)).cpu().tolist()}


@torch.inference_mode()
def _check_canary(folder: Path, kind: str, actor: Actor, canary: Mapping[str, Any]) -> None:
    try:
        rows = torch.tensor(canary["input"], dtype=torch.float32)
        wanted = np.array(canary["output"], dtype=np.float32)
        got = actor(rows).numpy()
    except (ValueError, TypeError, RuntimeError) as problem:
        raise _bad(folder, _MANIFEST, f"the canary of '{kind}' is malformed") from problem
    if got.shape != wanted.shape or not np.allclose(
        got, wanted, rtol=_CANARY_TOLERANCE, atol=_CANARY_TOLERANCE
    ):
        raise _bad(
            folder, _WEIGHTS, f"the canary of node kind '{kind}' gives another action than it did"
        )


def _bad(folder: Path, name: str, what: str) -> ArtifactError:
    return ArtifactError(
        f"File '{Path(folder) / name}': {what}. Export the policy again, or use another copy."
    )
