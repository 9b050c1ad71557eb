"""The learner's own gradient is what automatic differentiation of RLlib's loss gives."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch import Tensor

from envs.errors import ConfigError
from tests.settings import as_shipped, training
from tests.training.conftest import small_config, small_factory
from training.rllib import tanh_gradient
from training.rllib.modules import NodeKindModule
from training.rllib.ppo import BatchedPPOConfig
from training.rllib.ppo_learner import BatchedPPOLearner, minibatches
from training.rllib.tanh_gradient import has_written_gradient, set_ppo_gradient
from training.rllib.trainer import build_algorithm, trained_actors

ROWS, FEATURES = 300, 7


def module_of(
    actions: int, hidden: tuple[int, ...], central: int = 0, **model: Any
) -> NodeKindModule:
    """With weights that answer something, and another spread for each head. central: of the
    features, how many only the critic sees."""
    names = [f"seen_{i}" for i in range(FEATURES - central)]
    names += [f"central_{i}" for i in range(central)]
    torch.manual_seed(0)
    module = NodeKindModule(
        observation_space=gym.spaces.Box(-np.inf, np.inf, (FEATURES,), np.float32),
        action_space=gym.spaces.Box(-1.0, 1.0, (actions,), np.float32),
        model_config=asdict(as_shipped("model", hidden=hidden, **model)) | {"features": names},
    )
    for network in (module.actor, module.critic):
        last = network.layers[-1]
        assert isinstance(last, torch.nn.Linear)
        torch.nn.init.normal_(last.weight, std=0.3)
    torch.nn.init.normal_(module.std_logit)
    return module


def batch_for(module: NodeKindModule) -> dict[str, Tensor]:
    """Actions of an older policy, so that some ratios are clipped on either side."""
    generator = torch.Generator().manual_seed(1)
    observation = torch.randn(ROWS, FEATURES, generator=generator)
    with torch.no_grad():
        inputs = module.action_inputs(observation)
        mean, log_std = inputs.chunk(2, dim=-1)
        noise = torch.randn(mean.shape, generator=generator)
        actions = mean + 0.2 * log_std.exp() + log_std.exp() * noise
        density = module.get_train_action_dist_cls().from_logits(inputs).logp(actions)
    density += 0.3 * torch.randn(ROWS, generator=generator)
    return {
        Columns.OBS: observation,
        Columns.ACTIONS: actions,
        Columns.ACTION_DIST_INPUTS: inputs,
        Columns.ACTION_LOGP: density,
        Postprocessing.ADVANTAGES: torch.randn(ROWS, generator=generator),
        Postprocessing.VALUE_TARGETS: torch.randn(ROWS, generator=generator),
    }


@pytest.mark.parametrize("actions", [1, 3])
@pytest.mark.parametrize("hidden", [(16, 8), (16,), (8, 16, 4), ()])
@pytest.mark.parametrize(("value_clip", "central"), [(math.inf, 0), (0.5, 0), (math.inf, 3)])
def test_the_gradient_is_that_of_rllibs_loss(
    actions: int,
    hidden: tuple[int, ...],
    value_clip: float,
    central: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """To rounding, over several chunks of unequal length."""
    monkeypatch.setattr(tanh_gradient, "_CHUNK", 128)
    if central and not hidden:
        pytest.skip("left to automatic differentiation")
    module = module_of(actions, hidden, central)
    batch = batch_for(module)
    config = BatchedPPOConfig()
    config.environment(observation_space=module.observation_space, action_space=module.action_space)
    config.training(
        clip_param=0.15, vf_loss_coeff=0.7, entropy_coeff=0.05, vf_clip_param=value_clip
    )
    learner = BatchedPPOLearner(config=config, module_spec=None, module=None)
    learner._module = {"store": module}
    learner.entropy_coeff_schedulers_per_module = {"store": _Always(0.05)}
    outputs = {Columns.ACTION_DIST_INPUTS: module.action_inputs(batch[Columns.OBS])}
    loss = learner.compute_loss_for_module(
        module_id="store", config=config, batch=batch, fwd_out=outputs
    )
    loss.backward()
    wanted = {name: parameter.grad for name, parameter in module.named_parameters()}
    ratio = torch.exp(
        module.get_train_action_dist_cls()
        .from_logits(outputs[Columns.ACTION_DIST_INPUTS])
        .logp(batch[Columns.ACTIONS])
        - batch[Columns.ACTION_LOGP]
    )
    assert (ratio > 1.15).any()
    assert (ratio < 0.85).any()

    module.zero_grad()
    assert has_written_gradient(module)
    set_ppo_gradient(
        module, batch, clip=0.15, value_weight=0.7, value_clip=value_clip, entropy_weight=0.05
    )
    for name, parameter in module.named_parameters():
        torch.testing.assert_close(parameter.grad, wanted[name], rtol=2e-4, atol=2e-6, msg=name)


class _Always:
    """A schedule that never changes."""

    def __init__(self, value: float) -> None:
        self.value = value

    def get_current_value(self) -> float:
        return self.value


def test_another_module_is_left_to_automatic_differentiation() -> None:
    """A subclass may compute anything."""

    class Other(NodeKindModule):
        pass

    module = module_of(1, (4,))
    module.__class__ = Other
    assert not has_written_gradient(module)


def test_minibatches_keep_columns_apart() -> None:
    """Rows stay together, shapes and values too."""
    numbers = torch.arange(50, dtype=torch.float32)
    columns = {"a": numbers, "b": numbers[:, None] * 10, "c": numbers[:, None] + torch.arange(3)}
    batch = MultiAgentBatch({"store": SampleBatch(columns)}, 50)
    for part in minibatches(batch, epochs=2, parts=3, generator=torch.Generator().manual_seed(0)):
        got = part.policy_batches["store"]
        assert got["a"].ndim == 1
        assert torch.equal(got["b"][:, 0], got["a"] * 10)
        assert torch.equal(got["c"], got["a"][:, None] + torch.arange(3))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_said() -> None:
    """In one line, before anything is built."""
    config = training(as_shipped("algorithm=ppo"), resources=as_shipped("resources", device="cuda"))
    with pytest.raises(ConfigError, match="torch finds no GPU on this machine"):
        build_algorithm(small_factory(), config)
    with pytest.raises(ConfigError, match="device is 'tpu'; expected cpu or cuda"):
        as_shipped("resources", device="tpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_learns_on_a_gpu() -> None:
    """Sampling stays on the processor; weights go back and forth."""
    config = small_config()
    config = replace(config, resources=replace(config.resources, device="cuda"))
    algorithm = build_algorithm(small_factory(), config)
    before = trained_actors(algorithm)["store"].state_dict()
    algorithm.train()
    after = trained_actors(algorithm)["store"].state_dict()
    assert not torch.equal(before["layers.0.weight"], after["layers.0.weight"])
    assert algorithm.learner_group._learner._device.type == "cuda"
    algorithm.stop()
