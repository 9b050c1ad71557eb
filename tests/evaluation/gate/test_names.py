"""A model holds policies of one network: two companies' never compare."""

from __future__ import annotations

from pathlib import Path

from mlflow import MlflowClient

from conf.compose import compose
from envs.scenarios import build_scenario
from evaluation.artifact.network_io import physical_hash
from evaluation.artifact.registry import find_model
from evaluation.commands.model_of import model_of
from evaluation.tracking.config import TrackingConfig
from evaluation.tracking.tracker import Tracker
from serving.cli import ServeCommand
from tests.evaluation.conftest import config_for
from tests.evaluation.gate.trainings import MODEL, shop, train


def test_another_network_of_the_same_name_gets_a_model_of_its_own(uri: str, tmp_path: Path) -> None:
    """Both their first versions; longer episodes are no other network."""
    ours, theirs = physical_hash(shop()), physical_hash(shop(mean=4.0))
    policy = train(tmp_path / "policy", 0.0)
    for name, network in (("a", ours), ("b", theirs), ("c", ours)):
        with Tracker(config_for(uri), tmp_path / name) as tracker:
            tracker.start(name)
            assert tracker.register_model(MODEL, policy, network=network) is not None
    client = MlflowClient(uri)
    found = {model.name: model.aliases for model in client.search_registered_models()}
    own = f"{MODEL}-{theirs[:8]}"
    assert {name: str(aliases["challenger"]) for name, aliases in found.items()} == {
        MODEL: "2", own: "1",
    }  # fmt: skip
    assert find_model("shop", ours, uri) == MODEL
    assert find_model("shop", theirs, uri) == own
    assert find_model("shop", "ab" * 32, uri) == MODEL  # one that was never registered


def test_a_command_means_the_model_of_its_network(uri: str, tmp_path: Path) -> None:
    """Also where a smaller one of the same name was registered first, as by smoke=true."""
    policy = train(tmp_path / "policy", 0.0)
    whole, small = (
        compose(ServeCommand, ["scenario=lost_sales", *more]).command
        for more in ([], ["scenario.lead_time=2"])
    )
    assert model_of(whole, uri) == "echelon-lost_sales"  # none is registered
    for command in (small, whole):
        network = physical_hash(build_scenario(command.scenario))
        with Tracker(config_for(uri), tmp_path / network) as tracker:
            tracker.start("run")
            tracker.register_model("echelon-lost_sales", policy, network=network)
    assert model_of(small, uri) == "echelon-lost_sales"
    assert model_of(whole, uri) == f"echelon-lost_sales-{network[:8]}"


def test_a_model_of_before_becomes_the_next_ones(uri: str, tmp_path: Path) -> None:
    """It says of no network, and goes on for the one that is trained next."""
    MlflowClient(uri).create_registered_model(MODEL)
    config: TrackingConfig = config_for(uri)
    for name, mean in (("a", 5.0), ("b", 4.0)):
        with Tracker(config, tmp_path / name) as tracker:
            tracker.start(name)
            network = physical_hash(shop(mean))
            tracker.register_model(MODEL, train(tmp_path / f"p{name}", 0.0), network=network)
    assert find_model("shop", physical_hash(shop(5.0)), uri) == MODEL
    assert find_model("shop", physical_hash(shop(4.0)), uri) != MODEL
