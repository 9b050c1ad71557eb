"""The forms of the model that acts: what each promises, and that it travels in the artifact."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from envs.errors import ArtifactError, ConfigError
from envs.observation.companions import COMPANION_FLAGS, companion_names
from envs.observation.features import FLOW_FEATURES
from evaluation.artifact.actor import Actor
from evaluation.artifact.artifact import Description, Quantity, load_artifact, save_artifact
from evaluation.artifact.models import MODELS, build_model

MEMORY, COMPANIONS, ROWS = 5, 4, 3
OWN = (*FLOW_FEATURES, *(f"demand_{ago}_ago" for ago in range(2, MEMORY + 1)), "critical_ratio")
FEATURES = (*OWN, *companion_names(COMPANIONS), "row_of_kind")
SIZE = len(FLOW_FEATURES) + len(COMPANION_FLAGS)


def trained(name: str, rows: int = ROWS, features: tuple[str, ...] = FEATURES) -> Actor:
    """With weights that answer something."""
    torch.manual_seed(0)
    network = build_model(name, features, 2, (16, 8), rows)
    with torch.no_grad():
        for parameter in network.layers[-1].parameters():
            parameter.normal_(std=0.3)
    return network


def observed(*shape: int, there: int = COMPANIONS) -> Tensor:
    """Rows with so many companions; their numbers repeat along the first axis."""
    generator = torch.Generator().manual_seed(1)
    rows = torch.randn(*shape, len(FEATURES), generator=generator)
    companions = rows[..., len(OWN) : -1].unflatten(-1, (COMPANIONS, SIZE))
    companions[..., -3:] = torch.tensor([1.0, 0.0, 0.0])
    companions[..., there:, :] = 0.0
    rows[..., -1] = (torch.arange(shape[0]) % ROWS).reshape(-1, *[1] * (len(shape) - 1))
    return rows


@pytest.mark.parametrize("name", MODELS)
def test_untrained_networks_are_the_base_policy(name: str) -> None:
    """Exactly zero, with a slope; a trained one that is silenced answers zero again."""
    network = build_model(name, FEATURES, 2, (16, 8), ROWS)
    seen = observed(ROWS, 4)
    answer = network(seen)
    assert (network.observation_size, network.action_size) == (len(FEATURES), 2)
    assert network.hidden == (16, 8)
    assert answer.shape == (ROWS, 4, 2)
    assert not answer.any()
    answer.sum().backward()
    slopes = [p.grad for p in network.layers[-1].parameters()]
    assert all(slope is not None and bool(slope.any()) for slope in slopes)
    network = trained(name)
    assert network(seen).abs().min() > 0.0
    network.answer_zero()
    assert not network(seen).any()


@pytest.mark.parametrize("name", MODELS)
def test_rows_answer_for_themselves(name: str) -> None:
    """Whatever shape they come in and whoever stands beside them."""
    network, seen = trained(name), observed(ROWS, 5)
    whole = network(seen)
    torch.testing.assert_close(network(seen.flatten(0, 1)), whole.flatten(0, 1))
    shuffle = torch.randperm(ROWS * 5, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(network(seen.flatten(0, 1)[shuffle]), whole.flatten(0, 1)[shuffle])
    torch.testing.assert_close(network(seen[1, 2]), whole[1, 2])


@pytest.mark.parametrize("name", MODELS)
def test_all_weights_learn(name: str) -> None:
    """No part of a network is out of reach of the slope."""
    network = trained(name)
    network(observed(ROWS, 6, there=2)).square().sum().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.any(), parameter_name


def test_companions_are_a_set() -> None:
    """Their order doesn't matter, nor does an empty place; who they are does."""
    network, seen = trained("graph_attention"), observed(6)
    own, companions = seen[:, : len(OWN)], seen[:, len(OWN) : -1].unflatten(-1, (COMPANIONS, SIZE))

    def answer(companions: Tensor) -> Tensor:
        return network(torch.cat((own, companions.flatten(-2), seen[:, -1:]), dim=-1))

    torch.testing.assert_close(answer(companions[:, [2, 0, 3, 1]]), answer(companions))
    fewer = companions.clone()
    fewer[:, 1] = 0.0
    moved = torch.cat((fewer[:, :1], fewer[:, 2:], fewer[:, 1:2]), dim=1)
    torch.testing.assert_close(answer(moved), answer(fewer))
    assert (answer(fewer) - answer(companions)).abs().min() > 0.0


def test_as_many_companions_as_there_are() -> None:
    """The same weights read 4 places or 2, where no more are filled: empty ones count nothing."""
    network = trained("graph_attention")
    short = (*OWN, *companion_names(2), "row_of_kind")
    other = build_model("graph_attention", short, 2, (16, 8), 0)
    other.load_state_dict(network.state_dict())
    for there in (0, 1, 2):
        seen = observed(6, there=there)
        cut = torch.cat((seen[:, : len(OWN) + 2 * SIZE], seen[:, -1:]), dim=-1)
        torch.testing.assert_close(other(cut), network(seen))
        assert torch.isfinite(network(seen)).all()


def test_memory_runs_through_the_window_in_order() -> None:
    """The answer is that of a cell stepped from the oldest period to the last."""
    network, seen = trained("recurrent"), observed(7)
    order = [*(f"demand_{ago}_ago" for ago in range(MEMORY, 1, -1)), "demand_last"]
    recurrence = network.get_submodule("memory")
    assert isinstance(recurrence, torch.nn.GRU)
    cell = torch.nn.GRUCell(1, recurrence.hidden_size)
    cell.load_state_dict({k.removesuffix("_l0"): v for k, v in recurrence.state_dict().items()})
    state = torch.zeros(7, recurrence.hidden_size)
    for name in order:
        state = cell(seen[:, [FEATURES.index(name)]], state)
    others = [i for i, name in enumerate(FEATURES) if name not in order[:-1]]
    wanted = network.layers(torch.cat((seen[:, others], state), dim=-1))
    torch.testing.assert_close(network(seen), wanted)


def test_each_row_has_its_own_weights() -> None:
    """Shuffled rows, some more often than others, get what their own layers answer."""
    network = trained("per_node")
    numbers = torch.tensor([2, 0, 2, 2, 0])
    seen = observed(5)
    seen[:, -1] = numbers
    layers = network.layers
    for row, (number, answer) in enumerate(zip(numbers.tolist(), network(seen), strict=True)):
        x = seen[row, :-1]
        for i in (0, 2, 4):
            weights, bias = layers[i].get_parameter("weight"), layers[i].get_parameter("bias")
            x = x @ weights[number] + bias[number, 0]
            x = x.tanh() if i < 4 else x
        torch.testing.assert_close(answer, x)


@pytest.mark.parametrize("number", [-1.0, float(ROWS)])
def test_unknown_rows_are_refused(number: float) -> None:
    """Rows that per-node weights were not trained for."""
    seen = observed(4)
    seen[2, -1] = number
    with pytest.raises(ArtifactError, match="trained for rows 0 to 2"):
        trained("per_node")(seen)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("graph_attention", "set model.companions"),
        ("recurrent", "set model.memory"),
        ("per_node", "set model.identity"),
        ("attention", "expected one of: mlp, graph_attention"),
    ],
)
def test_what_a_network_needs_to_see(name: str, message: str) -> None:
    """Named, with the setting that shows it."""
    with pytest.raises(ConfigError, match=message):
        build_model(name, FLOW_FEATURES, 1, (8,), 2)


def description() -> Description:
    return Description(
        scenario="small",
        scenario_config={},
        network_sha256="ab" * 32,
        observation=tuple(Quantity(name, "1") for name in FEATURES),
        actions={"store": (Quantity("level", "1"), Quantity("gate", "1"))},
        base_policy={"name": "base_stock"},
        config={},
    )


@pytest.mark.parametrize("name", MODELS)
def test_saved_networks_come_back(name: str, tmp_path: Path) -> None:
    """To the bit, as the same form."""
    network, seen = trained(name), observed(ROWS, 5)
    save_artifact(tmp_path / "policy", {"store": network}, description())
    loaded = load_artifact(tmp_path / "policy").policy.actors["store"]
    assert type(loaded) is type(network)
    assert (loaded.rows, loaded.hidden) == (network.rows, network.hidden)
    assert torch.equal(loaded(seen), network(seen))


def test_artifacts_of_before_are_tanh_networks(tmp_path: Path) -> None:
    """Their manifest doesn't say which network."""
    network, folder = trained("mlp"), tmp_path / "policy"
    save_artifact(folder, {"store": network}, description())
    _change_manifest(folder, "networks", None)
    loaded = load_artifact(folder).policy.actors["store"]
    assert torch.equal(loaded(observed(4)), network(observed(4)))


@pytest.mark.parametrize(
    ("networks", "message"),
    [
        ({"store": {"name": "mlp", "rows": 0}}, "has shape .*, expected"),
        ({"store": {"name": "per_node", "rows": 10**9}}, "has shape .*, expected"),
        ({"store": {"name": "per_node", "rows": -1}}, "no model of 'store'"),
        ({"store": {"name": "../mlp", "rows": 0}}, "model.form is '../mlp'"),
        ({"store": {"name": "per_node"}}, "a field is missing"),
        (["per_node"], "a field is missing or malformed"),
    ],
)
def test_a_manifest_that_says_another_network(
    networks: object, message: str, tmp_path: Path
) -> None:
    """Refused before anything of its size is allocated."""
    folder = tmp_path / "policy"
    save_artifact(folder, {"store": trained("per_node")}, description())
    _change_manifest(folder, "networks", networks)
    with pytest.raises(ArtifactError, match=message):
        load_artifact(folder)


def _change_manifest(folder: Path, key: str, value: object) -> None:
    """As someone does who knows how to make the hashes right."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest.pop(key)
    if value is not None:
        manifest[key] = value
    (folder / "manifest.json").write_text(json.dumps(manifest))
    names = sorted(p.name for p in folder.iterdir() if p.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256((folder / n).read_bytes()).hexdigest()}  {n}\n" for n in names]
    (folder / "SHA256SUMS").write_text("".join(sums))
