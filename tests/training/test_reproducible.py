"""Same seed, same weights (T12), also in another process with another hash seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TRAIN = """
import hashlib
from tests.training.conftest import small_config, small_factory
from evaluation.ray_workers import ray_session
from training.rllib.trainer import build_algorithm, trained_actors

config = small_config(seed=5)
with ray_session(len(config.resources.bundles)):
    algorithm = build_algorithm(small_factory(), config)
    for _ in range(2):
        algorithm.train()
    digest = hashlib.sha256()
    for kind, actor in sorted(trained_actors(algorithm).items()):
        for name, tensor in actor.state_dict().items():
            digest.update(f"{kind} {name}".encode() + tensor.numpy().tobytes())
    algorithm.stop()
print("weights", digest.hexdigest())
"""


def weights(hash_seed: int) -> str:
    """Train in a process of its own; return the SHA-256 of the weights."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    return next(line for line in done.stdout.splitlines() if line.startswith("weights"))


@pytest.mark.nightly  # two processes of their own: 40 s
def test_the_order_of_sets_does_not_matter() -> None:
    """Sets of node kinds have another order for every hash seed; the weights must not."""
    assert len({weights(seed) for seed in (1, 2)}) == 1
