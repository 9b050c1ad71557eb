"""`echelon submit`: what is sent, what is refused, what is shown, and with what it ends."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from echelon import COMMANDS, main
from envs.errors import ClusterError
from evaluation.console import ConsoleProgress, make_console
from evaluation.progress import LINES, LineProgress, play_line
from tests.conftest import Recorder
from tests.test_configs import command_config
from tests.test_network_file import TEA
from training.cluster import jobs
from training.commands.submit import SENT, SubmitCommand


@dataclass
class Cluster:
    """A cluster that keeps what it is asked, and answers what a test says.

    logs: what each connection to the log sends; an exception breaks it.
    """

    logs: list[list[str | BaseException]] = field(default_factory=lambda: [["done\n"]])
    status: JobStatus = JobStatus.SUCCEEDED
    exit_code: int | None = 0
    sent: list[dict[str, Any]] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)
    stopped: list[str] = field(default_factory=list)

    def submit_job(self, *, entrypoint: str, runtime_env: dict[str, Any]) -> str:
        """Take a job, and the files of its folder."""
        self.sent.append({"entrypoint": entrypoint, **runtime_env})
        if "working_dir" in runtime_env:
            files = [path for path in Path(runtime_env["working_dir"]).rglob("*") if path.is_file()]
            self.files = {path.name: path.read_text(encoding="utf-8") for path in files}
        return "raysubmit_1"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        """Send the next log."""
        for text in self.logs.pop(0):
            if isinstance(text, BaseException):
                raise text
            yield text

    def get_job_status(self, job: str) -> JobStatus:
        """Over when every log was read."""
        return JobStatus.RUNNING if self.logs else self.status

    def get_job_info(self, job: str) -> Any:
        """As Ray's details."""
        return SimpleNamespace(
            status=self.status, driver_exit_code=self.exit_code, message="a message"
        )

    def stop_job(self, job: str) -> bool:
        """Keep the wish."""
        self.stopped.append(job)
        return True


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Cluster:
    """In place of Ray's client; retries don't wait."""
    made = Cluster()
    monkeypatch.setattr(jobs, "connect", lambda address: made)
    monkeypatch.setattr(jobs, "_RETRY_WAIT", 0.0)
    monkeypatch.chdir(tmp_path)
    return made


def test_it_sends_what_was_typed(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command and its arguments, quoted for a shell; variables by name; nothing else."""
    monkeypatch.setenv("PLACE", "here")
    typed = ["train", "scenario=serial", "reward=cost", "out=s3://runs/a b", "resources.threads=2"]
    assert main(["submit", *typed, "detach=true", "variables=[PLACE]"]) == 0
    [job] = cluster.sent
    assert job["entrypoint"] == (
        "exec python -m echelon train scenario=serial reward=cost 'out=s3://runs/a b' "
        "resources.threads=2"
    )
    stop_wait = job["env_vars"].pop("RAY_JOB_STOP_WAIT_TIME_S")
    assert int(stop_wait) >= 20, "a checkpoint takes up to 20 s"
    assert job["env_vars"] == {"PLACE": "here", LINES: "1"}
    assert "working_dir" not in job


def test_a_network_file_travels_alone(cluster: Cluster, tmp_path: Path) -> None:
    """Of the folder that it is in, nothing else is sent."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "tea.yaml").write_text(TEA, encoding="utf-8")
    (tmp_path / "mine" / "private.txt").write_text("private", encoding="utf-8")
    assert main(["submit", "tune", f"network={tmp_path}/mine/tea.yaml", "seed=3"]) == 0
    assert cluster.files == {"tea.yaml": TEA}
    assert cluster.sent[0]["entrypoint"].endswith("echelon tune seed=3 network=tea.yaml")


def test_a_working_directory_travels_whole(cluster: Cluster, tmp_path: Path) -> None:
    """The network file is found in it; elsewhere it is refused."""
    (tmp_path / "work" / "nets").mkdir(parents=True)
    (tmp_path / "work" / "nets" / "tea.yaml").write_text(TEA, encoding="utf-8")
    (tmp_path / "tea.yaml").write_text(TEA, encoding="utf-8")
    (tmp_path / "work" / "more.txt").write_text("more", encoding="utf-8")
    typed = ["submit", "working_dir=work", "train"]
    assert main([*typed, "network=work/nets/tea.yaml"]) == 0
    assert set(cluster.files) == {"tea.yaml", "more.txt"}
    assert cluster.sent[0]["entrypoint"].endswith(" network=nets/tea.yaml")
    assert main([*typed, "network=tea.yaml"]) == 1
    assert len(cluster.sent) == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ([], "expected the command first"),
        (["scenario=serial"], "expected the command first"),
        (["serve"], "'serve' can't be sent"),
        (["train", "scenario=seriall"], "Did you mean 'serial'?"),
        (["train", "seeed=1"], "key 'seeed' is unknown"),
        (["train", "network=none.yaml"], "none.yaml: no such file"),
        (["train", "working_dir=none"], "working_dir is 'none'; expected a folder"),
        (["train", "variables=[NO_SUCH]"], "which isn't set here"),
        (["train", "variables=[MY_TOKEN]"], "a secret"),
        (["train", "variables=[AWS_SECRET_ACCESS_KEY]"], "a secret"),
        (["train", "variables=[SERVER]"], "a secret"),
        (["train", "tracking.uri=http://ann:hush@host"], "has a password"),
    ],
)
def test_mistakes_are_found_before_anything_is_sent(
    typed: list[str],
    message: str,
    cluster: Cluster,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """In one line, and without showing a secret."""
    monkeypatch.setenv("MY_TOKEN", "hush")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush")
    monkeypatch.setenv("SERVER", "http://ann:hush@host")
    assert main(["submit", *typed]) == 1
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert "hush" not in error
    assert cluster.sent == []


@pytest.mark.parametrize(
    ("status", "code", "wanted"),
    [
        (JobStatus.SUCCEEDED, 0, 0),
        (JobStatus.FAILED, 75, 75),
        (JobStatus.FAILED, -9, 137),
        (JobStatus.FAILED, None, 1),
        (JobStatus.STOPPED, None, 143),
    ],
)
def test_it_ends_as_the_job_does(
    status: JobStatus, code: int | None, wanted: int, cluster: Cluster
) -> None:
    """With its exit code; as a shell has it where a signal ended it."""
    cluster.status, cluster.exit_code = status, code
    assert main(["submit", "train", "scenario=serial"]) == wanted


def test_a_log_that_breaks_goes_on_where_it_broke(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line once, a line in two parts too; control characters don't reach the terminal."""
    cluster.logs = [
        ["one\ntw", RuntimeError("gone")],
        ["one\ntwo\n", OSError("gone")],
        ["one\ntwo\nthree\x1b[2J\nfour"],
    ]
    assert main(["submit", "train", "scenario=serial"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Job raysubmit_1.", "one", "two", r"three\x1b[2J", "four"
    ]  # fmt: skip


def test_a_cluster_that_is_gone_is_an_error(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """After a minute of tries."""
    cluster.logs = [[OSError("gone")] for _ in range(100)]
    assert main(["submit", "train", "scenario=serial"]) == 1
    assert (
        "doesn't answer any more (gone); job raysubmit_1 may still run" in capsys.readouterr().err
    )
    assert len(cluster.logs) == 100 - jobs._RETRIES - 1


def test_ctrl_c_stops_the_job(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    """And shows what it says while it ends."""
    cluster.logs = [["one\n", KeyboardInterrupt()], ["one\nsaved\n"]]
    cluster.status = JobStatus.STOPPED
    assert main(["submit", "train", "scenario=serial"]) == 130
    assert cluster.stopped == ["raysubmit_1"]
    assert capsys.readouterr().out.count("one\n") == 1


def test_ctrl_c_twice_leaves_the_job(cluster: Cluster) -> None:
    """The command ends at once."""
    cluster.logs = [[KeyboardInterrupt()], [KeyboardInterrupt()], ["never read"]]
    assert main(["submit", "train", "scenario=serial"]) == 130
    assert len(cluster.logs) == 1


def test_progress_is_made_again_from_its_lines(recorder: Recorder) -> None:
    """Phases and updates; other lines are not taken for them."""
    lines: list[str] = []
    progress = LineProgress(lines.append)
    progress.phase("learn [1]", 20)
    progress.update(3, "cost 5")
    progress.update(4, "too soon")
    progress.phase("test")
    assert all(play_line(line, recorder) for line in lines)
    assert recorder.phases == [("learn [1]", 20), ("test", None)]
    assert recorder.updates == [(3.0, "cost 5")]
    for line in ("", "learn ...", lines[0][:-3], '@progress {"done": "x"}', "@progress []"):
        assert not play_line(line, recorder)


def test_a_job_prints_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], recorder: Recorder
) -> None:
    """Of any length, in one piece."""
    monkeypatch.setenv(LINES, "1")
    with ConsoleProgress(make_console()) as progress:
        progress.phase("x" * 300, 2)
        progress.update(1, "y")
    first, second = capsys.readouterr().out.splitlines()
    assert play_line(first, recorder)
    assert play_line(second, recorder)
    assert recorder.phases == [("x" * 300, 2)]


def test_no_option_has_two_meanings() -> None:
    """Submit's own options are no option of a command that it sends."""
    own = {f.name for f in fields(SubmitCommand)}
    for name in SENT:
        assert not own & {f.name for f in fields(command_config(name))}
        assert name in COMMANDS


@pytest.mark.parametrize(
    ("raised", "message"),
    [
        (ConnectionError("Failed to connect"), "expected a Ray cluster whose dashboard answers"),
        (RuntimeError("Request failed with status code 401: Unauthorized"), "RAY_AUTH_TOKEN"),
    ],
)
def test_a_cluster_that_refuses_is_one_line(
    raised: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray's client raises says what to do."""

    def refuse(address: str) -> Any:
        raise raised

    monkeypatch.setattr(jobs, "JobSubmissionClient", refuse)
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "to be replaced")
    with pytest.raises(ClusterError, match=message):
        jobs.connect("http://127.0.0.1:1")
