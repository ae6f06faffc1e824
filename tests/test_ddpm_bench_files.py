from __future__ import annotations

from pathlib import Path

import pytest

from ddpm_bench.errors import ConfigError
from ddpm_bench.files import output_folder, replacing


def test_replaced_file_has_the_new_content_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with replacing(target) as temporary:
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def half_written(path: Path) -> None:
    path.write_text("ne")
    raise RuntimeError("boom")


def test_crash_while_writing_keeps_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(RuntimeError, match="boom"), replacing(target) as temporary:
        half_written(temporary)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_file_is_replaced_in_one_step_under_the_eyes_of_its_readers(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    with target.open() as reader:
        with replacing(target) as temporary:
            temporary.write_text("new")
        assert reader.read() == "old"  # it still has the old file, which nobody wrote into


def test_temporary_file_keeps_the_suffix_by_which_writers_know_the_format(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.png") as temporary:
        assert temporary.suffix == ".png"
        assert temporary.parent == tmp_path
        temporary.touch()


def test_full_disk_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot write .*a\.txt: No space left"), replacing(tmp_path / "a.txt"):
        Path("/dev/full").write_text("x")


def test_output_folder_is_made_with_its_parents_and_left_empty(tmp_path: Path) -> None:
    folder = output_folder(tmp_path / "a" / "b")
    assert folder.is_dir()
    assert not list(folder.iterdir())


def test_output_folder_that_is_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match="it is a file; name a folder"):
        output_folder(tmp_path / "a")


def test_output_folder_below_a_file_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(ConfigError, match=r"cannot write .*a/b: Not a directory"):
        output_folder(tmp_path / "a" / "b")


def test_folder_where_nothing_can_be_written_is_a_sentence() -> None:
    with pytest.raises(ConfigError, match=r"cannot write /proc/1/task"):  # not even root writes there
        output_folder("/proc/1/task")
