"""The gradient of PPO's loss for the tanh models of a node kind, written out.

What automatic differentiation would give, to rounding (tests/training/test_learner.py), but over a
thousand rows at a time: their layers' outputs are still in the processor's cache when the way
back needs them. On one core that halves the time of an update.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from torch import Tensor, nn

from evaluation.artifact.actor import Actor
from training.rllib.modules import NodeKindModule

_CHUNK = 2048  # rows: what two layers of 64 units put out, for both models, is two megabytes
_LOG_ROOT_2_PI = 0.9189385332046727  # log sqrt(2 pi)


def has_written_gradient(module: nn.Module) -> bool:
    """Whether `set_ppo_gradient` knows this module: tanh models on rows, on a processor."""
    return bool(
        type(module) is NodeKindModule
        and module.node_rows == 1
        and type(module.actor) is type(module.critic) is Actor
        and (module.actor.hidden or module.actor.observation_size == module.critic.observation_size)
        and module.std_logit.device.type == "cpu"
    )


@torch.no_grad()
def set_ppo_gradient(
    module: NodeKindModule,
    batch: Mapping[str, Tensor],
    *,
    clip: float,
    value_weight: float,
    value_clip: float,
    entropy_weight: float,
) -> None:
    """Set `grad` of the module's parameters to that of the mean loss over N rows.

    Schulman et al. 2017, eq. 9: clipped surrogate, squared error of the critic, entropy.

    Args:
        module: one for which `has_written_gradient`.
        batch: RLlib's columns: observations [N, F], actions [N, A], and [N] their log-density
            when sampled, advantages and value targets.
        clip: largest change of the probability ratio that is rewarded.
        value_weight: loss per unit of squared error.
        value_clip: squared error beyond which it has no gradient.
        entropy_weight: loss per nat.
    """
    observations, actions = batch[Columns.OBS], batch[Columns.ACTIONS]
    densities, advantages = batch[Columns.ACTION_LOGP], batch[Postprocessing.ADVANTAGES]
    targets = batch[Postprocessing.VALUE_TARGETS].unsqueeze(-1)
    rows, models = len(observations), _Pair(module.actor, module.critic)
    with torch.enable_grad():
        log_std = module.log_std()
    by_log_std = torch.full_like(log_std, -entropy_weight)
    inverse_std, log_scale = (-log_std).exp(), float((log_std + _LOG_ROOT_2_PI).sum())
    for start in range(0, rows, _CHUNK):
        part = slice(start, start + _CHUNK)
        advantage = advantages[part]
        mean, value = models.forward(observations[part])

        deviation = torch.sub(actions[part], mean).mul_(inverse_std)
        squares = deviation.square()
        ratio = squares.sum(-1).mul_(-0.5).sub_(densities[part]).sub_(log_scale).exp_()
        gain = advantage * ratio
        limited = ratio.clamp_(1.0 - clip, 1.0 + clip).mul_(advantage)
        # Where clipping makes the gain smaller, it hides the action from the loss.
        by_density = gain.mul_(gain <= limited).div_(-rows).unsqueeze(-1)
        by_log_std += squares.sub_(1.0).mul_(by_density).sum(0)
        by_mean = deviation.mul_(inverse_std).mul_(by_density)

        error = value.sub_(targets[part])
        if value_clip < math.inf:
            error.mul_(error.square() <= value_clip)
        models.backward(by_mean, error.mul_(2.0 * value_weight / rows))
    models.set_gradients()
    module.std_logit.grad = torch.autograd.grad(log_std, module.std_logit, by_log_std)[0]


class _Pair:
    """Actor and critic side by side: their hidden layers as one batched product each."""

    def __init__(self, actor: Actor, critic: Actor) -> None:
        linears = [
            [layer for layer in model.layers if isinstance(layer, nn.Linear)]
            for model in (actor, critic)
        ]
        self._hidden = list(zip(*(layers[:-1] for layers in linears), strict=True))
        self._last = [layers[-1] for layers in linears]
        self._weights = [_side_by_side(*(one.weight for one in pair)) for pair in self._hidden]
        self._biases = [torch.stack([one.bias for one in pair])[:, None] for pair in self._hidden]
        self._inputs: list[Tensor] = []  # of each hidden layer and of the last: [2, n, units]
        self._by_weight = [torch.zeros_like(weight) for weight in self._weights]
        self._by_bias = [torch.zeros_like(bias) for bias in self._biases]
        for last in self._last:
            last.weight.grad, last.bias.grad = map(torch.zeros_like, (last.weight, last.bias))

    def forward(self, observation: Tensor) -> tuple[Tensor, Tensor]:
        """What actor and critic answer: [n, F] -> [n, A], [n, 1]."""
        self._inputs = [observation.expand(2, -1, -1)]
        for weight, bias in zip(self._weights, self._biases, strict=True):
            product = torch.baddbmm(bias, self._inputs[-1], weight.transpose(1, 2))
            self._inputs.append(product.tanh_())
        mean, value = (
            torch.addmm(last.bias, into, last.weight.t())
            for last, into in zip(self._last, self._inputs[-1], strict=True)
        )
        return mean, value

    def backward(self, by_mean: Tensor, by_value: Tensor) -> None:
        """Add what the last answers' gradients, [n, A] and [n, 1], make of the weights'."""
        into = self._inputs[-1]
        gradient = torch.empty_like(into)
        for model, by_output in enumerate((by_mean, by_value)):
            last = self._last[model]
            assert last.weight.grad is not None
            assert last.bias.grad is not None
            last.weight.grad.addmm_(by_output.t(), into[model])
            last.bias.grad.add_(by_output.sum(0))
            torch.mm(by_output, last.weight, out=gradient[model])
        for layer in reversed(range(len(self._weights))):
            torch.ops.aten.tanh_backward.grad_input(
                gradient, self._inputs[layer + 1], grad_input=gradient
            )
            self._by_weight[layer].baddbmm_(gradient.transpose(1, 2), self._inputs[layer])
            self._by_bias[layer].add_(gradient.sum(1, keepdim=True))
            if layer:
                gradient = torch.bmm(gradient, self._weights[layer])

    def set_gradients(self) -> None:
        """Give the hidden layers what was added up."""
        for pair, weight, bias in zip(self._hidden, self._by_weight, self._by_bias, strict=True):
            for model, linear in enumerate(pair):
                # What a narrower actor doesn't see was filled up with zeros.
                linear.weight.grad = weight[model][:, : linear.in_features].contiguous()
                linear.bias.grad = bias[model, 0]


def _side_by_side(actor: Tensor, critic: Tensor) -> Tensor:
    """Weights [H, F] of both, the narrower one filled up with zeros: [2, H, widest F]."""
    width = max(actor.shape[1], critic.shape[1])
    return torch.stack(
        [nn.functional.pad(one, (0, width - one.shape[1])) for one in (actor, critic)]
    )
