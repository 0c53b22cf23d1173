"""Dopamine's own agents beside ours (the extra ``dopamine``). The training path never imports this package."""
import sys
import types
from typing import Any

from dormant.types import DormantError


def import_dopamine() -> Any:
    """The package ``dopamine.jax.agents.dqn.dqn_agent`` of dopamine-rl 4.1.2, made importable.

    It imports ``baselines``, which it does not declare, and through tensorflow-probability a name that jax 0.7 removed.
    Both are put in place here, in this process only.

    Raises:
      DormantError: dopamine-rl is not installed.
    """
    import jax

    for name in ("baselines", "baselines.common", "baselines.common.atari_wrappers"):
        sys.modules.setdefault(name, types.ModuleType(name))
    if not hasattr(jax.interpreters.xla, "pytype_aval_mappings"):
        setattr(jax.interpreters.xla, "pytype_aval_mappings", jax.core.pytype_aval_mappings)
    try:
        from dopamine.jax.agents.dqn import dqn_agent
    except ImportError as error:
        raise DormantError(f"dopamine-rl cannot be imported ({error}): pip install 'dormant[dopamine]'") from error
    return dqn_agent
