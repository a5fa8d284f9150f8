"""The terms of an objective as modules: what each one needs, holds, and makes of a batch."""

from worker.engine.terms.building import make
from worker.engine.terms.setting import Setting, Side
from worker.engine.terms.term import Term

__all__ = ["Setting", "Side", "Term", "make"]
