"""Networks by family and name: built, checked and measured."""

from worker.engine.networks.building import build, names
from worker.engine.networks.costs import measure
from worker.engine.networks.published import read as published_figures

__all__ = ["build", "measure", "names", "published_figures"]
