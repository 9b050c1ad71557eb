"""Random numbers that are a pure function of (seed, episode, period, stream).

SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators",
figure 16) jumped to any point by multiplication. So a trace can be made in blocks, in any order,
row b of a batch equals a solo run, and no policy can move the chance another one sees.
"""

from __future__ import annotations

import math

import numpy as np

from envs.kernel import entry, kernel
from envs.types import Ints, Keys

BITS = 53  # of a uniform number: all that a double holds
GOLDEN = 0.5 * (5.0**0.5 - 1.0)  # multiples of it, modulo 1, fill the unit interval evenly
SCALE = 1.0 / (1 << BITS)

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_ONE, _DROPPED = np.uint64(1), np.uint64(64 - BITS)


@kernel
def _mix(z: np.uint64) -> np.uint64:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@entry
def episode_keys(seed: int, first_episode: int, keys: Keys) -> None:
    """Fill keys[b] for episodes first_episode + b of a seed."""
    base = _mix(np.uint64(seed) * _GAMMA + _ONE)
    for b in range(keys.size):
        keys[b] = _mix(base ^ (np.uint64(first_episode + b) * _GAMMA + np.uint64(2)))


@kernel
def draw_bits(keys: Keys, counter: np.uint64, out: Ints) -> None:
    """Fill out [B] with number `counter` of each episode's stream, whole in [0, 2^53)."""
    step = (counter + _ONE) * _GAMMA
    for b in range(out.size):
        out[b] = np.int64(_mix(keys[b] + step) >> _DROPPED)


@entry
def uniform(key: np.uint64, counter: np.uint64) -> float:
    """Return number `counter` of the episode's stream, in [0, 1)."""
    return np.float64(_mix(key + (counter + _ONE) * _GAMMA) >> _DROPPED) * SCALE


@entry
def standard_normal(key: np.uint64, counter: np.uint64) -> float:
    """Return a standard normal number (Box and Muller 1958); uses counters 2c and 2c+1."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(key, np.uint64(2) * counter)))
    return radius * math.cos(2.0 * math.pi * uniform(key, np.uint64(2) * counter + _ONE))


@kernel
def normal_cdf(z: float) -> float:
    """Return the standard normal distribution function."""
    return 0.5 * math.erfc(-z / math.sqrt(2.0))
