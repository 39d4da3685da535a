"""How far a long command is, on stderr: a bar for a person, a line per stage for a log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

Progress = Callable[[str, float | None], None]


@contextlib.contextmanager
def show_progress() -> Iterator[Progress]:
    """A function to call with each stage's name and how much of all is done (0 to 1, None: not known).

    Nothing is shown, and nothing imported, before the first call.
    """
    if not sys.stderr.isatty():
        yield line_progress()
        return
    with contextlib.ExitStack() as stack:
        bar: Progress | None = None

        def report(stage: str, done: float | None) -> None:
            nonlocal bar
            bar = bar or stack.enter_context(_bar())
            bar(stage, done)

        yield report


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as RichProgress

    columns = (SpinnerColumn(), BarColumn(24), TimeElapsedColumn(), TextColumn("{task.description}", markup=False))
    with RichProgress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def report(stage: str, done: float | None) -> None:
            progress.update(task, description=stage, total=1.0)
            if done is not None:
                progress.update(task, completed=done)

        yield report


def line_progress() -> Progress:
    """A line for each stage, also where a bar would be in the way of a log."""
    began, last = time.monotonic(), ""

    def report(stage: str, done: float | None) -> None:
        nonlocal last
        if stage != last:
            print(f"[{time.monotonic() - began:6.1f} s] {stage}", file=sys.stderr, flush=True)
            last = stage

    return report
