"""The command ``python -m dormant.benchmarks NAME``: its names, its help, its exit codes.

0 done; 1 a benchmark measured nothing, or a stage failed; 2 wrong input, nothing written; 130
stopped. Each benchmark's module is imported when it is asked for: --help needs no jax.
"""

import importlib
import signal
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

from dormant.command import Flags, say
from dormant.types import DormantError, check_name

PROGRAM = "python -m dormant.benchmarks"
EXAMPLES = """examples:
  One part of the comparison, five rounds of each side:
    python -m dormant.benchmarks recycle
  Beside Dopamine, which is installed in an environment of its own:
    python -m dormant.benchmarks dopamine --dopamine_python ~/dopamine/bin/python
  Populations of 1, 2, 4, ... DQN agents:
    python -m dormant.benchmarks population --agents dqn_rr1 --max_members 64
  On a GPU, the headline within 8 minutes, then everything in stages of 9 minutes:
    python -m dormant.benchmarks gpu --quick --out gpu_quick
    python -m dormant.benchmarks gpu --out gpu
"""


class Benchmark(NamedTuple):
    """A name of the command. ``module`` has add_arguments(parser) and run(arguments) -> exit
    code."""

    module: str
    what: str


_PARTS = "dormant.benchmarks.parts"
BENCHMARKS = {
    "dopamine": Benchmark(_PARTS, "whole training loops beside Dopamine's agents"),
    "dopamine_recycling": Benchmark(_PARTS, "what recycling adds to Dopamine's own agent"),
    "recycle": Benchmark(_PARTS, "recycling against one gradient step"),
    "tracing": Benchmark(_PARTS, "tracing the ResNet and deriving its wiring"),
    "start": Benchmark(_PARTS, "from the process's start to the first gradient steps"),
    "sweep": Benchmark(_PARTS, "what a sweep adds to the time of its runs"),
    "figures": Benchmark(_PARTS, "reading a thousand runs and drawing Figure 10"),
    "all": Benchmark(_PARTS, "the seven above, in this order"),
    "population": Benchmark(
        "dormant.benchmarks.population", "full loops of 1, 2, 4, ... members, and their roofline"
    ),
    "fit": Benchmark("dormant.benchmarks.fit", "how many members fit into a device's memory"),
    "minatar": Benchmark(
        "dormant.benchmarks.minatar", "the loop on the device beside one agent on the host"
    ),
    "gpu": Benchmark("dormant.benchmarks.gpu", "everything that an accelerator is needed for"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if not argv or argv[0] in ("-h", "--help"):
        print(overview())
        return 0 if argv else 2
    before = signal.signal(signal.SIGTERM, _end)
    try:
        check_name("benchmark", argv[0], BENCHMARKS)
        module: Any = importlib.import_module(BENCHMARKS[argv[0]].module)
        made = Flags(prog=f"{PROGRAM} {argv[0]}", description=module.__doc__)
        made.set_defaults(name=argv[0])
        module.add_arguments(made)
        return module.run(made.parse_args(argv[1:]))
    except DormantError as error:
        say(str(error))
        return 2
    except KeyboardInterrupt:
        say("stopped; what was measured is written")
        return 130
    finally:
        signal.signal(signal.SIGTERM, before)


def overview() -> str:
    """The help of the whole command."""
    names = "\n".join(f"  {name:20}{each.what}" for name, each in BENCHMARKS.items())
    return (
        f"usage: {PROGRAM} NAME [options]\n\nMeasures speed on this machine.\n\n"
        f"names ({PROGRAM} NAME --help):\n{names}\n\n{EXAMPLES}"
    )


def _end(signum: int, frame: Any) -> None:
    """SIGTERM ends this process as Ctrl-C does: the processes it has started are stopped first."""
    raise KeyboardInterrupt
