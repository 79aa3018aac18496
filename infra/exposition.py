"""Writes the metrics as the scraper asks for them: OpenMetrics (with exemplars) or text, gzipped.

``Accept`` and ``Accept-Encoding`` as in RFC 9110, sections 12.5.1 and 12.5.3. The negotiation of
prometheus-client fails on a version that is no number, repeats the client's version in its answer,
and takes ``gzip;q=0`` for a yes.
"""

import gzip
from collections.abc import Callable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.openmetrics import exposition as openmetrics

OPEN_METRICS = "application/openmetrics-text"
VERSIONS = ("", "1.0.0")  # without one, any
GZIP_LEVEL = 5  # a scrape is compressed to a tenth in a few milliseconds


class MetricsFormat(NamedTuple):
    """How to write the metrics."""

    encode: Callable[[CollectorRegistry], bytes]
    content_type: str
    is_compressed: bool

    def write(self, registry: CollectorRegistry) -> bytes:
        """Write every metric of a registry; takes long, so run it in a thread."""
        text = self.encode(registry)
        return gzip.compress(text, GZIP_LEVEL) if self.is_compressed else text


def choose_format(accept: str, accept_encoding: str) -> MetricsFormat:
    """Choose by the headers of a scrape; whatever they say, there is a format."""
    is_compressed = _quality(accept_encoding, "gzip") > 0
    wanted = _quality(accept, OPEN_METRICS, VERSIONS)
    if wanted > 0 and wanted >= _quality(accept, "text/plain"):
        return MetricsFormat(
            openmetrics.generate_latest, openmetrics.CONTENT_TYPE_LATEST, is_compressed
        )
    return MetricsFormat(generate_latest, CONTENT_TYPE_PLAIN_0_0_4, is_compressed)


def _quality(header: str, name: str, versions: tuple[str, ...] = ()) -> float:
    """Find how much a client wants something: from 0 (not at all) to 1."""
    best = 0.0
    for element in header.split(","):
        kind, *pairs = (part.strip().lower() for part in element.split(";"))
        options = {
            key.strip(): value.strip() for key, _, value in (p.partition("=") for p in pairs)
        }
        if kind == name and (not versions or options.get("version", "") in versions):
            best = max(best, _to_quality(options.get("q", "1")))
    return best


def _to_quality(text: str) -> float:
    try:
        quality = float(text)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0
