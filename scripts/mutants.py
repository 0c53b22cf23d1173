"""A small mutation run: what the tests of a room do not notice.

Each mutant changes one place of one file: a comparison, an operator, a constant, a condition, or a
call that is replaced by its first argument. The tests of the room run on a copy of the repository
in a temporary folder, never on the tree itself, the file's own tests (``test_<file>*.py``) first,
and stop at the first failure. A mutant that no test fails on is reported; so is one more test to
write, unless it is equivalent, that is, unless no input can tell it from the original. Equivalent
ones are listed below with their reason and are not reported again.

    python scripts/mutants.py --path redo ops replay training --limit 40 --seed 0
"""

import argparse
import ast
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
LEFT_OUT = (".git", ".venv", ".*_cache", "__pycache__", ".hypothesis", "results")
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
}  # fmt: skip

# (file below dormant/, change as it is reported) -> why no test can tell
EQUIVALENT: dict[tuple[str, str], str] = {
    ("redo/masks.py", "jnp.result_type(array)  ->  array"): "issubdtype takes arrays as well",
    (
        "replay/storage.py",
        "planes[0].dtype == jnp.uint8  ->  planes[0].dtype != jnp.uint8",
    ): "both branches give the same bytes, and only bytes are stacked",
}


def places(tree: ast.Module) -> list[int]:
    """Numbers, in the order of ``ast.walk``, of the nodes of a module that can be changed."""
    untouched = _untouched(tree)
    return [
        number
        for number, node in enumerate(ast.walk(tree))
        if id(node) not in untouched and _change(node)
    ]


def mutant(source: str, number: int) -> tuple[int, str, str]:
    """(line, change, mutated source) of one place."""
    tree = ast.parse(source)
    target = next(node for k, node in enumerate(ast.walk(tree)) if k == number)
    before, change = ast.unparse(target), _change(target)
    assert change is not None  # one of ``places``
    after = change(target)
    for parent in ast.walk(tree):
        _replace(parent, target, after)
    described = f"{_line(before)}  ->  {_line(ast.unparse(after))}"
    return getattr(target, "lineno", 0), described, ast.unparse(ast.fix_missing_locations(tree))


def _line(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 70 else text[:67] + "..."


def _untouched(tree: ast.Module) -> set[int]:
    """Nodes in annotations, decorators, imports and errors: not worth a mutant."""
    roots: list[ast.AST] = []
    for node in ast.walk(tree):
        for name in ("annotation", "returns", "decorator_list"):
            found = getattr(node, name, None)
            roots += found if isinstance(found, list) else [found] if found else []
        if isinstance(node, (ast.Raise, ast.Assert, ast.JoinedStr)):
            roots.append(node)
    return {id(inner) for root in roots for inner in ast.walk(root)}


def _change(node: ast.AST) -> Callable[[Any], ast.AST] | None:
    """A function node -> its replacement; None where there is none."""
    simple = {
        ast.BoolOp: _joined,
        ast.If: _negated,
        ast.IfExp: _negated,
        ast.While: _negated,
    }
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        return _compared
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        return _operated
    if isinstance(node, ast.UnaryOp):
        return lambda n: n.operand
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        return _counted
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Attribute) and node.func.attr in ("astype", "copy"):
            return lambda n: n.func.value
        alone = len(node.args) == 1 and not node.keywords
        return (lambda n: n.args[0]) if alone else None
    return simple.get(type(node))


def _compared(node: ast.Compare) -> ast.AST:
    node.ops[0] = COMPARISONS[type(node.ops[0])]()
    return node


def _operated(node: ast.BinOp) -> ast.AST:
    node.op = OPERATORS[type(node.op)]()
    return node


def _joined(node: ast.BoolOp) -> ast.AST:
    node.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
    return node


def _negated(node: ast.If) -> ast.AST:
    node.test = ast.UnaryOp(ast.Not(), node.test)
    return node


def _counted(node: ast.Constant) -> ast.AST:
    value: Any = node.value
    node.value = not value if isinstance(value, bool) else value + 1
    return node


def _replace(parent: ast.AST, old: ast.AST, new: ast.AST) -> None:
    for name, value in ast.iter_fields(parent):
        if value is old:
            setattr(parent, name, new)
        elif isinstance(value, list):
            value[:] = [new if item is old else item for item in value]


def tests_of(path: pathlib.Path) -> list[str]:
    """The tests of a file's room, its own first."""
    room = path.relative_to(ROOT / "dormant").parts[0]
    every = sorted((ROOT / "tests" / room).glob("test_*.py"))
    own = [test for test in every if test.stem.startswith(f"test_{path.stem}")]
    return [str(t.relative_to(ROOT)) for t in [*own, *(t for t in every if t not in own)]]


def passes(folder: pathlib.Path, tests: list[str], seconds: float) -> bool:
    """Whether the tests pass on the copy; what takes too long does not."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests]
    try:
        return not subprocess.run(
            command, cwd=folder, capture_output=True, timeout=seconds
        ).returncode
    except subprocess.TimeoutExpired:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--path", nargs="+", default=["redo", "ops", "replay", "training"],
                        help="rooms or files below dormant/")  # fmt: skip
    parser.add_argument("--limit", type=int, default=40, help="mutants to try")
    parser.add_argument("--seed", type=int, default=0, help="which of them are drawn")
    parser.add_argument("--seconds", type=float, default=600, help="limit of one run of tests")
    parser.add_argument("--tests", nargs="+", help="these tests instead of the whole room's")
    options = parser.parse_args()
    roots = [ROOT / "dormant" / path for path in options.path]
    files = [f for root in roots for f in (sorted(root.rglob("*.py")) if root.is_dir() else [root])]
    drawn = [(file, k) for file in files for k in places(ast.parse(file.read_text()))]
    random.Random(options.seed).shuffle(drawn)
    survivors = 0
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary) / "copy"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
        tests_for = lambda path: options.tests or tests_of(path)
        rooms = {tuple(sorted(tests_for(path))) for path, _ in drawn[: options.limit]}
        for tests in rooms:
            if not passes(folder, list(tests), 10 * options.seconds):
                print(f"the tests fail before anything is changed: {tests[0]} ...")
                return 1
        for path, number in drawn[: options.limit]:
            name = path.relative_to(ROOT / "dormant").as_posix()
            line, change, source = mutant(path.read_text(), number)
            if (name, change) in EQUIVALENT:
                continue
            target = folder / "dormant" / name
            target.write_text(source)
            lives = passes(folder, tests_for(path), options.seconds)
            target.write_text(path.read_text())
            survivors += lives
            print(f"{'LIVES' if lives else 'dies '}  {name}:{line}  {change}", flush=True)
    print(f"{survivors} of {min(options.limit, len(drawn))} mutants live ({len(drawn)} possible)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
