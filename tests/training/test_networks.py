"""training/pathwise/networks.py: slopes period by period are those of the whole trajectory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import nn

from envs.observation.companions import COMPANION_FLAGS, IDENTITY
from envs.types import Floats, Ints
from evaluation.artifact.actor import Actor
from evaluation.artifact.models import MODELS, build_model
from training.pathwise.networks import ModuleSlopes, NetworkSlopes, TanhSlopes, network_slopes

PERIODS, HEADS = 5, 2
COMPANION = [f"companion_{k}_{name}" for k in (1, 2) for name in ("stock", *COMPANION_FLAGS)]
FEATURES = ["stock", "demand_2_ago", "demand_3_ago", "demand_last", *COMPANION, "price", IDENTITY]
CASES = [
    pytest.param(form, hidden, rows, batch, id=f"{form}-{len(hidden)}-{rows}x{batch}")
    for form, hidden, rows, batch in (
        ("mlp", (7,), 3, 5),
        ("mlp", (6, 9, 4), 3, 40),
        ("mlp", (6, 5), 1, 1),
        ("mlp", (6, 5), 70, 31),  # more samples than go through the layers at a time
        ("mlp", (6, 5), 21, 100),
        ("mlp", (6, 5), 2, 2100),
        ("mlp", (), 3, 5),
        ("graph_attention", (6, 5), 3, 5),
        ("recurrent", (6,), 3, 5),
        ("per_node", (6, 5), 3, 5),
    )
]


@dataclass
class Trajectory:
    """What a loss sees of a trajectory: observations [T, P, F, B], slopes by means [T, P, A, B]."""

    observation: Floats
    by_mean: Floats

    @property
    def learns(self) -> list[bool]:
        """In all periods but the last two, as in a tail."""
        return [t < PERIODS - 2 for t in range(PERIODS)]


def actor_of(form: str, hidden: tuple[int, ...], rows: int) -> Actor:
    """In float64; its last layer is no longer 0."""
    torch.manual_seed(3)
    actor = build_model(form, FEATURES, HEADS, hidden, rows).double()
    for parameter in actor.parameters():
        nn.init.normal_(parameter, std=0.4)
    return actor


def trajectory(rows: int, batch: int, seed: int = 1) -> Trajectory:
    """Random; rows know their numbers."""
    random = np.random.default_rng(seed)
    observation = random.normal(size=(PERIODS, rows, len(FEATURES), batch))
    observation[:, :, -1] = np.arange(rows)[:, None]
    return Trajectory(observation, random.normal(size=(PERIODS, rows, HEADS, batch)))


def by_autograd(actor: Actor, played: Trajectory) -> tuple[Floats, dict[torch.Tensor, Floats]]:
    """Slopes of sum(by_mean * mean) by observations and by parameters, all periods at once."""
    seen = torch.from_numpy(played.observation).requires_grad_()
    loss = torch.zeros((), dtype=torch.float64)
    for x, by_mean, learns in zip(seen, played.by_mean, played.learns, strict=True):
        for parameter in actor.parameters():
            parameter.requires_grad_(learns)
        mean = actor(x.transpose(1, 2)).transpose(1, 2)
        loss = loss + (mean * torch.from_numpy(by_mean)).sum()
    weights = [parameter.requires_grad_() for parameter in actor.parameters()]
    by_seen, *slopes = torch.autograd.grad(loss, [seen, *weights])
    return by_seen.numpy(), {w: slope.numpy() for w, slope in zip(weights, slopes, strict=True)}


def by_period(
    networks: NetworkSlopes, actor: Actor, played: Trajectory, moving: Ints | None = None
) -> tuple[Floats, dict[torch.Tensor, Floats]]:
    """The same, forwards and then backwards; means are the actor's."""
    networks.begin()
    for seen, learns in zip(played.observation, played.learns, strict=True):
        networks.forward(np.full_like(seen, 1.0), keeps=False)  # leaves no trace
        mean = networks.forward(seen, learns)
        with torch.no_grad():
            expected = actor(torch.from_numpy(seen).transpose(1, 2)).transpose(1, 2)
        np.testing.assert_allclose(mean, expected.numpy(), rtol=1e-12, atol=1e-12)
    found = played.observation if moving is None else played.observation[:, :, moving]
    by_seen = np.full_like(found, np.nan)
    for t in reversed(range(PERIODS)):
        networks.backward(played.by_mean[t], by_seen[t])
    return by_seen, {w: slope.numpy() for w, slope in networks.gradients().items()}


def check(found: dict[torch.Tensor, Floats], expected: dict[torch.Tensor, Floats]) -> None:
    """The same parameters, the same slopes."""
    assert list(found) == list(expected)
    for parameter, slope in expected.items():
        scale = np.abs(slope).max()
        np.testing.assert_allclose(found[parameter], slope, rtol=1e-12, atol=1e-12 * scale)


@pytest.mark.parametrize(("form", "hidden", "rows", "batch"), CASES)
def test_slopes_are_those_of_the_whole_trajectory(
    form: str, hidden: tuple[int, ...], rows: int, batch: int
) -> None:
    """By weights and by observations; a second trajectory owes nothing to the first."""
    actor = actor_of(form, hidden, rows)
    for build in (network_slopes, _by_module):
        networks = build(actor, rows, batch)
        for seed in (1, 2):
            played = trajectory(rows, batch, seed)
            by_seen, by_weight = by_period(networks, actor, played)
            expected_by_seen, expected = by_autograd(actor, played)
            np.testing.assert_allclose(by_seen, expected_by_seen, rtol=1e-12, atol=1e-12)
            check(by_weight, expected)
            with torch.no_grad():  # as an optimizer does it
                for parameter in actor.parameters():
                    parameter.mul_(0.9)


def _by_module(actor: Actor, rows: int, batch: int) -> NetworkSlopes:
    return ModuleSlopes(actor)


def test_every_form_is_checked() -> None:
    """A new one needs a case here; only plain tanh layers are written out."""
    assert {case.values[0] for case in CASES} == set(MODELS)
    for form in MODELS:
        written = type(network_slopes(actor_of(form, (4,), 2), 2, 3)) is TanhSlopes
        assert written == (form == "mlp")


@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize("build", [TanhSlopes, lambda actor, *_: ModuleSlopes(actor, _[-1])])
def test_columns_that_move(build: Callable[..., NetworkSlopes], batch: int) -> None:
    """Only theirs are written, in their order; weights get the same as without."""
    actor, moving = actor_of("mlp", (6, 5), 4), np.array([7, 0, 2])
    played = trajectory(4, batch)
    by_seen, by_weight = by_period(build(actor, 4, batch, moving), actor, played, moving)
    expected_by_seen, expected = by_autograd(actor, played)
    np.testing.assert_allclose(by_seen, expected_by_seen[:, :, moving], rtol=1e-12, atol=1e-12)
    check(by_weight, expected)


@pytest.mark.parametrize("batch", [3, 40])
def test_parts_of_larger_arrays(batch: int) -> None:
    """A kind's rows and heads lie in arrays of all kinds; the rest of them stays as it is."""
    rows, actor = 4, actor_of("mlp", (6, 5), 4)
    played = trajectory(rows, batch)
    networks = network_slopes(actor, rows, batch)
    seen = np.zeros((rows + 3, len(FEATURES) + 2, batch))
    by_mean, by_seen = np.zeros((rows + 3, HEADS + 1, batch)), np.full_like(seen, 7.0)
    seen[2:-1, 1:-1], by_mean[2:-1, :HEADS] = played.observation[0], played.by_mean[0]
    networks.forward(seen[2:-1, 1:-1])
    networks.backward(by_mean[2:-1, :HEADS], by_seen[2:-1, 1:-1])
    expected, _ = by_autograd(actor, played)
    np.testing.assert_allclose(by_seen[2:-1, 1:-1], expected[0], rtol=1e-12, atol=1e-12)
    by_seen[2:-1, 1:-1] = 7.0
    assert (by_seen == 7.0).all()


@pytest.mark.parametrize("build", [TanhSlopes, lambda actor, *_: ModuleSlopes(actor)])
def test_parameters_without_a_slope_are_left_out(build: Callable[..., NetworkSlopes]) -> None:
    """As after `compute_gradients`: none where no period learns, none that is held fixed."""
    actor = actor_of("mlp", (6, 5), 2)
    first = next(actor.parameters()).requires_grad_(False)
    networks = build(actor, 2, 3)
    played = trajectory(2, 3)
    by_seen = np.empty_like(played.observation[0])
    for learns in (False, True):
        networks.begin()
        networks.forward(played.observation[0], learns)
        networks.backward(played.by_mean[0], by_seen)
        assert (set(actor.parameters()) - set(networks.gradients()) == {first}) == learns
        assert bool(networks.gradients()) == learns


@pytest.mark.parametrize("build", [network_slopes, _by_module])
def test_training_precision(build: Callable[..., NetworkSlopes]) -> None:
    """float32 in, float32 out, over enough samples for careless sums to show."""
    actor, rows, batch = actor_of("mlp", (6, 5), 64), 64, 512
    played = trajectory(rows, batch)
    _, expected = by_autograd(actor, played)
    networks = build(actor.float(), rows, batch)
    small = Trajectory(played.observation.astype("f4"), played.by_mean.astype("f4"))
    for seen, learns in zip(small.observation, small.learns, strict=True):
        assert networks.forward(seen, learns).dtype == np.float32
    by_seen = np.empty_like(small.observation[0])
    for by_mean in small.by_mean[::-1]:
        networks.backward(by_mean, by_seen)
    found = networks.gradients()
    for parameter, slope in zip(actor.parameters(), expected.values(), strict=True):
        assert found[parameter].dtype == torch.float32
        scale = np.abs(slope).max()
        np.testing.assert_allclose(found[parameter], slope, rtol=1e-4, atol=1e-5 * scale)
