"""Settings of traces: where spans are sent by OTLP/HTTP, and how many traces are recorded."""

from urllib.parse import urlsplit

from pydantic import Field
from pydantic_settings import BaseSettings

from infra.settings.rules import HttpUrlOrNone

TRACES_PATH = "/v1/traces"  # OTLP 1.x, section "OTLP/HTTP Request"


class TraceSettings(BaseSettings):
    """Off without an endpoint; the exporter reads other ``OTEL_EXPORTER_OTLP_*`` itself."""

    traces_endpoint: HttpUrlOrNone = Field(
        default="",
        description="OTLP/HTTP collector that spans are sent to; empty: no traces, unless one of"
        " the next two is set",
    )
    otel_exporter_otlp_traces_endpoint: HttpUrlOrNone = Field(
        default="", description="The same as OpenTelemetry names it: the whole URL"
    )
    otel_exporter_otlp_endpoint: HttpUrlOrNone = Field(
        default="", description="The same, a URL to which /v1/traces is added"
    )
    traces_sample_ratio: float = Field(
        default=1,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description="Part of the traces that begin here and are recorded; the caller's decision"
        " holds for those that it has begun",
    )

    @property
    def spans_url(self) -> str:
        """The URL that spans are posted to; empty where there are no traces."""
        if own := self.traces_endpoint:
            return own if urlsplit(own).path.strip("/") else own.rstrip("/") + TRACES_PATH
        if self.otel_exporter_otlp_traces_endpoint:
            return self.otel_exporter_otlp_traces_endpoint
        base = self.otel_exporter_otlp_endpoint
        return base.rstrip("/") + TRACES_PATH if base else ""
