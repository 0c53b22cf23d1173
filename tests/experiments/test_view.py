"""The live view: bars on a terminal, plain lines elsewhere."""

import io
import sys

import pytest

from dormant.experiments.view import View


class Screen(io.StringIO):
    """Standard error that is, or is not, a terminal."""

    def __init__(self, terminal):
        super().__init__()
        self._terminal = terminal

    def isatty(self):
        return self._terminal


@pytest.mark.parametrize("terminal", [True, False])
def test_runs_come_and_go(terminal, monkeypatch):
    screen = Screen(terminal)
    monkeypatch.setattr(sys, "stderr", screen)
    steps = {"a": 30, "b": 0}
    view = View("runs/grid", 3)
    view.begin(["c"], {"a": 100, "b": 100})
    view.refresh(steps.get)
    view.end("a", "finished", "")
    view.end("b", "failed", "killed by signal 9")
    view.close()
    text = screen.getvalue()
    assert "1 of 3 runs were finished before\n" in text
    assert "[2/3] a: finished\n" in text and "[3/3] b: failed: killed by signal 9\n" in text
    bars = [part for part in text.split("\r") if "steps" in part]
    assert (len(bars) > 0) is terminal
    assert not any(part.startswith("b") for part in bars)  # it never began
    if terminal:
        assert any(part.startswith("a:") and "30/100" in part for part in bars)
    else:
        assert "\r" not in text and len(text.splitlines()) == 3
