"""Files that are written whole or not at all."""

import os
import pathlib
import signal
import subprocess
import sys

import pandas as pd
import pytest

from dormant.analysis import draw
from dormant.atomic import atomic

KILLED = """
import os, signal, sys
from dormant.atomic import atomic
with atomic(sys.argv[1]) as file:
    file.write("half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_an_error_leaves_the_old_file_and_nothing_beside_it(tmp_path):
    path = tmp_path / "a.txt"
    with atomic(str(path)) as file:
        file.write("old")
        assert not path.exists()
    assert path.read_text() == "old"
    with pytest.raises(ZeroDivisionError):
        with atomic(str(path)) as file:
            file.write("half")
            raise ZeroDivisionError
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_kill_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    ended = subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    assert ended.returncode == -signal.SIGKILL and path.read_text() == "old"


def test_two_writers_of_one_file_do_not_mix(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    program = KILLED.replace("os.kill(os.getpid(), signal.SIGKILL)", "sys.stdin.read()")
    other = subprocess.Popen([sys.executable, "-c", program, str(path)], stdin=subprocess.PIPE)
    with atomic(str(path)) as file:
        file.write("a longer text")
    assert path.read_text() == "a longer text"
    other.communicate(timeout=60)
    assert other.returncode == 0 and path.read_text() == "half"


def test_a_figure_that_cannot_be_drawn_leaves_the_one_before(tmp_path, monkeypatch):
    figure, data = draw.new_figure(2, 1), pd.DataFrame({"x": [1]})
    paths = draw.save(figure, data, str(tmp_path), "a")
    before = [pathlib.Path(path).read_bytes() for path in paths]

    def fails(file, **options):
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(figure, "savefig", fails)
    with pytest.raises(KeyboardInterrupt):
        draw.save(figure, data, str(tmp_path), "a")
    assert [pathlib.Path(path).read_bytes() for path in paths] == before
    assert len(os.listdir(tmp_path)) == 3
