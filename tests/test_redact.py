"""What is taken out of text before it is stored or shown."""

from __future__ import annotations

import pytest

from echelon import main
from envs.errors import shown
from envs.redact import keep_out, redact

TEXTS = {
    "http://ann:p4ss@host:5000": "http://***@host:5000",
    "tracking.uri=http://ann:p4's s@w@rd@host": "tracking.uri=http://***@host",
    "tracking.uri='http://ann:p(4@host'": "tracking.uri='http://***@host'",
    "no answer from http://ann:p4/ss@host/api, ask me@here": (
        "no answer from http://***@host/api, ask me@here"
    ),
    "http:/ann:p4ss@host/net.yaml: no such file": "http:/***@host/net.yaml: no such file",
    "postgresql://u:p@h/db?password=x&y=1": "postgresql://***@h/db?password=***&y=1",
    "storage=s3://b/runs?secret_key=x y": "storage=s3://b/runs?secret_key=*** y",
    "s3://b?aws_session_token=x&region=y": "s3://b?aws_session_token=***&region=y",
    "sqlite:////home/me@work/mlflow.db": "sqlite:////home/me@work/mlflow.db",
    "seed='http://ann:p4\\'ss@h' is no number, 'p'": "seed='http://***@h' is no number, 'p'",
    "http://host/path": "http://host/path",
    "mail me@work": "mail me@work",
}


@pytest.mark.parametrize(("text", "kept"), TEXTS.items())
def test_passwords_are_left_out(text: str, kept: str) -> None:
    """Whatever characters they have; paths and mail stay."""
    assert redact(text) == kept


def test_a_cut_value_shows_no_part_of_a_password() -> None:
    """It is taken out before the value is cut, inside of lists as well."""
    address = f"http://ann:{'p4ss' * 50}@host"
    for value in (address, [address], {"uri": address}):
        assert "p4ss" not in shown(value)
        assert "***@host" in shown(value)


ADDRESS = "http://ann:my pa'ss/w@rd@host"


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    """No address was given before."""
    monkeypatch.setattr("envs.redact._known", set())


@pytest.mark.parametrize(
    "written",
    [
        ADDRESS,
        "http://ann:my pa\\'ss/w@rd@host",
        "http://ann:my%20pa%27ss%2Fw%40rd@host",
        "http://ann:my%20pa'ss/w@rd@host",
        "http://ann:my+pa%27ss%2Fw%40rd@host",
    ],
)
@pytest.mark.parametrize("given", ["setting", "argument", "environment"])
def test_a_known_password_is_left_out_of_any_text(
    written: str, given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However it is written there, spaces and all; what only looks like it stays."""
    if given == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", ADDRESS)
    else:
        keep_out(ADDRESS if given == "setting" else f"seed=[1,'{ADDRESS}']")
    told = redact(f"no answer (my pal ann) from '{written}', port 5000: ask ann@here")
    assert told == "no answer (my pal ann) from 'http://***@host', port 5000: ask ann@here"


def test_a_password_of_the_environment_is_left_out_as_addresses_write_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Percent signs and all."""
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "my p4/ss")
    assert redact("sent my%20p4%2Fss, my p4/ss, my+p4%2Fss") == "sent ***, ***, ***"


@pytest.mark.parametrize(
    "typed", [f"seed={ADDRESS}", f'seed=[1,"{ADDRESS}"]', f"{ADDRESS}=1", f"trackin={ADDRESS}"]
)
def test_no_message_shows_a_mistyped_password(
    typed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Hydra and OmegaConf put the argument into the middle of theirs."""
    assert main(["show", typed]) == 1
    printed = "".join(capsys.readouterr())
    assert "error" in printed
    assert not any(part in printed for part in ("my pa", "rd@", "w@"))
