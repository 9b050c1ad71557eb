"""Storage: a disk and an S3 server hold sealed folders the same way, and lose nothing unnoticed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from envs.errors import ConfigError, StorageError
from evaluation.artifact.registry import resolve_artifact
from evaluation.files.atomic_folder import write_folder
from evaluation.files.storage import Storage, is_uri, open_storage
from tests.s3_server import SECRET, s3_server

FILES = {"a.json": b"{}", "state/weights": bytes(range(256)) * 40, "empty": b""}


@pytest.fixture(scope="module")
def address() -> Iterator[dict[str, str]]:
    """Of one S3 server for all."""
    with s3_server() as variables:
        yield variables


@pytest.fixture
def server(address: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in the environment."""
    for name, value in address.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(params=["file", "path", "s3"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty place of each kind."""
    if request.param == "s3":
        request.getfixturevalue("server")
        return open_storage(f"s3://bucket/{tmp_path.name}/run")
    path = tmp_path / "shared" / "run"
    return open_storage(str(path) if request.param == "path" else path.as_uri())


def sealed(folder: Path, **changed: bytes) -> Path:
    """A sealed folder with FILES."""

    def fill(temporary: Path) -> None:
        for name, content in {**FILES, **changed}.items():
            (temporary / name).parent.mkdir(exist_ok=True)
            (temporary / name).write_bytes(content)

    write_folder(folder, fill, replace=True)
    return folder


def content_of(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def harm(storage: Storage, name: str, content: bytes) -> None:
    """Put other bytes in the place of a file, past everything."""
    with storage._fs.open_output_stream(f"{storage._path}/{name}") as stream:
        stream.write(content)


def test_a_folder_comes_back_as_it_was(storage: Storage, tmp_path: Path) -> None:
    """What is removed is gone."""
    place, folder = storage.at("checkpoints", "step_1"), sealed(tmp_path / "here")
    assert storage.at("checkpoints").folders() == []
    pieces: list[int] = []
    place.put(folder, lambda: pieces.append(1))
    assert pieces
    place.fetch(tmp_path / "back")
    assert content_of(tmp_path / "back") == content_of(folder)
    assert storage.at("checkpoints").folders() == ["step_1"]
    place.remove()
    place.remove()
    assert storage.at("checkpoints").folders() == []
    with pytest.raises(StorageError, match=r"There is no folder at .*/run/checkpoints/step_1"):
        place.fetch(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()


def test_a_folder_cut_short_is_none(storage: Storage, tmp_path: Path) -> None:
    """At any file, the list among them."""
    folder = sealed(tmp_path / "folder")
    copy_in = Storage._copy_in
    for after in range(len(FILES) + 1):
        left = [after]

        def counted(self: Storage, *args: Any, left: list[int] = left) -> str:
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
            return copy_in(self, *args)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Storage, "_copy_in", counted)
            patch.setattr(Storage, "_clear", lambda self: None)  # as where it is killed
            place = storage.at("policy", str(after))
            with pytest.raises(KeyboardInterrupt):
                place.put(folder)
        assert storage.folders() == []
        with pytest.raises(StorageError, match="There is no folder"):
            place.fetch(tmp_path / "back")
    assert len(storage.files()) == sum(range(len(FILES) + 1))


@pytest.mark.parametrize(
    "count", [3, pytest.param(400, marks=pytest.mark.nightly)], ids=["few", "many"]
)
def test_every_random_corruption_is_found(count: int, storage: Storage, tmp_path: Path) -> None:
    """A bit, the end, everything: of any object; and nothing is left here."""
    chance, place = random.Random(count), storage.at("policy")
    place.put(sealed(tmp_path / "here"))
    storage.write("owner.json", {"token": "abc"})
    for name, good in content_of(tmp_path / "here").items():
        for kind in range(count):
            bad = bytearray(good or b"x")
            at = chance.randrange(len(bad))
            if good and kind % 4 == 0:
                del bad[at:]
            elif good:
                bad[at] ^= 1 << chance.randrange(8)
            harm(place, name, bytes(bad))
            with pytest.raises(StorageError):
                place.fetch(tmp_path / "back")
            assert not (tmp_path / "back").exists()
        harm(place, name, good)
    place.fetch(tmp_path / "back")
    harm(place, "state/more", b"")
    with pytest.raises(StorageError, match=r"state/more' is not listed"):
        place.fetch(tmp_path / "more")
    record = storage._read("owner.json")
    assert record is not None
    for at in range(len(record)):
        bad = bytearray(record)
        bad[at] ^= 1 << chance.randrange(8)
        harm(storage, "owner.json", bytes(bad))
        with pytest.raises(StorageError, match=r"owner\.json' can't be read"):
            storage.read("owner.json")


def test_a_record_is_replaced_in_one_step(storage: Storage) -> None:
    assert storage.read("owner.json") is None
    for number in range(2):
        storage.write("owner.json", {"number": number})
        assert storage.read("owner.json") == {"number": number}
    assert storage.folders() == []


def test_a_policy_is_taken_from_a_storage(storage: Storage, tmp_path: Path) -> None:
    """By its own place, or by its run's: the newest one."""
    for version in ("000001_000009", "000002_000001"):
        policy = sealed(tmp_path / version, **{"manifest.json": version.encode()})
        storage.at("policy", version).put(policy)
    for uri in (storage.uri, storage.at("policy").uri, storage.at("policy", version).uri):
        if is_uri(uri):
            assert content_of(resolve_artifact(uri).folder) == content_of(policy)


def test_what_is_damaged_here_is_not_stored(storage: Storage, tmp_path: Path) -> None:
    """The list says what it was."""
    folder = sealed(tmp_path / "here")
    (folder / "state" / "weights").write_bytes(b"other")
    with pytest.raises(StorageError, match="state/weights' is not what SHA256SUMS says"):
        storage.put(folder)
    assert storage._names() == []


def test_a_list_cannot_name_files_elsewhere(tmp_path: Path) -> None:
    """Whoever wrote it."""
    storage = open_storage(str(tmp_path / "there"))
    storage.put(sealed(tmp_path / "here"))
    evil = "0" * 64 + "  ../evil\n"
    (tmp_path / "there" / "SHA256SUMS").write_text(evil)
    names = ["SHA256SUMS", "../evil"]
    with pytest.MonkeyPatch.context() as patch:  # an object store may have such names
        patch.setattr(Storage, "_names", lambda self: names)
        with pytest.raises(StorageError, match=r"evil' has no usable name"):
            storage.fetch(tmp_path / "back")


@pytest.mark.parametrize(
    ("uri", "told"),
    [
        ("gs://bucket/run", "storage gs://bucket/run can't be used; expected s3://bucket/prefix"),
        ("abfs://a@b/run", "can't be used; expected s3://"),
        ("https://host/run", "can't be used"),
        ("file://host/run", "can't be used"),
        ("s3://", "can't be used"),
        (f"s3://ann:{SECRET}@bucket/run", "has credentials or options in it"),
        (f"s3://bucket/run?secret_key={SECRET}", "has credentials or options in it"),
    ],
)
def test_other_addresses_are_refused(uri: str, told: str) -> None:
    """Without the secret in them."""
    with pytest.raises(ConfigError) as refused:
        open_storage(uri)
    assert told in str(refused.value)
    assert SECRET not in str(refused.value)
    assert is_uri(uri)


def test_a_storage_that_refuses_is_told(
    tmp_path: Path, server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bucket that isn't there, a server that isn't; a place that is a file."""
    with pytest.raises(StorageError, match=r"Storage s3://none/run: can't store .*bucket"):
        open_storage("s3://none/run").write("owner.json", {})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(StorageError, match="Storage s3://bucket/run: can't read"):
        open_storage("s3://bucket/run").read("owner.json")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="can't store"):
        open_storage(str(tmp_path / "file" / "run")).write("owner.json", {})
