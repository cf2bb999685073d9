"""Files are complete under their final name or not there at all, and the errors say what is missing."""

import errno
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from neural3d.errors import InputError, StorageError
from neural3d.locks import FileLock
from neural3d.storage import atomic_write, atomic_write_folder, atomic_write_text, clean_temporary, safe_join


def test_creates_parents_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "ünï 数据 x'y" / "a b" / "file.txt"
    atomic_write_text(path, "one")
    atomic_write_text(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_the_writer_sees_the_suffix_and_the_folder(tmp_path: Path) -> None:
    seen: list[Path] = []

    def writer(path: Path) -> None:
        seen.append(path)
        path.write_bytes(b"x")

    atomic_write(tmp_path / "image.png", writer)
    assert seen[0].suffix == ".png" and seen[0].parent == tmp_path and seen[0].name != "image.png"


@pytest.mark.parametrize("error", [RuntimeError("boom"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_a_failed_writer_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    atomic_write_text(path, "old")

    def writer(temporary: Path) -> None:
        temporary.write_text("half")
        raise error

    with pytest.raises((RuntimeError, StorageError, KeyboardInterrupt)):
        atomic_write(path, writer)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_the_space_is_checked_before_anything_is_written(tmp_path: Path) -> None:
    def writer(temporary: Path) -> None:
        pytest.fail("the writer must not be called")

    with pytest.raises(StorageError, match=rf"disk full in {tmp_path} .*MB needed.*MB free.*MB missing"):
        atomic_write(tmp_path / "large.bin", writer, estimate_bytes=2**60)


def test_little_space_is_told_in_little_units(tmp_path: Path) -> None:
    def writer(temporary: Path) -> None:
        temporary.write_bytes(bytes(20_000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(StorageError, match=r"24 kB needed|[0-9.]+ MB needed") as refused:
        atomic_write(tmp_path / "small.bin", writer)
    assert " 0.0 MB" not in str(refused.value) and "(0 kB needed" not in str(refused.value)


@pytest.mark.parametrize("function", ["open", "write"])
def test_a_lock_that_finds_no_room_is_named_and_given_back(tmp_path: Path, monkeypatch, function: str) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "run.lock"))

    lock, usual = FileLock(tmp_path / "run.lock"), getattr(os, function)
    monkeypatch.setattr(os, function, fail)
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/run.lock: disk full"):
        lock.acquire()
    monkeypatch.setattr(os, function, usual)
    assert FileLock(tmp_path / "run.lock").acquire()


def test_full_disks_are_named_when_a_library_reports_them_in_its_own_way(tmp_path: Path) -> None:
    def writer(temporary: Path) -> None:
        raise RuntimeError('I/O error: "No space left on device (os error 28)"')

    with pytest.raises(StorageError, match="disk full in"):
        atomic_write(tmp_path / "file.safetensors", writer)


def test_read_only_folders_are_named(tmp_path: Path) -> None:
    def writer(temporary: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(temporary))

    with pytest.raises(StorageError, match=f"{tmp_path} is read-only"):
        atomic_write(tmp_path / "file.txt", writer)


def test_whether_a_folder_may_be_written_is_checked_before_anything_is(tmp_path: Path, monkeypatch) -> None:
    """USD and ffmpeg say of a read-only disk what nobody understands."""
    monkeypatch.setattr("neural3d.storage.os.access", lambda folder, mode: (folder, mode) != (tmp_path, os.W_OK))
    with pytest.raises(StorageError, match=rf"cannot write {tmp_path}/a.usda: {tmp_path} is read-only"):
        atomic_write(tmp_path / "a.usda", lambda temporary: pytest.fail("the writer must not be called"))


def test_disks_that_refuse_to_remove_what_is_not_there_are_named(tmp_path: Path, monkeypatch) -> None:
    """As Linux does where a disk is mounted read-only."""

    def refuse(path: Path, *_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match=f"{tmp_path} is read-only"):
        atomic_write(tmp_path / "file.txt", refuse)


def test_what_nobody_knows_the_size_of_needs_more_than_there_is(tmp_path: Path, monkeypatch) -> None:
    def writer(temporary: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("neural3d.storage.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(StorageError, match=r"\(at least 1 kB needed, 0 kB free, at least 1 kB missing\)"):
        atomic_write(tmp_path / "film.mp4", writer)
    with pytest.raises(StorageError, match=r"\(60 kB needed, 0 kB free, 60 kB missing\)"):
        atomic_write(tmp_path / "a.png", writer, estimate_bytes=50_000)


def test_errors_about_other_files_pass_unchanged(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="input"):
        atomic_write(tmp_path / "file.txt", lambda temporary: Path("/nonexistent/input").read_bytes() and None)


def test_a_small_real_disk(tmp_path: Path) -> None:
    """A limit on the size of files is a full disk that needs no rights: the write fails half-way."""
    script = f"""
import resource, signal
from pathlib import Path
from neural3d.storage import atomic_write
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
atomic_write(Path({str(tmp_path)!r}) / "file.bin", lambda path: path.write_bytes(bytes(1_000_000)) and None)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert "StorageError: cannot write" in done.stderr and "disk full" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_folders_are_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    for names in (["a", "b"], ["c"]):
        atomic_write_folder(
            path, lambda folder, names=names: [(folder / name).write_text(name) for name in names] and None
        )
    assert [entry.name for entry in path.iterdir()] == ["c"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def keep_one_file(folder: Path, name: str) -> None:
    atomic_write_folder(folder, lambda temporary: (temporary / name).write_text(name) and None)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(errno.EIO, "broken")])
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("call", [0, 1, 2])
def test_a_folder_is_whole_whenever_its_replacement_is_broken_off(
    tmp_path: Path, monkeypatch, error: BaseException, moment: str, call: int
) -> None:
    """Renames: the old folder aside, the new one to its name, the old one out of the way."""
    keep_one_file(tmp_path / "folder", "old")
    usual, calls = os.replace, iter(range(100))

    def replace(source: Path, target: Path) -> None:
        is_now = next(calls) == call
        if is_now and moment == "before":
            raise error
        usual(source, target)
        if is_now:
            raise error

    monkeypatch.setattr(os, "replace", replace)
    with pytest.raises((KeyboardInterrupt, StorageError)):
        keep_one_file(tmp_path / "folder", "new")
    whole = "old" if (call, moment) in [(0, "before"), (0, "after"), (1, "before")] else "new"
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == [whole]


@pytest.mark.parametrize("call, whole", [(0, "old"), (1, "new")])
def test_a_folder_comes_back_after_a_kill_between_the_renames(tmp_path: Path, call: int, whole: str) -> None:
    keep_one_file(tmp_path / "folder", "old")
    script = f"""
import os
from pathlib import Path
from neural3d.storage import atomic_write_folder
usual, calls = os.replace, iter(range(100))
def replace(source, target):
    usual(source, target)
    if next(calls) == {call}:
        os.kill(os.getpid(), 9)
os.replace = replace
atomic_write_folder(Path({str(tmp_path)!r}) / "folder", lambda path: (path / "new").write_text("new") and None)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    clean_temporary(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    assert [entry.name for entry in (tmp_path / "folder").iterdir()] == [whole]


def test_leftovers_of_dead_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from neural3d.storage import atomic_write
def writer(path):
    path.write_text("half")
    os.kill(os.getpid(), 9)
atomic_write(Path({str(tmp_path)!r}) / "file.txt", writer)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    left = [entry.name for entry in tmp_path.iterdir()]
    assert len(left) == 1 and left[0].endswith("file.txt") and left[0].startswith(".tmp-")
    living = tmp_path / left[0].replace(left[0].split("-")[2], str(os.getpid()))
    living.write_text("in use")
    clean_temporary(tmp_path)
    assert list(tmp_path.iterdir()) == [living]


@pytest.mark.parametrize(
    "relative",
    [
        "/etc/passwd",
        "../x",
        "a/../../x",
        "..\\x",
        "C:\\x",
        "C:x",
        "\\\\host\\share\\x",
        "~/x",
        "a\0b",
        "CON",
        "a/nul.txt",
        "",
        "link/x",
    ],
)
def test_paths_cannot_leave_the_root(tmp_path: Path, relative: str) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    with pytest.raises(InputError, match="root"):
        safe_join(tmp_path / "root", relative)


def test_plain_paths_are_joined(tmp_path: Path) -> None:
    assert safe_join(tmp_path, "a b/ü.png") == tmp_path / "a b" / "ü.png"
    assert safe_join(tmp_path, "./images\\0001.png") == tmp_path / "images" / "0001.png"
