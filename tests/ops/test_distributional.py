import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dormant import ops
from tests.reference import ops as reference

ATOMS = jnp.array([-1.0, 0.0, 1.0])


@pytest.mark.parametrize(
    "position, expected",
    [
        (0.0, [0.0, 1.0, 0.0]),
        (0.25, [0.0, 0.75, 0.25]),
        (-0.5, [0.5, 0.5, 0.0]),
        (9.0, [0.0, 0.0, 1.0]),  # beyond the support
        (-9.0, [1.0, 0.0, 0.0]),
    ],
)
def test_projection_of_one_atom(position, expected):
    np.testing.assert_allclose(
        ops.categorical_projection(jnp.array([position]), jnp.ones(1), ATOMS), expected
    )


def test_projection_equals_its_twin():
    random = np.random.default_rng(0)
    atoms = np.linspace(-10, 10, 51)
    project = jax.jit(ops.categorical_projection)
    for _ in range(20):
        probabilities = random.dirichlet(np.ones(51))
        atoms_p = random.normal() * 5 + random.choice([0.0, 0.9, 0.99**3]) * atoms
        expected = reference.categorical_projection(atoms_p, probabilities, atoms)
        np.testing.assert_allclose(project(atoms_p, probabilities, atoms), expected, atol=1e-5)
        np.testing.assert_allclose(expected.sum(), 1.0)


def test_categorical_q_learning():
    """Two actions, three atoms; the selector takes action 1 although the target network prefers
    action 0.
    """
    logits_t = jnp.log(jnp.array([[0.1, 0.1, 0.8], [0.2, 0.3, 0.5]]))
    logits_tm1 = jnp.log(jnp.array([[0.25, 0.25, 0.5], [0.6, 0.3, 0.1]]))

    def loss(r_t, discount_t, selector):
        return ops.categorical_q_learning(
            ATOMS,
            logits_tm1,
            jnp.array(0),
            jnp.array(r_t),
            jnp.array(discount_t),
            logits_t,
            jnp.array(selector),
        )

    # atoms -1, 0, 1 become 0, 0.5, 1: masses 0.2 -> atom 0; 0.3 -> half 0, half 1; 0.5 -> atom 1
    expected = -(0.35 * np.log(0.25) + 0.65 * np.log(0.5))
    np.testing.assert_allclose(loss(0.5, 0.5, [0.0, 1.0]), expected, rtol=1e-5)
    # action 0 of the target network: 0.1 -> 0; 0.1 -> halves; 0.8 -> 1
    expected = -(0.15 * np.log(0.25) + 0.85 * np.log(0.5))
    np.testing.assert_allclose(loss(0.5, 0.5, [1.0, 0.0]), expected, rtol=1e-5)
    # terminated: all mass at the reward 0.25
    expected = -(0.75 * np.log(0.25) + 0.25 * np.log(0.5))
    np.testing.assert_allclose(loss(0.25, 0.0, [1.0, 0.0]), expected, rtol=1e-5)


def test_gradient_is_softmax_minus_target_for_the_action_taken_only():
    logits = jnp.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])

    def loss(logits):
        action, reward, discount = jnp.array(0), jnp.array(1.0), jnp.array(0.0)
        return ops.categorical_q_learning(
            ATOMS, logits, action, reward, discount, logits, jnp.zeros(2)
        )

    # target: all mass on the last atom; softmax of equal logits: a third each
    np.testing.assert_allclose(
        jax.grad(loss)(logits), [[1 / 3, 1 / 3, 1 / 3 - 1], [0, 0, 0]], atol=1e-6
    )
