"""Locking this process in, before it looks at a user's bytes.

Three belts: Landlock hides files, seccomp takes sockets, programs and processes away, an
audit hook refuses the same from Python. A kernel without the first two is named in the log.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from worker.intake import landlock, seccomp
from worker.protocol import PARENT_VARIABLE, IntakeLimits

log = logging.getLogger(__name__)

MAX_OPEN_FILES = 256
_PR_SET_PDEATHSIG = 1
_CHECKOUT = Path(__file__).resolve().parents[2]
_SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys", "/dev/urandom", "/dev/random")
_DENIED_EVENTS = (
    "socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system",
    "os.kill", "os.putenv", "pty.spawn", "ftplib.", "http.", "urllib.", "smtplib.",
)  # fmt: skip
_WRITING_EVENTS = frozenset({
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate",
    "os.chmod", "os.chown", "os.utime", "os.setxattr", "os.removexattr",
})  # fmt: skip
_WRITING_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def die_with_parent() -> None:
    """End when the supervisor does: nobody else would end this child, or read its answer.

    The kernel's signal comes when the thread that started us ends; the lane's lives as long as
    its process. A parent that is gone already will send none.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(os.environ[PARENT_VARIABLE]):
        sys.exit("the supervisor is gone")


def confine_files(work: Path, sources: Iterable[Path]) -> None:
    """Hide every file but Python's own, the sources and the work folder. Call it first.

    Threads that exist already would not be confined, so this comes before torch.

    Args:
        work: the only folder that can be written to.
        sources: the user's files and folders, read only.
    """
    own = (sys.prefix, sys.base_prefix, sys.exec_prefix, *_SYSTEM)
    code = (_CHECKOUT / "worker", _CHECKOUT / "stillhouse")
    readable = [*map(Path, own), *code, *sources]
    if not landlock.confine(readable=readable, writable=(work, Path("/dev/null"))):
        log.warning("this kernel has no Landlock: intake can read what its user can read")


def close_doors(work: Path, limits: IntakeLimits) -> None:
    """Take away sockets, programs, processes and unlimited resources. Call it after all imports.

    Args:
        work: the only folder that can be written to.
        limits: what may be used from here on.
    """
    _limit(limits)
    if not seccomp.close_doors():
        log.warning("this kernel has no seccomp filter: only Python's audit hook refuses sockets")
    _audit(work)


def _limit(limits: IntakeLimits) -> None:
    memory, decoded = limits["memory_bytes"], limits["decoded_bytes"]
    status = dict(
        line.split(":", 1) for line in Path("/proc/self/status").read_text("ascii").splitlines()
    )
    # Importing torch maps gigabytes (4 without CUDA), so a limit counts from here. Mapped
    # files are evictable: they count as addresses, not as data.
    taken = {name: int(status[name].split()[0]) * 1024 for name in ("VmData", "VmSize")}
    bounds = {
        resource.RLIMIT_DATA: taken["VmData"] + memory,
        resource.RLIMIT_AS: taken["VmSize"] + memory + 4 * decoded,
        resource.RLIMIT_CPU: limits["cpu_seconds"],
        resource.RLIMIT_FSIZE: decoded + (64 << 20),
        resource.RLIMIT_NOFILE: MAX_OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for which, bound in bounds.items():
        hard = resource.getrlimit(which)[1]
        bound = bound if hard == resource.RLIM_INFINITY else min(bound, hard)  # noqa: PLW2901  # the lower of the two
        resource.setrlimit(which, (bound, bound))


def _audit(work: Path) -> None:
    inside = str(work.resolve()) + os.sep

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_DENIED_EVENTS):
            raise PermissionError(f"intake may not use {event}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING_FLAGS:
            _must_lie_inside(arguments[:1], inside)
        if event in _WRITING_EVENTS:
            _must_lie_inside(arguments[:2], inside)

    sys.addaudithook(refuse)


def _must_lie_inside(paths: tuple[Any, ...], folder: str) -> None:
    for path in paths:
        if not isinstance(path, str | bytes | os.PathLike):
            continue  # A descriptor: it was opened under the same rule.
        whole = os.path.realpath(os.fsdecode(path))
        if whole != os.devnull and not (whole + os.sep).startswith(folder):
            raise PermissionError(f"intake may not write to {whole}")
