"""Shared fixtures: small scenarios, a record of progress, one Ray cluster per session."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from envs.network.demand import DemandConfig
from envs.scenario import Scenario
from envs.scenarios import build_scenario
from envs.scenarios.single_node import SingleNodeConfig
from evaluation.progress import SilentProgress
from evaluation.workers import prepare_ray
from tests.envs.networks import one_warehouse

prepare_ray()  # before any test imports Ray, as the commands do


@pytest.fixture
def shop() -> Scenario:
    """One store that loses sales: Poisson demand of 5 a period, lead time 2."""
    return build_scenario(
        SingleNodeConfig(
            kind="single_node",
            base_policy="forecast_base_stock",
            name="shop",
            horizon=30,
            warm_up=3,
            demand=DemandConfig("poisson", mean=5.0),
            lead_time=2,
            lost_sale_cost=4.0,
            holding_cost=1.0,
        )
    )


@pytest.fixture
def warehouse() -> Scenario:
    """A warehouse, three stores, two items, correlated demand, lost sales."""
    return build_scenario(
        one_warehouse(
            name="warehouse",
            horizon=20,
            demand=DemandConfig("poisson", mean=5.0),
            stores=3,
            skus=2,
            correlation=0.4,
            lost_sale_cost=9.0,
        )
    )


class Recorder(SilentProgress):
    """Keeps the phases and updates that it gets."""

    def __init__(self) -> None:
        self.phases: list[tuple[str, float | None]] = []
        self.updates: list[tuple[float, str]] = []

    def phase(self, text: str, total: float | None = None) -> None:
        """Keep it."""
        self.phases.append((text, total))

    def update(self, done: float, text: str = "") -> None:
        """Keep it."""
        self.updates.append((done, text))


@pytest.fixture
def recorder() -> Recorder:
    """An empty record."""
    return Recorder()


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database: tests copy it, which takes 1 ms; to make one takes seconds."""
    from mlflow import MlflowClient  # takes seconds, and most tests do without

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Ray with room for the driver and two runners; its start-up is retried once.

    For all tests of RLlib: without it, it starts a Ray of its own, with a dashboard, that is slow.
    The workers' path holds the repository, so that they import the tests' simulators too.
    """
    import ray  # takes seconds, and most tests do without

    root = str(Path(__file__).resolve().parents[1])
    options = {
        "address": "local",  # not one that somebody else runs here
        "num_cpus": 3,
        "include_dashboard": False,
        "log_to_driver": False,
        "logging_level": "ERROR",
        "_system_config": {"worker_niceness": 0},  # else busy processes of others starve them
        "runtime_env": {"env_vars": {"PYTHONPATH": root}},
    }
    try:
        ray.init(**options)
    except Exception:  # the raylet's own start-up deadline is short on a loaded machine
        ray.shutdown()
        ray.init(**options)
    yield
    ray.shutdown()
