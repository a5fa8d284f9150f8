"""Stillhouse for its users: the specs, the errors and the client. No server, no torch."""

__version__ = "0.1.0"
