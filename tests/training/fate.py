"""Kills and stops of a run in this process, at a chosen moment."""

import signal

import pytest

from dormant.training.append import AppendedFile
from dormant.training.checkpoint import ACTIONS_FILE, Store
from dormant.training.files import REPLAY_FOLDER
from dormant.training.loop import Loop
from dormant.training.signals import Interrupted

KILLS = ("row", "step", "replay", "before a save", "after a save", "evaluation")
STOPS = ("step", "evaluation")


class Killed(BaseException):
    """What SIGKILL does, without the process: nothing that comes after is done."""


class Fate:
    """A kill or a stop at the ``count``-th moment of a kind; a killed row of a table or
    a memory is half written."""

    def __init__(self, how, moment, count):
        self.how, self.moment, self.left = how, moment, count

    def due(self, moment):
        self.left -= moment == self.moment
        return moment == self.moment and self.left == 0

    def meet(self, moment):
        if self.due(moment):
            if self.how == "kill":
                raise Killed
            signal.raise_signal(signal.SIGTERM)

    def watch(self, patch):
        append, save = AppendedFile.append, Store.save

        def watched_append(file, data):
            if file.path.endswith(ACTIONS_FILE):
                self.meet("step")
            elif self.due("replay" if REPLAY_FOLDER in file.path else "row"):
                append(file, data[: len(data) // 2])
                file.flush()
                raise Killed
            append(file, data)

        def watched_save(store, tree, facts):
            self.meet("before a save")
            save(store, tree, facts)
            self.meet("after a save")

        patch.setattr(AppendedFile, "append", watched_append)
        patch.setattr(Store, "save", watched_save)


def run(planned, base_dir, fate=None):
    """Runs until the end, or the fate; returns whether the end was reached."""

    def make_env(evaluation):
        env = planned.make_env(evaluation)
        if evaluation and fate:
            send = env.send
            env.send = lambda actions: fate.meet("evaluation") or send(actions)
        return env

    with pytest.MonkeyPatch.context() as patch:
        if fate:
            fate.watch(patch)
        loop = Loop(planned.population, planned.protocol, make_env, str(base_dir))
        try:
            loop.run()
        except (Killed, Interrupted):
            return False
        finally:
            loop.close()
    return True
