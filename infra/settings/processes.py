"""Settings of a process: address, logs, proxies, limits of size."""

import os
from ipaddress import IPv4Network, IPv6Network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, field_validator
from pydantic_settings import BaseSettings, NoDecode

from infra.log_levels import parse_log_levels
from infra.settings.rules import Bytes, HttpUrl, Seconds, check_process_urls, split_words

MAX_WEB_PROCESSES = 256


class ProcessSettings(BaseSettings):
    """How a process listens, logs and stops, and how much it reads at once."""

    host: str = Field(default="127.0.0.1", description="Address that a process listens on")
    port: int | None = Field(
        default=None,
        ge=0,
        le=65_535,
        description="Port of a process: API and probes of the ingress (8080), probes of a worker",
    )
    web_processes: Annotated[int, Field(ge=1, le=MAX_WEB_PROCESSES)] | Literal["auto"] = Field(
        default=1, description="Processes of the ingress on one port; auto: one for each core"
    )
    web_metrics_port: int = Field(
        default=9110,
        ge=1,
        le=65_000,
        description="Port of /metrics and probes of the first of several; the next ones follow",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="DEBUG, INFO, WARNING or ERROR"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        default="auto", description="text, json, or auto: text on a terminal, JSON elsewhere"
    )
    log_levels: str = Field(
        default="",
        description="Levels of single loggers, as in infra.messaging=debug,aiormq=warning",
    )
    shutdown_deadline: Seconds = Field(
        default=25, description="Time to finish what is in hand after SIGTERM"
    )
    public_url: HttpUrl = Field(
        default="http://127.0.0.1:8080",
        description="The ingress as browsers know it; platforms send an owner back there",
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        description="Networks, separated by spaces, of the proxies whose FORWARDED_HEADER counts",
    )
    forwarded_header: Literal["X-Forwarded-For", "Forwarded"] = Field(
        default="X-Forwarded-For", description="Header in which these proxies name the client"
    )
    max_event_bytes: Bytes = Field(default=256 * 1024, description="Largest event; more is dead")
    max_body_bytes: Bytes = Field(default=1024 * 1024, description="Largest HTTP body")
    max_batch_events: int = Field(
        default=1000, ge=1, le=100_000, description="Events in one POST /api/v1/events"
    )

    process_urls: Annotated[tuple[str, ...], NoDecode, AfterValidator(check_process_urls)] = Field(
        default=(),
        description="Processes whose probes the console reads, separated by spaces, as in"
        " web=http://web:8080; by default one of each on this host, at its own port",
    )

    @property
    def web_process_count(self) -> int:
        """Give the number of processes of the ingress."""
        return len(os.sched_getaffinity(0)) if self.web_processes == "auto" else self.web_processes

    @field_validator("log_levels")
    @classmethod
    def _check_levels(cls, value: str) -> str:
        parse_log_levels(value)
        return value

    @field_validator("trusted_proxies", "process_urls", mode="before")
    @classmethod
    def _split_texts(cls, value: object) -> object:
        return split_words(value)
