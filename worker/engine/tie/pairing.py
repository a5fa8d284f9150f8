"""Which module of a large network stands for each module of a small one of its kind."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from stillhouse.spec.objective import LayersChoice

_CONTAINERS = (nn.Sequential, nn.ModuleList)


def pair(small: nn.Module, large: nn.Module, *, layers: LayersChoice) -> dict[str, str | None]:
    """Pair modules by name, and the blocks of a stage by their order.

    In a container that is longer on one side, children of one class are a stage of blocks of
    their own, so that a convolution stays with the normalisation behind it. The first block of a
    stage, which may change its resolution, always stands for the first.

    Args:
        small: The network with fewer blocks.
        large: The one with more.
        layers: Block i of m stands for the large one's i of n (`first`), or floor(i n / m)
            (`even`).

    Returns:
        Name of a module of the small network -> name in the large one; None where there is none.
    """
    return dict(_walk(small, large, "", "", layers))


def _walk(
    small: nn.Module, large: nn.Module | None, at: str, there: str, layers: LayersChoice
) -> Iterator[tuple[str, str | None]]:
    yield at, None if large is None else there
    names = {} if large is None else _children(small, large, layers)
    others = {} if large is None else dict(large.named_children())
    for name, child in small.named_children():
        other = names.get(name, "")
        yield from _walk(child, others.get(other), _join(at, name), _join(there, other), layers)


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _children(small: nn.Module, large: nn.Module, layers: LayersChoice) -> dict[str, str]:
    """Name of a child -> the name of the one that stands for it."""
    if not (
        isinstance(small, _CONTAINERS)
        and isinstance(large, _CONTAINERS)
        and len(small) != len(large)
    ):
        return {name: name for name, _ in small.named_children()}
    here, there = _by_class(small), _by_class(large)
    return {
        name: there[kind][_place(place, len(names), len(there[kind]), layers)]
        for kind, names in here.items()
        for place, name in enumerate(names)
        if place < len(there.get(kind, ()))
    }


def _place(place: int, count: int, of: int, layers: LayersChoice) -> int:
    return place * of // count if layers == "even" and count < of else place


def _by_class(container: nn.Module) -> dict[type[nn.Module], list[str]]:
    found: dict[type[nn.Module], list[str]] = {}
    for name, child in container.named_children():
        found.setdefault(type(child), []).append(name)
    return found
