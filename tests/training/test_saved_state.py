"""What is resumed is numbers: all that learning needs, nothing that runs, each checked."""

from __future__ import annotations

import json
import pickle
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from ray.rllib.algorithms.algorithm import Algorithm

from envs.errors import CheckpointError
from tests.settings import as_shipped, training
from tests.training.conftest import small_factory
from training.job.checkpoint import CheckpointStore
from training.rllib.saved_state import restore_state, take_state
from training.rllib.trainer import build_algorithm

pytestmark = pytest.mark.usefixtures("ray_cluster")

PLAIN, ARRAYS = "state.json", "state.safetensors"
CASES = [
    "pathwise", "ppo", "mappo",
    *(pytest.param(name, marks=pytest.mark.nightly) for name in ("appo", "impala")),  # processes
]  # fmt: skip


def built(name: str) -> Algorithm:
    runners = int(name in ("appo", "impala"))
    resources = as_shipped("resources", env_runners=runners, envs_per_runner=8, fragment_periods=10)
    settings = as_shipped(f"algorithm={name}")
    return build_algorithm(small_factory(), training(settings, resources=resources))


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def saved_in(folder: Path, algorithm: Algorithm) -> Path:
    folder.mkdir()
    take_state(algorithm).write(folder)
    return folder


def plain_of(folder: Path, name: str) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads((folder / PLAIN).read_text())
    if name == "pathwise":  # its runner only counts what RLlib tells it
        del plain["runner"]["num_env_steps_sampled_lifetime"]
    return plain


@pytest.mark.parametrize("name", CASES)
def test_learning_goes_on_as_from_rllibs_own_checkpoint(name: str, tmp_path: Path) -> None:
    """A new algorithm gives again what it was given, and the next iteration gives the same weights
    and moments, bit for bit, where nothing else moves at the same time."""
    algorithm = built(name)
    algorithm.train()
    algorithm.train()
    folder = saved_in(tmp_path / "ours", algorithm)
    theirs = algorithm.save_to_path(str(tmp_path / "theirs"))
    algorithm.stop()
    resumed = built(name)
    restore_state(resumed, folder)
    assert resumed.training_iteration == 2
    again = saved_in(tmp_path / "again", resumed)
    arrays = files_of(folder)[ARRAYS]
    assert files_of(again) == {PLAIN: files_of(again)[PLAIN], ARRAYS: arrays}
    assert plain_of(again, name) == plain_of(folder, name)
    moved = {
        k for k, a in safetensors.numpy.load(arrays).items() if k[:8] == "exp_avg/" and a.any()
    }
    assert any("/actor." in key for key in moved)
    assert any("/critic." in key for key in moved) == (name != "pathwise")
    if name in ("pathwise", "ppo"):
        other = built(name)
        other.restore_from_path(theirs)
        ends = []
        for number, one in enumerate((resumed, other)):
            one.train()
            ends.append(files_of(saved_in(tmp_path / f"end_{number}", one))[ARRAYS])
        other.stop()
        assert ends[0] == ends[1] != arrays
    resumed.stop()


class Planted:
    """Runs when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return Path.touch, (self.marker,)  # type: ignore[return-value]


@pytest.fixture(scope="module")
def algorithm() -> Iterator[Algorithm]:
    """After one iteration."""
    algorithm = built("ppo")
    algorithm.train()
    yield algorithm
    algorithm.stop()


@pytest.fixture
def folder(algorithm: Algorithm, tmp_path: Path) -> Path:
    """Its state."""
    return saved_in(tmp_path / "state", algorithm)


@pytest.mark.parametrize("name", ["algorithm_state.pkl", ARRAYS, PLAIN])
def test_a_planted_pickle_never_runs(
    name: str, algorithm: Algorithm, folder: Path, tmp_path: Path
) -> None:
    """Beside the files, or in the place of one."""
    marker = tmp_path / "marker"
    content = pickle.dumps(Planted(marker))
    pickle.loads(content)
    assert marker.exists()  # it is armed
    marker.unlink()
    (folder / name).write_bytes(content)
    before = saved_in(tmp_path / "before", algorithm)
    with pytest.raises(CheckpointError, match=name):
        restore_state(algorithm, folder)
    assert not marker.exists()
    assert files_of(saved_in(tmp_path / "after", algorithm)) == files_of(before)


def test_what_rllib_wrote_is_told(algorithm: Algorithm, tmp_path: Path) -> None:
    """As checkpoints of earlier versions are."""
    algorithm.save_to_path(str(tmp_path / "theirs"))
    with pytest.raises(CheckpointError, match=r"pickles, .* begin a new run \(start=RUN begins"):
        restore_state(algorithm, tmp_path / "theirs")


Arrays = dict[str, Any]
WEIGHT = "weight/store/actor.layers.0.weight"


def changed(arrays: Arrays, key: str, change: Callable[[Any], Any]) -> Arrays:
    return {**arrays, key: change(arrays[key])}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda a: {k: v for k, v in a.items() if k != WEIGHT}, f"has no '{WEIGHT}'"),
        (lambda a: {**a, "weight/mill/x": np.zeros(1, np.float32)}, "has 'weight/mill/x', which"),
        (lambda a: changed(a, WEIGHT, lambda w: w[:-1]), f"'{WEIGHT}' is float32 .*, expected"),
        (lambda a: changed(a, WEIGHT, lambda w: w.astype(np.float64)), "is float64"),
        (lambda a: changed(a, WEIGHT, lambda w: w * np.float32(np.inf)), "a NaN or an infinity"),
        (lambda a: changed(a, f"exp_avg_sq{WEIGHT[6:]}", lambda w: w.T), "'exp_avg_sq/store/"),
        (lambda a: {k: v for k, v in a.items() if k != f"step{WEIGHT[6:]}"}, "has 'exp_avg/"),
    ],
    ids=["missing", "another kind", "shape", "type", "infinite", "moment", "half a moment"],
)
def test_wrong_arrays_are_named(
    change: Callable[[Arrays], Arrays], told: str, algorithm: Algorithm, folder: Path
) -> None:
    """Before anything is taken over."""
    arrays = safetensors.numpy.load_file(folder / ARRAYS)
    content = {key: np.array(value, order="C") for key, value in change(arrays).items()}
    safetensors.numpy.save_file(content, folder / ARRAYS)
    with pytest.raises(CheckpointError, match=told):
        restore_state(algorithm, folder)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (["iteration"], -1, "state.iteration is -1, expected a whole number, 0 or more"),
        (["iteration"], True, "state.iteration is True"),
        (["runner"], {}, "state.runner has "),
        (["runner", "next_episode"], "x", "state.runner.next_episode is x"),
        (["own"], {"shortage_price": 0.0, "more": 1}, "state.own has "),
        (["own", "shortage_price"], None, "state.own.shortage_price is None"),
        (["sums"], None, "has no 'sums'"),
        (["sums", "env_runners"], {"sum": 1, "is_leaf": True, "has_throughput": True},
         "sums.env_runners is a number and a group"),
        (["sums", "x"], {"sum": 1}, "sums.x has "),
        (["more"], 1, "state has "),
    ],
)  # fmt: skip
def test_wrong_numbers_are_named(
    path: list[str], value: object, told: str, algorithm: Algorithm, folder: Path
) -> None:
    """Before anything is taken over."""
    plain = json.loads((folder / PLAIN).read_text())
    node = plain
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    (folder / PLAIN).write_text(json.dumps(plain))
    with pytest.raises(CheckpointError, match=told):
        restore_state(algorithm, folder)


def test_a_missing_file_is_named(algorithm: Algorithm, folder: Path) -> None:
    """And a missing folder."""
    (folder / ARRAYS).unlink()
    with pytest.raises(CheckpointError, match=f"lacks '{ARRAYS}'"):
        restore_state(algorithm, folder)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="lacks "):
        restore_state(algorithm, folder)


def test_a_full_disk_refuses_with_an_error_of_ours(tmp_path: Path) -> None:
    """The file-size limit stands for it; the checkpoint before stays."""
    algorithm, store = built("pathwise"), CheckpointStore(tmp_path, "run")
    write = take_state(algorithm).write
    algorithm.stop()
    store.save(1, write)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"could not be written: .* resume=FOLDER"):
            store.save(2, write)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    newest = store.latest_good()
    assert newest is not None
    assert newest.step == 1
