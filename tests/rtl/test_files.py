"""Files are written whole or not at all, and only what is a regular file is replaced."""

import os
import stat
import threading

import pytest
from amla.rtl.errors import AmlaError, shown
from amla.rtl.files import check_folder, is_file_name, make_folder, write

pytestmark = pytest.mark.smoke


def test_text_is_utf8_and_nothing_else_is_left(tmp_path):
    write({tmp_path / "a": "█ →\n", tmp_path / "b": b"\xff"})
    assert (tmp_path / "a").read_bytes() == "█ →\n".encode() and (tmp_path / "b").read_bytes() == b"\xff"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_all_or_none(tmp_path, no_room):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(AmlaError, match=r"cannot write .*/b: File too large"), no_room(1000):
        write({tmp_path / "a": b"new", tmp_path / "b": b"x" * 1001})
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_a_symlink_stays_and_its_target_is_written(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("folder/none")
    write({tmp_path / "link": b"new", tmp_path / "dangling": b"made"})
    assert os.readlink(tmp_path / "link") == "target" and (tmp_path / "target").read_bytes() == b"new"
    assert (tmp_path / "dangling").is_symlink() and (tmp_path / "folder" / "none").read_bytes() == b"made"


def test_a_pipe_is_written_to(tmp_path):
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write({pipe: b"data"})
    reader.join(10)
    assert got == [b"data"] and stat.S_ISFIFO(pipe.stat().st_mode)


def test_a_device_is_written_to(tmp_path):
    full = tmp_path / "full"
    try:
        os.mknod(full, 0o600 | stat.S_IFCHR, os.makedev(1, 7))  # like /dev/full
        full.open("wb").close()
    except OSError as error:
        pytest.skip(f"no device of one's own can be made here: {error.strerror}")
    with pytest.raises(AmlaError, match=r"cannot write .*: No space left on device"):
        write({full: b"data"})
    assert stat.S_ISCHR(full.stat().st_mode) and len([*tmp_path.iterdir()]) == 1


def test_permissions(tmp_path):
    old = tmp_path / "old"
    old.write_bytes(b"")
    old.chmod(0o640)
    before = os.umask(0o027)
    try:
        write({old: b"x", tmp_path / "new": b"x"})
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("old", "new")] == [0o640, 0o640]


@pytest.mark.parametrize("name", ["folder", "none/file", "file/inside", "loop", "x" * 300, "nul\0", "\ud800"])
def test_what_cannot_be_written(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(AmlaError, match="cannot write"):
        write({tmp_path / "other": b"x", tmp_path / name: b"x"})
    assert sorted(tmp_path.rglob("*")) == before


def test_folders(tmp_path):
    (tmp_path / "file").touch()
    check_folder(tmp_path / "a" / "b")
    assert not (tmp_path / "a").exists()
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    for place in (tmp_path / "file", tmp_path / "file" / "inside"):
        for action in (check_folder, make_folder):
            with pytest.raises(AmlaError, match=str(place)):
                action(place)
    with pytest.raises(AmlaError, match="cannot make the folder"):
        make_folder(tmp_path / "\ud800")


def test_file_names():
    assert all(map(is_file_name, ("a", "my load (2)", "größe", "x" * 100)))
    for name in ("", ".", "..", "a/b", "a\\b", "a\0", "a\n", "\ud800", "x" * 101, "ü" * 51, 3, None):
        assert not is_file_name(name)


def test_values_are_shown_in_bounded_length():
    bomb = ["lol"]
    for _ in range(30):
        bomb = [bomb] * 9
    circle = []
    circle.append(circle)
    for value in (bomb, circle, 10**5000, [-10**5000], "x" * 10**6, {"k" * 1000: bomb}):
        assert len(shown(value)) < 1_000
    for value in (3, "a", [1, 2.5], None, 1 << 70):
        assert shown(value) == repr(value)
    assert shown(1 << 5000) == "an integer of 5,001 bits"
