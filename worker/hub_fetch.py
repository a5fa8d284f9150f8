"""hf:// references: fetched before an intake begins, since its child has no sockets.

Only the operator's endpoint is asked, with the operator's token or none. A revision is resolved to
a commit once; all files are of that commit.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from core import references
from core.references import HubRef
from core.settings import Settings
from stillhouse import __version__
from stillhouse.errors import InputRejected, StillhouseError, StorageFull
from worker import disk

if TYPE_CHECKING:
    from huggingface_hub import HfApi

log = logging.getLogger(__name__)

UNAVAILABLE = "hub_unavailable"
_SCHEME = "hf://"
_NEEDED = frozenset({
    "config.json", "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
})  # fmt: skip
_SHARD = ("model-", ".safetensors")
_ORIGINAL = "pytorch_model.bin"
_DENIED = (401, 403)


@dataclass(frozen=True, slots=True)
class Brought:
    """What was fetched."""

    sources: dict[str, str]
    """An intake's sources, with paths alone."""
    pinned: dict[str, str]
    """Each hf:// URI -> the same with its commit."""


def is_needed(sources: dict[str, str]) -> bool:
    """Whether a source lies on the Hub."""
    return any(source.startswith(_SCHEME) for source in sources.values())


def bring(sources: dict[str, str], folder: Path, settings: Settings) -> Brought:
    """Fetch what lies on the Hub.

    Args:
        sources: An intake's sources; some are hf:// URIs.
        folder: Where the files are to lie.
        settings: The endpoint, its token's file and the largest sum of bytes.

    Returns:
        The sources as paths. A model becomes the files of its folder that intake reads.

    Raises:
        StillhouseError: `InputRejected` with `hub_not_found`, `hub_gated`, `hub_too_large`, or
            `hub_unavailable`, which may pass; `StorageFull` if the disk is full.
    """
    fetched: dict[str, str] = {}
    pinned: dict[str, str] = {}
    named_uris = {name: uri for name, uri in sources.items() if uri.startswith(_SCHEME)}
    for number, (name, uri) in enumerate(named_uris.items()):
        named = references.hub(uri)
        try:
            commit, files = _fetch(named, folder / f"hub-{number}", settings)
        except StillhouseError:
            raise
        except Exception as error:  # noqa: BLE001 - its client lets through what sockets and disks raise
            _refuse(error, uri)
        pinned[uri] = named.at(commit)
        fetched |= {name: files[named.path]} if named.path in files else files
    here = {name: path for name, path in sources.items() if name not in named_uris}
    return Brought(fetched | here, pinned)


def _fetch(named: HubRef, folder: Path, settings: Settings) -> tuple[str, dict[str, str]]:
    """The commit, and where its files lie by their names: a single one by its whole path."""
    api = _client(settings)
    inform = api.dataset_info if named.kind == "dataset" else api.model_info
    info = inform(named.repo, revision=named.revision)
    commit = str(info.sha)
    wanted = _select([sibling.rfilename for sibling in info.siblings or []], named)
    entries = api.get_paths_info(named.repo, wanted, revision=commit, repo_type=named.kind)
    size = sum(getattr(entry, "size", 0) for entry in entries)
    if size > settings.max_upload_bytes:
        raise InputRejected(
            "hub_too_large",
            f"These files have {size} bytes; {settings.max_upload_bytes} are allowed "
            "(STILLHOUSE_MAX_UPLOAD_BYTES).",
            field="uri",
        )
    paths = {
        path: api.hf_hub_download(
            named.repo, path, revision=commit, repo_type=named.kind, local_dir=folder
        )
        for path in wanted
    }
    if named.path in paths:
        return commit, paths
    return commit, {Path(path).name: local for path, local in paths.items()}


def _client(settings: Settings) -> HfApi:
    # Whatever the endpoint is, its telemetry asks huggingface.co; and Xet's transfers go to
    # addresses that the endpoint names. Its progress bars would write into our log.
    from huggingface_hub import HfApi, constants  # noqa: PLC0415  # only where it's needed
    from huggingface_hub.utils.tqdm import disable_progress_bars  # noqa: PLC0415

    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.HF_HUB_DISABLE_XET = True
    disable_progress_bars()
    file = settings.hub_token_file
    return HfApi(
        endpoint=settings.hub_endpoint.rstrip("/"),
        # False: no token that happens to lie in this process's home is sent.
        token=False if file is None else file.read_text("utf-8").strip(),
        library_name="stillhouse",
        library_version=__version__,
    )


def _select(names: list[str], named: HubRef) -> list[str]:
    """The files that intake reads: the one that was named, or those of the folder."""
    if named.path in names:
        return [named.path]
    folder = f"{named.path}/" if named.path else ""
    here = {name: name.removeprefix(folder) for name in names if name.startswith(folder)}
    wanted = [name for name, own in here.items() if own in _NEEDED or _is_shard(own)]
    if any(name.endswith(".safetensors") for name in wanted):
        wanted = [name for name in wanted if here[name] != _ORIGINAL]
    if named.kind == "dataset" or not wanted:
        what = named.path or "config.json with weights"
        raise InputRejected(
            "hub_not_found",
            f"{named.repo} has no {what} at {named.revision}; see its page for the files it has.",
            field="uri",
        )
    return wanted


def _is_shard(name: str) -> bool:
    return name.startswith(_SHARD[0]) and name.endswith(_SHARD[1])


def _refuse(error: Exception, uri: str) -> NoReturn:
    """What the Hub's client met, in our words."""
    from huggingface_hub import errors  # noqa: PLC0415  # as above

    if disk.is_full(error):
        raise StorageFull(disk.DETAIL) from error
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    match error:
        case errors.GatedRepoError():
            code, why = "hub_gated", "is gated; give this service a token that its owner let in"
        case errors.RepositoryNotFoundError() | errors.RevisionNotFoundError():
            code, why = "hub_not_found", "isn't there, or is private; check its name and revision"
        case errors.RemoteEntryNotFoundError() | errors.HFValidationError():
            code, why = "hub_not_found", "isn't there; check its name, revision and path"
        case _ if status in _DENIED:
            code, why = "hub_gated", "is denied to this service; check its token"
        case _:
            log.warning("%s can't be fetched", uri, exc_info=error)
            code, why = UNAVAILABLE, "couldn't be read; try again when the Hub answers"
    raise InputRejected(code, f"{uri} {why}.", field="uri") from error
