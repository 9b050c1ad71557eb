"""From wish to order: every rule on its own, and what they promise together."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.simulation.feasibility import executed_quantity

INF = math.inf
CASES = [
    # raw, minimum, maximum, multiple, executed, why
    (7.3, 0, INF, 0, 7.3, "units are divisible"),
    (-2.0, 0, INF, 0, 0.0, "never negative"),
    (-2.0, 5, INF, 1, 0.0, "a negative wish isn't lifted to the minimum"),
    (0.0, 5, INF, 1, 0.0, "nothing stays nothing"),
    (9.0, 0, 6, 0, 6.0, "cut to the maximum"),
    (2.4, 5, INF, 0, 0.0, "below half the minimum nothing is ordered"),
    (2.5, 5, INF, 0, 5.0, "from half the minimum on the minimum is"),
    (5.4, 5, INF, 0, 5.4, "above the minimum it is free"),
    (7.4, 0, INF, 1, 7.0, "rounded down to whole units"),
    (7.5, 0, INF, 1, 8.0, "half a unit becomes one"),
    (7.5 - 1e-10, 0, INF, 1, 8.0, "half a unit whatever the last bits"),
    (17.0, 0, INF, 6, 18.0, "rounded to packs"),
    (14.9, 0, INF, 6, 12.0, "rounded down to packs"),
    (17.0, 0, 17, 6, 12.0, "packs never exceed the maximum"),
    (9.0, 9, INF, 6, 12.0, "packs reach the minimum"),
    (10.0, 10, INF, 4, 12.0, "the first multiple from the minimum on"),
    (10.0, 10, 11, 4, 0.0, "no multiple lies between minimum and maximum"),
    (5.0, 0, 3, 4, 0.0, "not even one pack is allowed"),
    (50.0, 0, 0, 1, 0.0, "a closed lane"),
]


@pytest.mark.parametrize(
    ("raw", "minimum", "maximum", "multiple", "executed", "why"), CASES, ids=[c[-1] for c in CASES]
)
def test_rule(
    raw: float, minimum: float, maximum: float, multiple: float, executed: float, why: str
) -> None:
    """Each rule does what its line says."""
    assert executed_quantity(raw, minimum, maximum, multiple, 0.0) == executed, why


quantities = st.floats(0.0, 100.0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    raw=st.floats(-50.0, 200.0),
    minimum=quantities,
    room=st.one_of(st.just(INF), quantities),
    multiple=st.sampled_from([0.0, 1.0, 3.0, 0.25]),
)
def test_executed_is_feasible(raw: float, minimum: float, room: float, multiple: float) -> None:
    """Whatever is asked for, the order keeps every rule at once and can be ordered again."""
    maximum = minimum + room
    quantity = executed_quantity(raw, minimum, maximum, multiple, 0.0)
    assert 0.0 <= quantity <= maximum
    assert quantity == 0.0 or quantity >= minimum
    if multiple > 0:
        assert quantity / multiple == round(quantity / multiple)
    assert executed_quantity(quantity, minimum, maximum, multiple, 0.0) == quantity


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    raws=st.tuples(st.floats(-5.0, 60.0), st.floats(-5.0, 60.0)),
    multiple=st.sampled_from([0.0, 1.0, 6.0]),
)
def test_asking_for_more_never_gives_less(raws: tuple[float, float], multiple: float) -> None:
    """The layer is monotone, so that learning isn't misled."""
    low, high = sorted(raws)
    limits = (4.0, 40.0, multiple)
    assert executed_quantity(low, *limits, 0.0) <= executed_quantity(high, *limits, 0.0)
