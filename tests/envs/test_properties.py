"""What is always true, in every period of every random network."""

from __future__ import annotations

import functools
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compiled.network import compile_network
from tests.envs.comparisons import COMPARISONS
from tests.envs.laws import LAWS
from tests.envs.networks import random_network
from tests.envs.runs import Run, play_orders, random_orders, random_run

thirty = settings(max_examples=30, deadline=None, derandomize=True)
seeds = st.integers(0, 2**20)  # of a `random.Random`: a failure names the network to rebuild


@functools.cache  # every law looks at the same ones
def run_of(seed: int) -> Run:
    """A random network under random orders."""
    return random_run(Random(seed))


@pytest.mark.parametrize("law", LAWS)
def test_law(law: str) -> None:
    """Each conservation law holds in every period."""

    @thirty
    @given(seeds)
    def holds(seed: int) -> None:
        LAWS[law](run_of(seed))

    holds()


@pytest.mark.parametrize("comparison", COMPARISONS)
def test_comparison(comparison: str) -> None:
    """Two runs that must agree do."""

    @thirty
    @given(seeds)
    def agrees(seed: int) -> None:
        COMPARISONS[comparison](Random(seed))

    agrees()


@pytest.mark.nightly
def test_many_networks() -> None:
    """All laws hold on a thousand networks; a tenth of them are compared too."""
    for seed in range(1000):
        try:
            run = random_run(Random(seed))
            for law in LAWS.values():
                law(run)
            for comparison in COMPARISONS.values() if seed % 10 == 0 else ():
                comparison(Random(seed))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error


def test_row_across_tiles_equals_solo_run() -> None:
    """Rows before and behind the kernels' tile border (256) are the solo runs."""
    random = Random(4)
    network = random_network(random)
    net = compile_network(network)
    orders = random_orders(random, network, 8, 300)
    together = play_orders(net, orders, 7)
    for b in (0, 255, 256, 299):
        alone = play_orders(net, orders[:, :, b : b + 1].copy(), 7, first_episode=b)
        for name, values in alone.closed._asdict().items():
            assert np.array_equal(values, getattr(together.closed, name)[..., b : b + 1]), name
