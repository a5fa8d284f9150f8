from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import Settings
from stillhouse.errors import InputRejected
from tests import hub_server
from tests.hub_server import COMMIT, Hub
from worker import hub_fetch

MODEL = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "pytorch_model.bin": b"the same weights",
    "tokenizer.json": b"{}",
    "README.md": b"#",
    "onnx/model.onnx": b"onnx",
}


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.serve() as hub:
        hub.repositories["models/org/name"] = MODEL
        hub.repositories["datasets/org/rows"] = {"data/a.csv": b"a,b\n1,2\n", "b.csv": b""}
        yield hub


@pytest.fixture
def settings(hub: Hub) -> Settings:
    return Settings(hub_endpoint=hub.url)


def fetch(uri: str, folder: Path, settings: Settings) -> hub_fetch.Brought:
    return hub_fetch.bring({"weights": uri, "other": "/a/path"}, folder, settings)


def refusal(uri: str, folder: Path, settings: Settings) -> str:
    with pytest.raises(InputRejected) as caught:
        fetch(uri, folder, settings)
    assert caught.value.field == "uri"
    return caught.value.rejected_code


def test_of_a_model_only_what_intake_reads_is_fetched(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    brought = fetch("hf://org/name", tmp_path, settings)
    assert brought.sources.pop("other") == "/a/path"
    assert set(brought.sources) == {"config.json", "model.safetensors", "tokenizer.json"}
    for name, path in brought.sources.items():
        assert Path(path).read_bytes() == MODEL[name]
        assert Path(path).is_relative_to(tmp_path)
    downloads = [asked for asked in hub.asked if asked.startswith("GET /org")]
    assert len(downloads) == 3
    assert all(f"/resolve/{COMMIT}/" in asked for asked in downloads)


def test_the_client_tells_no_more_of_itself_than_its_name(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    fetch("hf://org/name", tmp_path, settings)
    [agent] = hub.agents
    assert agent.startswith("stillhouse/")
    assert "torch" not in agent
    assert not any("xet" in asked for asked in hub.asked)


def test_a_revision_is_pinned_to_its_commit(settings: Settings, tmp_path: Path) -> None:
    brought = fetch("hf://org/name@main", tmp_path, settings)
    assert brought.pinned == {"hf://org/name@main": f"hf://org/name@{COMMIT}"}
    again = fetch(brought.pinned["hf://org/name@main"], tmp_path / "again", settings)
    assert set(again.sources) == set(brought.sources)


def test_a_dataset_is_the_one_file_that_was_named(settings: Settings, tmp_path: Path) -> None:
    uri = "hf://datasets/org/rows/data/a.csv"
    brought = hub_fetch.bring({"source": uri}, tmp_path, settings)
    assert Path(brought.sources["source"]).read_bytes() == b"a,b\n1,2\n"
    assert brought.pinned == {uri: f"hf://datasets/org/rows@{COMMIT}/data/a.csv"}


def test_a_file_and_a_folder_of_a_model_can_be_named(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    hub.repositories["models/org/name"] = {f"small/{name}": MODEL[name] for name in MODEL}
    folder = fetch("hf://org/name/small", tmp_path / "a", settings).sources
    assert set(folder) - {"other"} == {"config.json", "model.safetensors", "tokenizer.json"}
    one = fetch("hf://org/name/small/pytorch_model.bin", tmp_path / "b", settings).sources
    assert Path(one["weights"]).read_bytes() == b"the same weights"


def test_shards_come_with_their_index(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    names = ["model.safetensors.index.json", *(f"model-0000{i}-of-00002.safetensors" for i in "12")]
    hub.repositories["models/org/name"] = dict.fromkeys([*names, "config.json", "a.gguf"], b"x")
    assert set(fetch("hf://org/name", tmp_path, settings).sources) == {
        *names, "config.json", "other",
    }  # fmt: skip


@pytest.mark.parametrize(
    "uri",
    ["hf://org/none", "hf://org/name@none", "hf://org/name/none", "hf://datasets/org/rows/none",
     "hf://org/a--b"],
)  # fmt: skip
def test_what_is_not_there_is_said_so(uri: str, settings: Settings, tmp_path: Path) -> None:
    assert refusal(uri, tmp_path, settings) == "hub_not_found"


def test_a_gated_repository_is_said_so(hub: Hub, settings: Settings, tmp_path: Path) -> None:
    hub.gated.add("models/org/name")
    assert refusal("hf://org/name", tmp_path, settings) == "hub_gated"


def test_only_the_operators_token_is_sent(
    hub: Hub, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    fetch("hf://org/name", tmp_path / "a", settings)
    assert hub.authorizations == {None}
    hub.token = "hf_operator"
    assert refusal("hf://org/name", tmp_path / "b", settings) == "hub_gated"
    (tmp_path / "token").write_text("hf_operator\n")
    knowing = settings.model_copy(update={"hub_token_file": tmp_path / "token"})
    fetch("hf://org/name", tmp_path / "c", knowing)


def test_too_many_bytes_are_refused_before_any_is_fetched(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    hub.claimed_size = settings.max_upload_bytes
    assert refusal("hf://org/name", tmp_path, settings) == "hub_too_large"
    assert not any("/resolve/" in asked for asked in hub.asked)


def test_a_hub_that_is_away_can_be_tried_again(
    hub: Hub, settings: Settings, tmp_path: Path
) -> None:
    hub.is_down = True
    assert refusal("hf://org/name", tmp_path, settings) == hub_fetch.UNAVAILABLE
    closed = settings.model_copy(update={"hub_endpoint": "http://127.0.0.1:9"})
    assert refusal("hf://org/name", tmp_path, closed) == hub_fetch.UNAVAILABLE
    hub.is_down = False
    fetch("hf://org/name", tmp_path, settings)


def test_an_intake_without_the_hub_asks_nobody(hub: Hub) -> None:
    assert not hub_fetch.is_needed({"weights": "/some/path"})
    assert hub_fetch.is_needed({"weights": "hf://org/name"})
    assert hub.asked == []
