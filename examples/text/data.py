"""Docstrings of installed packages, to be told apart: `python -m examples.text.data FOLDER`.

Writes `texts.jsonl` ({"text", "label"}; the label is the package, whose name is taken out of the
text) and `tokenizer/`, a WordPiece tokenizer trained on the texts.
"""

from __future__ import annotations

import json
import re
import sys
import warnings
from collections import Counter
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import BertProcessing
from tokenizers.trainers import WordPieceTrainer

from examples.text import sources

_WORDS = 40
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
VOCABULARY = 2000


def write(folder: Path, *, rows: int = 500) -> None:
    """Write texts and tokenizer.

    Args:
        folder: Where they go.
        rows: Of each class.
    """
    texts = {package: _texts(package, files=max(rows // 2, 20)) for package in sources.PACKAGES}
    owners = Counter(text for found in texts.values() for text in found)
    # What two packages share (vendored files) says nothing of either.
    texts = {
        package: _evenly([text for text in found if owners[text] == 1], rows)
        for package, found in texts.items()
    }
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as file:
        for number in range(rows):
            for package, found in texts.items():
                if number < len(found):
                    file.write(json.dumps({"text": found[number], "label": package}) + "\n")
    _write_tokenizer(folder / "tokenizer", [text for found in texts.values() for text in found])


def _texts(package: str, *, files: int) -> list[str]:
    """The docstrings of a package's files without its name, none twice."""
    own = re.compile(rf"{package}|\b(np|pd|sp|hugging ?face)\b", re.IGNORECASE)
    found: dict[str, None] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's escape sequences
        for _, tree in sources.modules(package, most=files):
            for text in sources.docstrings(tree):
                words = own.sub(" ", text).split()[:_WORDS]
                if len(words) >= 8:
                    found[" ".join(words)] = None
    return list(found)


def _evenly(texts: list[str], rows: int) -> list[str]:
    return texts[:: max(len(texts) // rows, 1)][:rows]


def _write_tokenizer(folder: Path, texts: list[str]) -> None:
    tokenizer = Tokenizer(WordPiece(unk_token="[UNK]"))  # noqa: S106 - a token of text, no secret
    tokenizer.normalizer = BertNormalizer()
    tokenizer.pre_tokenizer = BertPreTokenizer()
    trainer = WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=_SPECIAL, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = BertProcessing(
        ("[SEP]", _SPECIAL.index("[SEP]")), ("[CLS]", _SPECIAL.index("[CLS]"))
    )
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
