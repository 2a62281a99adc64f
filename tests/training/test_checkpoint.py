import errno
import hashlib
import os
import pickle
import random
import resource
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity import assert_parity

from llmguide.training.checkpoint import (
    checkpoints,
    load,
    load_latest,
    random_state,
    save,
    set_random_state,
    step_of,
)

STATE = {
    "weights": torch.arange(7.0),
    "ids": torch.tensor([[1, 2], [3, 4]]),
    "half": torch.tensor([0.1, -2.0], dtype=torch.bfloat16),
    "nested": {"lr": 0.25, "names": ["a", "b"], "pair": (1, None), "on": True},
}


def steps(folder: Path) -> list[int]:
    return [int(path.name.split("-")[1]) for path in checkpoints(folder)]


def flip_byte(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


# By hand


def test_what_was_saved_is_loaded(tmp_path):
    path = save(tmp_path, STATE, step=1)
    loaded = load(path)
    assert loaded["nested"] == STATE["nested"]
    for name in "weights", "ids", "half":
        assert loaded[name].equal(STATE[name])
        assert loaded[name].dtype == STATE[name].dtype


def test_the_name_holds_step_and_hash_of_the_content(tmp_path):
    path = save(tmp_path / "new" / "folder", STATE, step=123_456_789)
    assert path.name == f"step-123456789-{hashlib.sha256(path.read_bytes()).hexdigest()}.pt"
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_the_newest_by_number_is_loaded(tmp_path):
    for step in 99_999_999, 100_000_000, 7:  # as text, the first would come last
        save(tmp_path, {"step": step}, step=step)
    assert steps(tmp_path) == [100_000_000, 99_999_999, 7]
    assert load_latest(tmp_path) == {"step": 100_000_000}


def test_the_last_are_kept(tmp_path):
    for step in range(0, 50, 10):
        save(tmp_path, {"step": step}, step=step, keep_last=2)
    assert steps(tmp_path) == [40, 30]
    save(tmp_path, {"step": 40, "again": True}, step=40, keep_last=2)
    assert steps(tmp_path) == [40, 30]
    assert load_latest(tmp_path) == {"step": 40, "again": True}


def test_going_back_keeps_the_new_branch_and_does_not_delete_the_old(tmp_path):
    for step in 10, 20, 30:
        save(tmp_path, {}, step=step, keep_last=5)
    save(tmp_path, {}, step=15, keep_last=1)
    assert steps(tmp_path) == [30, 20, 15]


def test_other_files_are_left_alone(tmp_path):
    notes = tmp_path / "step-by-step.txt"
    notes.write_text("mine")
    save(tmp_path, {}, step=1, keep_last=1)
    save(tmp_path, {}, step=2, keep_last=1)
    assert notes.read_text() == "mine"
    assert steps(tmp_path) == [2]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    usual = tmp_path / "usual"
    usual.touch()
    path = save(tmp_path, {}, step=1)
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)


# Parity


@pytest.mark.parity
def test_torch_and_hashlib_read_the_file_without_us(tmp_path):
    path = save(tmp_path, STATE, step=3)
    for name in "weights", "ids", "half":
        assert_parity(
            load(path)[name],
            torch.load(path, weights_only=True)[name],
            of="llmguide.training.checkpoint.load",
            against="torch.load",
            atol=0,
        )


# Damage


@given(st.floats(0, 1, exclude_max=True))
@settings(max_examples=25, deadline=None)
def test_any_flipped_byte_is_found(tmp_path_factory, share):
    folder = tmp_path_factory.mktemp("flipped")
    path = save(folder, STATE, step=1)
    flip_byte(path, int(share * path.stat().st_size))
    with pytest.raises(ValueError, match="is damaged"):
        load(path)


def test_the_newest_intact_one_is_used_and_the_damaged_are_named(tmp_path):
    first, second, third = (save(tmp_path, {"step": step}, step=step) for step in (1, 2, 3))
    os.truncate(third, third.stat().st_size // 2)
    flip_byte(second, 100)
    with pytest.warns(UserWarning, match="skipped") as caught:
        assert load_latest(tmp_path) == {"step": 1}
    assert [w.message.args[0].split()[3] for w in caught] == [str(third), str(second)]
    first.write_bytes(b"")
    with pytest.warns(UserWarning, match="skipped"), pytest.raises(ValueError, match="all 3 checkpoints"):
        load_latest(tmp_path)


def test_an_empty_folder_has_no_checkpoint(tmp_path):
    assert load_latest(tmp_path) is None


def test_an_error_of_the_disk_falls_back_to_the_one_before_by_name(tmp_path, monkeypatch):
    for step in 1, 2:
        save(tmp_path, {"step": step}, step=step)
    newest, older = checkpoints(tmp_path)

    def failing(file, *rest):
        if file.name == str(newest):
            raise OSError(errno.EIO, "Input/output error")
        return digest(file, *rest)

    digest = hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", failing)
    with pytest.warns(
        UserWarning, match=f"skipped a checkpoint: {newest} cannot be read: .*Input/output error"
    ):
        assert load_latest(tmp_path) == {"step": 1}
    older.unlink()
    with (
        pytest.raises(ValueError, match="all 1 checkpoints"),
        pytest.warns(UserWarning, match="cannot be read"),
    ):
        load_latest(tmp_path)


def named_by_hash(folder, step, content):
    path = folder / f"step-{step}-{hashlib.sha256(content).hexdigest()}.pt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\3\4garbage", pickle.dumps({"a": 1})])
def test_garbage_with_the_right_hash_is_named_and_passed_over(tmp_path, content):
    save(tmp_path, {"step": 1}, step=1)
    path = named_by_hash(tmp_path, "00000002", content)
    with pytest.raises(ValueError, match=f"{path} is not a checkpoint"):
        load(path)
    with pytest.warns(UserWarning, match=f"{path} is not a checkpoint"):
        assert load_latest(tmp_path) == {"step": 1}


@pytest.mark.parametrize("content", [b"{", b"[]", b"\xff", pytest.param(b"[" * 100_000, id="nested")])
def test_a_manifest_that_is_none_is_named_and_passed_over(tmp_path, content):
    save(tmp_path, {"step": 1}, step=1)
    manifest = tmp_path / f"step-2-{hashlib.sha256(content).hexdigest()}" / "manifest.json"
    manifest.parent.mkdir()
    manifest.write_bytes(content)
    with pytest.warns(UserWarning, match=f"skipped a checkpoint: {manifest} is not a manifest"):
        assert load_latest(tmp_path) == {"step": 1}


def test_names_that_no_save_gives_are_no_checkpoints(tmp_path):
    save(tmp_path, {"step": 1}, step=1)
    for step in "9" * 30, "٣", "x", "":
        named_by_hash(tmp_path, step, b"garbage")
    assert load_latest(tmp_path) == {"step": 1}
    with pytest.raises(ValueError, match="is not named"):
        step_of(tmp_path / "model")


def test_what_a_killed_process_left_under_the_temporary_name_is_replaced(tmp_path):
    (tmp_path / ".unfinished").mkdir()
    (tmp_path / ".unfinished" / "part").write_text("cut off")
    save(tmp_path, {"step": 1}, step=1)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints(tmp_path)[0].name]


class Dangerous:
    def __reduce__(self):
        return print, ("this runs when the file is read",)


def test_code_is_neither_saved_nor_run(tmp_path, capsys):
    save(tmp_path, {"step": 1}, step=1)
    with pytest.raises(ValueError, match="objects that could run code"):
        save(tmp_path, {"object": Dangerous()}, step=2)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints(tmp_path)[0].name]
    foreign = tmp_path / "foreign"
    torch.save({"object": Dangerous()}, foreign)
    digest = hashlib.sha256(foreign.read_bytes()).hexdigest()
    with pytest.raises(ValueError, match="Weights only load failed"):
        load(foreign.rename(tmp_path / f"step-3-{digest}.pt"))
    assert capsys.readouterr().out == ""


# What processes leave that are killed while they write: each saves step 1 and dies in the save of step 2.
KILLED = """
import os, signal, sys
import torch
from llmguide.training import checkpoint
from llmguide import files

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

def half(state, file):
    file.write(b"PK" + bytes(50_000))
    file.flush()
    die()

def save(folder, step):
    checkpoint.save(folder, {"step": step, "weights": torch.full((1000,), step)}, step=step, keep_last=1)

for moment, (place, name, death) in {
    "writing": (torch, "save", half),
    "syncing": (os, "fsync", die),
    "renaming": (checkpoint.Path, "replace", die),
    "renamed": (files, "sync_folder", die),
}.items():
    folder = os.path.join(sys.argv[1], moment)
    child = os.fork()
    if child == 0:
        save(folder, 1)
        setattr(place, name, death)
        save(folder, 2)
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL and fork")
def test_a_killed_save_leaves_the_earlier_or_the_new_checkpoint(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=True, timeout=60)
    for moment, newest in {"writing": 1, "syncing": 1, "renaming": 1, "renamed": 2}.items():
        folder = tmp_path / moment
        assert load_latest(folder)["weights"].unique().tolist() == [newest]
        save(folder, {"step": 3}, step=3, keep_last=1)
        assert [path.name for path in folder.iterdir()] == [checkpoints(folder)[0].name]


def test_a_full_disk_leaves_the_earlier_checkpoint(tmp_path, monkeypatch):
    save(tmp_path, {"step": 1}, step=1, keep_last=1)

    def no_space(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        save(tmp_path, {"step": 2}, step=2, keep_last=1)
    assert [path.name for path in tmp_path.iterdir()] == [checkpoints(tmp_path)[0].name]
    assert load_latest(tmp_path) == {"step": 1}


def test_a_file_that_takes_no_more_is_named_as_such(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            save(tmp_path, {"weights": torch.zeros(1_000_000)}, step=2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


# Properties


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True), st.integers(1, 4))
@settings(max_examples=8, deadline=None)
def test_rotation_keeps_the_last_of_a_rising_run(tmp_path_factory, numbers, keep_last):
    folder = tmp_path_factory.mktemp("rotation")
    for step in sorted(numbers):
        save(folder, {}, step=step, keep_last=keep_last)
    assert steps(folder) == sorted(numbers, reverse=True)[:keep_last]


def test_generators_go_on_from_their_state(tmp_path):
    torch.manual_seed(5)
    random.seed(5)
    torch.randn(3), random.gauss(0, 1)  # both keep a spare normal number
    save(tmp_path, random_state(), step=1)
    expected = torch.randn(5)
    torch.manual_seed(6)
    random.seed(6)
    set_random_state(load_latest(tmp_path))
    assert torch.randn(5).equal(expected)
    twin = random.Random(5)  # the run-time type checks of the tests draw from the global generator too
    twin.gauss(0, 1)
    assert [random.gauss(0, 1), random.random()] == [twin.gauss(0, 1), twin.random()]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda folder: save(folder, {}, step=1, keep_last=0), "keep_last=0"),
        (lambda folder: save(folder, {}, step=-1), "step=-1"),
        (lambda folder: load(folder / "model.pt"), "model.pt is not named"),
    ],
)
def test_wrong_uses_are_named(tmp_path, call, message):
    with pytest.raises(ValueError, match=message):
        call(tmp_path)
