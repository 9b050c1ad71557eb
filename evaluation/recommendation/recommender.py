"""From a snapshot to orders: the simulator's own observation, policy and feasibility code.

Without HTTP, Ray or a model registry: a service, a nightly batch and a script call the same code.
Nothing of the simulator is written again here: it restores the snapshot, its observe event learns
from the recent sales, its `close_period` turns the policy's action into feasible orders.
"""

from __future__ import annotations

import logging
import threading
from datetime import date
from typing import NamedTuple

import numpy as np

from envs.environment.batched_env import BatchedEnv
from envs.errors import ArtifactError, NonFiniteError
from envs.network.lane import Lane
from envs.policies import build_policy
from envs.scenario import Scenario
from envs.simulation.action_spaces import ActionSpace
from envs.simulation.explain import Change, explain_orders
from envs.types import Bools, Floats, Floats32, Ints
from evaluation.artifact.artifact import Artifact
from evaluation.artifact.network_io import scenario_from_plain
from evaluation.recommendation.findings import Findings
from evaluation.recommendation.schemas import (
    Fallback,
    Guardrail,
    Line,
    ModelInfo,
    Notice,
    RecommendationRequest,
    RecommendationResponse,
    Summary,
)
from evaluation.recommendation.snapshot import SnapshotReader

_DIGITS = 6  # of quantities between the limits, in units

STALE_AFTER, REFUSE_AFTER = 2, 14  # periods

_log = logging.getLogger(__name__)


class _Orders(NamedTuple):
    """What a policy orders."""

    raw: Floats  # [Q] units asked for
    quantity: Floats  # [Q] units, executed
    unused: Floats  # [U] left of `net.limit_ids` that are too small


class DecidedLines(NamedTuple):
    """Orders for the lanes in scope that have one, by the model or by the base policy alone.

    Arrays of n lines; their meaning is that of `evaluation.recommendation.schemas.Line`.
    """

    lanes: Ints  # [n] of the network
    quantity: Floats  # [n] units
    classical: Floats  # [n] units
    value: Floats  # [n] currency
    arrives_in: Floats  # [n] periods
    by_rule: Bools  # [n] whether the base policy answers in the place of the model
    guardrails: list[list[Guardrail]]  # n
    summary: Summary
    fallback: Fallback
    warnings: list[Notice]


def sources_of(lane: Lane) -> list[str]:
    """Return the locations that a lane takes from; none: an outside supplier's."""
    return sorted({use.node for use in lane.inputs})


class Recommender:
    """A verified policy on the network it was trained on.

    Deterministic; safe to call from several threads, one request at a time.
    Raises ArtifactError where the artifact holds no network, or does not fit it.
    """

    def __init__(
        self,
        artifact: Artifact,
        *,
        name: str = "echelon",
        version: str | None = None,
        run_id: str | None = None,
        stale_after: int = STALE_AFTER,
        refuse_after: int = REFUSE_AFTER,
    ) -> None:
        """stale_after, refuse_after: age of a stock row [periods] beyond which the base policy
        answers its lines, and beyond which the request is refused."""
        if artifact.network is None:
            raise ArtifactError(
                "the artifact has no network.json, which orders are computed on; train and export "
                "again."
            )
        manifest = artifact.manifest
        self.scenario: Scenario = scenario_from_plain(artifact.network)
        if self.scenario.action_space is not ActionSpace.residual:
            raise ArtifactError(
                f"the artifact's actions are '{self.scenario.action_space}'; expected residual: "
                "only a correction of the base policy has a classical fallback. Train it again."
            )
        base = manifest["base_policy"]
        self.base_policy = {"name": base["name"], "parameters": base["parameters"]}
        self._policy = artifact.policy
        net = self.scenario.compiled
        self._env = BatchedEnv(
            self.scenario, 1, base_policy=build_policy(base["name"], net, base["parameters"])
        )
        self._check_fit(artifact)
        policy = self._env.base_policy
        self._reader = SnapshotReader(self.scenario, policy, stale_after, refuse_after)
        self._env.simulator.reset(0)
        self._lock = threading.Lock()
        self._mean_lead = np.array([lane.lead_time.mean() for lane in net.network.lanes])
        delays = [lane.information_delay for lane in net.network.lanes]
        self._usual_arrival = self._mean_lead + np.array(delays, float)
        self._dated = {q: met for q, met in enumerate(net.calendars) if met.known}
        self.info = ModelInfo(
            name=name,
            version=version,
            run_id=run_id,
            artifact=artifact.version,
            scenario=manifest["scenario"],
            network_hash=manifest["network_sha256"],
        )

    @property
    def first_date(self) -> date | None:
        """A date to try: the first of the calendar; None where orders don't depend on dates."""
        return self.scenario.first_date if self._reader.needs_date else None

    def recommend(self, request: RecommendationRequest) -> RecommendationResponse:
        """Answer with orders for the lanes in scope. Raises RequestError for what doesn't fit the
        network."""
        decided = self.decide(request)
        return RecommendationResponse(
            request_id=request.request_id,
            model=self.info,
            policy=request.policy,
            lines=self._lines(decided),
            summary=decided.summary,
            fallback=decided.fallback,
            warnings=decided.warnings,
        )

    def decide(self, request: RecommendationRequest) -> DecidedLines:
        """Return the same as arrays, which many thousands of lines need. Raises RequestError."""
        reading = self._reader.read(request)
        with self._lock:
            observation = self._env.restore(reading.snapshot)
            by_policy = self._orders(self._env.no_action)
            orders, classical = by_policy, by_policy.quantity
            by_rule, reasons = np.zeros(len(classical), bool), []
            if request.policy == "champion":
                by_rule = reading.is_stale[self._env.net.arrays.lanes.to]
                reasons = [f"STALE_STOCK: {int(by_rule[reading.lanes].sum())} lines"]
                try:
                    action = self._act(observation)
                    action[reading.is_stale] = 0.0
                    orders = self._orders(action)
                except Exception as problem:  # any failure of the model: the base policy answers
                    _log.exception("The model failed; the base policy answers.")
                    reasons = [f"{type(problem).__name__}: {problem}"[:300]]
                    by_rule[:] = True
            share = float(by_rule[reading.lanes].mean()) if len(reading.lanes) else 0.0
            used = bool(by_rule.all() or share > 0.0)
            quantity, asked = orders.quantity, reading.lanes
            value, by_rule_alone = self._value(quantity), self._value(classical)
            shown = (quantity > 0) | (quantity != classical) | request.include_zero
            rows = asked[shown[asked]]
            changes = explain_orders(self._env.simulator, orders.raw[:, None], rows)
            return DecidedLines(
                lanes=rows,
                quantity=quantity[rows],
                classical=classical[rows],
                value=value[rows],
                arrives_in=self._arrives_in(rows),
                by_rule=by_rule[rows],
                guardrails=[self._guardrails(changes[q]) for q in rows.tolist()],
                summary=Summary(
                    lines=int((quantity[asked] > 0).sum()),
                    changed_lines=int((quantity != classical)[asked].sum()),
                    units=float(quantity[asked].sum()),
                    classical_units=float(classical[asked].sum()),
                    order_cost=float(value[asked].sum()),
                    classical_order_cost=float(by_rule_alone[asked].sum()),
                    currency=self.scenario.currency,
                ),
                fallback=Fallback(
                    used=used, share_lines=round(share, 6), reasons=reasons if used else []
                ),
                warnings=[*reading.notices, *self._unused_limits(orders.unused, asked)],
            )

    def _act(self, observation: Floats32) -> Floats32:
        if not np.isfinite(observation).all():
            row, feature = (int(i[0]) for i in np.nonzero(~np.isfinite(observation))[:2])
            raise NonFiniteError(
                f"observation {self._env.feature_names[feature]} of "
                f"{self._env.net.network.stocks[row].label} is not finite."
            )
        return self._policy.act(observation, self._env.groups)

    def _orders(self, action: Floats32) -> _Orders:
        """Play the period with this action and undo it."""
        env = self._env
        before = [array.copy() for array in env.state]
        try:
            env.close_period(action)
            flows = env.flows
            got = _Orders(
                *(f[:, 0].copy() for f in (flows.raw_order, flows.ordered, flows.limit_unused))
            )
        finally:
            for array, old in zip(env.state, before, strict=True):
                array[...] = old
        if not np.isfinite(got.quantity).all():
            lane = env.net.network.lanes[int(np.flatnonzero(~np.isfinite(got.quantity))[0])]
            raise NonFiniteError(f"the order on lane '{lane.id}' is not finite.")
        return got

    def _unused_limits(self, unused: Floats, asked: Ints) -> list[Notice]:
        """Of budgets, and of room at nodes, that the lanes asked for take of."""
        net, arrays, found = self._env.net, self._env.net.arrays, Findings()
        takes, rooms = arrays.rules.takes, np.arange(len(arrays.nodes.capacitated))
        row = np.concatenate([arrays.rules.budgets, len(net.resource_ids) + rooms])
        by_lane = np.repeat(np.arange(len(net.network.lanes)), np.diff(takes.pointer))
        for u in row[np.unique(takes.index[np.isin(by_lane, asked)])].tolist():
            if unused[u] > 0.0:
                found.notice(
                    "LIMIT_NOT_USED_UP", f"{net.limit_ids[u]}: {unused[u]:.{_DIGITS}g} left"
                )
        return found.notices()

    def _lines(self, decided: DecidedLines) -> list[Line]:
        lanes = self._env.net.network.lanes
        columns = (
            decided.quantity, decided.classical, decided.quantity - decided.classical,
            decided.value, decided.arrives_in, decided.by_rule,
        )  # fmt: skip
        plain = zip(decided.lanes.tolist(), *(c.tolist() for c in columns), strict=True)
        return [
            Line(
                location=lanes[q].node,
                item=lanes[q].sku,
                lane=lanes[q].id,
                source=sources_of(lanes[q]),
                quantity=quantity,
                classical=classical,
                delta=delta,
                value=value,
                expected_arrival_in_periods=arrives_in,
                fallback=by_rule,
                guardrails=guardrails,
            )
            for (q, quantity, classical, delta, value, arrives_in, by_rule), guardrails in zip(
                plain, decided.guardrails, strict=True
            )
        ]

    def _arrives_in(self, rows: Ints) -> Floats:
        """Periods until an order of today arrives, if its sender ships as soon as it is open."""
        now = self._env.simulator.period + int(self._env.simulator.trace.offset[0])
        net, arrives_in = self._env.net, self._usual_arrival[rows]
        for i, q in enumerate(rows.tolist()):
            if met := self._dated.get(q):
                delay, whole = net.network.lanes[q].information_delay, round(self._mean_lead[q])
                arrives_in[i] += met.arrival(now + delay, whole) - now - delay - whole
        return np.round(arrives_in, 3)

    def _guardrails(self, changes: list[Change]) -> list[Guardrail]:
        """What the feasibility layer changed, where it shows in the digits we send."""
        rounded = [(c.rule, round(c.before, _DIGITS), round(c.after, _DIGITS)) for c in changes]
        return [Guardrail(rule=r, before=b, after=a) for r, b, a in rounded if b != a]

    def _value(self, quantity: Floats) -> Floats:
        """Purchase and fixed costs of orders [Q], at today's prices [currency]."""
        arrays, factor = self._env.net.arrays, self._env.simulator.trace.factor[:, 0]
        moved = arrays.factor_rows.cost
        price = arrays.lanes.unit_cost * np.where(moved >= 0, np.append(factor, 1.0)[moved], 1.0)
        return price * quantity + arrays.lanes.fixed_cost * (quantity > 0)

    def _check_fit(self, artifact: Artifact) -> None:
        manifest, env = artifact.manifest, self._env
        features = tuple(quantity["name"] for quantity in manifest["observation"])
        heads = {kind: [q["name"] for q in names] for kind, names in manifest["actions"].items()}
        wanted = {group.name: list(group.heads) for group in env.groups}
        if features != env.feature_names or heads != wanted:
            raise ArtifactError(
                f"the artifact sees {len(features)} features and acts with {heads}; this Echelon "
                f"gives {env.observation_size} ({', '.join(env.feature_names)}) and {wanted} on "
                "its network. Train and export again with this version."
            )
