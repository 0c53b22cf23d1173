"""The size budget (short functions, files one can read in a sitting), and no TensorFlow on the
training path.
"""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parent.parent
FILES = sorted((ROOT / "dormant").rglob("*.py")) + sorted((ROOT / "scripts").glob("*.py"))


def code_lines(node: ast.AST) -> int:
    """Lines of a function without its docstring, the functions inside it counted."""
    lines = node.end_lineno - node.lineno + 1
    if ast.get_docstring(node):
        lines -= node.body[0].end_lineno - node.body[0].lineno + 1
    return lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_short(path):
    text = path.read_text()
    assert text.count("\n") <= 400
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: code_lines(node) for node in functions if code_lines(node) > 60}
    assert not long


def test_most_functions_are_under_forty_lines():
    lengths = sorted(
        code_lines(node)
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[int(0.9 * len(lengths))] <= 40


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_tensorflow_outside_the_dopamine_extra(path):
    if "dormant/dopamine" in str(path):
        return
    names = [
        name
        for node in ast.walk(ast.parse(path.read_text()))
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    assert not {name.split(".")[0] for name in names} & {
        "tensorflow",
        "dopamine",
        "tensorflow_probability",
    }
