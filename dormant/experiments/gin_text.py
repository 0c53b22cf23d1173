"""What gin has been told: files and bindings parsed, names checked, and what was set by them."""

import copy
import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import gin

from dormant import register
from dormant.experiments import dopamine_names
from dormant.experiments.gin_files import Text, shipped_macros, texts
from dormant.experiments.records import first_line, introduce, records
from dormant.types import DormantError, nearest

IMPORT = r"^import\s+([\w.]+)[^\S\n]*(?:#.*)?$"  # of a gin file, with the module
WRITERS = r"^Protocol\.writers = (.*\\\n)*.*\n?"  # the setting in a resolved configuration


def parse(files: Sequence[str], bindings: Sequence[str]) -> list[str]:
    """Reads gin files, then bindings; later ones win. Whatever gin knew before is forgotten.

    Returns the modules that they import: all of them before anything else is read.

    Raises:
      DormantError: a file or module that is not there, an unknown name, a setting that nothing
        reads, or a syntax error.
    """
    gin.clear_config()
    read = list(texts(files, bindings))
    modules = dict.fromkeys(
        name for text in read for name in re.findall(IMPORT, text.lines, re.MULTILINE)
    )
    for name in modules:
        theirs = dopamine_names.hint(f"import {name}", field_names)
        if theirs:
            raise DormantError(theirs)
        register.import_module(name)
    introduce()
    for text in read:
        _parse_text(text)
    _check_names(names_of(bindings))
    return list(modules)


def _parse_text(text: Text) -> None:
    try:
        gin.parse_config(re.sub(IMPORT, "", text.lines, flags=re.MULTILINE))
    except Exception as error:  # of gin's parser, or of Python's on a value
        line = _helpful(error)
        if text.path:
            line += f" (in {text.path})"
        elif line.startswith("gin: "):
            line += f" (the binding {text.lines.strip()})"
        raise DormantError(line) from error


def _helpful(error: Exception) -> str:
    """gin's message in one line, with the nearest valid name."""
    line = first_line(error)
    unknown = re.search(r"No configurable matching(?: reference)? '?@?([\w./]+)", line)
    theirs = dopamine_names.hint(str(error), field_names)
    if theirs:
        return theirs
    if unknown and unknown[1] in register.names():
        return f"{unknown[1]!r} is registered: name it as a text, in quotation marks and without @"
    if unknown:
        return f"unknown gin name {unknown[1]!r}; {nearest(unknown[1].split('.')[-1], records())}"
    parameter = re.search(r"Configurable '?([\w.]+)'? doesn't have a parameter named '(\w+)'", line)
    if parameter and parameter[1].split(".")[-1] in records():
        record = parameter[1].split(".")[-1]
        near = nearest(parameter[2], field_names(record))
        return f"{record} has no setting {parameter[2]!r}; {near}"
    if re.search("malformed node|Unable to parse value", line):
        return "gin: a value cannot be read; a text needs quotation marks"
    return f"gin: {line}"


# What was set
# ------------------------------------------------------------------------------------------------


def bound(name: str, default: Any = None) -> Any:
    """What files and bindings parsed last say of a setting, the values of macros in their places;
    ``default`` where they say nothing.
    """
    try:
        return copy.deepcopy(gin.query_parameter(name))  # gin's own way to a macro's value
    except ValueError:
        return default


def reads(name: str, macro: str) -> bool:
    """Whether a setting has been given by this macro."""
    return re.search(rf"^{name} = .*%{macro}\b", _text_without_strings(), re.MULTILINE) is not None


def _text_without_strings() -> str:
    """What gin has parsed, one setting a line; the contents of strings left out."""
    return re.sub(r"'(\\.|[^'\\\n])*'|\"(\\.|[^\"\\\n])*\"", "''", gin.config_str())


def set_names() -> list[str]:
    """ "Record.setting" of everything parsed last."""
    return re.findall(r"^(\w+\.\w+) = ", _text_without_strings(), re.MULTILINE)


def _macros() -> tuple[list[str], set[str]]:
    """The macros that are defined, and those that some setting reads."""
    text = _text_without_strings()
    return re.findall(r"^(\w+) = ", text, re.MULTILINE), set(re.findall(r"%(\w+)", text))


def names_of(bindings: Sequence[str]) -> list[str]:
    """Left sides of bindings: macros as they are, settings as "Record.setting"."""
    left = re.findall(r"^\s*([\w./]+)\s*=", "\n".join(bindings), re.MULTILINE)
    return [".".join(name.split(".")[-2:]) for name in left]


def _check_names(chosen: Sequence[str]) -> None:
    """Raises a DormantError for a macro that nothing defines or reads, or a scope.

    A macro of the shipped files may wait for another file, once an agent's file is there.
    """
    defined, used = _macros()
    unknown = sorted(used - set(defined))
    if unknown:
        valid = {*defined, *shipped_macros()}
        raise DormantError(f"unknown macro %{unknown[0]}; {nearest(unknown[0], valid)}")
    waiting = shipped_macros() if bound("Run.agent") is not None else set()
    for name in defined:
        if name not in used and (name in chosen or name not in waiting):
            raise DormantError(f"nothing reads {name!r}; {_meant_by(name, used)}")
    scoped = re.search(r"^(\w+/[\w./]+) = ", _text_without_strings(), re.MULTILINE)
    if scoped:
        raise DormantError(f"nothing reads the gin scope of {scoped[1]!r}; write it without")


def _meant_by(name: str, macros: Iterable[str]) -> str:
    """The end of a message: the settings that a bare name may have been meant for."""
    own = [full for full in _own_settings() if full.split(".")[1] == name]
    if own:
        return f"did you mean {' or '.join(own)}?"
    return nearest(name, [*macros, *(full.split(".")[1] for full in _own_settings())])


def _own_settings() -> list[str]:
    """ "Record.setting" of all records but those of other agents."""
    agent = register.AGENTS.get(str(bound("Run.agent", "dqn")))
    others = _agents() - {agent.record if agent else ""}
    return [
        f"{name}.{field}" for name in records() if name not in others for field in field_names(name)
    ]


def _agents() -> set[str]:
    """The records of all agents."""
    return {entry.record for entry in register.AGENTS.values()}


def field_names(record: str) -> list[str]:
    """The settings of a record."""
    return [field.name for field in fields(records()[record])]


def check_agent(own: str, set_names: Iterable[str]) -> None:
    """Raises a DormantError for a setting of an agent that is not run: two agents' files, say."""
    others = _agents() - {own}
    for name in set_names:
        record, _, setting = name.partition(".")
        if record in others:
            meant = f"; did you mean {own}.{setting}?" if setting in field_names(own) else ""
            raise DormantError(f"{name} is set, but the agent that is run is {own}{meant}")


def setting_name(name: str) -> str:
    """The full name of something that a grid may vary: a macro that is read, or a setting.

    The record may be left out where only one could be meant: "width" is DQN.width if the agent is
    a DQN.

    Raises:
      DormantError: no such name, or several.
    """
    defined, used = _macros()
    macros, own = [each for each in defined if each in used], _own_settings()
    if name in macros or name in own:
        return name
    meant = [each for each in own if each.split(".")[1] == name]
    if len(meant) > 1:
        raise DormantError(f"{name!r} could be {' or '.join(meant)}; write which")
    if not meant:
        short = [each.split(".")[1] for each in own]
        raise DormantError(f"unknown setting {name!r}; {nearest(name, [*macros, *own, *short])}")
    return meant[0]


def difference(old: str, new: str) -> str:
    """The lines in which two resolved configurations differ, joined; empty if they are the same.

    Where measurements are written besides the tables is no part of what is run.
    """
    old, new = (re.sub(WRITERS, "", text, flags=re.MULTILINE) for text in (old, new))
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    changed = [line for line in lines if line[:1] in "+-" and not line.startswith(("+++", "---"))]
    several = [name for name in _differing(old, new) if f"{name} = \\\n" in old + new]
    said = [line for line in changed if " = " in line and line[1:].split(" = ")[0] not in several]
    said += [f"another value of {' and '.join(several)}"] if several else []
    said = said or changed  # what they import
    return ", ".join([*said[:6], *(["..."] if len(said) > 6 else [])])


def _differing(old: str, new: str) -> list[str]:
    """The names of settings whose values, of one line or several, are not the same."""
    mine, theirs = (
        dict(re.findall(r"^([\w./]+) = ((?:.*\n?)(?:[ \t].*\n?)*)", text, re.MULTILINE))
        for text in (old, new)
    )
    return [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]
