"""The test session is strict for everybody (style.md, habit 10)."""

import importlib.util
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")
# Many tests, and the runs that some of them start, compile the same programs: a folder of all of
# them, kept between sessions (its keys are the program, its options and the versions).
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", os.path.join(ROOT, ".pytest_cache", "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jax  # noqa: E402
import pytest  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "standard")


def pytest_configure(config):
    """The fast tests compile longer than they compute, so XLA leaves out most optimisations for
    them and for the runs that they start.

    Not for the slow ones, which compute; not where JAX_DISABLE_MOST_OPTIMIZATIONS says otherwise;
    and not for a test that takes the fixture ``optimised``.
    """
    fast = "not slow" in config.option.markexpr
    os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", str(int(fast)))
    jax.config.update("jax_disable_most_optimizations", _least_optimised())


def pytest_collection_modifyitems(config, items):
    """``-m slow`` leaves out what needs an extra that is not there; ``-m dopamine`` fails then."""
    for extra in ("dopamine", "wandb"):
        if extra in config.option.markexpr or importlib.util.find_spec(extra):
            continue
        for item in items:
            if item.get_closest_marker(extra):
                item.add_marker(pytest.mark.skip(reason=f"the extra {extra!r} is not installed"))


def _least_optimised():
    return os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] not in ("0", "false", "False")


@pytest.fixture(scope="module")
def optimised():
    """Programs are compiled as users run them: for tests of rounding or of compiled programs."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", _least_optimised())
