"""The network that acts."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from envs.errors import ArtifactError, NonFiniteError
from evaluation.artifact.actor import Actor, TorchPolicy


@dataclass(frozen=True)
class Rows:
    name: str
    start: int
    stop: int
    action_size: int


GROUPS = (Rows("warehouse", 0, 2, 3), Rows("store", 2, 7, 1))  # 7 rows, 5 features


def trained(features: int, heads: int, seed: int, scale: float = 0.5) -> Actor:
    """An actor whose last layer is not zero any more."""
    torch.manual_seed(seed)
    actor = Actor(features, heads, hidden=(16, 8))
    for parameter in actor.parameters():
        torch.nn.init.normal_(parameter, std=scale)
    return actor


@pytest.fixture
def policy() -> TorchPolicy:
    return TorchPolicy({"warehouse": trained(5, 3, 1), "store": trained(5, 1, 2)})


@pytest.fixture
def observation() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((7, 5, 11), dtype=np.float32)


def test_untrained_actor_is_the_base_policy() -> None:
    """Exactly zero, whatever it sees."""
    answer = Actor(5, 3)(torch.randn(2, 4, 5) * 100)
    assert answer.shape == (2, 4, 3)
    assert torch.equal(answer, torch.zeros(2, 4, 3))


def test_untrained_actor_learns() -> None:
    """Zero is a start, not a trap: the last layer has a gradient at once."""
    actor = Actor(5, 1)
    actor(torch.randn(8, 5)).sum().backward()
    gradient = dict(actor.named_parameters())["layers.4.weight"].grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_each_row_is_answered_by_its_group(policy: TorchPolicy, observation: np.ndarray) -> None:
    """[P, F, B] -> [P, A, B], equal to one forward pass per row and replication."""
    action = policy.act(observation, GROUPS)
    assert action.shape == (7, 3, 11)
    assert action.dtype == np.float32
    for group in GROUPS:
        actor = policy.actors[group.name]
        for row in range(group.start, group.stop):
            for replication in range(11):
                with torch.no_grad():
                    alone = actor(torch.from_numpy(observation[row, :, replication]))
                np.testing.assert_allclose(
                    action[row, : group.action_size, replication],
                    alone.clamp(-1, 1).numpy(),
                    atol=1e-6,
                )


def test_heads_a_group_lacks_stay_zero(policy: TorchPolicy, observation: np.ndarray) -> None:
    """A store has one head, the action has three."""
    assert not policy.act(observation, GROUPS)[2:, 1:].any()


def test_actions_are_clipped(observation: np.ndarray) -> None:
    """To [-1, 1], reached on both sides."""
    policy = TorchPolicy({"warehouse": trained(5, 3, 1, 5.0), "store": trained(5, 1, 2, 5.0)})
    action = policy.act(observation, GROUPS)
    assert (action.min(), action.max()) == (-1.0, 1.0)


def test_answer_depends_on_nothing_else(policy: TorchPolicy, observation: np.ndarray) -> None:
    """The same observation gives the same bits, and is left as it was."""
    before = observation.copy()
    np.testing.assert_array_equal(policy.act(observation, GROUPS), policy.act(observation, GROUPS))
    np.testing.assert_array_equal(observation, before)


def test_non_finite_action_is_refused(policy: TorchPolicy, observation: np.ndarray) -> None:
    """NaN passes through clipping: it must not reach an order."""
    observation[3, 2, 1] = np.nan
    with pytest.raises(NonFiniteError, match="node kind 'store'"):
        policy.act(observation, GROUPS)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ((Rows("plant", 0, 7, 1),), "no actor for node kind 'plant'; it has: store, warehouse"),
        ((Rows("store", 0, 7, 2),), "5 features and 2 action heads; expected 5 and 1"),
    ],
    ids=["unknown kind", "other heads"],
)
def test_foreign_network_is_refused(
    policy: TorchPolicy, observation: np.ndarray, groups: tuple[Rows, ...], message: str
) -> None:
    """Before anything is computed."""
    with pytest.raises(ArtifactError, match=message):
        policy.act(observation, groups)
