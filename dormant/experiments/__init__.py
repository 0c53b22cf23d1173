"""From gin to runs, sweeps and the list of experiments. The only place that knows gin."""

import os

PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ROOT = os.path.dirname(PACKAGE)  # the folder that the package is imported from
CONFIGS = os.path.join(PACKAGE, "configs")  # the gin files of the package
