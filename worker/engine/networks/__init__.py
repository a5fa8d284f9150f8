"""Networks by family and name: built, checked and measured."""

from worker.engine.networks.building import build, names
from worker.engine.networks.costs import measure

__all__ = ["build", "measure", "names"]
