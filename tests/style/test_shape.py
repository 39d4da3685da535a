"""Small by measure, and named for what it is: what CONTRIBUTING.md asks for, held by tests."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "src" / "atoll").rglob("*.py"))
FILES = [*SOURCES, *sorted((ROOT / "tests").rglob("*.py")), *sorted((ROOT / "bench").rglob("*.py"))]

MAX_FUNCTION_LINES = 60
MAX_FILE_LINES = 400
MAX_FUNCTION_MEDIAN = 10
MAX_FUNCTION_P90 = 35
# They say nothing, and so everything ends up in them.
ROTTEN = re.compile(r"(utils?|helpers?|common|misc|managers?|handlers?|services?|processors?|data|info|impl|base)\Z")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def is_generated(path: Path) -> bool:
    """Whether a program wrote it: what people read and change is its source."""
    return "do not edit" in path.read_text().partition("\n")[0].lower()


def functions(path: Path) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(path.read_text(), path)) if isinstance(node, Function))


def length(function: Function) -> int:
    assert function.end_lineno is not None
    return function.end_lineno - function.lineno + 1


def test_no_file_is_swollen() -> None:
    written = [path for path in FILES if not is_generated(path)]
    lengths = {relative(path): len(path.read_text().splitlines()) for path in written}
    assert len(lengths) > 50
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}, "split it by use case"


def test_no_function_is_long() -> None:
    lengths = {
        f"{relative(path)}:{each.lineno} {each.name}": length(each) for path in FILES for each in functions(path)
    }
    assert not {name: lines for name, lines in lengths.items() if lines > MAX_FUNCTION_LINES}


def test_functions_are_small_on_the_whole() -> None:
    lengths = [length(each) for path in SOURCES for each in functions(path)]
    assert len(lengths) > 100
    assert statistics.median(lengths) <= MAX_FUNCTION_MEDIAN
    assert statistics.quantiles(lengths, n=10)[-1] <= MAX_FUNCTION_P90


def test_a_name_says_what_is_inside() -> None:
    names = {relative(path): [path.parent.name, *path.stem.strip("_").split("_")] for path in FILES}
    assert not {name: words for name, words in names.items() if any(ROTTEN.match(word) for word in words)}


def test_a_room_has_a_door_sign() -> None:
    rooms = [path for path in SOURCES if path.name == "__init__.py"]
    assert rooms
    assert not [relative(path) for path in rooms if not ast.get_docstring(ast.parse(path.read_text()))]
