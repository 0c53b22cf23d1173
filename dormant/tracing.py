"""What comes from outside the package, called with care: one line where it fails, with the place;
and traced for what it returns, which is compared with what was expected.
"""

import os
import traceback
from collections.abc import Callable
from typing import Any

import jax

from dormant import register
from dormant.types import DormantError

_HERE = os.path.dirname(os.path.abspath(__file__))


def called(who: str, which: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns.

    Args:
      who: whose function it is, for error messages.
      which: of its functions.

    Raises:
      DormantError: the function's own, or in place of whatever else it raises.
    """
    try:
        return function(*arguments)
    except DormantError:
        raise
    except Exception as error:  # of whatever it does
        line = (str(error).strip().splitlines() or [""])[0]
        raise DormantError(
            f"{who}: {which} raises {type(error).__name__}: {line}{_place(error)}"
        ) from error


def made(who: str, make: Callable[..., Any], kind: type | None, *arguments: Any) -> Any:
    """What a registered function makes.

    Raises:
      DormantError: one from outside fails, or makes something else than ``kind`` (None: anything).
    """
    if not register.foreign(make):
        return make(*arguments)
    thing = called(who, "it", make, *arguments)
    if kind is not None and not isinstance(thing, kind):
        name = f"{kind.__module__}.{kind.__name__}".removeprefix("dormant.")
        raise DormantError(f"{who} is made as a {type(thing).__name__}; expected {name}")
    return thing


def _place(error: Exception) -> str:
    """Where in the user's own code: the innermost line that is no library's."""
    libraries = (_HERE, "site-packages", "<")
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if not any(part in frame.filename for part in libraries):
            return f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
    return ""


def traced(who: str, which: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, as a tree of jax.ShapeDtypeStruct. It is not run.

    Raises:
      DormantError: as ``called``; the function's own say whose they are.
    """
    try:
        return called(who, which, jax.eval_shape, function, *arguments)
    except DormantError as error:
        line = str(error)
        raise DormantError(line if line.startswith(who) else f"{who}: {line}") from error


def expect(who: str, which: str, found: Any, wanted: Any) -> None:
    """Raises a DormantError where two trees of shapes and dtypes differ."""
    tree: Any = jax.tree.structure(found)
    if tree != jax.tree.structure(wanted):
        raise DormantError(f"{who}: {which} is {tree}; expected {jax.tree.structure(wanted)}")
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        if (got.shape, got.dtype) != (want.shape, want.dtype):
            raise DormantError(
                f"{who}: {which} is {got.dtype} of shape {got.shape}; expected "
                f"{want.dtype} of shape {want.shape}"
            )
