"""The two halves of a Bellman step for one stocked pair: what comes after an order, and the best
order. Levels count from the lowest one; J pipelines; I states of information; A orders."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from envs.types import Floats, Ints

# Sums may be reordered, so that loops vectorise.
_njit: Any = numba.njit(cache=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})


@_njit
def expect(
    pointer: Ints, demand: Ints, successor: Ints, probability: Floats, place: Ints,
    values: Floats, expected: Floats,
) -> None:  # fmt: skip
    """expected [I, places] = the mean of values [I, J, levels] a period later.

    For pipeline j and `a` units that arrive after the demand, place [J, arrivals + 1] is where the
    levels that can be begin: as many as up to the next place. Demand d leads from level y to
    max(y - d, 0) + a.
    """
    states, pipelines, _ = values.shape
    for i in range(states):
        for j in range(pipelines):
            for a in range(place.shape[1] - 1):
                room = place[j, a + 1] - place[j, a]
                if room == 0:
                    break
                mean = expected[i, place[j, a] : place[j, a + 1]]
                mean[:] = 0.0
                emptied = 0.0  # not a level: what all levels have in common
                for e in range(pointer[i], pointer[i + 1]):
                    d, p, value = demand[e], probability[e], values[successor[e], j]
                    if d >= room - 1:
                        emptied += p * value[a]
                        continue
                    for y in range(d):
                        mean[y] += p * value[a]
                    for y in range(d, room):
                        mean[y] += p * value[y - d + a]
                for y in range(room):
                    mean[y] += emptied


@_njit
def improve(
    now: Floats, slope: Floats, later: Floats, arrival: Ints, following: Ints, on_way: Ints,
    place: Ints, stage: Floats, is_lost: bool, expected: Floats, row: Floats, values: Floats,
    improved: Floats,
) -> tuple[float, float]:  # fmt: skip
    """improved [I, J, levels] = the least cost of this period and the expected rest.

    Of what arrives at once, q units cost now [I, Q]; where slope [I] >= 0, that is slope a unit.
    An order a of what arrives later costs later [I, A] and makes pipeline j the pipeline
    following [J, A] (-1: not allowed) after arrival [J, A]. on_way [J] units. stage [I, levels]:
    what stock and shortage cost at the level an order leaves. Where customers wait, what arrives
    adds to the level before the demand as well as after it. row [levels]: scratch.

    Returns the least and the largest difference.
    """
    states, pipelines, levels = values.shape
    lowest, highest = np.inf, -np.inf
    for i in range(states):
        for j in range(pipelines):
            room = levels - on_way[j]
            best = improved[i, j, :room]
            best[:] = np.inf
            for a in range(following.shape[1]):
                after, coming, charge = following[j, a], arrival[j, a], later[i, a]
                if after < 0 or charge == np.inf:
                    continue
                most = levels - on_way[after] - coming
                first = place[after, coming] if is_lost else place[after, 0] + coming
                for y in range(most):
                    row[y] = charge + stage[i, y] + expected[i, first + y]
                if slope[i] >= 0.0:
                    for y in range(most - 2, -1, -1):
                        row[y] = min(row[y], slope[i] + row[y + 1])
                    for x in range(min(room, most)):
                        best[x] = min(best[x], row[x])
                    continue
                for q in range(min(now.shape[1], most)):
                    if now[i, q] < np.inf:
                        for x in range(min(room, most - q)):
                            best[x] = min(best[x], now[i, q] + row[x + q])
            for x in range(room):
                difference = best[x] - values[i, j, x]
                lowest, highest = min(lowest, difference), max(highest, difference)
    return lowest, highest
