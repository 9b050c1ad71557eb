"""From wish to order: every rule on its own, and what they promise together."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import product
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envs.compiled.network import compile_network
from envs.errors import NetworkError
from envs.network.demand import DemandConfig
from envs.network.lane import Lane, Limits, Resource, ResourceUse, Rounding
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork, Timing, Unfilled
from envs.network.order_quantities import order_quantities
from envs.scenarios import build_scenario
from envs.simulation.feasibility import executed_quantity
from envs.simulation.simulator import Simulator
from tests.envs.networks import one_warehouse

INF = math.inf
UP, NEAREST, DOWN = Rounding


def executed(
    raw: float, rounding: Rounding, minimum: float, maximum: float, *multiples: float
) -> float:
    """What a lane with these limits makes of an order."""
    quantities = order_quantities("lane", minimum, maximum, *multiples)
    return executed_quantity(raw, *quantities, list(Rounding).index(rounding))


CASES = [
    # raw, rounding, minimum, maximum, multiple, executed, why
    (7.3, NEAREST, 0, INF, 0, 7.3, "units are divisible"),
    (-2.0, NEAREST, 0, INF, 0, 0.0, "never negative"),
    (-2.0, UP, 5, INF, 1, 0.0, "a negative wish isn't lifted to the minimum"),
    (0.0, UP, 5, INF, 1, 0.0, "nothing stays nothing"),
    (9.0, UP, 0, 6, 0, 6.0, "cut to the maximum"),
    (2.4, NEAREST, 5, INF, 0, 0.0, "below half the minimum nothing is ordered"),
    (2.5, NEAREST, 5, INF, 0, 5.0, "from half the minimum on the minimum is"),
    (0.1, UP, 5, INF, 0, 5.0, "rounded up to the minimum"),
    (4.9, DOWN, 5, INF, 0, 0.0, "rounded down from below the minimum"),
    (1e-6, UP, 5, INF, 0, 0.0, "a crumb of the minimum is no need"),
    (5.4, DOWN, 5, INF, 0, 5.4, "above the minimum it is free"),
    (7.4, NEAREST, 0, INF, 1, 7.0, "rounded down to whole units"),
    (7.5, NEAREST, 0, INF, 1, 8.0, "half a unit becomes one"),
    (7.5 - 1e-10, NEAREST, 0, INF, 1, 8.0, "half a unit whatever the last bits"),
    (17.0, NEAREST, 0, INF, 6, 18.0, "rounded to packs"),
    (14.9, NEAREST, 0, INF, 6, 12.0, "rounded to fewer packs"),
    (12.1, UP, 0, INF, 6, 18.0, "rounded up to packs"),
    (12.0 + 5e-6, UP, 0, INF, 6, 12.0, "a crumb is no pack"),
    (1e-9, UP, 0, INF, 6, 0.0, "a crumb orders nothing"),
    (1.11, UP, 0, INF, 12, 12.0, "any need orders a pack"),
    (17.9, DOWN, 0, INF, 6, 12.0, "rounded down to packs"),
    (17.9999999, DOWN, 0, INF, 6, 18.0, "a pack less a crumb is a pack"),
    (17.0, UP, 0, 17, 6, 12.0, "packs never exceed the maximum"),
    (9.0, NEAREST, 9, INF, 6, 12.0, "packs reach the minimum"),
    (10.0, DOWN, 10, INF, 4, 0.0, "the first multiple from the minimum on is more"),
    (10.0, UP, 10, INF, 4, 12.0, "the first multiple from the minimum on"),
    (6.0, NEAREST, 9, INF, 6, 12.0, "half of the least packs are enough"),
    (5.9, NEAREST, 9, INF, 6, 0.0, "less than half of the least packs are not"),
    (50.0, UP, 0, 0, 1, 0.0, "a closed lane"),
    (1e300, UP, 0, INF, 6, 1e300, "no number is too large"),
]


@pytest.mark.parametrize(
    ("raw", "rounding", "minimum", "maximum", "multiple", "quantity", "why"),
    CASES,
    ids=[c[-1] for c in CASES],
)
def test_rule(
    raw: float, rounding: Rounding, minimum: float, maximum: float, multiple: float,
    quantity: float, why: str,
) -> None:  # fmt: skip
    """Each rule does what its line says."""
    assert executed(raw, rounding, minimum, maximum, multiple) == quantity, why


PACKS = (0.001, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 1 / 3, 0.5, 0.6, 0.7, 0.9, 1.0, 1.1, 2.5, 6, 12)


@pytest.mark.parametrize("rounding", Rounding)
def test_what_is_on_the_grid_is_ordered_as_it_is(rounding: Rounding) -> None:
    """Free, as the maximum, as the minimum or as both: 17 pack sizes, written out as decimals and
    as a computer multiplies them."""
    for pack, k in product(PACKS, range(1, 31)):
        for quantity in (k * pack, float(f"{k * pack:.15g}")):
            free = executed(quantity, rounding, 0.0, INF, pack)
            assert free == pytest.approx(quantity, rel=1e-14)
            assert executed(free, rounding, 0.0, INF, pack) == free
            for limits in ((0.0, quantity), (quantity, INF), (quantity, quantity)):
                assert executed(quantity, rounding, *limits, pack) == quantity, (pack, k, limits)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    raw=st.floats(-5.0, 60.0),
    rounding=st.sampled_from(list(Rounding)),
    minimum=st.sampled_from([0.0, 0.4, 3.0, 7.7, 20.0]),
    maximum=st.sampled_from([0.9, 5.0, 20.0, 30.5, INF]),
    multiple=st.sampled_from([0.1, 0.25, 0.7, 1.0, 2.5, 6.0]),
    load=st.sampled_from([0.0, 0.0, 0.5, 4.0]),
)
def test_rounding_by_enumeration(
    raw: float, rounding: Rounding, minimum: float, maximum: float, multiple: float, load: float
) -> None:
    """Of all that the lane takes: the least that is enough, the nearest, the most that isn't more.

    So an order never breaks a limit, and is never dropped where it could be executed."""
    units = [n * multiple for n in range(1, 800)]
    legal = [
        x for x in units
        if minimum - 1e-9 <= x <= maximum + 1e-9
        and (load == 0.0 or abs(x / load - round(x / load)) < 1e-9)
    ]  # fmt: skip
    if not legal:
        with pytest.raises(NetworkError, match="nothing could ever be ordered"):
            executed(raw, rounding, minimum, maximum, multiple, load)
        return
    quantity = executed(raw, rounding, minimum, maximum, multiple, load)
    enough = [x for x in [0.0, *legal] if x >= raw - 1e-6 * multiple]
    within = [x for x in [0.0, *legal] if x <= raw + 1e-6 * multiple]
    above, below = min(enough, default=legal[-1]), max(within, default=0.0)
    if rounding is not NEAREST:
        assert quantity == pytest.approx(above if rounding is UP else below)
    else:
        assert abs(quantity - raw) <= min(abs(above - raw), abs(below - raw)) + 1e-9
    assert quantity == 0.0 or minimum <= quantity <= maximum


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    raws=st.tuples(st.floats(-5.0, 60.0), st.floats(-5.0, 60.0)),
    rounding=st.sampled_from(list(Rounding)),
    multiple=st.sampled_from([0.0, 1.0, 6.0]),
)
def test_asking_for_more_never_gives_less(
    raws: tuple[float, float], rounding: Rounding, multiple: float
) -> None:
    """The layer is monotone, so that learning isn't misled."""
    low, high = (executed(raw, rounding, 4.0, 40.0, multiple) for raw in sorted(raws))
    assert low <= high


def test_packs_and_full_loads_fit_together() -> None:
    """What both fit into, exactly: loads of 66.5 and packs of 4 do in 532."""
    assert order_quantities("lane", 0.0, INF, 4.0, 66.5).pack == 532.0
    assert order_quantities("lane", 0.0, INF, 1 / 3, 0.5).pack == 1.0
    assert order_quantities("lane", 0.0, INF, 0.1, 0.25).pack == 0.5


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"minimum_order": 10.0, "maximum_order": 11.0, "order_multiple": 4.0}, "multiple of 4,"),
        ({"maximum_order": 3.0, "order_multiple": 4.0}, "from minimum_order 0 to maximum_order 3"),
        (
            {"maximum_order": 19.0, "order_multiple": 4.0, "load_size": 5.0, "full_loads": True},
            "no multiple of 20 (what 4 and 5 fit into), so that nothing could ever be ordered",
        ),
        ({"order_multiple": INF}, "orders are multiples of inf; expected finite numbers"),
    ],
)
def test_a_lane_that_could_never_order_is_refused(fields: dict[str, float], reason: str) -> None:
    with pytest.raises(NetworkError) as error:
        Lane("buy", "shop", "tea", **fields)  # type: ignore[arg-type]
    assert str(error.value).startswith("Lane 'buy': ")
    assert reason in str(error.value)


def test_usual_rounding() -> None:
    """Up where somebody waits, customers or lanes, and half a pack is more than half a unit."""
    config = one_warehouse(
        name="two", stores=1, order_multiple=6.0, lost_sale_cost=9.0, horizon=9,
        demand=DemandConfig("poisson", mean=3.0),
    )  # fmt: skip
    base = build_scenario(config).network
    lanes = {lane.node: place for place, lane in enumerate(base.lanes)}

    def usual(network: SupplyNetwork, node: str) -> Rounding:
        return list(Rounding)[compile_network(network).arrays.rules.rounding[lanes[node]]]

    dc, store = lanes
    assert (usual(base, dc), usual(base, store)) == (UP, NEAREST)  # lanes wait, customers leave
    waiting = tuple(replace(s, p_wait=0.5 if s.demand else 1.0) for s in base.stocks)
    cancel = replace(base, stocks=waiting, timing=Timing(unfilled=Unfilled.cancel))
    assert (usual(cancel, dc), usual(cancel, store)) == (NEAREST, UP)
    for fields, rounding in (
        ({"order_multiple": 1.0}, NEAREST),
        ({"order_multiple": 1.0, "minimum_order": 2.0}, UP),
        ({"rounding": DOWN}, DOWN),
    ):
        changed = tuple(replace(q, **fields) for q in base.lanes)
        assert usual(replace(base, lanes=changed), dc) is rounding


def limits(random: Random) -> SupplyNetwork:
    """One to four lanes with minima, maxima, packs and full loads, that share the room at their
    node and one or two budgets."""
    names = [f"l{i}" for i in range(random.randint(1, 4))]
    resources = tuple(
        Resource(name, random.choice([5.0, 9.0, 20.0, INF]), Limits.orders)
        for name in ("money", "hours")[: random.randint(0, 2)]
    )
    lanes = []
    for name in names:
        load = random.choice([None, None, 2.0, 3.0])
        lanes.append(
            Lane(
                name, "shop", name, LeadTime(1),
                minimum_order=random.choice([0.0, 3.0, 5.0]),
                maximum_order=random.choice([8.0, 13.0, INF, INF]),
                order_multiple=random.choice([0.0, 1.0, 2.0, 4.0]) if load is None else 2.0,
                load_size=load,
                full_loads=load is not None,
                rounding=random.choice(list(Rounding)),
                priority=random.choice([0, 0, 1]),
                resources=tuple(
                    ResourceUse(r.id, random.choice([0.5, 1.0, 2.0]))
                    for r in resources if r.id == "money" or random.random() < 0.5
                ),
            )
        )  # fmt: skip
    return SupplyNetwork(
        (Node("shop", storage_capacity=random.choice([7.0, 16.0, 25.0, INF])),),
        tuple(Sku(n, volume=random.choice([0.0, 0.5, 1.0]), whole_units=True) for n in names),
        tuple(Stock("shop", name, initial_stock=random.choice([0.0, 4.0])) for name in names),
        tuple(lanes),
        resources,
    )


@pytest.mark.parametrize("seed", range(100))
def test_limits_by_enumeration(seed: int) -> None:
    """Of all orders that the lanes take and that keep the room and the budgets: what is executed is
    one, and no lane could have more of what it asked for. What fits as it is, isn't touched."""
    random = Random(seed)
    network = limits(random)
    lanes, [node] = network.lanes, network.nodes
    simulator = Simulator(compile_network(network), 8)
    simulator.reset(0)
    raw = np.random.default_rng(seed).integers(0, 14, (len(lanes), 8)).astype(float)
    simulator.close_period_with_orders(raw)
    volume = [s.volume for s in network.skus]
    stored = sum(v * s.initial_stock for v, s in zip(volume, network.stocks, strict=True))
    uses = [{u.resource: u.per_unit for u in q.resources} for q in lanes]
    use = np.array([volume, *([u.get(r.id, 0.0) for u in uses] for r in network.resources)])
    there = np.array([node.storage_capacity - stored, *(r.capacity for r in network.resources)])
    there = np.maximum(there, 0.0)
    legal = [
        [0.0, *(x for x in np.arange(1.0, 40.0) if q.minimum_order <= x <= q.maximum_order
                and x % (q.order_multiple or 1.0) == 0 and x % (q.load_size or 1.0) == 0)]
        for q in lanes
    ]  # fmt: skip
    for b in range(8):
        wanted = []
        for q, lane in enumerate(lanes):
            above = min((x for x in legal[q] if x >= raw[q, b]), default=legal[q][-1])
            below = max(x for x in legal[q] if x <= raw[q, b])
            near = above if above - raw[q, b] <= raw[q, b] - below else below
            wanted.append({UP: above, NEAREST: near, DOWN: below}[lane.rounding or NEAREST])
        got = simulator.flows.ordered[:, b]
        assert (use @ got <= there).all()
        if (use @ wanted <= there).all():
            assert got.tolist() == wanted
        for other in product(*(
            [x for x in legal[q] if got[q] <= x <= wanted[q]] for q in range(len(legal))
        )):  # fmt: skip
            assert other == tuple(got) or (use @ other > there).any(), (raw[:, b], got, other)


def test_what_is_left_of_a_budget_goes_round() -> None:
    """First to those left with nothing, then a pack each, by priority and then by name; then all
    that fits."""
    lane = Lane("a", "shop", "a", LeadTime(1), order_multiple=4.0)
    lane = replace(lane, resources=(ResourceUse("money"),))
    lanes = (
        replace(lane, id="c", sku="c"),
        lane,
        replace(lane, id="b", sku="b", priority=1),
    )

    def ordered(raw: list[float], money: float) -> list[float]:
        network = SupplyNetwork(
            (Node("shop"),), tuple(Sku(q.sku) for q in lanes),
            tuple(Stock("shop", q.sku) for q in lanes), lanes,
            (Resource("money", money, Limits.orders),),
        )  # fmt: skip
        simulator = Simulator(compile_network(network), 1)
        simulator.reset(0)
        simulator.close_period_with_orders(np.array(raw)[:, None])
        return simulator.flows.ordered[:, 0].tolist()

    assert ordered([8, 8, 8], 23) == [8, 8, 4]  # 4 each, and 11 left: a, then c
    assert ordered([8, 8, 8], 9) == [4, 4, 0]  # nothing each: a, then c
    assert ordered([20, 4, 0], 23) == [16, 4, 0]
    assert ordered([40, 0, 40], 37) == [20, 0, 16]


def test_a_pack_never_exceeds_the_room() -> None:
    """Rounded up to packs of three, eight are nine: but there is room for five."""
    network = SupplyNetwork(
        (Node("shop", storage_capacity=10.0),),
        (Sku("tea"),),
        (Stock("shop", "tea", initial_stock=5.0),),
        (Lane("buy", "shop", "tea", LeadTime(1), order_multiple=3.0, rounding=UP),),
    )
    simulator = Simulator(compile_network(network), 1)
    simulator.reset(0)
    simulator.close_period_with_orders(np.array([[8.0]]))
    assert simulator.flows.ordered[0, 0] == 3.0
