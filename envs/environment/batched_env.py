"""The environment agents are trained in: B episodes of a scenario, stepped together.

`MultiAgentEnv`, PettingZoo and Gymnasium views are thin layers over this
(envs/environment/multi_agent.py, envs/environment/vector_env.py,
training/rllib/multi_agent_env.py).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import NamedTuple, NoReturn

import numpy as np

from envs.compiled.network import CompiledNetwork
from envs.errors import ActionError
from envs.kernel import Handle
from envs.observation.arrays import compile_observation
from envs.observation.central_view import CentralView
from envs.observation.companions import (
    CompanionArrays,
    compile_companions,
    write_companions,
    write_static_companions,
)
from envs.observation.features import Layout, Setting, compile_layout, write_fixed
from envs.observation.pairs import write_observation, write_preference
from envs.policies import build_policy, policy_class
from envs.policies.base import Policy, View
from envs.reward import COST_ALONE, RewardConfig, add_shortage, compute_reward
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace, replace_level
from envs.simulation.actions import Group, compile_heads
from envs.simulation.moment import Moment as SimulatorMoment
from envs.simulation.simulator import Simulator
from envs.simulation.snapshot import Snapshot
from envs.simulation.state import Flows
from envs.types import Floats, Floats32


class Moment(NamedTuple):
    """All that an environment goes on from."""

    simulated: SimulatorMoment
    elapsed: int
    target: Floats  # [P, B] units
    spread: Floats  # [P, B] units
    base_policy: Policy

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, but for the trace's and the policy's."""
        return self.simulated.nbytes + self.target.nbytes + self.spread.nbytes


class BatchedEnv:
    """B replications of a scenario. One agent per node; its rows are its stocked pairs.

    reset(seed, first_episode) -> observation; step(action) -> (observation, reward, truncated).
    observation float32 [P, F, B] (a view that the next step overwrites), action float32 [P, A, B]
    in [-1, 1] where zero is the base policy, reward float32 [P, B]. All B reach the horizon
    together.

    Args:
        cost_scale: [P] what the base policy makes each pair answer for per period [currency];
            rewards are in units of it.
        action_space: what an agent's first head means; None: as the scenario says.
        central: append what only a critic may see, see envs/observation/central_view.py.

    Attributes:
        state: the system between observation and orders.
        flows: what happened in the period just stepped.
        view: what the base policy looks at when it orders.
        target: [P, B] units that its order is, negative where stock is above its level.
        spread: [P, B] units: half of what action 1 adds to the order.
        no_action: [P, A, B] zeros: the base policy.
        observed: what observations are made of, for kernels.
        inverse_scale: [P] 1 / mean demand per period: what observed quantities are multiplied by.
        preference: [B] in 0..1, of service against cost.
        shortage_price: [B] currency per unit not served at once.
    """

    def __init__(
        self,
        scenario: Scenario,
        batch_size: int,
        *,
        split: str = "train",
        base_policy: Policy | None = None,
        reward: RewardConfig | None = None,
        cost_scale: Floats | None = None,
        action_space: ActionSpace | None = None,
        central: bool = False,
    ) -> None:
        net = scenario.compiled
        self.scenario, self.net, self.batch_size = scenario, net, batch_size
        self.base_policy = base_policy or build_policy(
            scenario.base_policy, net, scenario.policy_params.get(scenario.base_policy, {})
        )
        self.simulator = Simulator(
            net,
            batch_size,
            scenario.smoothing,
            self.base_policy.decides,
            scenario.extra_heads,
            scenario.memory,
        )
        self.agent_ids = tuple(n.id for n in net.agent_nodes)
        self.groups = self.simulator.groups
        self.num_rows = len(net.network.stocks)
        self.action_size = max(group.action_size for group in self.groups)
        trace = self.simulator.trace
        self.state, self.flows = self.simulator.state, self.simulator.flows
        self.view = View(
            net, self.state, 0, trace.seen, trace.forecast, trace.calendar, trace.offset, False
        )
        self.layout, self.companions, self.feature_names = _compile_features(scenario)
        self.observed = Handle(compile_observation(net, self.layout, trace, scenario.period_name))
        self.inverse_scale: Floats32 = self.observed.value.inverse_scale
        self._central = None
        if central:
            kinds = {group.name: slice(group.start, group.stop) for group in self.groups}
            self._central = CentralView(net, kinds, self.feature_names)
            self.feature_names += self._central.names
        self.observation_size = len(self.feature_names)
        self.horizon = scenario.episode_length(split)
        self.reward_config = reward or COST_ALONE
        scale = newsvendor_scale(net) if cost_scale is None else np.asarray(cost_scale, float)
        self.cost_scale = scale.reshape(-1, 1)
        self._calendar = scenario.starts(split), scenario.bootstrap(split)
        self.action_space = scenario.action_space if action_space is None else action_space
        self._begun = self._learning = False
        self.preference = np.full(batch_size, 0.5)
        self.shortage_price = np.zeros(batch_size)
        self._observation = self.new_observation()
        if scenario.preference is not None and scenario.preference.at is not None:
            self.preference[:] = scenario.preference.at
        self._reward = np.zeros((self.num_rows, batch_size), np.float32)
        self._cost = np.zeros((self.num_rows, batch_size))
        self._baseline_cost = np.zeros((self.num_rows, batch_size))
        self.no_action = np.zeros((self.num_rows, self.action_size, batch_size), np.float32)
        self.target = np.zeros((self.num_rows, batch_size))
        # Where demand has no spread, an action still has to mean something.
        usual = 0.25 * net.demand.mean * np.maximum(net.leads.pair + net.review, 1.0)
        self._least_spread = np.where(net.demand.sd > 0.0, 0.0, usual)[:, None]
        self._is_certain = bool(self._least_spread.any())
        self.spread = self.target
        self.baseline = self._build_baseline(split) if self.reward_config.paired else None
        self.elapsed = 0
        # Whether demand is known before the first order.
        self._sees_first = net.arrays.switches.demand_first

    def reset(self, seed: int, first_episode: int = 0) -> Floats32:
        """Begin episodes first_episode + b of the seed, past the warm-up; return observations."""
        if self.baseline is not None:
            self.baseline.reset(seed, first_episode)
        self.simulator.reset(seed, first_episode, *self._calendar)
        self._prefer()
        self.base_policy.reset(self.batch_size)
        self._learning = False  # the base policy warms up, whatever actions mean
        self.view.has_news = self._sees_first
        self._decide()
        for _ in range(self.scenario.warm_up):
            self.simulator.close_period(self.target, self.spread, self.no_action)
            self.open_period()
        self.elapsed = 0
        self._begun = self._learning = True
        if self.action_space is not ActionSpace.residual:
            self._replace_level()
        return self.observe()

    def _prefer(self) -> None:
        wanted = self.scenario.preference
        if wanted is None:
            return
        self.simulator.trace.draw_preference(self.preference)
        if wanted.at is not None:
            self.preference[:] = wanted.at
        self.shortage_price[:] = wanted.price(self.preference)

    def step(self, action: Floats32) -> tuple[Floats32, Floats32, bool]:
        """Play one period. Returns (observation, reward, truncated).

        Raises:
            ActionError: before `reset`, or the action has another shape, a NaN, an infinity, or
                numbers so large that their squares have no finite sum.
        """
        if not self._begun:
            raise ActionError("step() was called before reset(); call reset(seed) first.")
        # One pass: where some number isn't finite, the sum of squares isn't.
        if action.shape != self.no_action.shape or not np.vdot(action, action) < np.inf:
            self._refuse(action)
        self.close_period(action)
        cost = self._priced(self.flows, self._cost)
        if self.baseline is not None:
            self.baseline.close_period(self.no_action)
            base_cost = self._priced(self.baseline.flows, self._baseline_cost)
            cost = np.subtract(cost, base_cost, out=self._cost)
            self.baseline.open_period()
        compute_reward(
            cost, self.net.arrays.stocks.downstream, self.cost_scale, self.reward_config,
            self._reward,
        )  # fmt: skip
        self.open_period()
        return self.observe(), self._reward, self.elapsed >= self.horizon

    def _refuse(self, action: Floats32) -> NoReturn:
        """Raise ActionError naming the shapes, or agent and place of what is no number."""
        if action.shape != self.no_action.shape:
            raise ActionError(
                f"the action has shape {list(action.shape)}; expected "
                f"{list(self.no_action.shape)}: stocked pairs, heads, replications."
            )
        largest = np.abs(action).argmax()  # a NaN, if any
        row, head, b = map(int, np.unravel_index(largest, action.shape))
        agent = self.agent_ids[self.net.arrays.stocks.node_of[row]]
        raise ActionError(
            f"agent '{agent}': the action for {self.action_name(row, head)} in replication {b} is "
            f"{action[row, head, b]}; expected a number from -1 to 1; check what the policy puts "
            "out."
        )

    def action_name(self, row: int, head: int) -> str:
        """What a number of an action moves, as messages name it: `level of tea@shop`."""
        [group] = [g for g in self.groups if g.start <= row < g.stop]
        name = group.heads[head] if head < group.action_size else f"unused head {head}"
        return f"{name} of {self.net.network.stocks[row].label}"

    def _priced(self, flows: Flows, out: Floats) -> Floats:
        """[P, B] what a reward counts as cost."""
        if not np.count_nonzero(self.shortage_price):
            return flows.total_cost
        return add_shortage(flows.total_cost, flows, self.shortage_price, out)

    def close_period(self, action: Floats32) -> None:
        """Events 3-6 of the period; `flows` then holds all that happened in it."""
        self.elapsed += 1
        self.simulator.close_period(self.target, self.spread, action, self.salvage_share)

    @property
    def salvage_share(self) -> float:
        """Share of its salvage value that stock counts for in the period just closed."""
        return self.reward_config.salvage_share if self.elapsed == self.horizon else 0.0

    def open_period(self) -> None:
        """Move on to the next period and let the base policy look at it."""
        self.simulator.open_period()
        self.view.has_news = True
        self._decide()

    def new_observation(self) -> Floats32:
        """Return an array for `observe` to write into: with what never changes."""
        shape = self.num_rows, self.observation_size, self.batch_size
        observation = np.zeros(shape, np.float32)
        write_fixed(self.net, self.layout, observation)
        write_static_companions(self.companions, observation)
        return observation

    def observe(self, into: Floats32 | None = None) -> Floats32:
        """Write and return the observation [P, F, B]; into: one of `new_observation`, or None: the
        environment's own."""
        simulator, parts = self.simulator, self.simulator.handles
        observation = self._observation if into is None else into
        write_observation(
            parts.net, parts.forecast, self.observed, parts.state, self.target,
            simulator.period, observation,
        )  # fmt: skip
        write_companions(self.companions, observation)
        write_preference(self.layout, self.preference, observation)
        if self._central is not None:
            self._central.write(simulator.trace, observation)
        return observation

    def mark(self) -> Moment:
        """Return what `return_to` needs: between `close_period` and `open_period`, or before
        agents first act."""
        target, spread = self.target.copy(), self.spread.copy()
        return Moment(self.simulator.mark(), self.elapsed, target, spread, self._memory())

    def return_to(self, moment: Moment) -> None:
        """Be where the environment was when it was marked, in the same episodes."""
        self.simulator.return_to(moment.simulated)
        self.elapsed, self.view.period = moment.elapsed, self.simulator.period
        self.target, self.spread = moment.target.copy(), moment.spread.copy()
        self.base_policy = moment.base_policy
        self.base_policy = self._memory()

    def _memory(self) -> Policy:
        """The base policy, a copy if it remembers what it saw."""
        policy = self.base_policy
        if policy.remembers or policy.keeps_plan:
            return copy.deepcopy(policy, {id(self.net): self.net})
        return policy

    def refresh(self) -> Floats32:
        """Recompute what is derived after the state was set from outside; return observations."""
        self.simulator.refresh()
        self._decide()
        return self.observe()

    def restore(self, snapshot: Snapshot) -> Floats32:
        """Put a system into every replication; return observations. Call `reset` once before.

        Forecasts, statistics, beliefs and the base policy's memory are what the snapshot's history
        leaves behind, and nothing else.
        """
        simulator, view, policy = self.simulator, self.view, self.base_policy
        self.elapsed = 0
        simulator.restore(snapshot)
        policy.reset(self.batch_size)
        view.has_news = False
        for ago in reversed(range(len(snapshot.sales))):
            simulator.learn(snapshot, ago)
            view.has_news = not np.isnan(snapshot.sales[-1 - ago]).all()
            if ago and view.has_news and policy.remembers:  # the last row it sees in `refresh`
                view.period = simulator.period - ago
                policy.target(view)
        simulator.trace.calendar[:] = snapshot.calendar
        return self.refresh()

    def _build_baseline(self, split: str) -> BatchedEnv:
        """The base policy on the same traces, warm-up and all; policies may hold state, so its own
        copy."""
        alone = replace(self.reward_config, paired=False)
        policy = copy.deepcopy(self.base_policy)
        return BatchedEnv(
            self.scenario,
            self.batch_size,
            split=split,
            base_policy=policy,
            reward=alone,
            action_space=ActionSpace.residual,
        )

    def _decide(self) -> None:
        simulator = self.simulator
        view = self.view
        view.period = simulator.period
        target = self.base_policy.target(view)
        self.target = np.ascontiguousarray(target.order, np.float64)
        spread = self.base_policy.spread(view)
        if self._is_certain:
            spread = np.maximum(spread, self._least_spread)
        if self.scenario.action_scale != 1.0:
            spread = spread * self.scenario.action_scale
        self.spread = spread
        for name in self.base_policy.decides:
            getattr(simulator.decision, name)[...] = getattr(target, name)
        if self._learning and self.action_space is not ActionSpace.residual:
            self._replace_level()

    def _replace_level(self) -> None:
        self.target, self.spread = replace_level(self.action_space, self.net, self.state)


def feature_names(scenario: Scenario) -> tuple[str, ...]:
    """Return what agents see of each row, in order."""
    return _compile_features(scenario)[2]


def _compile_features(scenario: Scenario) -> tuple[Layout, CompanionArrays, tuple[str, ...]]:
    net = scenario.compiled
    own = compile_layout(Setting(net, scenario.memory, scenario.preference is not None))
    others, more = compile_companions(
        net, own.names, scenario.companions, scenario.companions_of, scenario.identity
    )
    return own, others, own.names + more


def row_groups(scenario: Scenario) -> tuple[Group, ...]:
    """Return the node kinds of a scenario, in row order, with the heads of its base policy."""
    net = scenario.compiled
    decides = policy_class(scenario.base_policy).decides
    return compile_heads(net, decides, scenario.extra_heads)[1]


def newsvendor_scale(net: CompiledNetwork) -> Floats:
    """[P] a cost per period to scale rewards by where the base policy's own isn't known."""
    rate = np.maximum(net.arrays.stocks.holding_cost, 1e-3)
    return 2.0 * rate * np.maximum(net.demand.sd, 0.1 * net.demand.mean) + 1e-9
