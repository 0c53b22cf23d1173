"""From gin to runs, sweeps and the list of experiments. The only place that knows gin."""

import os

ROOT = os.path.dirname(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
)  # of the repository
CONFIGS = os.path.join(ROOT, "configs")
