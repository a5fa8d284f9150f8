"""What this process counts for Prometheus, by names that outlive versions (see docs/observe.md).

Labels are a closed set: no id, no path and nothing else that a user sends becomes one.
"""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from stillhouse import __version__

SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0)
UPLOADS = {201: "new", 200: "known"}

# They would be a second series for each counter, which nothing here reads.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library gives it no types


class Metrics:
    """One per API; `also` adds what is looked up when it's asked for."""

    def __init__(self, *also: Collector) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        for collector in also:
            self._registry.register(collector)
        self._requests = Counter(
            "stillhouse_http_requests_total", "Requests, by route template.",
            ["method", "route", "status"], registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "stillhouse_http_request_duration_seconds", "Until the last byte of the answer.",
            ["method", "route"], buckets=SECONDS, registry=self._registry,
        )  # fmt: skip
        self._errors = Counter(
            "stillhouse_http_errors_total", "Errors that were answered, by their code.",
            ["code"], registry=self._registry,
        )  # fmt: skip
        self._uploads = Counter(
            "stillhouse_uploads_total", "Uploads: new, known or failed.",
            ["outcome"], registry=self._registry,
        )  # fmt: skip
        self._upload_bytes = Counter(
            "stillhouse_upload_bytes_total", "Bytes of uploads that arrived.",
            registry=self._registry,
        )  # fmt: skip
        self._download_bytes = Counter(
            "stillhouse_download_bytes_total", "Bytes of files that were sent by this process.",
            registry=self._registry,
        )  # fmt: skip
        build = Gauge(
            "stillhouse_build_info", "1, with the version as a label.", ["version"],
            registry=self._registry,
        )  # fmt: skip
        build.labels(__version__).set(1)

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request that was served."""
        self._requests.labels(method, route, status).inc()
        self._seconds.labels(method, route).observe(seconds)

    def failed(self, code: str) -> None:
        """Count an error by its stable code."""
        self._errors.labels(code).inc()

    def uploaded(self, *, status: int, size: int) -> None:
        """Count an upload, however it ended."""
        self._uploads.labels(UPLOADS.get(status, "failed")).inc()
        self._upload_bytes.inc(size)

    def downloaded(self, size: int) -> None:
        """Count bytes of a file that went out."""
        self._download_bytes.inc(size)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """All of it as text, and its media type, as the Accept header asks."""
        encode, media_type = choose_encoder(accept)
        return encode(self._registry), media_type
