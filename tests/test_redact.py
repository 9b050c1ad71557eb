"""What is taken out of text before it is stored or shown."""

from __future__ import annotations

import pytest

from envs.errors import shown
from envs.redact import redact

TEXTS = {
    "http://ann:p4ss@host:5000": "http://***@host:5000",
    "tracking.uri=http://ann:p4's s@w@rd@host": "tracking.uri=http://***@host",
    "tracking.uri='http://ann:p(4@host'": "tracking.uri='http://***@host'",
    "no answer from http://ann:p4/ss@host/api, ask me@here": (
        "no answer from http://***@host/api, ask me@here"
    ),
    "http:/ann:p4ss@host/net.yaml: no such file": "http:/***@host/net.yaml: no such file",
    "postgresql://u:p@h/db?password=x&y=1": "postgresql://***@h/db?password=***&y=1",
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
