"""Every setting of the service, from STILLHOUSE_* in the environment."""

from __future__ import annotations

import difflib
import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

log = logging.getLogger(__name__)

GIB = 1024**3
NOT_SETTINGS = {"STILLHOUSE_URL", "STILLHOUSE_KEY"}  # the client's


class Settings(BaseSettings):
    """Frozen; a component is given what it needs of it, not the whole."""

    model_config = SettingsConfigDict(
        env_prefix="STILLHOUSE_", frozen=True, extra="ignore", env_ignore_empty=True
    )

    data_dir: Path = Field(Path("data"), description="Folder where everything lives")
    database_url: str | None = Field(
        None, description="SQL database; unset: SQLite (WAL) in the data folder"
    )
    broker_url: str | None = Field(
        None, description="Redis that carries hints through Celery; unset: workers poll SQL"
    )
    storage_url: str | None = Field(
        None,
        description="Where files live: file:///… or s3://bucket/prefix; unset: the data folder",
    )
    s3_public_endpoint: str | None = Field(
        None, description="Address of the object store for users' downloads; unset: as ours"
    )
    downloads: Literal["redirect", "stream"] = Field(
        "redirect", description="Files in S3: by a signed link, or through the API"
    )
    cache_bytes: int = Field(
        50 * GIB, ge=0, description="Files from S3 that a host keeps beside its runs, bytes"
    )
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="Port to listen on")
    auth: Literal["off", "keys"] = Field("off", description='"off" is allowed on loopback only')
    admin_key_file: Path | None = Field(
        None,
        description="The first key (with auth=keys), made at first start; unset: <data>/admin.key",
    )
    metrics_key_file: Path | None = Field(
        None, description="A key that reads /metrics (with auth=keys), made at first start"
    )
    secrets_dir: Path | None = Field(
        None, description="Folder of files that are named and read like these variables"
    )
    allowed_roots: Annotated[tuple[Path, ...] | None, NoDecode] = Field(
        None, description="Folders that file:// may name, ':' between; unset: <data>/imports"
    )
    hub: Literal["on", "off"] = Field("on", description="Whether hf:// may be named")
    hub_endpoint: Annotated[str, StringConstraints(pattern=r"^https?://[^/]")] = Field(
        "https://huggingface.co", description="The Hub, or a mirror that speaks its protocol"
    )
    hub_token_file: Path | None = Field(
        None, description="File with the Hub's token, for private and gated repositories"
    )
    max_upload_bytes: int = Field(64 * GIB, ge=1, description="Largest blob, bytes")
    max_body_bytes: int = Field(256 * 1024, ge=1024, description="Largest JSON body, bytes")
    min_free_bytes: int = Field(
        256 * 1024**2, ge=0, description="Free space kept back; below it uploads answer 507, bytes"
    )
    blob_retention_hours: float = Field(
        24, ge=0, description="Uploads that nothing names are kept this long, hours"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="What the worker runs on")
    threads: int | None = Field(
        None, ge=1, description="CPU threads of a trainer; unset: all cores but one"
    )
    worker_name: str | None = Field(
        None, description="How a worker's name begins; unset: the host. The data folder ends it"
    )
    poll_seconds: float | None = Field(
        None, gt=0, description="Workers look into SQL; unset: 0.25 s without a broker, 15 s beside"
    )
    heartbeat_seconds: float = Field(10, gt=0, description="A worker renews its lease, seconds")
    lease_seconds: float = Field(60, gt=0, description="A silent worker loses its run, seconds")
    reconcile_seconds: float = Field(15, gt=0, description="Leftovers are looked for, seconds")
    checkpoint_seconds: float = Field(60, gt=0, description="Between two checkpoints, seconds")
    intake_seconds: float = Field(900, gt=0, description="Longest intake of one upload, seconds")
    intake_memory_bytes: int = Field(
        8 * GIB, ge=GIB, description="Address space of the intake child above its libraries, bytes"
    )
    metrics_port: int | None = Field(
        None, ge=0, le=65_535, description="A worker's /metrics; unset: none"
    )
    metrics_host: str = Field("127.0.0.1", description="Address of a worker's /metrics")
    alive_file: Path | None = Field(
        None, description="A worker touches it while it lives, for health checks"
    )
    log_format: Literal["text", "json"] = Field("text", description="How a line is logged")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="Least level that is logged"
    )

    @field_validator("allowed_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(Path(item) for item in value.split(os.pathsep) if item)
        return value

    @property
    def database(self) -> str:
        """The database's URL."""
        return self.database_url or f"sqlite:///{self.data_dir.resolve() / 'stillhouse.db'}"

    @property
    def roots(self) -> tuple[Path, ...]:
        """The folders that file:// may name."""
        return self.allowed_roots or (self.data_dir.resolve() / "imports",)

    @property
    def poll(self) -> float:
        """Seconds between two looks into SQL."""
        return self.poll_seconds or (15.0 if self.broker_url else 0.25)


def load() -> Settings:
    """The settings of this process, from the environment and from `.env` beside it.

    A STILLHOUSE_ variable that no setting has is logged: a misspelt one changes nothing.
    """
    known = {f"STILLHOUSE_{name.upper()}" for name in Settings.model_fields} | NOT_SETTINGS
    for name in sorted(os.environ):
        if name.startswith("STILLHOUSE_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            log.warning("%s is no setting%s", name, f"; is it {close[0]}?" if close else "")
    secrets = os.environ.get("STILLHOUSE_SECRETS_DIR")
    return Settings(_env_file=".env", _secrets_dir=secrets)


def explain(error: ValidationError) -> str:
    """What is wrong with the settings, by the names of the variables."""
    lines = [
        f"STILLHOUSE_{str(item['loc'][0]).upper() if item['loc'] else '?'}: {item['msg']}"
        for item in error.errors()
    ]
    return "; ".join(lines)


def describe() -> str:
    """One line a setting: variable, meaning, default."""
    lines = []
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f" [{field.default}]"
        lines.append(f"  STILLHOUSE_{name.upper():<22} {field.description}{default}")
    return "\n".join(lines)
