"""What a pickle would do, read from its opcodes, without doing it.

An allow-list: a state dict needs an ordered dictionary, tensors and their storages.
Scanners that list what is bad have been passed nine times in 2025 alone.
"""

from __future__ import annotations

import pickletools
from typing import Any

from stillhouse.errors import InputRejected

MAX_OPCODES = 2_000_000
MAX_PICKLE_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_TEXT_BYTES = 1 << 16

_STORAGES = ("Double", "Float", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
ALLOWED_GLOBALS = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
    }
    | {f"torch {kind}Storage" for kind in _STORAGES}
)
_PLAIN = frozenset({
    "PROTO", "STOP", "MARK", "POP", "NONE", "NEWTRUE", "NEWFALSE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "BINUNICODE", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_LIST", "APPEND", "APPENDS", "EMPTY_DICT", "SETITEM",
    "SETITEMS", "EMPTY_SET", "BINPUT", "LONG_BINPUT", "BINGET", "LONG_BINGET", "BINPERSID",
    "REDUCE", "BUILD", "FRAME", "MEMOIZE", "SHORT_BINUNICODE",
})  # fmt: skip
_PROTOCOLS = range(2, 6)
_CALLING = frozenset({
    "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4",
})  # fmt: skip
_SAVE = "save torch.save(model.state_dict()), or better, a safetensors file"


def check(program: bytes) -> None:
    """Refuse a pickle that does more than describe a state dict.

    Args:
        program: the pickle's bytes; nothing in it is executed.

    Raises:
        InputRejected: `pickle_global_denied`, `sparse_denied`, or `pickle_invalid`.
    """
    if len(program) > MAX_PICKLE_BYTES:
        raise InputRejected("pickle_invalid", f"The pickle is too long; {_SAVE}.")
    try:
        end = _walk(program)
    except InputRejected:
        raise
    except Exception as error:  # genops raises what its readers meet in hostile bytes
        raise InputRejected("pickle_invalid", f"The pickle is malformed; {_SAVE}.") from error
    if end != len(program):
        raise InputRejected("pickle_invalid", f"Something follows the pickle; {_SAVE}.")


def _walk(program: bytes) -> int:
    """Check every opcode; where the last one ends."""
    depth, end = 0, 0
    for count, (opcode, argument, position) in enumerate(pickletools.genops(program)):
        depth += (opcode.name == "MARK") - (pickletools.markobject in opcode.stack_before)
        if count > MAX_OPCODES or depth > MAX_DEPTH:
            raise InputRejected("pickle_invalid", f"The pickle is too deep or long; {_SAVE}.")
        _check_opcode(opcode.name, argument)
        end = (position or 0) + 1  # The last opcode, STOP, is one byte.
    return end


def _check_opcode(name: str, argument: Any) -> None:
    if name == "GLOBAL":
        _check_global(str(argument))
    elif name in _CALLING:
        raise InputRejected(
            "pickle_global_denied",
            f"The file asks for code to be run ({name}), which is never done; {_SAVE}.",
        )
    elif name not in _PLAIN or (name == "PROTO" and argument not in _PROTOCOLS):
        raise InputRejected("pickle_invalid", f"A state dict has no use for {name}; {_SAVE}.")
    elif isinstance(argument, str) and len(argument) > MAX_TEXT_BYTES:
        raise InputRejected("pickle_invalid", f"The pickle holds a text too long; {_SAVE}.")


def _check_global(name: str) -> None:
    if name in ALLOWED_GLOBALS:
        return
    shown = name.replace(" ", ".")[:200]
    if "sparse" in name.lower():
        raise InputRejected("sparse_denied", f"The file holds sparse tensors ({shown}); {_SAVE}.")
    raise InputRejected(
        "pickle_global_denied",
        f"The file names {shown}, which a state dict doesn't need and intake never runs; {_SAVE}.",
        **{"global": shown},
    )
