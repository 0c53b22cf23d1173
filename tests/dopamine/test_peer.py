"""Dopamine's side of a comparison, as a process."""

import sys

import pytest

from dormant.benchmarks.peer import Peer, dopamine_command
from dormant.types import DormantError


def test_what_dopamine_cannot_do_is_one_line():
    command = dopamine_command(sys.executable, "sac_rr4", "")
    assert command[-3:] == ["sac", "HalfCheetah-v5", "4.0"]
    with pytest.raises(DormantError, match="^Dopamine does not start: dormant.dopamine.peer: "):
        Peer("Dopamine", command)


@pytest.mark.dopamine
def test_dopamines_agent_answers_with_seconds():
    peer = Peer("Dopamine", dopamine_command(sys.executable, "sac_rr1", ""))
    try:
        assert 0 < peer.work(20) < 60
    finally:
        peer.close()
