"""Figure 3: a classifier whose targets stay, or are changed again and again, on the same images.

What the paper says (paper.md 3.7): three convolutions and dense layers, SGD, cross-entropy, 10,000
images, 100 epochs, targets changed every 20, 3 seeds. What it leaves open is decided here:

- Network: convolutions of 32, 64 and 64 channels (3x3, stride 2, as many as the paper's Q
  network has), dense 512, ReLU, xavier_uniform kernels as in all of its networks.
- SGD with momentum 0.9 and batches of 64. The learning rate could change the answer: two are run.
- Changing the targets could mean two things, and both are run. "non-stationary targets": the labels
  are permuted among the images, so that from the first change on they can only be memorised.
  "renamed classes": the ten classes are permuted, so that what was learned of the images stays of
  use and only the output must change.
- Scores are of 1,024 of the training images; all thresholds are recorded.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from dormant.nets.conv import Conv
from dormant.nets.nature import scaled
from dormant.redo import capture
from dormant.studies.images import CLASSES, Images
from dormant.studies.record import Metrics, Study, dormant_fractions, key_of
from dormant.types import DormantError, Key, OptState, Params, check_name

FIXED, SHUFFLED, RENAMED = "fixed targets", "non-stationary targets", "renamed classes"
ARMS = (FIXED, SHUFFLED, RENAMED)
SCORED = 1024  # images behind a score
INIT, ORDER, TARGETS, MEASURE = range(4)  # what a seed draws random numbers for


class Classifier(nn.Module):
    """Convolutions 32, 64, 64 (3x3, stride 2, 'SAME'), dense 512, ReLU; logits of CLASSES."""

    width: float = 1.0

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:  # (B, H, W, C) -> (B, CLASSES)
        xavier, x = nn.initializers.xavier_uniform(), images
        for index, size in enumerate((32, 64, 64)):
            # A matrix product: XLA's own convolution is slow inside a loop on the CPU.
            x = nn.relu(Conv(scaled(size, self.width), 3, 2, "patches", name=f"Conv_{index}")(x))
        x = x.reshape(x.shape[0], -1)
        x = nn.relu(nn.Dense(scaled(512, self.width), kernel_init=xavier, name="Dense_0")(x))
        return nn.Dense(CLASSES, kernel_init=xavier, name="final_layer")(x)


class State(NamedTuple):
    """What training changes."""

    params: Params
    opt_state: OptState


def supervised(data: Images, arm: str, settings: Mapping[str, Any], name: str) -> Study:
    """The study of one arm.

    Args:
      settings: epochs, period (epochs between two changes of the targets), seeds, batch_size,
        learning_rate, momentum, width.

    Raises:
      DormantError: an unknown arm, or more images in a batch than there are.
    """
    check_name("arm", arm, ARMS)
    batch_size, count = settings["batch_size"], len(data.labels)
    if batch_size > count:
        raise DormantError(f"batch_size is {batch_size}, and there are {count} images")
    network = Classifier(settings["width"])
    optimiser = optax.sgd(settings["learning_rate"], settings["momentum"])
    steps = count // batch_size

    def init(key: Key, own: jax.Array) -> State:
        params = network.init(key_of(key, INIT, 0), data.images[:1])
        return State(params, optimiser.init(params))

    def targets(key: Key, labels: jax.Array, epoch: jax.Array) -> jax.Array:
        return targets_at(arm, key, labels, epoch // settings["period"])

    return Study(
        name=name,
        game=data.name,
        agent="classifier",
        arm=arm,
        seeds=tuple(range(settings["seeds"])),
        chunks=settings["epochs"],
        chunk_epochs=1,
        chunk_steps=steps,
        chunks_per_iteration=1,
        init=init,
        advance=_epoch(network, optimiser, targets, (steps, batch_size)),
        measure=_measure(network),
        settings={**settings, "images": count},
        shared=(data.images, data.labels),
    )


def targets_at(arm: str, key: Key, labels: jax.Array, changes: jax.Array) -> jax.Array:
    """The targets (N,) after so many changes of the true labels (N,)."""
    if arm == FIXED:
        return labels
    draw = key_of(key, TARGETS, changes)
    if arm == SHUFFLED:
        changed = jax.random.permutation(draw, labels)
    else:
        changed = jax.random.permutation(draw, CLASSES)[labels]
    return jnp.where(changes > 0, changed, labels)


def _epoch(
    network: Classifier,
    optimiser: optax.GradientTransformation,
    targets: Callable[[Key, jax.Array, jax.Array], jax.Array],
    shape: tuple[int, int],
) -> Callable[..., tuple[State, Metrics]]:
    """All images once, in random order; what is left over of whole batches is left out."""

    def loss_fn(params: Params, images: jax.Array, wanted: jax.Array) -> tuple:
        logits: Any = network.apply(params, images)
        losses = optax.softmax_cross_entropy_with_integer_labels(logits, wanted)
        right = jnp.mean(jnp.argmax(logits, axis=-1) == wanted, dtype=jnp.float32)
        return jnp.mean(losses), right

    def advance(
        state: State, key: Key, own: jax.Array, shared: tuple, epoch: jax.Array
    ) -> tuple[State, Metrics]:
        images, labels = shared
        wanted = targets(key, labels, epoch)
        order = jax.random.permutation(key_of(key, ORDER, epoch), labels.shape[0])

        def step(now: State, rows: jax.Array) -> tuple[State, tuple]:
            out, gradient = jax.value_and_grad(loss_fn, has_aux=True)(
                now.params, images[rows], wanted[rows]
            )
            updates, opt_state = optimiser.update(gradient, now.opt_state)
            return State(optax.apply_updates(now.params, updates), opt_state), out

        rows = order[: shape[0] * shape[1]].reshape(shape)
        state, (losses, right) = jax.lax.scan(step, state, rows)
        return state, {"learn/loss": jnp.mean(losses), "learn/accuracy": jnp.mean(right)}

    return advance


def _measure(network: Classifier) -> Callable[..., Metrics]:
    observe = capture(network)

    def measure(state: State, key: Key, own: jax.Array, shared: tuple, epoch: jax.Array) -> Metrics:
        images, _ = shared
        count = images.shape[0]
        draw = key_of(key, MEASURE, epoch + 1)
        rows = jax.random.choice(draw, count, (min(SCORED, count),), replace=False)
        return dormant_fractions(observe(state.params, images[rows]), "classifier")

    return measure
