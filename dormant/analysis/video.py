"""A video of an episode: the environment's image, and beside it the dormant fraction per layer."""

import os
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

HEIGHT, PANEL = 336, 320  # pixels; multiples of 16, as encoders like them
MARGIN, BAR = 16, 14
INK, SOFT, PAPER, DORMANT, ALIVE = "#1b1b1b", "#5b5b5b", "#ffffff", "#D55E00", "#e4e4e4"


class Video:
    """Frames written one after the other; the file is whole once the context ends well.

    Args:
      path: ends in .gif or .mp4.
      frames_per_second: of the video.
      title: lines above the bars.
      tau: the threshold of the fractions.
    """

    def __init__(self, path: str, frames_per_second: float, title: Sequence[str], tau: float):
        self._path, self._title, self._tau = path, title, tau
        stem, ending = os.path.splitext(path)
        self._part = f"{stem}.part{ending}"
        options: dict[str, Any] = {"fps": frames_per_second, "macro_block_size": 16}
        if ending == ".gif":
            options = {"duration": 1000 / frames_per_second, "loop": 0}
        self._writer = imageio.get_writer(self._part, **options)

    def add(
        self, image: np.ndarray, fractions: Mapping[str, float], step: int, total: float
    ) -> None:
        """One frame.

        Args:
          image: (height, width, 3) uint8.
          fractions: dormant neurons of each layer, 0 to 1.
          step: agent steps of the episode. total: its return so far.
        """
        panel = _panel(self._title, self._tau, fractions, step, total)
        self._writer.append_data(np.concatenate([_fitted(image), panel], axis=1))

    def __enter__(self) -> "Video":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._writer.close()
        if error is None:
            os.replace(self._part, self._path)
        elif os.path.exists(self._part):
            os.remove(self._part)


def _fitted(image: np.ndarray) -> np.ndarray:
    """The image at the video's height."""
    width = round(image.shape[1] * HEIGHT / image.shape[0] / 16) * 16
    return np.asarray(Image.fromarray(image).resize((width, HEIGHT), Image.Resampling.NEAREST))


def _panel(
    title: Sequence[str], tau: float, fractions: Mapping[str, float], step: int, total: float
) -> np.ndarray:
    """(HEIGHT, PANEL, 3): the title, the clock, and a bar for each layer."""
    image = Image.new("RGB", (PANEL, HEIGHT), PAPER)
    draw, large, small = ImageDraw.Draw(image), ImageFont.load_default(15), _small()
    at = 10
    for index, line in enumerate(title):
        draw.text((MARGIN, at), line, INK if not index else SOFT, font=small if index else large)
        at += 22 if not index else 17
    draw.text((MARGIN, at + 4), f"step {step:,}   return {total:g}", INK, font=large)
    at += 32
    draw.text((MARGIN, at), f"dormant neurons (score <= {tau:g})", SOFT, font=small)
    at += 22
    room = min(34, (HEIGHT - at - 6) // max(len(fractions), 1))
    width = PANEL - 2 * MARGIN - 46
    one_network = len({layer.split("/")[0] for layer in fractions}) == 1
    for layer, value in fractions.items():
        if room >= 26:
            name = layer.split("/", 1)[-1] if one_network else layer
            draw.text((MARGIN, at), name, SOFT, font=small)
        top = at + (15 if room >= 26 else 0)
        height = min(BAR, room - 3 - (15 if room >= 26 else 0))
        draw.rectangle((MARGIN, top, MARGIN + width, top + height), fill=ALIVE)
        if value > 0:
            draw.rectangle((MARGIN, top, MARGIN + value * width, top + height), fill=DORMANT)
        percent = f"{100 * value:.0f}%"
        draw.text((MARGIN + width + 8, top - 1), percent, INK, font=small)
        at += room
    return np.asarray(image)


def _small() -> Any:
    return ImageFont.load_default(12)
