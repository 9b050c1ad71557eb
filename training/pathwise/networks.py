"""The actors of a trajectory, a period at a time: forwards, and backwards through the same periods.

Nothing spans periods: the slope of what was seen goes back through the simulator's own reverse pass
before it reaches the period before. Arrays are those of the simulator, [rows, F, B] and
[rows, A, B], in the dtype of the actor's parameters.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from envs.kernel import entry
from envs.types import Ints
from evaluation.artifact.actor import Actor

_SAMPLES = 4096  # rows x replications at a time: what layers of 64 units put out stays in the cache
_NARROW = 16  # replications; with fewer, products for each row cost more than to copy rows together

Array = NDArray[Any]


class NetworkSlopes(Protocol):
    """One node kind's actor in a trajectory of B replications: a stack of periods."""

    def begin(self) -> None:
        """A new trajectory: no periods, no slopes, the actor's parameters as they are now."""

    def forward(self, observation: Array, learns: bool = True, keeps: bool = True) -> Array:
        """Mean action, not clipped: [rows, F, B] -> [rows, A, B]; the next call overwrites it.

        observation: referred to until its `backward`, not copied: leave it as it is until then.
        learns: whether the parameters get slopes from this period; the observation always does.
        keeps: False if this period won't be reversed, or will be played again before it is.
        """

    def backward(self, by_mean: Array, by_observation: Array) -> None:
        """Reverse the last period that was kept and not yet reversed.

        by_mean [rows, A, B]: slope of the loss.
        by_observation: written; [rows, F, B], or [rows, len(moving), B], see `network_slopes`.
        """

    def gradients(self) -> dict[Tensor, Tensor]:
        """By parameter, summed over the periods that learn; only those that have any."""


def network_slopes(
    actor: Actor, rows: int, batch: int, moving: Ints | None = None, *, thrifty: bool = False
) -> NetworkSlopes:
    """Written out for tanh layers on a processor; any other module by automatic differentiation.

    rows, batch: of the node kind, and replications.
    moving: columns of the observation whose slopes are asked for; None: all.
    thrifty: work out again what written-out layers put out, rather than keep it.
    """
    if _is_written_out(actor):
        return TanhSlopes(actor, rows, batch, moving, thrifty=thrifty)
    return ModuleSlopes(actor, moving)


def _is_written_out(actor: Actor) -> bool:
    on_processor = all(parameter.device.type == "cpu" for parameter in actor.parameters())
    return type(actor) is Actor and bool(actor.hidden) and on_processor


def kept_bytes(actor: Actor, rows: int, batch: int, *, thrifty: bool = False) -> int:
    """Return what `network_slopes` of the same arguments keeps of a period, observations apart."""
    if _is_written_out(actor):
        one = next(actor.parameters()).itemsize
        return 0 if thrifty else one * sum(actor.hidden) * rows * batch
    return _graph_bytes(actor, rows) * batch


def _graph_bytes(actor: Actor, rows: int) -> int:
    """Of one replication: what torch keeps to go back, counted on the way forward."""
    parameter = next(actor.parameters())
    seen = parameter.new_zeros(rows, 1, actor.observation_size).requires_grad_()
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        memory = tensor.untyped_storage()
        kept[memory.data_ptr()] = memory.nbytes()
        return tensor

    with saved_tensors_hooks(note, note):
        mean = actor(seen)
    for tensor in (seen, mean):
        note(tensor)
    own = {one.untyped_storage().data_ptr() for one in actor.parameters()}
    return sum(size for address, size in kept.items() if address not in own)


class ModuleSlopes:
    """Any actor: each period is a graph of its own, and one vector-Jacobian product."""

    def __init__(self, actor: Actor, moving: Ints | None = None) -> None:
        self._actor = actor
        self._parameters = [one for one in actor.parameters() if one.requires_grad]
        self._device = next(actor.parameters()).device
        self._moving = slice(None) if moving is None else moving
        self.begin()

    def begin(self) -> None:
        """As NetworkSlopes has it, like the methods below."""
        self._periods: list[tuple[Tensor, Tensor, bool]] = []  # [P, B, F], [P, B, A], learns
        self._gradients: dict[Tensor, Tensor] = {}

    def forward(self, observation: Array, learns: bool = True, keeps: bool = True) -> Array:
        seen = torch.from_numpy(observation).to(self._device).transpose(1, 2).contiguous()
        seen.requires_grad_(keeps)
        with torch.set_grad_enabled(keeps):
            mean = self._actor(seen)
        if keeps:
            self._periods.append((seen, mean, learns))
        answer: Array = mean.detach().cpu().numpy().swapaxes(1, 2)
        return answer

    def backward(self, by_mean: Array, by_observation: Array) -> None:
        seen, mean, learns = self._periods.pop()
        parameters = self._parameters if learns else []
        by_seen, *found = torch.autograd.grad(
            mean,
            [seen, *parameters],
            torch.from_numpy(by_mean).to(self._device).transpose(1, 2),
            allow_unused=True,
        )
        if by_seen is None:
            by_observation[...] = 0.0
        else:
            part = by_seen.transpose(1, 2)[:, self._moving]
            torch.from_numpy(by_observation).copy_(part)
        for parameter, slope in zip(parameters, found, strict=True):
            if slope is not None:
                before = self._gradients.get(parameter)
                self._gradients[parameter] = slope if before is None else before + slope

    def gradients(self) -> dict[Tensor, Tensor]:
        return dict(self._gradients)


class _Values(NamedTuple):
    """Of a hidden layer's H units, for n = r x b samples: one memory in three forms."""

    by_row: Tensor  # [r, b, H]
    flat: Tensor  # [n, H]
    array: Array  # [n, H]


class _Ends(NamedTuple):
    """Weights of the layers that read observations and write actions, repeated for r rows."""

    first: Tensor  # [r, F, H]
    last: Tensor  # [r, A, H]
    moving: Tensor  # [r, M, H]: the first layer's that slopes go back through


class TanhSlopes:
    """Tanh layers, written out.

    Observations [F, B] have the replications side by side, hidden layers the units: there a layer
    is one product for all rows, and the sums over samples for the weights are fastest. The first
    and the last layer turn one into the other inside their products; only where B is small, rows
    are copied together first. A few rows at a time go through all layers, so that a layer's output
    is still in the processor's cache when the next one reads it.
    """

    def __init__(
        self,
        actor: Actor,
        rows: int,
        batch: int,
        moving: Ints | None = None,
        *,
        thrifty: bool = False,
    ) -> None:
        """actor: with hidden layers; the others as for `network_slopes`."""
        self._layers = [layer for layer in actor.layers if isinstance(layer, nn.Linear)]
        self._moving = None if moving is None else torch.from_numpy(moving)
        self._dtype = self._layers[0].weight.dtype
        self._is_narrow = batch < _NARROW
        self._batch, step = batch, max(1, _SAMPLES // batch)
        starts = range(0, rows, step)
        self._parts = [slice(start, min(start + step, rows)) for start in starts]
        self._repeats = [1 if self._is_narrow else p.stop - p.start for p in self._parts]
        self._periods: list[list[list[_Values]]] = []  # reused; by period, part, hidden layer
        self._fresh = self._in_one_memory() if thrifty else None
        self._by_values = self._in_one_memory()  # slopes by the same, a period's at a time
        self._mean = torch.empty(rows, actor.action_size, batch, dtype=self._dtype)
        self._by_weight = [torch.empty_like(layer.weight) for layer in self._layers]
        # Of the ends by row: summed up when asked for.
        self._by_first = self._mean.new_empty(self._repeats[0], *self._by_weight[0].t().shape)
        self._by_last = self._mean.new_empty(self._repeats[0], *self._by_weight[-1].shape)
        self._by_bias = [np.empty(len(weight)) for weight in self._by_weight]
        self._sums = [by.array[0].copy() for by in self._by_values[0]]
        self.begin()

    def _new_values(self, part: slice) -> list[_Values]:
        """Of all hidden layers, for the rows of a part."""
        samples = (part.stop - part.start) * self._batch
        return [
            self._as_values(torch.empty(samples, layer.out_features, dtype=self._dtype), part)
            for layer in self._layers[:-1]
        ]

    def _in_one_memory(self) -> list[list[_Values]]:
        """By part and hidden layer, all parts in the memory of the largest."""
        shared = [values.flat for values in self._new_values(self._parts[0])]
        samples = [(part.stop - part.start) * self._batch for part in self._parts]
        return [
            [self._as_values(flat[:count], part) for flat in shared]
            for part, count in zip(self._parts, samples, strict=True)
        ]

    def _as_values(self, flat: Tensor, part: slice) -> _Values:
        rows = 1 if self._is_narrow else part.stop - part.start
        return _Values(flat.view(rows, -1, flat.shape[1]), flat, flat.numpy())

    def begin(self) -> None:
        """As NetworkSlopes has it, like the methods below."""
        weights = [layer.weight.detach() for layer in self._layers]
        self._biases = [layer.bias.detach() for layer in self._layers]
        self._hidden_biases = [bias.numpy() for bias in self._biases[:-1]]
        self._weights = weights
        first, last = weights[0].t(), weights[-1]
        moving = first if self._moving is None else first[self._moving]
        self._ends = [
            _Ends(*(one.expand(repeats, -1, -1) for one in (first, last, moving)))
            for repeats in self._repeats
        ]
        self._kept: list[tuple[Tensor, bool]] = []  # observation, learns
        self._has_learned = False
        for total in (*self._by_weight, self._by_first, self._by_last):
            total.zero_()
        for bias in self._by_bias:
            bias[:] = 0.0

    def forward(self, observation: Array, learns: bool = True, keeps: bool = True) -> Array:
        seen = torch.from_numpy(observation)
        of_parts = self._values_of(len(self._kept))
        for part, ends, layers in zip(self._parts, self._ends, of_parts, strict=True):
            self._through_layers(seen[part], ends, layers)
            self._write(self._mean[part], ends.last, layers[-1])
        self._mean.add_(self._biases[-1][:, None])
        if keeps:
            self._kept.append((seen, learns))
        answer: Array = self._mean.numpy()
        return answer

    def _values_of(self, period: int) -> list[list[_Values]]:
        """Of all parts; if thrifty, a part's until the next one's."""
        if self._fresh is not None:
            return self._fresh
        if period == len(self._periods):
            self._periods.append([self._new_values(part) for part in self._parts])
        return self._periods[period]

    def _through_layers(self, seen: Tensor, ends: _Ends, layers: Sequence[_Values]) -> None:
        """What hidden layers put out, for the rows of a part."""
        torch.bmm(self._together(seen).transpose(1, 2), ends.first, out=layers[0].by_row)
        for i, values in enumerate(layers):
            if i:
                torch.mm(layers[i - 1].flat, self._weights[i].t(), out=values.flat)
            add_bias(values.array, self._hidden_biases[i])
            values.flat.tanh_()

    def backward(self, by_mean: Array, by_observation: Array) -> None:
        seen, learns = self._kept.pop()
        self._has_learned |= learns
        by_answer, by_seen = torch.from_numpy(by_mean), torch.from_numpy(by_observation)
        if learns:
            self._by_bias[-1] += by_mean.sum((0, 2))
        of_parts = self._values_of(len(self._kept))
        for part, ends, layers, by_layers in zip(
            self._parts, self._ends, of_parts, self._by_values, strict=True
        ):
            if self._fresh is not None:
                self._through_layers(seen[part], ends, layers)
            by_part, rows = self._together(by_answer[part]), len(ends.last)
            if learns:
                self._by_last[:rows].baddbmm_(by_part, layers[-1].by_row)
            torch.bmm(by_part.transpose(1, 2), ends.last, out=by_layers[-1].by_row)
            self._through_hidden(layers, by_layers, learns)
            if learns:
                self._by_first[:rows].baddbmm_(self._together(seen[part]), by_layers[0].by_row)
            self._write(by_seen[part], ends.moving, by_layers[0])

    def _through_hidden(
        self, layers: Sequence[_Values], by_layers: Sequence[_Values], learns: bool
    ) -> None:
        """From the last hidden layer's slope to that of the first before its tanh."""
        for i in reversed(range(len(layers))):
            tanh_slope(by_layers[i].array, layers[i].array, self._sums[i])
            if learns:
                self._by_bias[i] += self._sums[i]
            if i:
                if learns:
                    self._by_weight[i].addmm_(by_layers[i].flat.t(), layers[i - 1].flat)
                torch.mm(by_layers[i].flat, self._weights[i], out=by_layers[i - 1].flat)

    def _together(self, part: Tensor) -> Tensor:
        """[r, K, B], or [1, K, r x B] where B is small."""
        if not self._is_narrow:
            return part
        return part.transpose(0, 1).reshape(1, part.shape[1], -1)

    def _write(self, part: Tensor, weight: Tensor, values: _Values) -> None:
        """part [r, K, B] = weight [., K, H] by values [., ., H], transposed."""
        if not self._is_narrow:
            torch.bmm(weight, values.by_row.transpose(1, 2), out=part)
            return
        product = torch.bmm(weight, values.by_row.transpose(1, 2))
        rows, columns, batch = part.shape
        part.copy_(product.view(columns, rows, batch).transpose(0, 1))

    def gradients(self) -> dict[Tensor, Tensor]:
        if not self._has_learned:
            return {}
        by_weight = [
            self._by_first.sum(0).t().contiguous(),
            *(one.clone() for one in self._by_weight[1:-1]),
            self._by_last.sum(0),
        ]
        found: dict[Tensor, Tensor] = {}
        for layer, weight, bias in zip(self._layers, by_weight, self._by_bias, strict=True):
            found[layer.weight] = weight
            found[layer.bias] = torch.from_numpy(bias).to(self._dtype)
        return {one: slope for one, slope in found.items() if one.requires_grad}


@entry
def add_bias(values: Array, bias: Array) -> None:
    """values [n, H] += bias [H]."""
    for n in range(values.shape[0]):
        for h in range(values.shape[1]):
            values[n, h] += bias[h]


@entry
def tanh_slope(by_value: Array, value: Array, total: Array) -> None:
    """Slope by what tanh gave, [n, H] -> by what it got, in place; total [H]: its sum over n."""
    one = total.dtype.type(1.0)
    for h in range(len(total)):
        total[h] = 0.0
    for n in range(by_value.shape[0]):
        for h in range(by_value.shape[1]):
            slope = by_value[n, h] * (one - value[n, h] * value[n, h])
            by_value[n, h] = slope
            total[h] += slope
