"""Networks by family and name: built, checked and measured."""

from worker.engine.networks.building import build, names
from worker.engine.networks.costs import measure
from worker.engine.networks.figures import read as figures

__all__ = ["build", "figures", "measure", "names"]
