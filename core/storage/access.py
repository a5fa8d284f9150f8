"""How a bucket is reached: address, credentials, patience, and its errors by our names.

Endpoint and credentials come by the field's own names (AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL,
AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, AWS_REGION), which obstore reads
itself; with none of them it asks for the instance's role.
"""

from __future__ import annotations

import configparser
import contextlib
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from obstore import exceptions
from obstore.store import S3Store

from stillhouse.errors import Unavailable


@contextlib.contextmanager
def naming_trouble() -> Iterator[None]:
    """Errors of the object store as `Unavailable`; a missing file stays `FileNotFoundError`."""
    try:
        yield
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError) as error:
        raise Unavailable(
            "The object store refuses these credentials; see AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY."
        ) from error
    except exceptions.BaseError as error:
        raise away(error) from error


def away(error: Exception) -> Unavailable:
    """What its users are told of an error of the object store."""
    reason = str(error).partition("\n")[0][:300]
    return Unavailable(f"The object store is away; try again. It said: {reason}")


def connect(
    bucket: str, prefix: str, *, patience_seconds: float = 60.0, endpoint: str | None = None
) -> S3Store:
    """A bucket's client.

    Args:
        bucket: its name.
        prefix: what its keys begin with; may be empty.
        patience_seconds: how long a request is tried again.
        endpoint: another address than the environment's.

    Returns:
        A client; nothing is asked of the store yet.
    """
    _drop_empty_variables()
    own = endpoint or _endpoint()
    told: Any = _credentials_of_file()
    if own:
        told |= {"endpoint": own, "aws_endpoint_url_s3": own}
    return S3Store(
        bucket,
        prefix=prefix or None,
        config=told,
        client_options={
            "allow_http": True,
            "connect_timeout": timedelta(seconds=min(5.0, patience_seconds)),
            # A stall ends a request; that a large file takes its time doesn't.
            "read_timeout": timedelta(seconds=min(30.0, patience_seconds)),
            "timeout": timedelta(hours=1),
        },
        retry_config={
            "max_retries": 1000,  # it's the time that counts
            "retry_timeout": timedelta(seconds=patience_seconds),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
        },
    )


def _drop_empty_variables() -> None:
    """An empty variable is none, as for every other setting; obstore would take it as a value."""
    empty = [name for name, value in os.environ.items() if name.startswith("AWS_") and not value]
    for name in empty:
        del os.environ[name]


def _endpoint() -> str | None:
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def _credentials_of_file() -> dict[str, str]:
    """What AWS_SHARED_CREDENTIALS_FILE says, which obstore doesn't read; the variables win."""
    path = os.environ.get("AWS_SHARED_CREDENTIALS_FILE")
    if not path or "AWS_ACCESS_KEY_ID" in os.environ or not Path(path).exists():
        return {}
    parser = configparser.ConfigParser(interpolation=None)
    try:
        with Path(path).open(encoding="utf-8") as file:
            parser.read_file(file)
        found = parser["default"]
        named = {
            "access_key_id": found["aws_access_key_id"],
            "secret_access_key": found["aws_secret_access_key"],
        }
    except (configparser.Error, KeyError, UnicodeDecodeError) as error:
        message = (
            f"{path} (AWS_SHARED_CREDENTIALS_FILE) must have a section [default] with "
            "aws_access_key_id and aws_secret_access_key"
        )
        raise ValueError(message) from error
    token = found.get("aws_session_token")
    return named | ({"session_token": token} if token else {})


def location() -> bytes:
    """What Amazon's S3 wants to be told of a bucket outside its first region."""
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if _endpoint() or region in (None, "us-east-1"):
        return b""
    return (
        '<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
    ).encode()
