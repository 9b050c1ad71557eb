"""training/rllib/modules.py: the network of one node kind."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.distribution.torch.torch_distribution import TorchDiagGaussian

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from tests.settings import as_shipped
from tests.training.conftest import small_factory
from training.config import ModelConfig
from training.rllib.modules import NodeKindModule, module_specs, node_spaces, row_spaces


def row_module(model: ModelConfig | None = None, skus: int = 1) -> NodeKindModule:
    env = small_factory(skus=skus)(1)
    return module_specs(env, row_spaces(env), model or as_shipped("model")).build()["store"]


def node_module(skus: int) -> NodeKindModule:
    env = small_factory(skus=skus)(1)
    return module_specs(env, node_spaces(env), as_shipped("model")).build()["store"]


def observation(module: NodeKindModule, *shape: int) -> torch.Tensor:
    features = module.observation_space.shape[-1]
    return torch.randn(*shape, features, generator=torch.Generator().manual_seed(1))


def test_the_untrained_module_is_the_base_policy_with_a_little_noise() -> None:
    """Mean 0, standard deviation as configured."""
    module = row_module(as_shipped("model", initial_std=0.2))
    mean, log_std = module.action_inputs(observation(module, 5)).chunk(2, dim=-1)
    assert (mean == 0).all()
    torch.testing.assert_close(log_std.exp(), torch.full_like(log_std, 0.2))


@pytest.mark.parametrize(("logit", "bound"), [(-50.0, 0.01), (50.0, 0.6)])
def test_exploration_stays_within_its_bounds(logit: float, bound: float) -> None:
    """Whatever the optimizer does to the parameter."""
    module = row_module()
    module.std_logit.data.fill_(logit)
    assert module.log_std().exp().item() == pytest.approx(bound, rel=1e-4)


def test_a_node_is_the_sum_of_its_rows() -> None:
    """Log-probability, entropy and value of [K * F] are those of its K rows together."""
    node, row = node_module(skus=3), row_module(skus=3)
    for network in (row.actor, row.critic):
        torch.nn.init.normal_(network.get_parameter("layers.4.weight"))
    node.load_state_dict(row.state_dict())
    seen = observation(node, 4)
    by_row = seen.reshape(4, 3, -1)
    nodes, rows = (
        TorchDiagGaussian.from_logits(
            module.forward_train({Columns.OBS: observed})[Columns.ACTION_DIST_INPUTS]
        )
        for module, observed in ((node, seen), (row, by_row))
    )
    action = nodes.sample()
    assert action.shape == (4, *node.action_space.shape)
    split = action.reshape(4, 3, -1)
    torch.testing.assert_close(nodes.logp(action), rows.logp(split).sum(-1))
    torch.testing.assert_close(nodes.entropy(), rows.entropy().sum(-1))
    values = row.compute_values({Columns.OBS: by_row}).sum(-1)
    torch.testing.assert_close(node.compute_values({Columns.OBS: seen}), values)


def test_value_units_travel_with_the_weights() -> None:
    """A runner that gets the state reads the critic as the learner does."""
    module, other = row_module(), row_module()
    module.set_value_units(-80.0, 12.5)
    other.set_state(module.get_state())
    values = torch.tensor([-1.0, 0.0, 2.0])
    torch.testing.assert_close(other.to_reward_units(values), torch.tensor([-92.5, -80.0, -55.0]))
    torch.testing.assert_close(other.to_value_units(other.to_reward_units(values)), values)


@pytest.mark.parametrize(
    ("offset", "scale"),
    [
        (float("nan"), 1.0),  # the base policy's costs are broken
        (0.0, 0.0),  # dividing by it
        (0.0, float("inf")),  # every target would be 0
    ],
)
def test_impossible_value_units_are_refused(offset: float, scale: float) -> None:
    """Before they make every value a NaN."""
    with pytest.raises(ConfigError, match="value units"):
        row_module().set_value_units(offset, scale)


def test_nodes_of_a_kind_with_different_numbers_of_skus_cannot_be_stacked() -> None:
    """The message points to the outputs that go by rows."""
    scenario = small_factory(skus=2).scenario
    network = scenario.network
    fewer = replace(
        network,
        stocks=tuple(s for s in network.stocks if (s.node, s.sku) != ("store_002", "item_01")),
        lanes=tuple(
            lane for lane in network.lanes if (lane.node, lane.sku) != ("store_002", "item_01")
        ),
    )
    env = BatchedEnv(replace(scenario, network=fewer), 1)
    with pytest.raises(ConfigError, match=r"'store' stock \[1, 2\] SKUs"):
        node_spaces(env)
    assert row_spaces(env)["store"][0].shape == (env.observation_size,)
