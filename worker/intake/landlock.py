"""Landlock: the kernel lets this process see some folders and write to one (Linux 5.13+)."""

from __future__ import annotations

import ctypes
import os
import stat
from collections.abc import Iterable
from pathlib import Path

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same on x86_64 and aarch64
_VERSION_FLAG = 1
_RULE_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_TRUNCATE, _IOCTL_DEV = 1 << 14, 1 << 15
_OF_A_FILE = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_RIGHTS_BY_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}  # how many low bits the kernel knows
_NEWEST_RIGHTS = 16

_libc = ctypes.CDLL(None, use_errno=True)


class _PathBeneath(ctypes.Structure):
    _pack_ = 1
    _layout_ = "ms"
    _fields_ = (("allowed", ctypes.c_uint64), ("parent", ctypes.c_int32))


def confine(*, readable: Iterable[Path], writable: Iterable[Path]) -> bool:
    """Hide every file outside the given paths from this thread and those it starts.

    An OSError says that the kernel has Landlock and refuses the rules.

    Args:
        readable: files and folders that stay readable; those that don't exist are skipped.
        writable: files and folders that stay readable and writable.

    Returns:
        Whether the kernel does it; False: it has no Landlock.
    """
    version = _libc.syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    if version < 1:
        return False
    known = (1 << _RIGHTS_BY_VERSION.get(version, _NEWEST_RIGHTS)) - 1
    handled = ctypes.c_uint64(known)
    ruleset = _checked(
        _libc.syscall(_CREATE_RULESET, ctypes.byref(handled), ctypes.sizeof(handled), 0)
    )
    try:
        for path in readable:
            _allow(ruleset, path, known & _READ)
        for path in writable:
            _allow(ruleset, path, known)
        _checked(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
        _checked(_libc.syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return True


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        parent = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(parent).st_mode):
            rights &= _OF_A_FILE
        rule = _PathBeneath(rights, parent)
        _checked(_libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(parent)


def _checked(result: int) -> int:
    if result < 0:
        errno = ctypes.get_errno()
        raise OSError(errno, os.strerror(errno))
    return result
