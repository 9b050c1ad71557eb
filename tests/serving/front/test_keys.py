"""API keys: what is read, what is refused, and that a key itself is nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from envs.errors import ConfigError
from serving.front import keys
from serving.front.keys import KeyFile, Keys, new_key, read_keys


def test_a_new_key_opens_with_its_line() -> None:
    """And no other one does; its roles are those asked for."""
    key, line = new_key("night", "read,recommend")
    found = Keys(f"# a comment\n\n{line}\n").find(key)
    assert found is not None
    assert found.name == "night"
    assert found.roles == {"read", "recommend"}
    assert key not in line
    for wrong in ("", key[:-1], f"{key}x", line.split()[2], key.upper()):
        assert Keys(line).find(wrong) is None


def test_environment_and_file(tmp_path: Path) -> None:
    """The file wins; nothing given: no keys."""
    (one, one_line), (two, two_line) = new_key("one", "read"), new_key("two", "read")
    path = tmp_path / "keys"
    path.write_text(one_line)
    found = read_keys({keys.KEYS_FILE: str(path), keys.KEYS: two_line})
    assert found is not None
    assert found.find(one) is not None
    assert found.find(two) is None
    both = read_keys({keys.KEYS: f"{one_line};{two_line}"})
    assert both is not None
    assert both.find(one) is not None
    assert both.find(two) is not None
    assert read_keys({}) is None


def test_a_file_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key taken out is refused; a broken file changes nothing."""
    monkeypatch.setattr(keys, "_RELOAD_SECONDS", -1.0)
    path = tmp_path / "keys"
    (one, one_line), (two, two_line) = new_key("one", "read"), new_key("two", "read,operate")
    path.write_text(one_line)
    held = KeyFile(path)
    path.write_text(f"{two_line}\n")
    assert held.find(one) is None
    assert held.find(two) is not None
    path.write_text("broken")
    assert held.find(two) is not None
    path.unlink()
    assert held.find(two) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no key"),
        ("night recommend", "line 1 is no key"),
        (f"\nnight cook {'0' * 64}", "line 2: role cook is unknown"),
        (f"night read {'0' * 63}", "line 1 is no key"),
        (f"a read {'0' * 64}\na read {'1' * 64}", "gives a name twice"),
    ],
)
def test_a_wrong_line_is_named_and_not_shown(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Keys(text)
    assert "00000" not in str(caught.value)
