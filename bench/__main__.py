"""Runs every benchmark in `bench/`, keeps what they measured as JSON, and prints it as a table.

Such a file prints one JSON object on stdout: `{"name": …, "rows": [{"what", "value", "unit", "target"?, "met"?}]}`, and
whatever it has to say besides on stderr.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
# What benchmarks have in common, and this.
SHARED = frozenset({"__init__", "__main__", "sandboxes", "served"})


def main(names: list[str]) -> int:
    known = {file.stem: file for file in sorted((ROOT / "bench").glob("*.py")) if file.stem not in SHARED}
    unknown = [name for name in names if name not in known]
    if unknown:
        print(f"no benchmark is called {', '.join(unknown)}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    files = [known[name] for name in names or known]
    results = [run(file) for file in files]
    written = write(results)
    table(results)
    print(f"written to {written.relative_to(ROOT)}")
    failed = [result["name"] for result in results if result["status"]]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def run(file: Path) -> dict[str, Any]:
    print(f"== {file.stem}", file=sys.stderr, flush=True)
    done = subprocess.run(
        [sys.executable, "-m", f"bench.{file.stem}"], stdout=subprocess.PIPE, text=True, check=False, cwd=ROOT
    )
    try:
        measured = json.loads(done.stdout)
    except ValueError:
        return {"name": file.stem, "rows": [], "status": done.returncode or 1}
    return {**measured, "status": done.returncode}


def write(results: list[dict[str, Any]]) -> Path:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False, cwd=ROOT)
    now = datetime.now(UTC)
    facts = {"at": now.isoformat(timespec="seconds"), "commit": commit.stdout.strip(), "kernel": platform.release()}
    file = ROOT / "bench" / "results" / f"{now:%Y%m%d-%H%M%S}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps({**facts, "results": results}, indent=2) + "\n")
    return file


def table(results: list[dict[str, Any]]) -> None:
    shown = Table("bench", "what", "value", "target", "met", box=None, pad_edge=False)
    for result in results:
        for row in result["rows"]:
            value = f"{row['value']:.4g} {row['unit']}"
            shown.add_row(result["name"], row["what"], value, str(row.get("target", "")), met(row.get("met")))
    Console(width=None if sys.stdout.isatty() else 160).print(shown)


def met(verdict: bool | None) -> str:
    return "" if verdict is None else ("yes" if verdict else "NO")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
