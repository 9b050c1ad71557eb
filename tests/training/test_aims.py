"""What learning aims at besides mean cost: a fill rate, bad times, any weight of service."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest
from ray.rllib.evaluation.postprocessing import Postprocessing

from envs.environment.batched_env import BatchedEnv
from envs.errors import ConfigError
from envs.kpis.pairs import EpisodeKpis
from envs.reward import Preference, RewardConfig
from evaluation.comparison.rollout import Competitor, play
from evaluation.tuning.config import TuneConfig
from tests.settings import cost_alone
from tests.training.conftest import small_config, small_factory
from training.job.train import _cost_scale
from training.objective import objective
from training.rllib.batched_runner import _highest_cost
from training.rllib.env_factory import ScenarioEnvFactory
from training.rllib.trainer import build_algorithm, iteration_metrics

pytestmark = pytest.mark.usefixtures("ray_cluster")


def factory(reward: RewardConfig) -> ScenarioEnvFactory:
    return dataclasses.replace(small_factory(), reward=reward)


def kpis() -> EpisodeKpis:
    scenario = small_factory().scenario
    name = scenario.base_policy
    return play(scenario, Competitor(name, name).build(scenario), traces=32, seed=0)


def test_the_price_follows_the_fill_rate() -> None:
    """Up by step x base cost per unit x what is missing; runners hear of it; down again, to 0 at
    least; kept in checkpoints."""
    algorithm = build_algorithm(
        factory(cost_alone(salvage_share=0.0, target_fill_rate=0.999)), small_config()
    )
    runner = algorithm.env_runner
    base = runner.base_run()
    price = 0.0
    for _ in range(3):
        fill = iteration_metrics(algorithm.train())["sampling/fill_rate"]
        price = max(0.0, price + 20.0 * base.cost.sum() / base.demand * (0.999 - fill))
        assert runner.env.shortage_price == pytest.approx(np.full(8, price))
    assert price > 0.0
    assert algorithm.get_state()["shortage_price"] == pytest.approx(price)
    algorithm.set_state({**algorithm.get_state(), "shortage_price": 1e-9})
    algorithm.config.env_config["reward"] = cost_alone(target_fill_rate=0.001)
    algorithm.train()
    assert (runner.env.shortage_price == 0.0).all()
    algorithm.stop()


@pytest.mark.nightly  # 8 s
def test_a_price_turns_learning_towards_service() -> None:
    """With the same seed, aiming at a fill rate above the base policy's serves more."""
    served = {}
    for target in (None, 0.99):
        algorithm = build_algorithm(
            factory(cost_alone(salvage_share=0.0, paired=True, target_fill_rate=target)),
            small_config(learning_rate=3e-3),
        )
        for _ in range(80):
            algorithm.train()
        rates = [iteration_metrics(algorithm.train())["sampling/fill_rate"] for _ in range(5)]
        served[target] = float(np.mean(rates))
        algorithm.stop()
    assert served[0.99] > served[None] + 0.005


def test_the_tail_is_the_dearest_replications() -> None:
    """A batch holds the rows of those that cost most, and no others."""
    cost = np.array([3.0, 9.0, 1.0, 7.0])
    assert np.asarray(_highest_cost(cost, 0.5)).tolist() == [1, 3]
    assert np.asarray(_highest_cost(cost, 0.01)).tolist() == [1]
    assert _highest_cost(cost, 1.0) == slice(None)
    whole, tail = (
        build_algorithm(factory(cost_alone(salvage_share=0.0, tail_share=share)), small_config())
        for share in (1.0, 0.25)
    )
    for algorithm, share in ((whole, 1.0), (tail, 0.25)):
        [batch] = algorithm.env_runner.sample()
        for kind, columns in batch.policy_batches.items():
            rows = len(columns[Postprocessing.ADVANTAGES])
            stores = 3 if kind == "store" else 1
            assert rows == 10 * stores * 8 * share
        algorithm.train()
        algorithm.stop()


def test_preferences_are_drawn_seen_and_paid() -> None:
    """Each episode has its own, agents see it, and what isn't served at once costs its price."""
    scenario = dataclasses.replace(small_factory().scenario, preference=Preference(1.0, 100.0))
    env, plain = BatchedEnv(scenario, 64), BatchedEnv(small_factory().scenario, 64)
    observation = env.reset(3)
    plain.reset(3)
    feature = env.feature_names.index("preference")
    assert "preference" not in plain.feature_names
    seen = observation[:, feature, :]
    assert np.allclose(seen, 2.0 * env.preference - 1.0)
    assert 0.0 <= env.preference.min() < 0.1
    assert 0.9 < env.preference.max() < 1.0
    assert env.shortage_price == pytest.approx(100.0**env.preference)
    for _ in range(6):
        _, priced, _ = env.step(env.no_action)
        _, reward, _ = plain.step(plain.no_action)
        short = env.flows.demand - env.flows.sold
        paid = env.shortage_price * short / env.cost_scale
        np.testing.assert_allclose(priced, reward - paid, rtol=1e-5, atol=1e-5)
    before = env.preference.copy()
    env.reset(3, first_episode=64)
    assert abs(np.corrcoef(before, env.preference)[0, 1]) < 0.4


def test_a_fixed_preference_is_the_same_in_every_episode() -> None:
    """Serving and evaluation choose one, even before an episode begins."""
    preference = Preference(1.0, 100.0, at=0.25)
    env = BatchedEnv(dataclasses.replace(small_factory().scenario, preference=preference), 4)
    feature = env.feature_names.index("preference")
    assert (env.observe()[:, feature, :] == -0.5).all()
    env.reset(0)
    assert (env.preference == 0.25).all()


def test_checkpoints_are_chosen_by_the_aim() -> None:
    """Mean cost; of the dearest; cost that rises as the target is missed."""
    result = kpis()
    cost = result.cost.mean(axis=0)
    fill = result.summary()["fill_rate"]
    assert objective(result, cost_alone()) == pytest.approx(cost.mean())
    dearest = np.sort(cost)[-8:].mean()
    assert objective(result, cost_alone(tail_share=0.25)) == pytest.approx(dearest)
    met = cost_alone(target_fill_rate=fill - 0.01)
    missed = cost_alone(target_fill_rate=fill + 0.01)
    assert objective(result, met) == pytest.approx(cost.mean())
    assert objective(result, missed) == pytest.approx(1.1 * cost.mean())
    sums = result.sums._replace(shortage_charge=np.full(32, 5.0 * result.periods))
    priced = dataclasses.replace(result, sums=sums)
    assert objective(priced, cost_alone()) == pytest.approx(cost.mean() + 5.0)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cost_alone(target_fill_rate=1.0), "target_fill_rate is 1.0"),
        (lambda: cost_alone(tail_share=0.0), "tail_share is 0.0"),
        (lambda: cost_alone(price_step=0.0), "price_step is 0.0"),
        (lambda: Preference(2.0, 1.0), "low is 2.0 and high 1.0"),
        (lambda: Preference(1.0, 2.0, at=2.0), "preference.at is 2.0"),
    ],
)
def test_wrong_aims_are_refused(make: Callable[[], object], message: str) -> None:
    """Out of range, with the key's name."""
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize("paired", [False, True])
def test_rewards_are_in_units_of_what_the_base_policy_pays(paired: bool) -> None:
    """-1 per pair and period, whether or not its cost is subtracted when learning."""
    scenario = dataclasses.replace(
        small_factory(horizon=40).scenario, policy_params={"forecast_base_stock": {}}
    )
    reward = cost_alone(salvage_share=0.0, downstream_share=1.0, paired=paired)
    scale = _cost_scale(scenario, reward, TuneConfig(64, 1, 5))
    env = BatchedEnv(
        scenario, 256, reward=dataclasses.replace(reward, paired=False), cost_scale=scale
    )
    env.reset(6)
    rewards = [env.step(env.no_action)[1].mean(axis=1) for _ in range(env.horizon)]
    assert np.mean(rewards, axis=0) == pytest.approx(-np.ones(env.num_rows), rel=0.15)
