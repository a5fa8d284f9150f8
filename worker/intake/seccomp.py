"""A seccomp filter: no sockets, no programs, no processes, no signals to others.

A classic BPF program of our own, since libseccomp is not everywhere. It denies what
intake never does; parsing needs files, memory and threads only.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_SET_MODE_FILTER = 1
_ALL_THREADS = 1  # SECCOMP_FILTER_FLAG_TSYNC
_CLONE_THREAD = 0x10000
_X32_BIT = 0x40000000

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL = 0x7FFF0000, 0x80000000
_DENY = 0x00050000 | errno.EPERM
_NOT_HERE = 0x00050000 | errno.ENOSYS
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT, _THIRD_ARGUMENT = 0, 4, 16, 32  # in seccomp_data


@dataclass(frozen=True, slots=True)
class _Machine:
    audit: int
    seccomp: int
    clone: int
    prlimit64: int
    denied: tuple[int, ...]


# The numbers that both machines share: pidfd_send_signal, io_uring_*, open_tree, move_mount,
# fsopen, fsconfig, fsmount, fspick, pidfd_open, pidfd_getfd, mount_setattr.
_SHARED = (424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442)
_CLONE3 = 435

_MACHINES = {
    "x86_64": _Machine(
        audit=0xC000003E,
        seccomp=317,
        clone=56,
        prlimit64=302,
        denied=(
            *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),  # socket … socketpair, accept4, sendmmsg
            *(57, 58, 59, 322),  # fork, vfork, execve, execveat
            *(62, 200, 129, 297),  # kill, tkill, rt_sigqueueinfo, rt_tgsigqueueinfo
            *(101, 310, 311, 298, 321, 323),  # ptrace, process_vm_*, perf, bpf, userfaultfd
            *(90, 91, 92, 93, 94, 260, 268),  # chmod and chown: Landlock doesn't cover them
            *(155, 161, 165, 166, 272, 308, 304),  # pivot_root, chroot, mounts, namespaces
            *(135, 160, 169, 175, 246, 313, 320),  # personality, setrlimit, reboot, modules, kexec
            *(248, 249, 250),  # keys
        ),
    ),
    "aarch64": _Machine(
        audit=0xC00000B7,
        seccomp=277,
        clone=220,
        prlimit64=261,
        denied=(
            *(198, 199, 200, 201, 202, 203, 206, 211, 242, 269),
            *(221, 281),
            *(129, 130, 138, 240),
            *(117, 270, 271, 241, 280, 282),
            *(52, 53, 54, 55),
            *(41, 51, 40, 39, 97, 268, 265),
            *(92, 164, 142, 105, 104, 273, 294),
            *(217, 218, 219),
        ),
    ),
}


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def close_doors() -> bool:
    """Deny sockets, programs and processes to every thread, for good.

    Returns:
        Whether the filter stands; False: this kernel or machine has none.
    """
    machine = _MACHINES.get(platform.machine())
    libc = ctypes.CDLL(None, use_errno=True)
    if machine is None or libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return False
    code = _assemble(machine)
    program = _Program(len(code) // 8, code)
    arguments = (_SECCOMP_SET_MODE_FILTER, _ALL_THREADS, ctypes.byref(program))
    return bool(libc.syscall(machine.seccomp, *arguments) == 0)


def _assemble(machine: _Machine) -> bytes:
    steps = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, machine.audit, otherwise=0, then=1),
        _step(_RETURN, _KILL),
        _step(_LOAD, _NUMBER),
        _step(_AT_LEAST, _X32_BIT, otherwise=1),
        _step(_RETURN, _DENY),
    ]
    for number in (*machine.denied, *_SHARED):
        steps += [_step(_EQUAL, number, otherwise=1), _step(_RETURN, _DENY)]
    steps += [
        # glibc falls back to clone, whose flags a filter can read.
        _step(_EQUAL, _CLONE3, otherwise=1),
        _step(_RETURN, _NOT_HERE),
        _step(_EQUAL, machine.clone, otherwise=4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, _CLONE_THREAD, otherwise=1),
        _step(_RETURN, _ALLOW),
        _step(_RETURN, _DENY),
        # Reading one's limits is fine; a new limit (a pointer, in two halves) is not.
        _step(_EQUAL, machine.prlimit64, otherwise=5),
        _step(_LOAD, _THIRD_ARGUMENT),
        _step(_EQUAL, 0, otherwise=2),
        _step(_LOAD, _THIRD_ARGUMENT + 4),
        _step(_EQUAL, 0, then=1),
        _step(_RETURN, _DENY),
        _step(_RETURN, _ALLOW),
    ]
    return b"".join(steps)


def _step(code: int, value: int, *, then: int = 0, otherwise: int = 0) -> bytes:
    return struct.pack("=HBBI", code, then, otherwise, value)
