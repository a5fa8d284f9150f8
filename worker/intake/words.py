"""A user's words as they may stand in an answer, in a database and on a page."""

from __future__ import annotations

MAX_NAME_CHARACTERS = 256


def plain(text: object, characters: int = 100) -> str:
    """A text cut to so many characters, those that can't be printed replaced by U+FFFD."""
    return "".join(
        character if character.isprintable() else "\N{REPLACEMENT CHARACTER}"
        for character in str(text)[:characters]
    )


def is_name(name: str) -> bool:
    """Whether a text can be the name of a class, a column or a category."""
    return 0 < len(name) <= MAX_NAME_CHARACTERS and name.isprintable()
