"""Writes `src/atoll/embedded/_sync.py`: for each asynchronous class one that runs it on the portal's thread.

    python tools/generate_sync.py [--check]

Signatures and docstrings are taken from the classes themselves. Every call becomes one trip to the portal's loop,
so all logic stays in the asynchronous classes, and no object of theirs is touched from another thread.
"""

from __future__ import annotations

import difflib
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from atoll.embedded.deno import AsyncDeno, AsyncDenoProcess, AsyncDenoRepl
from atoll.embedded.environment import AsyncEnvironment
from atoll.embedded.files import AsyncFile, AsyncFiles
from atoll.embedded.process import AsyncProcess
from atoll.embedded.response import AsyncResponse
from atoll.embedded.sandbox import AsyncSandbox
from atoll.embedded.streams import AsyncReader, AsyncWriter

TARGET = Path(__file__).parent.parent / "src/atoll/embedded/_sync.py"
CLASSES: tuple[type, ...] = (
    AsyncReader,
    AsyncWriter,
    AsyncProcess,
    AsyncResponse,
    AsyncFile,
    AsyncFiles,
    AsyncEnvironment,
    AsyncDenoProcess,
    AsyncDenoRepl,
    AsyncDeno,
    AsyncSandbox,
)
NAMES = {cls.__name__: cls.__name__.removeprefix("Async") for cls in CLASSES}

HEADER = '''"""The synchronous classes. Made by tools/generate_sync.py from the asynchronous ones; do not edit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self

from atoll.embedded.deno import AsyncDeno, AsyncDenoProcess, AsyncDenoRepl, Extension
from atoll.embedded.environment import AsyncEnvironment
from atoll.embedded.file_facts import DirEntry, FileInfo, WalkEntry
from atoll.embedded.files import AsyncFile, AsyncFiles, Regex, Time
from atoll.embedded.portal import Portal, open_portal
from atoll.embedded.process import AsyncProcess, ChildProcessStatus, InputMode, OutputMode
from atoll.embedded.response import AsyncResponse, HeaderPairs
from atoll.embedded.sandbox import AsyncSandbox
from atoll.embedded.shared_engine import MachineFactory
from atoll.embedded.streams import AsyncReader, AsyncWriter, Content
'''


def generate() -> str:
    """The whole file, formatted."""
    return formatted(HEADER + "".join(f"\n\n{source_of(cls)}" for cls in CLASSES))


def formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", str(TARGET), "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def source_of(cls: type) -> str:
    parent = cls.__bases__[0]
    base = f"({NAMES[parent.__name__]})" if parent.__name__ in NAMES else ""
    parts = [
        f"class {NAMES[cls.__name__]}{base}:\n    {docstring(cls)}\n",
        f"    _inner: {cls.__name__}\n",
        INIT.format(cls.__name__),
        *(member(cls, name, value) for name, value in vars(cls).items() if is_offered(name)),
    ]
    return "\n".join(parts)


INIT = """    def __init__(self, portal: Portal, inner: {}) -> None:
        self._portal = portal
        self._inner = inner
"""


def is_offered(name: str) -> bool:
    return not name.startswith("_") or name in ("__aenter__", "__aexit__", "__aiter__")


def member(cls: type, name: str, value: Any) -> str:
    if isinstance(value, property):
        assert value.fget is not None
        result = inspect.signature(value.fget).return_annotation
        body = wrapped(result, f"self._inner.{name}")
        return method("    @property\n", name, "self", result, value.fget, f"return {body}")
    if isinstance(value, classmethod):
        return creation(cls, name, inspect.unwrap(value.__func__))
    if name == "__aiter__":
        return "    def __iter__(self) -> Iterator[bytes]:\n        return self._portal.iterate(aiter(self._inner))\n"
    if name == "__aenter__":
        return "    def __enter__(self) -> Self:\n        return self\n"
    if name == "__aexit__":
        return LEAVING
    return function(name, value)


# The asynchronous form does nothing at the entrance, and at the exit what it does whatever the block raised.
LEAVING = """    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._portal.run(self._inner.__aexit__(kind, error, traceback))
"""


def function(name: str, value: Callable[..., Any]) -> str:
    signature = inspect.signature(value)
    call = f"self._inner.{name}({arguments(signature)})"
    result = signature.return_annotation
    if inspect.isasyncgenfunction(value):
        body = f"return self._portal.iterate({call})"
    elif not inspect.iscoroutinefunction(value):
        # Only looks at the object.
        body = f"return {call}"
    elif result == "None":
        body = f"self._portal.run({call})"
    else:
        body = f"return {wrapped(result, f'self._portal.run({call})')}"
    return method("", name, parameters(signature), result, value, body)


def creation(cls: type, name: str, value: Callable[..., Any]) -> str:
    signature = inspect.signature(value)
    body = (
        "with open_portal() as portal, portal.entered(\n"
        f"            {cls.__name__}.{name}({arguments(signature)})\n"
        "        ) as inner:\n            yield cls(portal, inner)"
    )
    decorators = "    @classmethod\n    @contextmanager\n"
    return method(decorators, name, parameters(signature), signature.return_annotation, value, body)


def method(decorators: str, name: str, given: str, result: str, original: Callable[..., Any], body: str) -> str:
    text = f"        {docstring(original)}\n" if original.__doc__ else ""
    quiet = "  # noqa: A002" if re.search(r"\bdir:", given) else ""
    return f"{decorators}    def {name}({given}) -> {translated(result)}:{quiet}\n{text}        {body}\n"


def docstring(owner: Any) -> str:
    text = (
        translated(owner.__doc__ or "").replace("asynchronous context", "context").replace("async context", "context")
    )
    return f'"""{text}"""'


def wrapped(result: str, expression: str) -> str:
    """The expression's value as an object of the synchronous class, if it is of an asynchronous one."""
    return f"{NAMES[result]}(self._portal, {expression})" if result in NAMES else expression


def parameters(signature: inspect.Signature) -> str:
    written: list[str] = []
    for item in signature.parameters.values():
        if item.kind is item.KEYWORD_ONLY and not any(text.startswith("*") for text in written):
            written.append("*")
        written.append(parameter(item))
    return ", ".join(written)


def parameter(item: inspect.Parameter) -> str:
    kind = "" if item.annotation is item.empty else f": {translated(item.annotation)}"
    default = "" if item.default is item.empty else f" = {item.default!r}"
    return f"{star(item)}{item.name}{kind}{default}"


def arguments(signature: inspect.Signature) -> str:
    return ", ".join(argument(item) for item in signature.parameters.values() if item.name not in OWN)


def argument(item: inspect.Parameter) -> str:
    if item.kind is item.KEYWORD_ONLY:
        return f"{item.name}={item.name}"
    return f"{star(item)}{item.name}"


def star(item: inspect.Parameter) -> str:
    return "*" if item.kind is item.VAR_POSITIONAL else "**" if item.kind is item.VAR_KEYWORD else ""


OWN = ("self", "cls")


def translated(text: str) -> str:
    """Names of asynchronous things as those of synchronous ones."""
    for name, new in NAMES.items():
        text = re.sub(rf"\b{name}\b", new, text)
    return re.sub(r"\bAsync(Iterator|Iterable)\b", r"\1", text)


def main() -> int:
    made = generate()
    if "--check" not in sys.argv:
        TARGET.write_text(made, "utf-8")
        return 0
    present = TARGET.read_text("utf-8") if TARGET.exists() else ""
    sys.stdout.writelines(difflib.unified_diff(present.splitlines(True), made.splitlines(True), "present", "generated"))
    return int(present != made)


if __name__ == "__main__":
    raise SystemExit(main())
