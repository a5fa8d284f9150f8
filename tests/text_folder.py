"""A folder as transformers' save_pretrained leaves it: a tiny network that reads texts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "good", "bad", "film"]
CLASSES = ["negative", "positive", "neither"]
SIZES: dict[str, Any] = {
    "vocab_size": len(WORDS), "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 16, "max_position_embeddings": 32,
}  # fmt: skip
TOKENS = 24
"""What its tokenizer says that it takes."""


def write(folder: Path) -> None:
    """Save the network and its tokenizer."""
    torch.manual_seed(0)
    named = dict(enumerate(CLASSES))
    config = BertConfig(**SIZES, id2label=named, label2id={name: n for n, name in named.items()})
    BertForSequenceClassification(config).save_pretrained(folder)
    words = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast: Any = PreTrainedTokenizerFast
    fast(
        tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=TOKENS
    ).save_pretrained(folder)
