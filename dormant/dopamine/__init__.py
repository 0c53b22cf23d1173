"""ReDo for Dopamine's own agents, and Dopamine beside ours (the extra ``dopamine``).

``agents`` has the recycling agents, ``runners`` and ``train`` run them as Dopamine does, ``logs``
reads what Dopamine has logged. What dopamine-rl 4.1.2 fails to import is supplied here, and nothing
else knows of it. The training path never imports this package.
"""

import importlib
import importlib.util
import os
import sys
import types
from typing import Any

from dormant.types import DormantError

CONFIGS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "configs")  # gin files
# What dopamine-rl imports and does not declare. It is used by none of the agents here: baselines
# for PPO's preprocessing, dm_control and dm_env for SAC from pixels.
UNDECLARED = {
    "baselines": ("common", "common.atari_wrappers"),
    "dm_control": ("rl",),
    "dm_env": (),
}


class _Absent(types.ModuleType):
    """Stands for a package that is not installed: its names can be imported, and do nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent(f"{self.__name__}.{name}")


def import_dopamine(module: str) -> Any:
    """A module of dopamine-rl 4.1.2, made importable.

    Undeclared packages that are not installed are put in place without content, and so is a name
    that jax 0.7 removed and tensorflow-probability reads; all in this process only.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import jax

    for package, parts in UNDECLARED.items():
        if package not in sys.modules and importlib.util.find_spec(package) is None:
            for name in (package, *(f"{package}.{part}" for part in parts)):
                sys.modules[name] = _Absent(name)
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        from jax._src.core import pytype_aval_mappings  # jax.core has deprecated it

        setattr(jax.interpreters.xla, "pytype_aval_mappings", pytype_aval_mappings)  # noqa: B010 (unknown to mypy)
    try:
        return importlib.import_module(f"dopamine.{module}")
    except ImportError as error:
        raise DormantError(
            f"dopamine-rl cannot be imported ({error}): pip install 'dormant[dopamine]'"
        ) from error
