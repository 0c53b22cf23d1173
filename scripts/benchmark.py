"""Speed on this machine, both sides in one run:  python scripts/benchmark.py --help

Populations of 1, 2, 4, ... members:  python scripts/benchmark.py population --help
How many members fit into a device:     python scripts/benchmark.py fit --help
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.experiments import benchmark, benchmark_population, fit  # noqa: E402
from dormant.types import DormantError  # noqa: E402


def main() -> int:
    others = {"population": benchmark_population.main, "fit": fit.main}
    if sys.argv[1:2] and sys.argv[1] in others:
        return others[sys.argv[1]](sys.argv[2:])
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "what", nargs="*", metavar="WHAT", help=f"of {', '.join(benchmark.PARTS)} (default: all)"
    )
    parser.add_argument("--out", default="results/benchmark", help="folder of the JSON file")
    parser.add_argument("--game", default="Pong")
    parser.add_argument(
        "--dopamine_python",
        default=sys.executable,
        help="the Python in which dopamine-rl 4.1.2 is installed: pip install 'dormant[dopamine]'",
    )
    parser.add_argument(
        "--rounds", type=int, default=5, help="how often each side is measured, in turn"
    )
    args = parser.parse_args()
    try:
        benchmark.run(
            args.what or list(benchmark.PARTS),
            args.out,
            args.game,
            args.dopamine_python,
            args.rounds,
        )
    except DormantError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
