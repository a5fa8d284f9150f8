"""How this process logs."""

from __future__ import annotations

import logging

from core.settings import Settings


def configure(settings: Settings) -> None:
    """Log to standard error."""
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
