"""Settings of the tests beside the real dopamine-rl."""

import jax
import pytest


@pytest.fixture(autouse=True)
def as_dopamine_runs():
    """Dopamine's networks broadcast over ranks, which the rest of the session forbids; gin starts
    empty and is left empty.
    """
    import gin

    gin.clear_config()
    with jax.numpy_rank_promotion("allow"):
        yield
    gin.clear_config()
