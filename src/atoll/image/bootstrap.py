"""Runs mmdebstrap: Debian's packages into a tree, the additions over it, and the tree into one file.

Root and ordinary users go the same way: everything that must see the tree runs in a hook
inside mmdebstrap's namespace, and only finished files come out.
"""

from __future__ import annotations

import collections
import os
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from atoll.image import host_tools, recipe
from atoll.image.additions import OUTPUT
from atoll.image.scratch import Workplace
from atoll.model.errors import ImageError

Progress = Callable[[str, float | None], None]

RESULTS = ("rootfs.erofs", "kernel.deb", "busybox.deb", "packages")
ADDITIONS = "additions.tar"
SOURCES = "archive.sources"
_LOG_TAIL_LINES = 25
_NOT_INSTALLED = ("doc", "info", "lintian", "linda", "groff", "man", "locale", "bug")
# What mmdebstrap says when it begins a part, what we call it, and how far the whole build is then.
STAGES = (
    ("running apt-get update", "reading Debian's package lists", 0.15),
    ("downloading packages", "downloading Debian's packages", 0.20),
    ("extracting archives", "unpacking Debian's essential packages", 0.32),
    ("installing essential", "installing Debian's essential packages", 0.36),
    ("installing remaining", "installing Python, git and the rest", 0.45),
    ("running special hook: tar-in", "adding Deno and Node", 0.66),
    ("running --customize-hook", "finishing and packing the root file system", 0.70),
    ("running special hook: download", "taking the results out", 0.85),
)


def bootstrap(place: Workplace, apt_settings: str, progress: Progress) -> None:
    """Leave RESULTS in `place.build`, which holds ADDITIONS and SOURCES; ImageError with the log's end if it fails."""
    settings = place.scratch / "apt.conf"
    settings.write_text(apt_settings)
    # It may hold a proxy's password. Subordinate uids have to read it; then it is what this user could read.
    settings.chmod(0o600 if os.geteuid() == 0 else 0o644)
    environment = {
        **os.environ,
        "PATH": host_tools.search_path(),
        "TMPDIR": str(place.scratch),
        "SOURCE_DATE_EPOCH": str(recipe.EPOCH_S),
    }
    tail = run(command(settings), place, environment, progress)
    if tail is not None:
        raise ImageError(f"mmdebstrap failed; the end of its log:\n{tail}")


def command(settings: Path) -> list[str]:
    """The command line; every other path is relative to the build's directory."""
    root = os.geteuid() == 0
    # setpriv: if this process is killed, mmdebstrap gets the signal at which it cleans up.
    arguments = ["setpriv", "--pdeathsig", "TERM", "--", "mmdebstrap", "--variant=minbase"]
    arguments.append("--mode=root" if root else "--mode=unshare")
    arguments += ["--format=null", f"--include={','.join(recipe.packages())}", f"--aptopt={settings}"]
    # The first two replace files for the time of the build, and the tree is packed before they are put back;
    # the last cleans a tree that is thrown away.
    arguments.append("--skip=chroot/policy-rc.d,chroot/start-stop-daemon,cleanup")
    arguments += [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _NOT_INSTALLED]
    arguments += [f"--dpkgopt=path-include=/usr/share/{name}" for name in ("doc/*/copyright", "locale/locale.alias")]
    arguments.append(f"--customize-hook=tar-in {ADDITIONS} /")
    arguments.append("--customize-hook=" + recipe.text("customize.sh"))
    arguments += [f"--customize-hook=download /{OUTPUT}/{name} {name}" for name in RESULTS]
    arguments += [recipe.SUITE, "/dev/null", SOURCES]
    # In root mode it would mount /proc, /sys and /dev into the tree where all of the host sees them,
    # and they would outlive it.
    return ["unshare", "--mount", "--", *arguments] if root else arguments


def run(arguments: list[str], place: Workplace, environment: dict[str, str], progress: Progress) -> str | None:
    """None, or the end of the log of a run that failed."""
    tail: collections.deque[str] = collections.deque(maxlen=_LOG_TAIL_LINES)
    with subprocess.Popen(
        arguments,
        cwd=place.build,
        pass_fds=(place.lock,),
        env=environment,
        umask=0o022,  # decides modes inside the image
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            _follow(process.stdout, tail, progress)
        except BaseException:
            process.terminate()
            raise
    return None if process.returncode == 0 else "".join(tail)


def _follow(log: Iterable[str], tail: collections.deque[str], progress: Progress) -> None:
    reported = ""
    script = frozenset(recipe.text("customize.sh").splitlines(keepends=True))
    for line in log:
        if line not in script:  # mmdebstrap logs the whole of a hook before it runs it
            tail.append(line)
        stage, fraction = stage_of(line) or (reported, None)
        if stage != reported:
            progress(stage, fraction)
            reported = stage


def stage_of(line: str) -> tuple[str, float] | None:
    """The stage that a line of mmdebstrap's log begins, and how far the build is then."""
    for marker, stage, fraction in STAGES:
        if line.startswith(f"I: {marker}"):
            return stage, fraction
    return None
