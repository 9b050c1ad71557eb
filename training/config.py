"""Settings of a training run: names, units and bounds; the values live in conf/."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

from envs.errors import ConfigError, did_you_mean
from envs.observation.companions import CompanionsOf
from envs.policies import policy_class
from envs.reward import RewardConfig
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from evaluation.tuning.config import TuneConfig

if TYPE_CHECKING:
    from training.rllib.env_factory import EnvFactory

_IMITATED = {"expedite", "cap", "gate", "can_gate"}  # and the order


def _check(
    section: str,
    name: str,
    value: float,
    low: float,
    high: float = math.inf,
    *,
    open_low: bool = False,
    whole: bool = False,
) -> None:
    """Raise ConfigError unless `value` is a number in [low, high], or ]low, high]."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    inside = number and (value > low if open_low else value >= low) and value <= high
    if inside and (not whole or isinstance(value, int)):
        return
    kind = "a whole number" if whole else "a number"
    bound = f"> {low:g}" if open_low else f">= {low:g}"
    ceiling = "" if math.isinf(high) else f" and <= {high:g}"
    raise ConfigError(
        f"{section}.{name} is {value!r}; expected {kind} {bound}{ceiling}; "
        f"set {section}.{name} in the configuration"
    )


@dataclass(frozen=True)
class AlgorithmConfig(ABC):
    """What every algorithm has: settings, what it can do, and RLlib's configuration of it.

    An algorithm is one file in training/rllib/algorithms/, a subclass of this, and a line in
    `training.rllib.algorithms.ALGORITHMS`.

    Raises:
        ConfigError: a value is out of range.
    """

    learning_rate: float  # Adam step size
    gradient_clip: float  # largest norm of one node kind's gradient
    iterations: int  # sample-then-learn rounds

    # Capabilities: what else in the code asks of an algorithm. As here for most of RLlib's own.
    samples: ClassVar[str] = "episodes"  # what it learns from, see `configure`
    asynchronous: ClassVar[bool] = False  # samples while it learns, so it needs a remote runner
    holds_fill_rate: ClassVar[bool] = False  # moves the price that reward.target_fill_rate needs
    learns_from_tail: ClassVar[bool] = False  # of a sample's costs: reward.tail_share

    def __post_init__(self) -> None:
        self.check("learning_rate", 0.0, 1.0, open_low=True)
        self.check("gradient_clip", 0.0, open_low=True)
        self.check("iterations", 1, whole=True)

    def check(
        self,
        name: str,
        low: float,
        high: float = math.inf,
        *,
        open_low: bool = False,
        whole: bool = False,
    ) -> None:
        """Raise ConfigError unless the setting is a number in [low, high], or ]low, high]."""
        value = getattr(self, name)
        _check("algorithm", name, value, low, high, open_low=open_low, whole=whole)

    @abstractmethod
    def build(self, config: TrainingConfig) -> Any:
        """Return RLlib's configuration, with what only this algorithm sets; learning rate, gradient
        clip, runners, learners, modules and seed are set for it.

        Raises:
            ConfigError: something in `config` does not go with the settings.
        """

    def envs_at_once(self, rows: int, resources: ResourcesConfig) -> int:
        """Return how many replications a runner steps at once, of a network of so many rows.

        Raises:
            ConfigError: what is set doesn't go together.
        """
        return resources.envs_per_runner

    def runners_worth(self, rows: int, resources: ResourcesConfig, cpus: int) -> int:
        """Return how many Ray actors should sample where `resources` leaves it open: of a network
        of so many rows, with so many CPUs. By default this process does, as each runner adds to
        the episodes of an iteration and so to what is learned."""
        return 0

    def env_factory(self, factory: EnvFactory) -> EnvFactory:
        """Return how to build the simulator it learns from."""
        return factory

    def check_problem(self, factory: EnvFactory) -> None:  # noqa: B027
        """Raise ConfigError where it can't learn in that simulator; by default it always can."""


@dataclass(frozen=True)
class ImitationConfig:
    """Acting like a classical policy, before learning.

    Raises:
        ConfigError: a value is out of range.
    """

    policy: str | None  # None: none; base: the base policy, where action 0 is not it
    rounds: int  # of playing resources.envs_per_runner episodes and fitting; first the teacher
    passes: int  # over all that was met so far, per round
    learning_rate: float  # Adam step size, falling

    def __post_init__(self) -> None:
        section = "imitate"
        _check(section, "rounds", self.rounds, 1, whole=True)
        _check(section, "passes", self.passes, 1, whole=True)
        _check(section, "learning_rate", self.learning_rate, 0.0, 1.0, open_low=True)

    def teacher(self, scenario: Scenario) -> str | None:
        """Return which policy is imitated, None: none.

        Raises:
            ConfigError: it is unknown, or levels and expedite levels can't say what it does.
        """
        base = scenario.base_policy
        if self.policy is None:
            return None
        name = base if self.policy == "base" else self.policy
        if name == base and scenario.action_space is ActionSpace.residual:
            raise ConfigError(
                f"imitate.policy is {name}, which action 0 already is (scenario.base_policy, with "
                "scenario.action_space=residual); expected another policy; leave imitate.policy "
                "out."
            )
        other = policy_class(name).decides - _IMITATED
        if name != base and other:
            raise ConfigError(
                f"imitate.policy {name} decides {', '.join(sorted(other))} too, but only how much "
                f"is ordered and expedited is imitated; set scenario.base_policy={name}, and learn "
                "its correction."
            )
        return name


@dataclass(frozen=True)
class ModelConfig:
    """The actor and the critic of one node kind: same form, separate weights.

    form: one of `evaluation.artifact.models.MODELS`; the critic takes the same form. memory,
    companions, companions_of, identity: what it needs to see at least, as in ScenarioConfig.

    Raises:
        ConfigError: a value is out of range.
    """

    form: str
    memory: int  # periods of demand, one by one
    companions: int  # other rows
    companions_of: CompanionsOf
    identity: bool  # the row's number within its node kind
    hidden: tuple[int, ...]  # units per hidden layer
    initial_std: float  # of the action, which lies in [-1, 1]; 0 is the base policy
    lowest_std: float  # exploration never ends altogether
    highest_std: float  # beyond it most actions are clipped

    def __post_init__(self) -> None:
        # Configuration files give lists; a tuple keeps the dataclass hashable.
        object.__setattr__(self, "hidden", tuple(self.hidden))
        _check("model", "memory", self.memory, 0, whole=True)
        _check("model", "companions", self.companions, 0, whole=True)
        for units in self.hidden:
            _check("model", "hidden", units, 1, 65536, whole=True)
        _check("model", "lowest_std", self.lowest_std, 0.0, open_low=True)
        _check("model", "highest_std", self.highest_std, self.lowest_std, 10.0, open_low=True)
        low, high = self.lowest_std, self.highest_std
        _check("model", "initial_std", self.initial_std, low, high, open_low=True)
        if self.initial_std == self.highest_std:
            raise ConfigError(
                f"model.initial_std is {self.initial_std}, equal to model.highest_std; "
                "expected a value between the bounds; lower it"
            )


def _bundle(cpus: float, gpus: float, memory: float) -> dict[str, float]:
    """Ray's resources, without what is 0. memory: GB."""
    wanted = {"CPU": cpus, "GPU": gpus, "memory": memory * 1e9}
    return {name: float(amount) for name, amount in wanted.items() if amount}


@dataclass(frozen=True)
class ResourcesConfig:
    """What sampling and learning run on.

    Raises:
        ConfigError: a value is out of range.
    """

    env_runners: int | None  # Ray actors that sample; 0: this process; None: what is faster
    min_runners: int  # of them, with which training begins; the others join later
    start_wait: float  # seconds that these and the learners may take to start
    placement: str  # of actors on nodes: pack or spread
    cpus_per_runner: float  # of Ray's, that each takes
    gpus_per_runner: float
    memory_per_runner: float  # GB of Ray's; 0: none is reserved
    envs_per_runner: int  # replications that each runner steps at once [B]
    fragment_periods: int  # periods sampled per replication and iteration
    learners: int  # Ray actors that learn; 0 learns in this process
    device: str  # of the learner: cpu, or cuda for a GPU each
    gpus_per_learner: float  # GPUs; 0: as device says
    memory_per_learner: float  # GB of Ray's; 0: none is reserved
    threads: int  # torch threads per process
    sample_timeout: float  # seconds until a silent runner is given up for this iteration
    restart_wait: float  # seconds an iteration waits for a runner when none is alive
    env_failures: int  # episode blocks that may fail per runner before training stops
    empty_iterations: int  # iterations in a row without any sample before training stops
    price_per_hour: float  # of a node, in any currency
    max_price: float | None  # of all nodes: then learning ends

    def __post_init__(self) -> None:
        section = "resources"
        if self.env_runners is not None:
            _check(section, "env_runners", self.env_runners, 0, whole=True)
        _check(section, "min_runners", self.min_runners, 1, whole=True)
        if self.env_runners is not None and self.min_runners > max(1, self.env_runners):
            raise ConfigError(
                f"resources.min_runners is {self.min_runners}, but resources.env_runners is "
                f"{self.env_runners}; expected no more than that; lower the one, or raise the other"
            )
        _check(section, "start_wait", self.start_wait, 0.0)
        self._check_choice("placement", ("pack", "spread"))
        _check(section, "cpus_per_runner", self.cpus_per_runner, 0.0, open_low=True)
        _check(section, "gpus_per_runner", self.gpus_per_runner, 0.0)
        _check(section, "envs_per_runner", self.envs_per_runner, 1, whole=True)
        _check(section, "fragment_periods", self.fragment_periods, 1, whole=True)
        _check(section, "learners", self.learners, 0, whole=True)
        self._check_choice("device", ("cpu", "cuda"))
        _check(section, "gpus_per_learner", self.gpus_per_learner, 0.0, 1.0)
        self._check_gpus()
        _check(section, "memory_per_runner", self.memory_per_runner, 0.0)
        _check(section, "memory_per_learner", self.memory_per_learner, 0.0)
        _check(section, "threads", self.threads, 1, whole=True)
        _check(section, "sample_timeout", self.sample_timeout, 0.0, open_low=True)
        _check(section, "restart_wait", self.restart_wait, 0.0)
        _check(section, "env_failures", self.env_failures, 0, whole=True)
        _check(section, "empty_iterations", self.empty_iterations, 1, whole=True)
        _check(section, "price_per_hour", self.price_per_hour, 0.0)
        if self.max_price is not None:
            _check(section, "max_price", self.max_price, 0.0, open_low=True)
            if not self.price_per_hour:
                raise ConfigError(
                    f"resources.max_price is {self.max_price}, but resources.price_per_hour is 0; "
                    "expected the price of a node's hour; set it too"
                )

    def _check_choice(self, name: str, known: tuple[str, str]) -> None:
        value = getattr(self, name)
        if value not in known:
            raise ConfigError(
                f"resources.{name} is {value!r}; expected {' or '.join(known)}; set "
                f"resources.{name} in the configuration.{did_you_mean(str(value), known)}"
            )

    def _check_gpus(self) -> None:
        for name in ("gpus_per_learner", "gpus_per_runner"):
            if self.device == "cpu" and getattr(self, name):
                raise ConfigError(
                    f"resources.{name} is {getattr(self, name)}, but resources.device is cpu, so "
                    "they would idle; expected 0; set resources.device=cuda to use them"
                )
        if self.learners > 1 and 0.0 < self.gpus_per_learner < 1.0:
            raise ConfigError(
                f"resources.gpus_per_learner is {self.gpus_per_learner}, with {self.learners} "
                "learners; expected 1, as NCCL, by which they exchange gradients, wants a GPU for "
                "each; set it, or resources.learners=1"
            )

    @property
    def runners(self) -> int:
        """Ray actors that sample; none where their number is still open."""
        return self.env_runners or 0

    @property
    def runner(self) -> dict[str, float]:
        """What a runner takes of Ray."""
        return _bundle(self.cpus_per_runner, self.gpus_per_runner, self.memory_per_runner)

    @property
    def learner(self) -> dict[str, float]:
        """What a learner takes of Ray: an actor, or without any this process."""
        gpus = self.gpus_per_learner or float(self.device == "cuda")
        return _bundle(1.0, gpus, self.memory_per_learner)

    @property
    def bundles(self) -> list[dict[str, float]]:
        """What each process of a training takes of Ray: its own first, then every actor."""
        own = {"CPU": 1.0} if self.learners else self.learner
        return [own, *[self.runner] * self.runners, *[self.learner] * self.learners]

    @property
    def cpus(self) -> int:
        """That Ray needs for all of them."""
        return math.ceil(sum(bundle["CPU"] for bundle in self.bundles))


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that decides how a policy is trained, apart from the scenario.

    Raises:
        ConfigError: a value is out of range.
    """

    algorithm: AlgorithmConfig
    model: ModelConfig
    resources: ResourcesConfig
    seed: int  # one number decides weights, noise, shuffling and demand

    def __post_init__(self) -> None:
        _check("training", "seed", self.seed, 0, 2**31 - 1, whole=True)
        if self.algorithm.asynchronous and self.resources.env_runners is None:
            object.__setattr__(self, "resources", replace(self.resources, env_runners=1))


@dataclass(frozen=True)
class ValidationConfig:
    """Choice of the best checkpoint.

    traces: episodes of the tune split.
    every: iterations.
    """

    traces: int
    every: int
    seed: int


@dataclass(frozen=True)
class TestConfig:
    """The final comparison. traces: episodes of the test split."""

    __test__ = False  # not one of pytest's

    traces: int
    seed: int


@dataclass(frozen=True)
class Settings(TrainingConfig):
    """All that decides a training run, apart from the scenario: `echelon train`'s keys.

    Episodes of training, tuning, validation and test never meet.
    """

    reward: RewardConfig
    start: str | None  # folder of an exported policy, or of a run, to begin with
    imitate: ImitationConfig
    tune: TuneConfig
    validation: ValidationConfig
    test: TestConfig
    time_limit: float | None  # seconds of training
    checkpoint_every: int  # iterations

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is not None and self.imitate.policy is not None:
            raise ConfigError(
                f"start={self.start} and imitate.policy={self.imitate.policy} both say what "
                "learning begins with; expected one of them."
            )
