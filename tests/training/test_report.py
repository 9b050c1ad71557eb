"""`echelon report` from its command line to its pages, and back from an interruption."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from mlflow import MlflowClient

from echelon import main
from evaluation.artifact.artifact import load_artifact
from evaluation.files.storage import open_storage
from evaluation.value.verdict import Verdict
from training.job.fetched_run import fetch_run

ARGUMENTS = [
    "smoke=true",
    # The second can't be built.
    "scenarios=[lost_sales,'lost_sales scenario.horizon=0']",
    "classical.lost_sales=[base_stock]",
    "train=['resources.envs_per_runner=4']",
    "seeds=1",
    "tracking.system_metrics=false",
    "workers=1",
    "pages=pages",
    "storage=stored",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, ray_cluster: None, migrated: Path) -> Path:
    """A folder in which a report on one scenario that works and one that fails was made."""
    folder = tmp_path_factory.mktemp("report")
    shutil.copy(migrated, folder / "mlflow.db")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["report", *ARGUMENTS, "out=run"]) == 1
    return folder


def test_one_failure_is_a_row_not_the_end(workplace: Path) -> None:
    """The scenario that works has a verdict; the other one says what is wrong with it."""
    report = json.loads((workplace / "run" / "report.json").read_text())
    good, bad = report["scenarios"]
    assert good["verdict"] in {v.value for v in Verdict}
    assert good["best_rule"] == "base_stock"
    assert len(good["seeds"]) == 1
    assert good["seeds"][0]["cpu_seconds"] > 0.0
    assert good["seeds"][0]["periods"] > 0.0
    saving = good["classical_cost_per_period"] - good["learned_cost_per_period"]
    assert saving == pytest.approx(good["saving"]["mean"], abs=1e-9)
    assert good["bound"]["cost"] < good["classical_cost_per_period"]
    assert "horizon is 0" in bad["error"]
    assert "verdict" not in bad


def test_the_page_needs_no_other_file(workplace: Path) -> None:
    """Pictures are in it; every link in it is data."""
    page = (workplace / "run" / "report.html").read_text()
    sources = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page)
    assert sources
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert "failed:" in page
    assert "| lost_sales |" in (workplace / "run" / "report.md").read_text()


def test_pages_for_readers_are_dated_and_say_how(workplace: Path) -> None:
    """One page, of the scenario that has a verdict, and the index with its row."""
    assert {p.name for p in (workplace / "pages").iterdir()} == {"lost_sales.md", "README.md"}
    page = (workplace / "pages" / "lost_sales.md").read_text()
    assert "echelon report smoke=true" in page
    assert re.search(r"^Measured 20\d\d-\d\d-\d\d\.", page, re.M)
    assert (
        "| [lost_sales](lost_sales.md) | base_stock |"
        in (workplace / "pages" / "README.md").read_text()
    )


def test_it_is_tracked(workplace: Path) -> None:
    """One finished run with the saving as a metric."""
    uri = f"sqlite:///{workplace}/mlflow.db"
    client = MlflowClient(uri, uri)
    experiment = client.get_experiment_by_name("echelon")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert "lost_sales/relative_saving" in run.data.metrics
    (curves,) = client.list_artifacts(run.info.run_id, "curves")
    (picture,) = client.list_artifacts(run.info.run_id, curves.path)
    assert Path(picture.path).name == "curves.png"
    assert (picture.file_size or 0) > 5_000  # an empty picture is smaller


def test_resume_keeps_what_is_finished(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the finished scenario is done again; a policy from its folder is found equal."""
    monkeypatch.chdir(workplace)
    records = [workplace / "run" / "lost_sales" / f"{n}.json" for n in ("classical", "seed_0")]
    before = [(r.stat().st_mtime_ns, r.read_text()) for r in records]
    assert main(["report", "resume=run", "workers=1", "scenarios=[lost_sales]"]) == 0
    assert [(r.stat().st_mtime_ns, r.read_text()) for r in records] == before
    report = json.loads((workplace / "run" / "report.json").read_text())
    assert [entry["scenario"] for entry in report["scenarios"]] == ["lost_sales"]
    policy = workplace / "run" / "lost_sales" / "seed_0" / "policy"
    records[1].unlink()
    arguments = [
        "resume=run",
        "workers=1",
        "scenarios=[lost_sales]",
        f"artifacts.lost_sales=[{policy}]",
    ]
    assert main(["report", *arguments]) == 0
    again = json.loads((workplace / "run" / "lost_sales" / "seed_0.json").read_text())
    first = json.loads(before[1][1])
    assert again["played"]["trace_cost"] == pytest.approx(first["played"]["trace_cost"])


def test_it_is_there_on_another_machine(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the storage alone; what is finished isn't done again."""
    place = workplace / "stored" / "run"
    monkeypatch.chdir(tmp_path)
    assert main(["report", f"resume={place}", "workers=1", "scenarios=[lost_sales]"]) == 0
    fetched = tmp_path / "outputs" / "fetched" / "run"
    for name in ("classical.json", "seed_0.json", "bound.json"):
        there = (workplace / "run" / "lost_sales" / name).read_text()
        assert (fetched / "lost_sales" / name).read_text() == there
    assert not (fetched / "lost_sales" / "seed_0").exists()
    fetch_run(str(place / "lost_sales" / "seed_0"), tmp_path / "seed_0")
    assert load_artifact(tmp_path / "seed_0" / "policy").manifest["scenario"] == "lost_sales"


@pytest.mark.nightly
def test_side_by_side_is_the_same(
    workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each scenario in a process of its own: the same rule, bound and failure."""
    monkeypatch.chdir(tmp_path)
    assert main(["report", *ARGUMENTS, "workers=2", "out=run"]) == 1
    good, bad = json.loads((tmp_path / "run" / "report.json").read_text())["scenarios"]
    one, wrong = json.loads((workplace / "run" / "report.json").read_text())["scenarios"]
    assert good["best_rule"] == one["best_rule"]  # what it costs depends on the seconds to tune
    assert good["bound"]["cost"] == one["bound"]["cost"]
    assert len(good["seeds"]) == 1
    assert bad["error"] == wrong["error"]
    # Elsewhere one more seed is trained; the first one stays.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    place = tmp_path / "stored" / "run"
    options = [f"resume={place}", "workers=2", "seeds=2", "scenarios=[lost_sales]"]
    assert main(["report", *options]) == 0
    [entry] = json.loads((elsewhere / "outputs/fetched/run/report.json").read_text())["scenarios"]
    assert entry["seeds"][0] == good["seeds"][0]
    assert len(entry["seeds"]) == 2
    stored = open_storage(str(place / "lost_sales"))
    assert all(stored.at(name, "policy").folders() for name in ("seed_0", "seed_1"))


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("scenarios=[lost_sale]", "lost_sale"),
        ("scenarios=[serial,serial]", "there twice"),
        ("seeds=0", "seeds is 0"),
        ("start_from=best", "start_from is 'best'"),
        ("classical.serial=[base_stok]", "base_stok"),
        ("classical.weather_routing=[base_stock]", "none of the scenarios"),
        ("resume=nowhere", "nowhere"),
    ],
)
def test_what_is_wrong_is_said_at_once(
    argument: str, said: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """In one line, before anything starts."""
    monkeypatch.chdir(tmp_path)
    arguments = ["scenarios=[serial]", argument]
    if argument.startswith("scenarios"):
        arguments = [argument]
    assert main(["report", *arguments]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()
