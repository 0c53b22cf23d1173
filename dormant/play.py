"""Plays episodes with a trained agent and writes a video, the dormant fraction per layer beside it.

The bars are the fractions of neurons whose score, over the last 64 states of the episode, is at
most tau: the member's own where it recycles, else the middle one of those that the run records.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from dormant.command import DONE, Parser, a_path, finish, writing
from dormant.types import DormantError

if TYPE_CHECKING:
    from dormant.trained import TrainedAgent

EXAMPLES = """examples:
  python -m dormant.play --base_dir runs/space
  python -m dormant.play --base_dir runs/demon --member 1 --episodes 3 --out redo.mp4
"""
ENDINGS = (".gif", ".mp4")
WINDOW, EVERY = 64, 4  # states behind a score; agent steps between two measurements


def parser() -> Parser:
    """The flags."""
    made = Parser(prog="dormant play", description=__doc__, epilog=EXAMPLES)
    made.add_argument("--base_dir", required=True, type=a_path, help="a run, finished or not")
    made.add_argument("--member", type=int, default=0, help="its number in run.json (default: 0)")
    made.add_argument("--episodes", type=int, default=1, help="how many (default: 1)")
    made.add_argument("--seed", type=int, default=0, help="of the first episode (default: 0)")
    made.add_argument(
        "--max_steps",
        type=int,
        default=3000,
        help="agent steps shown of an episode at most (default: 3000)",
    )
    made.add_argument(
        "--out",
        type=a_path,
        metavar="FILE",
        help="a .gif or an .mp4 (default: DIR/play/member_<number>.gif)",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    arguments = parser().parse_args(argv)
    return finish(lambda: play(arguments))


def play(arguments: argparse.Namespace) -> int:
    """Plays and writes the video that the flags describe; prints the returns and the path."""
    for name in ("episodes", "max_steps"):
        if getattr(arguments, name) < 1:
            raise DormantError(f"--{name} is {getattr(arguments, name)}; it must be at least 1")
    if arguments.seed < 0:
        raise DormantError(f"--seed is {arguments.seed}; it must not be negative")
    default = os.path.join(arguments.base_dir, "play", f"member_{arguments.member}.gif")
    out = arguments.out or default
    check_ending(out)
    # Imported late: --help and wrong flags need no jax.
    from dormant.trained import load_agent

    agent = load_agent(arguments.base_dir, arguments.member)
    folder = os.path.dirname(os.path.abspath(out))
    with writing(folder):
        returns = record(agent, out, arguments.episodes, arguments.seed, arguments.max_steps)
    shown = ", ".join(
        f"{each.total:g}" if each.ended else f"{each.total:g} (of the first {each.steps:,} steps)"
        for each in returns
    )
    print(f"{agent.game}, {agent.record['label']}, seed {agent.record['seed']}: return {shown}")
    print(out)
    return DONE


def check_ending(path: str) -> None:
    """Raises a DormantError for a file that is no video, or whose encoder is not installed."""
    if os.path.splitext(path)[1] not in ENDINGS:
        raise DormantError(f"--out is {path!r}; it must end in {' or '.join(ENDINGS)}")
    try:
        import imageio  # noqa: F401

        if path.endswith(".mp4"):
            import imageio_ffmpeg  # noqa: F401
    except ImportError as error:
        raise DormantError(
            f"videos need a package ({error}): pip install 'dormant[play]'"
        ) from error


class Played(NamedTuple):
    """An episode as far as it was played."""

    total: float  # undiscounted return
    steps: int  # agent steps
    ended: bool  # False: --max_steps came first


def record(agent: "TrainedAgent", path: str, episodes: int, seed: int, most: int) -> list[Played]:
    """Writes the video, whole or not at all; returns what each episode brought."""
    from dormant.analysis.video import Video
    from dormant.envs.images import make_camera

    camera, stage = make_camera(agent.agent.spec, agent.atari), agent.stage()
    who = f"{agent.record['label']}, seed {agent.record['seed']}"
    title = (agent.game, who, f"after {agent.agent_steps:,} agent steps")
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    try:
        with Video(path, camera.frames_per_second, title, agent.tau) as video:
            return [
                _episode(agent, stage, camera, video, seed + episode, most)
                for episode in range(episodes)
            ]
    finally:
        stage.close()
        camera.close()


def _episode(
    agent: "TrainedAgent", stage: Any, camera: Any, video: Any, seed: int, most: int
) -> Played:
    import jax
    import numpy as np

    from dormant.trained import episode_key

    key, total, step = episode_key(seed), 0.0, 0
    moment = stage.reset(seed)
    camera.reset(seed, moment.newest)
    states: list[Any] = []
    actions: list[Any] = []
    fractions: dict[str, float] = {}
    while not moment.ended and step < most:
        action = agent.act(moment.observation, jax.random.fold_in(key, step))
        states, actions = [*states, moment.observation][-WINDOW:], [*actions, action][-WINDOW:]
        if step % EVERY == 0:
            filled = np.arange(WINDOW) % len(states)  # a young episode's states, repeatedly
            fractions = agent.dormant_fractions(np.stack(states)[filled], np.stack(actions)[filled])
        video.add(camera.image(), fractions, step, total)
        moment = stage.step(action)
        camera.step(action, moment.newest)
        total, step = total + moment.reward, step + 1
    video.add(camera.image(), fractions, step, total)
    return Played(total, step, bool(moment.ended))


if __name__ == "__main__":
    sys.exit(main())
