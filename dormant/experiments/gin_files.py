"""Where gin files are found, and their text with what they include."""

import os
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from dormant.experiments import CONFIGS
from dormant.types import DormantError, nearest

INCLUDE = r"^include\s+[\"'](.+?)[\"'].*$"  # of a gin file, with the file that it includes


class Text(NamedTuple):
    """A piece of a gin file without includes. Its lines have the numbers they have in the file."""

    path: str  # "" for bindings
    lines: str


def texts(files: Sequence[str], bindings: Sequence[str]) -> Iterator[Text]:
    """All files and then the bindings, in the order they are read.

    Raises:
      DormantError: a file that is not there or cannot be read, or one that includes itself.
    """
    for path in files:
        found = locate(path)
        if found is None:
            folder = os.path.dirname(path)
            there = [os.path.join(folder, name) for name in gin_files(folder or ".")]
            raise DormantError(f"no gin file {path!r}; {nearest(path, [*there, *shipped()])}")
        yield from _parts(found, ())
    for binding in bindings:
        yield from _with_includes(binding, ())


def locate(path: str, including: str = "") -> str | None:
    """A gin file that the user names, or that the file ``including`` includes.

    An included file lies beside the one that includes it. Otherwise a path is one from the current
    folder, and a bare name that is not there is a file of the package.
    """
    places = [path, os.path.join(CONFIGS, path)]
    if including:
        places.insert(0, os.path.join(os.path.dirname(including), path))
    return next((place for place in places if os.path.isfile(place)), None)


def shadowing(files: Sequence[str]) -> list[str]:
    """One line for each bare name that is a file of the package and one of the current folder."""
    return [
        f"{name} is the file of the current folder; the package's is {os.path.join(CONFIGS, name)}"
        for name in dict.fromkeys(files)
        if name in shipped() and os.path.isfile(name)
    ]


def shipped() -> list[str]:
    """The names of the package's gin files."""
    return gin_files(CONFIGS)


def gin_files(folder: str) -> list[str]:
    """The names of the gin files in a folder, none where there is no such folder."""
    if not os.path.isdir(folder):
        return []
    return sorted(name for name in os.listdir(folder) if name.endswith(".gin"))


def shipped_macros() -> set[str]:
    """Macros that some shipped file reads."""
    found: set[str] = set()
    for name in shipped():
        with open(os.path.join(CONFIGS, name)) as file:
            found |= set(re.findall(r"%(\w+)", file.read()))
    return found


def _parts(path: str, including: tuple[str, ...]) -> Iterator[Text]:
    """The text of a file, cut where it includes others, and theirs in its place."""
    if os.path.realpath(path) in map(os.path.realpath, including):  # "./a.gin" is "a.gin"
        raise DormantError(f"{path} includes itself, by way of {including[-1]}")
    try:
        with open(path) as file:
            text = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise DormantError(f"cannot read the gin file {path}: {error}") from error
    yield from _with_includes(text, (*including, path))


def _with_includes(text: str, including: tuple[str, ...]) -> Iterator[Text]:
    """A text, cut in the same way; including: the files that have led to it, itself last."""
    path = including[-1] if including else ""
    before = 0  # line ends above this piece; an include is one line
    for index, piece in enumerate(re.split(INCLUDE, text, flags=re.MULTILINE)):
        if index % 2 == 0:
            yield Text(path, "\n" * before + piece)
            before += piece.count("\n")
            continue
        found = locate(piece, path)
        if found is None:
            who = path or "a binding"
            raise DormantError(f"{who} includes {piece!r}, and there is no such file")
        yield from _parts(found, including)
