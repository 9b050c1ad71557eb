"""The comparison behind a decision: version, champion and tuned rule on the same fresh traces."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from envs.errors import ArtifactError, EchelonError
from envs.network.plain import Reader
from envs.scenario import Scenario
from envs.scenarios import BUILDERS, build_scenario
from evaluation.artifact.artifact import Artifact
from evaluation.artifact.correction import learned_correction
from evaluation.artifact.network_io import physical_hash, scenario_from_plain
from evaluation.comparison.compare import Comparison, compare
from evaluation.comparison.rollout import Competitor
from evaluation.gate.checks import Check, Verdict
from evaluation.gate.config import GateConfig
from evaluation.progress import SILENT, Progress
from evaluation.workers import IN_PROCESS, Workers

# Of a scenario: what chance and cost are. All else is what a policy sees, and what it corrects.
_PLAYED = (
    "name", "network", "horizon", "warm_up", "splits", "period_name", "currency", "config",
    "data_hash", "start_date", "bootstrap_length", "stress_of",
)  # fmt: skip


def own_scenario(artifact: Artifact) -> Scenario:
    """Return what the artifact was trained on. Raises ArtifactError where it can't be played again:
    the artifact has no network, or its demand is a replay of data that aren't here."""
    if artifact.network is None:
        raise ArtifactError("the policy has no network.json, so that it can't be played.")
    stored = scenario_from_plain(artifact.network)
    if all(s.demand is None or s.demand.process is not None for s in stored.network.stocks):
        return stored
    plain = dict(artifact.manifest["config"].get("scenario", {}))
    try:
        schema = BUILDERS[plain["kind"]][0]
        built = build_scenario(Reader().part(schema, plain, "scenario"))
    except (EchelonError, KeyError, TypeError, AttributeError) as error:
        raise ArtifactError(
            f"scenario '{stored.name}' replays demand, and can't be built again here ({error})."
        ) from error
    if physical_hash(built) != physical_hash(stored):
        raise ArtifactError(
            f"scenario '{stored.name}' replays demand, and its data are others than those of the "
            "training; train again."
        )
    return _as_seen(stored, built)


def another_network(artifact: Artifact, champion: Artifact) -> Check | None:
    """Return the failed check where the two aren't of the same network."""
    networks = [None if a.network is None else a.network["network"] for a in (artifact, champion)]
    if networks[0] == networks[1] and networks[0] is not None:
        return None
    return Check(
        "network", Verdict.failed, None,
        "the champion is of another network, so that costs don't compare: register it under "
        "another scenario.name, or promote it with force=true",
    )  # fmt: skip


def fresh_seed(artifact: Artifact, champion: Artifact | None) -> int:
    """Return the seed of the traces: of these two policies alone, and none that anybody types. So
    no policy was trained, chosen or tested on them, and whoever asks again plays the same."""
    names = artifact.version + ("" if champion is None else champion.version)
    return 2**32 + int(hashlib.sha256(names.encode()).hexdigest()[:8], 16)


def play_all(
    artifact: Artifact,
    champion: Artifact | None,
    scenario: Scenario,
    config: GateConfig,
    *,
    workers: Workers = IN_PROCESS,
    progress: Progress = SILENT,
) -> Comparison:
    """Play the reference, the version, and the tuned rule: for `check_all`.

    The rule is the champion's base policy, and, without a champion, the version's own.
    scenario: what the version was trained on.
    """
    version = _competitor("version", artifact, scenario)
    holder = artifact if champion is None else champion
    base = holder.manifest["base_policy"]
    sees = scenario if champion is None else _as_seen(_seen_in_training(champion), scenario)
    rule = Competitor("rule", base["name"], base["parameters"], origin="tuned", sees=sees)
    competitors = [rule, version]
    if champion is not None:
        competitors = [_competitor("champion", champion, sees), version, rule]
    return compare(
        scenario, competitors, traces=config.traces, seed=fresh_seed(artifact, champion),
        workers=workers, progress=progress,
    )  # fmt: skip


def _seen_in_training(artifact: Artifact) -> Scenario:
    """What the artifact's models were trained to see; its demand may be missing."""
    assert artifact.network is not None
    return scenario_from_plain(artifact.network)


def _as_seen(seen: Scenario, played: Scenario) -> Scenario:
    """The one scenario, with what is physical of the other."""
    physical: Mapping[str, Any] = {name: getattr(played, name) for name in _PLAYED}
    return replace(seen, **physical)


def _competitor(name: str, artifact: Artifact, scenario: Scenario) -> Competitor:
    base = artifact.manifest["base_policy"]
    correction = learned_correction(artifact.policy.actors, scenario)
    return Competitor(name, base["name"], base["parameters"], correction, "artifact", scenario)
