"""The state of an algorithm as plain numbers: what a checkpoint holds, and nothing that could run.

    state.json          counters, the place in the stream of episodes, what the algorithm adds
    state.safetensors   weights of every module, Adam's moments of every parameter

RLlib's own checkpoints are pickles, which execute whatever their writer liked. These numbers go
into an algorithm that was built from the run's configuration, and only where each has the name,
type and shape that the algorithm has for it.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import (
    COMPONENT_ENV_RUNNER,
    COMPONENT_ENV_TO_MODULE_CONNECTOR,
    COMPONENT_LEARNER,
    COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER,
    COMPONENT_MODULE_TO_ENV_CONNECTOR,
    COMPONENT_OPTIMIZER,
    COMPONENT_RL_MODULE,
)
from ray.rllib.core.learner.learner import Learner
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from ray.tune.result import TRAINING_ITERATION

from envs.errors import CheckpointError
from envs.json_text import read_json
from training.rllib.learners import on_learners

_PLAIN, _ARRAYS = "state.json", "state.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # that Adam keeps of a parameter
_RLLIB = {  # parts of an algorithm's state; any other is our algorithm's own
    COMPONENT_ENV_RUNNER, COMPONENT_ENV_TO_MODULE_CONNECTOR, COMPONENT_LEARNER_GROUP,
    COMPONENT_METRICS_LOGGER, COMPONENT_MODULE_TO_ENV_CONNECTOR, TRAINING_ITERATION,
}  # fmt: skip

_KINDS: dict[type, str] = {
    bool: "true or false", int: "a whole number, 0 or more", float: "a number, 0 or more",
    type(None): "null",
}  # fmt: skip

_Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class State:
    """What an algorithm needs to go on, as it was at some moment."""

    plain: Mapping[str, Any]
    arrays: Mapping[str, _Array]

    def write(self, folder: Path) -> None:
        """Write it into an empty folder."""
        # Not save_file: where the disk is full, it raises no OSError.
        (folder / _ARRAYS).write_bytes(safetensors.numpy.save(dict(self.arrays)))
        text = json.dumps(self.plain, default=_as_plain, allow_nan=False, indent=1)
        (folder / _PLAIN).write_text(text, encoding="utf-8")


def take_state(algorithm: Algorithm) -> State:
    """Return a copy of what the algorithm needs to go on."""
    state = algorithm.get_state()
    learner = state[COMPONENT_LEARNER_GROUP][COMPONENT_LEARNER]
    arrays = {f"weight/{name}": value for name, value in _weights(learner).items()}
    parameters = _parameters(algorithm)
    for name, optimizer in learner[COMPONENT_OPTIMIZER].items():
        for index, moments in optimizer["state"]["state"].items():
            for moment in _MOMENTS:
                arrays[f"{moment}/{parameters[name][index]}"] = _array(moments[moment])
    plain = {
        "iteration": state[TRAINING_ITERATION],
        "runner": state.get(COMPONENT_ENV_RUNNER, {}),
        "sums": _lifetime_sums(state[COMPONENT_METRICS_LOGGER]),
        "own": _own(state),
    }
    # RLlib gives the numbers that it goes on to change.
    return State(copy.deepcopy(plain), {name: array.copy() for name, array in arrays.items()})


def restore_state(algorithm: Algorithm, folder: Path) -> None:
    """Take over what `State.write` wrote, into an algorithm of the same configuration.

    Raises:
        CheckpointError: the folder has anything else in it, a pickle above all, or numbers that
            aren't finite or are of another algorithm; nothing has changed then.
    """
    plain, arrays = _read(folder)
    now = algorithm.get_state()
    learner = now[COMPONENT_LEARNER_GROUP][COMPONENT_LEARNER]
    known = _weights(learner)

    weights: dict[str, dict[str, _Array]] = {
        kind: {
            name: _taken(folder, arrays, f"weight/{kind}/{name}", _array(value))
            for name, value in values.items()
        }
        for kind, values in learner[COMPONENT_RL_MODULE].items()
    }
    optimizers = {}
    for name, parameters in _parameters(algorithm).items():
        moments: dict[int, dict[str, _Array]] = {}
        for index, parameter in enumerate(parameters):
            if f"step/{parameter}" in arrays:  # else it has never been moved
                moments[index] = {
                    moment: _taken(folder, arrays, f"{moment}/{parameter}", like)
                    for moment, like in zip(
                        _MOMENTS, (_array(0.0), known[parameter], known[parameter]), strict=True
                    )
                }
        own = learner[COMPONENT_OPTIMIZER][name]  # its settings are the configuration's
        optimizers[name] = {**own, "state": {**own["state"], "state": moments}}
    if arrays:
        raise _bad(folder, _ARRAYS, f"it has '{min(arrays)}', which the algorithm has not")
    wanted = {"iteration": 0, "runner": now.get(COMPONENT_ENV_RUNNER, {}), "own": _own(now)}
    sums = plain.pop("sums", None)
    _must_be_alike(folder, "state", plain, wanted)
    # Two calls: RLlib tells its runners the count of steps, which has to be there before.
    algorithm.set_state(
        {
            TRAINING_ITERATION: plain["iteration"],
            COMPONENT_METRICS_LOGGER: {"stats": _statistics(folder, sums)},
            **plain["own"],
        }
    )
    # Weights number 0 are taken whatever number those of the algorithm have.
    numbers = {COMPONENT_RL_MODULE: weights, COMPONENT_OPTIMIZER: optimizers, WEIGHTS_SEQ_NO: 0}
    runner = {COMPONENT_ENV_RUNNER: plain["runner"]} if plain["runner"] else {}
    algorithm.set_state({COMPONENT_LEARNER_GROUP: {COMPONENT_LEARNER: numbers}, **runner})


def _read(folder: Path) -> tuple[dict[str, Any], dict[str, _Array]]:
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names != {_PLAIN, _ARRAYS}:
        wrong = min(names ^ {_PLAIN, _ARRAYS}, key=lambda name: (name not in names, name))
        raise CheckpointError(
            f"Folder '{folder}' {'has' if wrong in names else 'lacks'} '{wrong}'; expected exactly "
            f"{_PLAIN} and {_ARRAYS}. Nothing in it was opened: pickles, which RLlib and earlier "
            "versions of Echelon write, can run any code. Take that step's folder away to go on "
            "with an earlier one, or begin a new run (start=RUN begins with the policy of one)."
        )
    try:
        plain = read_json(folder / _PLAIN)
    except (OSError, ValueError) as problem:
        raise _bad(folder, _PLAIN, f"it can't be read ({problem})") from problem
    try:
        arrays = safetensors.numpy.load_file(folder / _ARRAYS)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError) as problem:
        raise _bad(folder, _ARRAYS, f"it can't be read ({problem})") from problem
    if not isinstance(plain, dict):
        raise _bad(folder, _PLAIN, "it is no JSON object")
    return plain, arrays


def _weights(learner: Mapping[str, Any]) -> dict[str, _Array]:
    """By "kind/name", buffers too."""
    return {
        f"{kind}/{name}": _array(value)
        for kind, weights in learner[COMPONENT_RL_MODULE].items()
        for name, value in weights.items()
    }


def _parameters(algorithm: Algorithm) -> dict[str, list[str]]:
    """Of each optimizer, the names of what it moves, in its order."""
    found: dict[str, list[str]] = on_learners(algorithm, _parameters_on)[0]
    return found


def _parameters_on(learner: Learner) -> dict[str, list[str]]:
    names = {
        parameter: f"{kind}/{name}"
        for kind in learner.module.keys()  # noqa: SIM118  (no dict)
        for name, parameter in learner.module[kind].unwrapped().named_parameters()
    }
    return {
        name: [
            names[parameter] for group in optimizer.param_groups for parameter in group["params"]
        ]
        for name, optimizer in learner._named_optimizers.items()
    }


def _own(state: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name not in _RLLIB}


def _lifetime_sums(logger: Mapping[str, Any]) -> dict[str, Any]:
    """What has been counted since the training began; all other statistics begin anew."""
    return {
        key: {
            "sum": stats["lifetime_sum"],
            "is_leaf": stats["is_leaf"],
            "has_throughput": stats["track_throughputs"],
        }
        for key, stats in logger["stats"].items()
        if stats["stats_cls_identifier"] == "lifetime_sum"
    }


def _statistics(folder: Path, sums: Any) -> dict[str, Any]:
    """`_lifetime_sums` as RLlib's logger takes them."""
    if not isinstance(sums, dict):
        raise _bad(folder, _PLAIN, "it has no 'sums'")
    form = {"sum": 0.0, "is_leaf": True, "has_throughput": True}
    for key, kept in sums.items():
        _must_be_alike(folder, f"sums.{key}", kept, form)
        if any(other.startswith(f"{key}--") for other in sums):
            raise _bad(folder, _PLAIN, f"sums.{key} is a number and a group")
    return {
        key: {
            "stats_cls_identifier": "lifetime_sum", "is_root": True, "is_leaf": kept["is_leaf"],
            "latest_merged": None, "lifetime_sum": kept["sum"],
            "track_throughputs": kept["has_throughput"],
        }
        for key, kept in sums.items()
    }  # fmt: skip


def _must_be_alike(folder: Path, where: str, got: Any, wanted: Any) -> None:
    """Raise CheckpointError unless `got` has the keys of `wanted`, with values of their types."""
    if isinstance(wanted, Mapping):
        if not isinstance(got, dict) or got.keys() != wanted.keys():
            keys = sorted(got) if isinstance(got, dict) else got
            raise _bad(folder, _PLAIN, f"{where} has {keys}, expected {sorted(wanted)}")
        for key, value in wanted.items():
            _must_be_alike(folder, f"{where}.{key}", got[key], value)
        return
    plain = _as_plain(wanted)
    kinds = (int, float) if isinstance(plain, float) else (type(plain),)
    is_number = isinstance(got, int | float) and not isinstance(got, bool)
    if type(got) not in kinds or (is_number and not 0 <= got < math.inf):
        raise _bad(folder, _PLAIN, f"{where} is {str(got)[:60]}, expected {_KINDS[type(plain)]}")


def _taken(folder: Path, arrays: dict[str, _Array], name: str, like: _Array) -> _Array:
    """Remove an array from `arrays`, and return it if it is as it should be."""
    array = arrays.pop(name, None)
    if array is None:
        raise _bad(folder, _ARRAYS, f"it has no '{name}'")
    got, wanted = (f"{one.dtype} {list(one.shape)}" for one in (array, like))
    if got != wanted:
        raise _bad(folder, _ARRAYS, f"'{name}' is {got}, expected {wanted}")
    if not np.isfinite(array).all():
        raise _bad(folder, _ARRAYS, f"'{name}' has a NaN or an infinity")
    return array


def _array(value: Any) -> _Array:
    """RLlib makes plain numbers of arrays without dimensions, in double precision."""
    array = np.asarray(value, order="C")
    return array.astype(np.float32) if np.issubdtype(array.dtype, np.floating) else array


def _as_plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic | np.ndarray) else value


def _bad(folder: Path, name: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"File '{folder / name}': {what}. It is of another algorithm or configuration, or was "
        "changed: take that step's folder away to go on with an earlier one."
    )
