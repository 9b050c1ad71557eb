"""The schema of every configuration: dataclasses own names, types and bounds, YAML the values.

Registered with Hydra, so that unknown keys and wrong types are errors that name the key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, OmegaConf

from envs.reward import RewardConfig
from envs.scenarios import BUILDERS
from evaluation.tracking.mlflow_destination import TrackingConfig
from serving.config import ServeConfig
from training.config import (
    ImitationConfig,
    ModelConfig,
    ResourcesConfig,
)
from training.rllib.algorithms import ALGORITHMS

__all__ = [
    "BoundCommand",
    "EvaluateCommand",
    "ReplayCommand",
    "ReportCommand",
    "ServeCommand",
    "ShowCommand",
    "SweepCommand",
    "TrainCommand",
    "TuneCommand",
    "VerifyCommand",
    "register",
    "scenario_schema",
]


@dataclass(frozen=True)
class TuneConfig:
    """Search of classical policies' parameters. traces: episodes per parameter set. budget:
    parameter sets at most. seed: of the training traces it searches on."""

    traces: int = 64
    budget: int = 200
    seed: int = 1_000_000


@dataclass(frozen=True)
class ValidationConfig:
    """Choice of the best checkpoint. traces: episodes of the tune split. every: iterations."""

    traces: int = 16
    every: int = 5
    seed: int = 2_000_000


@dataclass(frozen=True)
class TestConfig:
    """The final comparison. traces: episodes of the test split."""

    traces: int = 64
    seed: int = 3_000_000


@dataclass(frozen=True)
class TrainCommand:
    """`echelon train`."""

    scenario: Any = MISSING
    algorithm: Any = MISSING
    model: ModelConfig = field(default_factory=ModelConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    reward: RewardConfig = field(default_factory=RewardConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    start: str | None = None
    imitate: ImitationConfig = field(default_factory=ImitationConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    test: TestConfig = field(default_factory=TestConfig)
    seed: int = 0
    time_limit: float | None = None
    checkpoint_every: int = 10
    register: bool = True
    resume: str | None = None
    out: str | None = None
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class EvaluateCommand:
    """`echelon evaluate`."""

    scenario: Any = MISSING
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    tune: TuneConfig = field(default_factory=TuneConfig)
    policies: list[str] = field(default_factory=list)
    policy_params: dict[str, Any] = field(default_factory=dict)
    policy_params_from: str | None = None
    artifact: str = "champion"
    traces: int = 256
    seed: int = 3_000_000
    split: str = "test"
    workers: int = 1
    out: str | None = None
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReplayCommand:
    """`echelon replay`. network, demand, orders: files. start: ISO date of period 0."""

    scenario: Any = None
    network: str | None = None
    demand: str | None = None
    orders: str | None = None
    policy: str | None = None
    policy_params: dict[str, Any] = field(default_factory=dict)
    periods: int | None = None
    start: str | None = None
    discount: float = 1.0
    seed: int = 0
    out: str | None = None


@dataclass(frozen=True)
class ShowCommand:
    """`echelon show`. policy: None for the scenario's base policy."""

    scenario: Any = MISSING
    policy: str | None = None
    policy_params: dict[str, Any] = field(default_factory=dict)
    traces: int = 16
    seed: int = 3_000_000
    split: str = "test"
    out: str | None = None
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BoundCommand:
    """`echelon bound`. time_limit: seconds, of value iteration."""

    scenario: Any = MISSING
    time_limit: float | None = 120.0
    traces: int = 16
    seed: int = 3_000_000
    split: str = "test"
    workers: int = 1
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TimedTuneConfig(TuneConfig):
    """seconds: for one policy; the budget is cut to what fits."""

    seconds: float = 30.0


@dataclass(frozen=True)
class ChooseConfig:
    """Choice of the best classical policy. traces: episodes of the tune split."""

    traces: int = 256
    seed: int = 2_000_000


@dataclass(frozen=True)
class TuneCommand:
    """`echelon tune`. policies: empty for those the network calls for. workers: policies searched
    at once. cache: folder or None."""

    scenario: Any = MISSING
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    policies: list[str] = field(default_factory=list)
    classes: str = "kind"
    traces: int = 64
    budget: int = 200
    seed: int = 1_000_000
    check: ChooseConfig = field(default_factory=ChooseConfig)
    workers: int = 2
    cache: str | None = "outputs/tune/cache"
    out: str | None = None
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReportCommand:
    """`echelon report`."""

    scenarios: list[str] = field(default_factory=list)
    advise: list[str] = field(default_factory=list)
    resume: str | None = None
    classical: dict[str, Any] = field(default_factory=dict)
    start_from: str = "champion"
    seeds: int = 5
    train_seconds: float | None = 60.0
    train: list[str] = field(default_factory=list)
    artifacts: dict[str, Any] = field(default_factory=dict)
    traces: int = 256
    seed: int = 3_000_000
    bound_traces: int = 32
    bound_seconds: float = 240.0
    currency_per_cpu_hour: float = 0.05
    service_tolerance: float = 0.005
    workers: int = 2
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    tune: TimedTuneConfig = field(default_factory=TimedTuneConfig)
    choose: ChooseConfig = field(default_factory=ChooseConfig)
    pages: str | None = None
    out: str | None = None
    smoke: bool = False
    smoke_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepCommand:
    """`echelon sweep`. space: key -> {choices} or {low, high, scale}. grace: share of training."""

    space: dict[str, Any] = field(default_factory=dict)
    trials: int = 16
    workers: int = 2
    grace: float = 0.2
    register: bool = True
    resume: str | None = None
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    out: str | None = None


@dataclass(frozen=True)
class VerifyCommand:
    """`echelon verify`. cases: a file; None: the ones that ship."""

    cases: str | None = None
    families: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)
    fast: bool = False
    out: str | None = None


@dataclass(frozen=True)
class ServeCommand:
    """`echelon serve`."""

    serve: ServeConfig = field(default_factory=ServeConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)


def register() -> None:
    """Store all schemas; those of scenarios and algorithms as `schema_<kind>`."""
    store = ConfigStore.instance()
    for kind in BUILDERS:
        store.store(group="scenario", name=f"schema_{kind}", node=scenario_schema(kind))
    for kind, algorithm in ALGORITHMS.items():
        node = _thawed(OmegaConf.structured(algorithm))
        store.store(group="algorithm", name=f"schema_{kind}", node=node)
    commands = {
        "train": TrainCommand,
        "evaluate": EvaluateCommand,
        "replay": ReplayCommand,
        "show": ShowCommand,
        "bound": BoundCommand,
        "report": ReportCommand,
        "sweep": SweepCommand,
        "tune": TuneCommand,
        "verify": VerifyCommand,
        "serve": ServeCommand,
    }
    for name, command in commands.items():
        store.store(name=f"schema_{name}", node=_thawed(OmegaConf.structured(command)))


def scenario_schema(kind: str) -> DictConfig:
    """Return the keys, types and defaults of a kind of scenario, to merge values into."""
    node = _thawed(OmegaConf.structured(BUILDERS[kind][0]))
    node.kind = kind
    return node


def _thawed(node: DictConfig) -> DictConfig:
    """Frozen dataclasses give read-only nodes; YAML and overrides must be able to fill them.

    Mappings take new keys, dataclasses don't.
    """
    OmegaConf.set_readonly(node, False)
    if node._metadata.object_type is dict:
        OmegaConf.set_struct(node, False)
    for key in node:
        child = node._get_node(key)
        if isinstance(child, DictConfig) and not child._is_none() and not child._is_missing():
            _thawed(child)
    return node
