"""All measurements of an accelerator in one command, offline, into one folder:  python
scripts/gpu.py --out gpu

Population benchmarks of the four agents (float32, tf32, bfloat16; formulations of the convolution),
profiles, tests, then real runs for --minutes. Given again it goes on where it was. --rehearse:
everything small, minutes on a laptop.
"""

import argparse
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from dormant.experiments import gpu  # noqa: E402


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", required=True, help="folder for everything")
    parser.add_argument(
        "--minutes", type=float, default=60.0, help="of real training, shared by the two runs"
    )
    parser.add_argument("--seeds", type=int, default=4, help="of each method in a run")
    parser.add_argument("--max_members", type=int, default=4096)
    parser.add_argument("--rehearse", action="store_true")
    args = parser.parse_args()
    plan = gpu.Plan(
        os.path.abspath(args.out), args.minutes, args.seeds, args.max_members, args.rehearse
    )
    summary = gpu.run(plan)
    failed = [name for name, ended in summary["stages"].items() if ended["exit"] != 0]
    print(
        f"written: {plan.out}/summary.json"
        + (f"; not ended well: {', '.join(failed)}" if failed else "")
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
