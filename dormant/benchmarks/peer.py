"""Our side of a comparison, and both sides as processes that are told when to work.

``python -m dormant.benchmarks.peer CASE GAME`` prints "ready", then for each number of agent steps
that it reads the seconds they took. Two peers are measured in turn on one machine: what disturbs
one round disturbs both sides.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence

from dormant.benchmarks import processes
from dormant.benchmarks.session import ALONE, CASES, Setup, session
from dormant.dopamine.peer import answer
from dormant.types import DormantError


def setup_of(case: str, game: str = "") -> Setup:
    """One member with a replay memory of 100,000 rows. game: of Atari; SAC has its own."""
    return Setup(case, capacity=100_000, game=game if CASES[case].record != "SAC" else "")


def our_command(case: str, game: str) -> list[str]:
    return [sys.executable, "-m", "dormant.benchmarks.peer", case, game]


def dopamine_command(python: str, case: str, game: str) -> list[str]:
    """python: the one in which dopamine-rl is installed."""
    agent = "sac" if CASES[case].record == "SAC" else "dqn"
    played = setup_of(case, game).game or CASES[case].game
    ratio = str(CASES[case].replay_ratio)
    return [python, "-m", "dormant.dopamine.peer", agent, played, ratio]


class Peer:
    """One side of a comparison, as a process.

    Args:
      more: of its environment.
    Raises:
      DormantError: it does not start; the message ends with the last line that it printed.
    """

    def __init__(self, side: str, command: Sequence[str], more: Mapping[str, str] | None = None):
        pipe = subprocess.PIPE
        self._side = side
        self._process = processes.start(command, more, stdin=pipe, stdout=pipe, stderr=pipe)
        assert self._process.stdout
        if self._process.stdout.readline().strip() != "ready":
            raise DormantError(f"{side} does not start: {self._last_line()}")

    def work(self, steps: int) -> float:
        """What it answers a number with: seconds for so many agent steps, where it is an agent."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(f"{steps}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise DormantError(f"{self._side} has ended: {self._last_line()}")
        return float(line)

    def close(self) -> None:
        processes.stop(self._process)
        self._process.communicate()

    def _last_line(self) -> str:
        lines = self._process.communicate()[1].strip().splitlines()
        return lines[-1] if lines else "no message"


def main(arguments: list[str]) -> int:
    case, game = arguments
    with session(setup_of(case, game), ALONE) as running:
        answer(lambda steps: running.advance(agent_steps=steps))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
