"""Demand as drawn by a trace: does it have the distribution that was asked for?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from envs.compiled.network import compile_network
from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.network.demand import Demand, DemandConfig
from envs.network.lane import Lane
from envs.network.lead_time import LeadTime
from envs.network.network import Node, Sku, Stock, SupplyNetwork
from envs.network.regime import EventWindow, MarkovChain, Regime, RegimeState
from envs.scenario import Scenario, Split
from envs.trace.tables import compile_tables
from envs.trace.trace import Bootstrap, Trace


def shops(*demands: Demand, **fields: Any) -> SupplyNetwork:
    """One shop per demand, each supplied from outside."""
    names = [f"shop {i}" for i in range(len(demands))]
    stock_fields = {k: v for k, v in fields.items() if k == "demand_regimes"}
    return SupplyNetwork(
        tuple(Node(n, "store") for n in names),
        (Sku("tea"),),
        tuple(
            Stock(n, "tea", demand=d, **stock_fields) for n, d in zip(names, demands, strict=True)
        ),
        tuple(Lane(f"buy {n}", n, "tea", LeadTime(1)) for n in names),
        regimes=fields.get("regimes", ()),
    )


def draw(
    network: SupplyNetwork, periods: int, batch: int, bootstrap: Bootstrap | None = None
) -> NDArray[np.float64]:
    """Return demand [T, D, B] of a trace."""
    trace = Trace(compile_network(network), batch)
    trace.reset(0, 0, bootstrap=bootstrap)
    drawn = []
    for _ in range(periods):
        drawn.append(trace.demand.copy())
        trace.advance()
    return np.stack(drawn)


def config(distribution: str, **numbers: Any) -> DemandConfig:
    return DemandConfig(distribution, **numbers)


PROCESSES: list[tuple[DemandConfig, Any]] = [
    # what is asked for, and the distribution it has to have
    (config("poisson", mean=0.3), stats.poisson(0.3)),
    (config("poisson", mean=5.0), stats.poisson(5.0)),
    (config("poisson", mean=400.0), stats.poisson(400.0)),
    (config("geometric", mean=5.0), stats.geom(1 / 6, loc=-1)),
    (
        config("negative_binomial", mean=4.0, standard_deviation=4.0),
        stats.nbinom(16 / 12, 0.25),
    ),
    (config("uniform", low=2.0, high=6.0), stats.randint(2, 7)),
    (config("uniform", low=0.0, high=4.0), stats.randint(0, 5)),
    (config("uniform", low=1.0, high=3.5, whole_units=False), stats.uniform(1.0, 2.5)),
    (
        config("normal", mean=10.0, standard_deviation=2.0, whole_units=False),
        stats.norm(10.0, 2.0),
    ),
]


@pytest.mark.parametrize(
    ("asked", "wanted"), PROCESSES, ids=lambda x: getattr(x, "distribution", "")
)
def test_drawn_as_asked(asked: DemandConfig, wanted: Any) -> None:
    """Mean, variance and the whole distribution agree, within 5 standard errors."""
    sample = draw(shops(Demand.from_config(asked, 0)), 200, 2000).ravel()
    count = sample.size
    error = wanted.std() / np.sqrt(count)
    assert abs(sample.mean() - wanted.mean()) < 5 * error
    assert sample.var() == pytest.approx(wanted.var(), rel=0.03)
    if hasattr(wanted, "pmf"):
        assert np.array_equal(sample, np.round(sample))
        low, high = (int(wanted.ppf(u)) for u in (1e-6, 1 - 1e-6))
        units = np.arange(low, high + 1)
        seen = np.array([(sample == k).mean() for k in units])
        room = 5 * np.sqrt(wanted.pmf(units) / count) + 5 / count
        assert (np.abs(seen - wanted.pmf(units)) < room).all()
    else:
        assert stats.kstest(sample[:40_000], wanted.cdf).pvalue > 1e-3


COMPOUND = [  # mean, size of an order
    (0.4, 2.0),
    (3.0, 1.5),
    (2.0, 20.0),
]


@pytest.mark.parametrize(("mean", "size"), COMPOUND)
def test_compound_is_a_sum_of_orders(mean: float, size: float) -> None:
    """Drawn like a Poisson number of customers who each order 1, 2, ... units."""
    asked = Demand.from_config(config("compound", mean=mean, order_size=size), 0)
    sample = draw(shops(asked), 200, 2000).ravel()
    rng = np.random.default_rng(0)
    customers = rng.poisson(mean / size, sample.size)
    wanted = customers + np.where(
        customers > 0, rng.negative_binomial(np.maximum(customers, 1), 1.0 / size), 0
    )
    assert asked.mean == pytest.approx(mean)
    assert asked.standard_deviation == pytest.approx(wanted.std(), rel=0.02)
    assert (sample == 0).mean() == pytest.approx(np.exp(-mean / size), abs=0.005)
    assert stats.ks_2samp(sample, wanted, method="asymp").statistic < 5 / np.sqrt(sample.size)


def test_more_customers_come_orders_stay_as_large() -> None:
    """On a day of twice the demand, fewer days are without; those with one order look the same."""
    twice = np.array([1.0, 2.0])
    asked = Demand.from_config(config("compound", mean=1.0, order_size=4.0), 0, multiplier=twice)
    sample = draw(shops(asked), 2, 200_000)[:, 0]
    assert sample.mean(axis=1) == pytest.approx([1.0, 2.0], rel=0.02)
    assert (sample == 0).mean(axis=1) == pytest.approx([np.exp(-0.25), np.exp(-0.5)], abs=0.005)


def test_config_knows_its_moments() -> None:
    """What forecasts start from is the process's own mean and spread."""
    for asked, wanted in PROCESSES:
        demand = Demand.from_config(asked, 0)
        assert demand.mean == pytest.approx(wanted.mean())
        assert demand.standard_deviation == pytest.approx(wanted.std())


def test_geometric_starts_at_0() -> None:
    """A geometric period without demand has probability 1/(1 + mean)."""
    sample = draw(shops(Demand.from_config(config("geometric", mean=4.0), 0)), 100, 2000)
    assert sample.min() == 0.0
    assert (sample == 0).mean() == pytest.approx(0.2, abs=0.005)


@pytest.mark.parametrize("whole", [True, False])
def test_normal_is_clipped_at_zero(whole: bool) -> None:
    """Negative draws become 0, whole units are rounded, the rest stays normal."""
    asked = config("normal", mean=1.0, standard_deviation=1.0, whole_units=whole)
    sample = draw(shops(Demand.from_config(asked, 0)), 200, 2000).ravel()
    assert sample.min() == 0.0
    below = 0.5 if whole else 0.0
    assert (sample == 0).mean() == pytest.approx(stats.norm.cdf(below, 1.0, 1.0), abs=0.005)
    assert (sample <= 2).mean() == pytest.approx(stats.norm.cdf(2.0 + below, 1.0, 1.0), abs=0.005)
    assert whole == np.array_equal(sample, np.round(sample))


def test_periods_and_rows_are_independent() -> None:
    """No correlation between periods, rows or streams unless asked for."""
    demand = Demand.from_config(config("poisson", mean=5.0), 0)
    sample = draw(shops(demand, demand), 400, 500)
    one = sample[:, 0]
    assert abs(np.corrcoef(one[1:].ravel(), one[:-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(one[:, 1:].ravel(), one[:, :-1].ravel())[0, 1]) < 0.01
    assert abs(np.corrcoef(one.ravel(), sample[:, 1].ravel())[0, 1]) < 0.01


@pytest.mark.parametrize(
    "asked",
    [
        config("normal", mean=50.0, standard_deviation=5.0, whole_units=False),
        config("poisson", mean=50.0),
    ],
    ids=lambda a: a.distribution,
)
def test_correlation(asked: DemandConfig) -> None:
    """Pairs share the asked part of their variance, and keep their own distribution."""
    tied = Demand.from_config(asked, 0, correlation=0.6)
    free = Demand.from_config(asked, 0)
    sample = draw(shops(tied, tied, free), 300, 500)
    flat = [sample[:, d].ravel() for d in range(3)]
    matrix = np.asarray(np.corrcoef(flat))
    assert matrix[0, 1] == pytest.approx(0.6, abs=0.015)
    assert abs(matrix[0, 2]) < 0.015
    for values in flat:
        assert values.mean() == pytest.approx(free.mean, rel=0.01)
        assert values.std() == pytest.approx(free.standard_deviation, rel=0.02)


@pytest.mark.parametrize(
    "asked",
    [
        config("poisson", mean=6.0),
        config("geometric", mean=6.0),
        config("negative_binomial", mean=6.0, standard_deviation=4.0),
        config("normal", mean=60.0, standard_deviation=6.0),
        config("uniform", low=20.0, high=60.0),
    ],
    ids=lambda a: a.distribution,
)
def test_multiplier_moves_the_mean(asked: DemandConfig) -> None:
    """The calendar multiplies the mean period by period, round and round; 0 closes the shop."""
    multiplier = np.array([1.0, 0.0, 2.5])
    demand = Demand.from_config(asked, 0, multiplier=multiplier)
    sample = draw(shops(demand), 9, 20_000)[:, 0]
    expected = demand.mean * np.tile(multiplier, 3)
    assert sample.mean(axis=1) == pytest.approx(expected, rel=0.03)
    assert (sample[1::3] == 0).all()


def test_regime_moves_the_mean() -> None:
    """In each state of its regime demand has that state's mean; states stay as often as asked."""
    states = (RegimeState("low", demand=0.5), RegimeState("high", demand=2.0))
    regime = Regime("market", states, MarkovChain(((0.9, 0.1), (0.3, 0.7))))
    demand = Demand.from_config(config("poisson", mean=8.0), 0)
    network = shops(demand, regimes=(regime,), demand_regimes=("market",))
    trace = Trace(compile_network(network), 4000)
    trace.reset(0, 0)
    drawn, path = [], []
    for _ in range(40):
        drawn.append(trace.demand[0].copy())
        path.append(trace.true_regime[0].copy())
        trace.advance()
    quantity, state = np.stack(drawn), np.stack(path)
    assert quantity[state == 0].mean() == pytest.approx(4.0, rel=0.01)
    assert quantity[state == 1].mean() == pytest.approx(16.0, rel=0.01)
    assert (state[0] == 0).mean() == pytest.approx(0.75, abs=0.03)
    assert (state == 0).mean() == pytest.approx(0.75, abs=0.01)
    stays = (state[1:] == state[:-1])[state[:-1] == 1].mean()
    assert stays == pytest.approx(0.7, abs=0.01)


def test_step() -> None:
    """A step is low before the change, high from it on, the same in every row."""
    demand = Demand.from_config(config("step", low=4.0, high=8.0, change_period=3), 6)
    sample = draw(shops(demand), 6, 2)
    assert sample[:, 0].T.tolist() == [[4.0, 4.0, 4.0, 8.0, 8.0, 8.0]] * 2


def test_history_is_replayed() -> None:
    """A history comes as it was, then again; each shop its own."""
    first, second = np.array([1.0, 0.0, 7.5]), np.array([2.0, 3.0, 4.0])
    network = shops(Demand(1.0, 1.0, history=first), Demand(1.0, 1.0, history=second))
    sample = draw(network, 7, 1)[:, :, 0]
    assert sample[:, 0].tolist() == [1.0, 0.0, 7.5, 1.0, 0.0, 7.5, 1.0]
    assert sample[:, 1].tolist() == [2.0, 3.0, 4.0, 2.0, 3.0, 4.0, 2.0]


def test_history_from_yaml() -> None:
    """A list of numbers is replayed from the start again."""
    asked = Demand.from_config(config("history", history=[2.0, 0.0, 5.0]), 0)
    assert draw(shops(asked), 4, 1)[:, 0, 0].tolist() == [2.0, 0.0, 5.0, 2.0]
    assert asked.mean == pytest.approx(7 / 3)


DAYS = np.arange(140.0)


def test_bootstrap_replays_whole_stretches() -> None:
    """Each stretch is a run of days from the part asked for, on its own weekdays, the same one for
    all shops, another one in each episode and stretch; all starts are as likely."""
    network = shops(Demand(1.0, 1.0, history=DAYS), Demand(1.0, 1.0, history=DAYS + 1000.0))
    sample = draw(network, 42, 4000, Bootstrap(14, 28, 98))
    assert (sample[:, 1] == sample[:, 0] + 1000.0).all()
    days = sample[:, 0].reshape(3, 14, -1)
    assert (np.diff(days, axis=1) == 1.0).all()
    assert days.min() == 28.0
    assert days.max() == 97.0
    assert (days[:, 0] % 7 == 0).all()
    starts, counts = np.unique(days[:, 0], return_counts=True)
    assert starts.tolist() == [28.0 + 7 * i for i in range(9)]
    assert stats.chisquare(counts).pvalue > 1e-3
    assert abs(np.corrcoef(days[0, 0], days[1, 0])[0, 1]) < 0.06


def test_bootstrap_leaves_the_known_in_its_place() -> None:
    """Days of twice the demand stay where they are; what was sold against that is resampled, and
    whole units stay whole with the same mean."""
    known: NDArray[np.float64] = np.where(np.arange(140) % 10 == 0, 2.0, 1.0)
    level: NDArray[np.float64] = 5.0 + np.arange(140.0) % 3.0
    demand = Demand(6.0, 1.0, history=level * known, multiplier=known)
    sample = draw(shops(demand), 140, 3000, Bootstrap(6, 0, 140))[:, 0]
    assert np.array_equal(sample, np.round(sample))
    promoted = sample[known == 2.0]
    assert promoted.mean() == pytest.approx(12.0, rel=0.02)
    assert sample[known == 1.0].mean() == pytest.approx(6.0, rel=0.02)
    halves = Demand(6.0, 1.0, history=level * known + 0.25, multiplier=known)
    divisible = draw(shops(halves), 140, 50, Bootstrap(6, 0, 140))[:, 0]
    assert np.unique(divisible[known == 1.0]).size > 3  # a doubled day's share lands elsewhere


def test_only_training_resamples() -> None:
    """Training episodes are resampled from their part; later weeks are tested as they were."""
    parts = {"train": Split(0, 98), "test": Split(98, 140)}
    network = shops(Demand(1.0, 1.0, history=DAYS))
    scenario = Scenario("weeks", network, 28, splits=parts, bootstrap_length=14)
    for split, resampled in (("train", True), ("test", False)):
        env = BatchedEnv(scenario, 64, split=split)
        env.reset(0)
        days = []
        for _ in range(scenario.episode_length(split)):
            env.close_period(env.no_action)
            days.append(env.flows.demand[0].copy())
            env.open_period()
        jumps = (np.diff(days, axis=0) != 1.0).any(axis=1)
        assert jumps.any() == resampled
        assert min(map(np.min, days)) >= parts[split].first
        assert max(map(np.max, days)) < parts[split].stop
    with pytest.raises(ConfigError, match=r"bootstrap_length is 99; expected .* at most 98"):
        Scenario("weeks", network, 28, splits=parts, bootstrap_length=99)


def test_without_bootstrap_history_is_as_it_was() -> None:
    """One stretch as long as the calendar: nothing to choose, nothing changes."""
    network = shops(Demand(1.0, 1.0, history=DAYS))
    whole = draw(network, 140, 3, Bootstrap(140, 0, 140))[:, 0]
    assert (whole == DAYS[:, None]).all()


BOOM = Regime(
    "boom",
    (RegimeState("no"), RegimeState("some", demand=2.0), RegimeState("yes", demand=3.0)),
    MarkovChain(((0.4, 0.3, 0.3),) * 3),
)
EVEN = MarkovChain(((0.5, 0.5),) * 2)
OTHER = Regime(
    "other", (RegimeState("a"), RegimeState("b", demand=9.0)), MarkovChain(((0.5, 0.5),) * 2)
)
SLUMP = Regime(
    "slump", (RegimeState("no"), RegimeState("yes", demand=0.5)), MarkovChain(((0.5, 0.5),) * 2)
)
QUIET = Regime(
    "quiet", (RegimeState("no"), RegimeState("yes", cost=2.0)), MarkovChain(((0.5, 0.5),) * 2)
)


def by_state(demand: Demand, batch: int, periods: int) -> list[tuple[int, float, NDArray[Any]]]:
    """Return (calendar, product of the factors, demand drawn) for each mix of states."""
    network = shops(
        demand, regimes=(BOOM, OTHER, SLUMP, QUIET), demand_regimes=("slump", "quiet", "boom")
    )
    trace = Trace(compile_network(network), batch)
    trace.reset(0, 0)
    found = []
    for _ in range(periods):
        boom, _, slump, _ = trace.true_regime
        for i, more in enumerate((1.0, 2.0, 3.0)):
            for j, less in enumerate((1.0, 0.5)):
                here = (boom == i) & (slump == j)
                found.append((int(trace.calendar[0]), more * less, trace.demand[0][here]))
        trace.advance()
    return found


@pytest.mark.parametrize(
    "asked",
    [
        config("poisson", mean=10.0),
        config("normal", mean=10.0, standard_deviation=2.0, whole_units=False),
    ],
    ids=lambda a: a.distribution,
)
def test_regimes_and_calendar_multiply(asked: DemandConfig) -> None:
    """The mean is multiplied by the calendar and by every regime the shop is exposed to, whatever
    the others do."""
    weekend = np.array([1.0, 0.0, 0.8])
    demand = Demand.from_config(asked, 0, multiplier=weekend)
    for day, factor, drawn in by_state(demand, 6000, 6):
        assert drawn.mean() == pytest.approx(10.0 * weekend[day] * factor, rel=0.04)


def test_equal_tables_are_shared() -> None:
    """Six mixes of states on three days, of which one is closed: tables for 1, 2, 3, 0.5, 1.5 and
    for 0.8 of those, once, and one of nothing."""
    demand = Demand.from_config(
        config("poisson", mean=10.0), 0, multiplier=np.array([1.0, 0.0, 0.8])
    )
    regimes = {"regimes": (BOOM, SLUMP), "demand_regimes": ("boom", "slump")}
    tables = compile_tables(compile_network(shops(demand, demand, **regimes)))
    assert len(tables.lowest) == 5 + 5 + 1
    assert len(tables.table_at) == 6 * 3


def test_regimes_multiply_history() -> None:
    """A replayed history is multiplied too: exactly where its units are divisible; whole units stay
    whole, and right on average."""
    for _, factor, drawn in by_state(Demand(10.0, 1.0, history=np.array([10.5, 2.25])), 200, 2):
        assert set(drawn.tolist()) <= {10.5 * factor, 2.25 * factor}
    drawn_at: dict[float, list[float]] = {}
    for _, factor, drawn in by_state(Demand(3.0, 1.0, history=np.full(500, 3.0)), 30, 500):
        assert len(set(drawn.tolist())) <= 1  # known: the same in every episode
        drawn_at.setdefault(factor, []).extend(drawn[:1])
    for factor, quantities in drawn_at.items():
        assert set(quantities) <= {np.floor(3.0 * factor), np.ceil(3.0 * factor)}
        assert np.mean(quantities) == pytest.approx(3.0 * factor, abs=0.01)


def test_shops_are_not_rounded_on_the_same_days() -> None:
    """Else demand of the whole network would swing."""
    ones = Demand(1.0, 1.0, history=np.ones(700))
    more = Regime("more", (RegimeState("no"), RegimeState("yes", demand=1.5)), EventWindow(0, 0))
    network = shops(*[ones] * 30, regimes=(more,), demand_regimes=("more",))
    total = draw(network, 700, 1)[:, :, 0].sum(axis=1)
    assert total.mean() == pytest.approx(45.0, abs=0.2)
    assert total.std() < 4.0  # 15 if they all were; 2.7 if they had nothing to do with each other


ONES = np.ones(3)
NONSENSE = [
    # how it is built, what the message says
    (lambda: Demand.from_config(config("poison", mean=5.0), 0), "Did you mean 'poisson'?"),
    (
        lambda: Demand.from_config(config("poisson"), 0),
        "Set scenario.demand.mean=NUMBER",
    ),
    (lambda: Demand.from_config(config("poisson", mean=-1.0), 0), "mean is -1.0"),
    (lambda: Demand.from_config(config("poisson", mean=float("nan")), 0), "mean is nan"),
    (lambda: Demand.from_config(config("poisson", mean=float("inf")), 0), "mean is inf"),
    (lambda: Demand.from_config(config("normal", mean=5.0), 0), "standard_deviation is None"),
    (
        lambda: Demand.from_config(config("normal", mean=5.0, standard_deviation=0.0), 0),
        "normal has standard_deviation 0",
    ),
    (
        lambda: Demand.from_config(config("uniform", low=5.0, high=5.0, whole_units=False), 0),
        "low < high unless whole_units",
    ),
    (
        lambda: Demand.from_config(
            config("negative_binomial", mean=4.0, standard_deviation=2.0), 0
        ),
        "standard_deviation^2 > mean",
    ),
    (lambda: Demand.from_config(config("uniform", low=5.0, high=4.0), 0), "expected low <= high"),
    (lambda: Demand.from_config(config("step", low=1.0, high=2.0), 9), "change_period is None"),
    (lambda: Demand.from_config(config("compound", mean=5.0), 0), "order_size is None"),
    (lambda: Demand.from_config(config("compound", mean=5.0, order_size=1.0), 0), "Use poisson"),
    (lambda: Demand.from_config(config("history"), 0), "history is empty"),
    (lambda: Demand(5.0, 1.0), "either a process or a history"),
    (lambda: Demand(5.0, 1.0, history=np.array([1.0, -2.0])), "history is -2.0 in period 1"),
    (lambda: Demand(5.0, 1.0, history=np.array([np.nan])), "history is nan in period 0"),
    (lambda: Demand(5.0, 1.0, history=ONES, multiplier=-ONES), "multiplier is -1.0 in period 0"),
    (lambda: Demand(5.0, 1.0, history=ONES, correlation=1.0), "correlation is 1.0"),
]


@pytest.mark.parametrize(("build", "reason"), NONSENSE, ids=[reason for _, reason in NONSENSE])
def test_nonsense_is_refused(build: Any, reason: str) -> None:
    """Numbers that no process has are refused, by name."""
    with pytest.raises(ConfigError) as error:
        build()
    assert reason in str(error.value)
