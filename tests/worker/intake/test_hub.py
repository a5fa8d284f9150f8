"""Folders of transformers: a network, its weights and its tokenizer."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from tests import text_folder
from tests.text_folder import CLASSES, SIZES, TOKENS, WORDS
from worker.intake import tokenizers

TEXTS = ["a good film", "bad", "", "a a a", "what a film"]
Folder = dict[str, Path]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as save_pretrained leaves it."""
    folder = tmp_path_factory.mktemp("saved")
    text_folder.write(folder)
    return folder


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Folder:
    """A copy that a test may spoil, by names."""
    shutil.copytree(saved, tmp_path / "sent")
    return {path.name: path for path in (tmp_path / "sent").iterdir()}


def change(path: Path, **changes: Any) -> None:
    """Change a file of JSON; None takes a key out."""
    found = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: each for key, each in found.items() if each is not None}))


SAYS_ITSELF = {"network": None, "input": None}


def test_a_folder_says_everything_itself(intake: Any, folder: Folder) -> None:
    taken = intake.teacher(folder, **SAYS_ITSELF)
    result = taken.result
    assert (result["network"]["family"], result["network"]["name"]) == ("transformers", "bert")
    assert result["network"]["options"].items() >= (SIZES | {"num_classes": 3}).items()
    assert "architectures" not in result["network"]["options"]
    assert result["classes"] == CLASSES
    assert result["input"] == {"modality": "text", "max_length": TOKENS, "tokenizer": None}
    assert list(taken.files) == ["model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    stored = load_file(taken.files["model.safetensors"])
    for name, tensor in load_file(folder["model.safetensors"]).items():
        torch.testing.assert_close(stored[name], tensor, rtol=0, atol=0)


def test_the_tokenizer_that_is_kept_reads_as_the_one_that_was_sent(
    intake: Any, folder: Folder, saved: Path, tmp_path: Path
) -> None:
    taken = intake.teacher(folder, **SAYS_ITSELF)
    kept = tmp_path / "kept"
    kept.mkdir()
    for name in list(taken.files)[1:]:
        shutil.copy(taken.files[name], kept / name)
    ours, theirs = (AutoTokenizer.from_pretrained(str(path)) for path in (kept, saved))
    assert ours(TEXTS)["input_ids"] == theirs(TEXTS)["input_ids"]
    assert ours.model_max_length == TOKENS
    assert ours.pad_token == "[PAD]"


def test_labels_without_names_leave_the_classes_unnamed(intake: Any, folder: Folder) -> None:
    names = {str(number): f"LABEL_{number}" for number in range(3)}
    change(folder["config.json"], id2label=names)
    result = intake.teacher(folder, **SAYS_ITSELF).result
    assert (result["classes"], result["class_count"]) == (None, 3)


def test_without_labels_the_head_says_how_many_classes_there_are(
    intake: Any, folder: Folder
) -> None:
    change(folder["config.json"], id2label=None, label2id=None)
    result = intake.teacher(folder, **SAYS_ITSELF).result
    assert (result["classes"], result["class_count"]) == (None, 3)


def test_a_configuration_of_old_says_that_nothing_was_pruned(intake: Any, folder: Folder) -> None:
    change(folder["config.json"], pruned_heads={}, torchscript=False, output_attentions=False)
    assert intake.teacher(folder, **SAYS_ITSELF).result["class_count"] == 3


def test_buffers_of_old_checkpoints_are_dropped(intake: Any, folder: Folder) -> None:
    tensors = load_file(folder["model.safetensors"])
    tensors["bert.embeddings.position_ids"] = torch.arange(32)[None]
    save_file(tensors, folder["model.safetensors"])
    stored = load_file(intake.teacher(folder, **SAYS_ITSELF).files["model.safetensors"])
    assert "bert.embeddings.position_ids" not in stored


def shard(folder: Folder) -> dict[str, str]:
    """Spread a folder's weights over two files; returns where each tensor lies."""
    tensors = load_file(folder.pop("model.safetensors"))
    home = folder["config.json"].parent
    places: dict[str, str] = {}
    for number in range(2):
        name = f"model-0000{number + 1}-of-00002.safetensors"
        part = {each: tensors[each] for each in sorted(tensors)[number::2]}
        save_file(part, home / name)
        folder[name] = home / name
        places |= dict.fromkeys(part, name)
    folder["model.safetensors.index.json"] = home / "model.safetensors.index.json"
    folder["model.safetensors.index.json"].write_text(json.dumps({"weight_map": places}))
    return places


def test_shards_are_joined(intake: Any, folder: Folder) -> None:
    expected = load_file(folder["model.safetensors"])
    shard(folder)
    stored = load_file(intake.teacher(folder, **SAYS_ITSELF).files["model.safetensors"])
    assert stored.keys() == expected.keys()
    torch.testing.assert_close(stored, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("code", "weight_map"),
    [
        ("safetensors_invalid", None),
        ("safetensors_invalid", ["model-00001-of-00002.safetensors"]),
        ("safetensors_invalid", {"classifier.bias": "model-00001-of-00002.safetensors"}),
        ("files_missing", {"classifier.bias": "../secret"}),
    ],
)
def test_an_index_that_does_not_fit_its_shards_is_refused(
    code: str, weight_map: Any, intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    shard(folder)
    change(folder["model.safetensors.index.json"], weight_map=weight_map)
    refused(code, lambda: intake.teacher(folder, **SAYS_ITSELF))


def test_a_checkpoint_of_pytorch_brings_its_tokenizer_too(intake: Any, folder: Folder) -> None:
    tensors = load_file(folder.pop("model.safetensors"))
    folder["pytorch_model.bin"] = folder["config.json"].with_name("pytorch_model.bin")
    torch.save(tensors, folder["pytorch_model.bin"])
    taken = intake.teacher(folder, **SAYS_ITSELF)
    assert list(taken.files)[:2] == ["model.safetensors", "tokenizer.json"]


@pytest.mark.parametrize(("asked", "expected"), [({}, TOKENS), ({"max_length": 7}, 7)])
def test_what_is_fed_is_no_longer_than_the_network_takes(
    asked: dict[str, int], expected: int, intake: Any, folder: Folder
) -> None:
    given = {"modality": "text", **asked}
    result = intake.teacher(folder, network=None, input=given).result
    assert result["input"]["max_length"] == expected


def test_without_bounds_256_tokens_are_fed(intake: Any, folder: Folder) -> None:
    change(folder["tokenizer_config.json"], model_max_length=int(1e30))
    change(folder["config.json"], max_position_embeddings=300)
    tensors = load_file(folder["model.safetensors"])
    tensors["bert.embeddings.position_embeddings.weight"] = torch.zeros(300, 8)
    save_file(tensors, folder["model.safetensors"])
    assert intake.teacher(folder, **SAYS_ITSELF).result["input"]["max_length"] == 256


BAD_CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "code": ("config_refused", {"auto_map": {"AutoConfig": "code.Config"}}),
    "an output without a name": ("config_invalid", {"id2label": {"0": "a", "2": "b"}}),
    "a name twice": ("config_invalid", {"id2label": {"0": "a", "1": "a"}}),
    "names that are none": ("config_invalid", {"id2label": {"0": 1, "1": None}}),
    "no count": ("config_invalid", {"id2label": None, "num_labels": -1}),
    "several labels a text": ("not_available", {"problem_type": "multi_label_classification"}),
    "a model type that is none": ("config_invalid", {"model_type": 5}),
    "another width": ("teacher_mismatch", {"hidden_size": 16}),
    "neither library's": ("config_invalid", {"model_type": None}),
}


@pytest.mark.parametrize("name", BAD_CONFIGS)
def test_a_configuration_that_cannot_be_used_is_refused(
    name: str, intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    code, changes = BAD_CONFIGS[name]
    change(folder["config.json"], **changes)
    refused(code, lambda: intake.teacher(folder, **SAYS_ITSELF))


BAD_INPUTS: dict[str, tuple[str, dict[str, Any]]] = {
    "images": ("modality_differs", {"size": [4, 4]}),
    "more tokens than positions": ("input_invalid", {"modality": "text", "max_length": 33}),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_an_input_that_does_not_fit_is_refused(
    name: str, intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    code, given = BAD_INPUTS[name]
    found = refused(code, lambda: intake.teacher(folder, network=None, input=given))
    assert found.field.startswith("input.")


def test_without_a_tokenizer_it_is_refused_and_says_how_to_write_one(
    intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    del folder["tokenizer.json"]
    found = refused("tokenizer_required", lambda: intake.teacher(folder, **SAYS_ITSELF))
    assert "save_pretrained" in found.detail


def test_a_tokenizer_with_more_words_than_the_network_is_refused(
    intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    sent = json.loads(folder["tokenizer.json"].read_text())
    sent["model"]["vocab"]["new"] = len(WORDS)
    folder["tokenizer.json"].write_text(json.dumps(sent))
    refused("tokenizer_mismatch", lambda: intake.teacher(folder, **SAYS_ITSELF))


HOSTILE_TOKENIZERS = {
    "nothing": b"",
    "no JSON": b"{",
    "not UTF-8": b'{"version": "\xff"}',
    "deep": b"[" * 200_000,
    "another object": b'{"version": "1.0"}',
    "a number": b"1e999",
    "no words": json.dumps({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [],
        "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None,
        "model": {"type": "BPE", "vocab": {}, "merges": []},
    }).encode(),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE_TOKENIZERS)
def test_a_hostile_tokenizer_is_refused(
    name: str, intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    folder["tokenizer.json"].write_bytes(HOSTILE_TOKENIZERS[name])
    refused("tokenizer_invalid", lambda: intake.teacher(folder, **SAYS_ITSELF))


def test_an_enormous_tokenizer_is_refused_unread(
    intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    with folder["tokenizer.json"].open("ab") as file:
        file.truncate(tokenizers.MAX_BYTES + 1)
    found = refused("tokenizer_invalid", lambda: intake.teacher(folder, **SAYS_ITSELF))
    assert "larger" in found.detail


@pytest.mark.parametrize(
    ("code", "text"), [("config_refused", '{"a": {"auto_map": 1}}'), ("tokenizer_invalid", "[]")]
)
def test_what_stands_beside_a_tokenizer_is_read_as_strictly(
    code: str, text: str, intake: Any, folder: Folder, refused: Callable[..., Any]
) -> None:
    folder["special_tokens_map.json"] = folder["config.json"].with_name("special_tokens_map.json")
    folder["special_tokens_map.json"].write_text(text)
    refused(code, lambda: intake.teacher(folder, **SAYS_ITSELF))
