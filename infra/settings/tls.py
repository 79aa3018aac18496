"""Settings of TLS to RabbitMQ, Postgres and Redis: a private authority, a client certificate."""

from collections.abc import Mapping
from typing import Literal
from urllib.parse import parse_qs, urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from infra.settings.rules import VERIFY_FULL
from infra.tls import TlsFiles, get_tls_context

Server = Literal["rabbitmq", "database", "redis"]

# Options of a URL that say the same as the settings, or the opposite.
URL_OPTIONS = (
    *("cafile", "capath", "cadata", "certfile", "keyfile", "no_verify_ssl"),
    *("ssl", "sslmode", "sslrootcert", "sslcert", "sslkey"),
)
SCHEMES: Mapping[Server, str] = {"rabbitmq": "amqps", "redis": "rediss"}


class TlsSettings(BaseSettings):
    """Files in PEM. A renewed file counts from the next connection on."""

    rabbitmq_ca_file: str = Field(
        default="",
        description="Authority of the broker's certificates, for amqps:// and the management API's"
        " https://; empty: those of the system",
    )
    rabbitmq_cert_file: str = Field(
        default="", description="Client certificate for the broker, with its chain"
    )
    rabbitmq_key_file: str = Field(default="", description="Its key, without a passphrase")
    database_ca_file: str = Field(
        default="",
        description="Authority of Postgres' certificate: TLS is required, chain and name are"
        " verified (as sslmode=verify-full in the URL does with the system's authorities)",
    )
    database_cert_file: str = Field(default="", description="Client certificate for Postgres")
    database_key_file: str = Field(default="", description="Its key, without a passphrase")
    redis_ca_file: str = Field(
        default="", description="Authority of Redis' certificate, for rediss://; empty: the system"
    )
    redis_cert_file: str = Field(default="", description="Client certificate for Redis")
    redis_key_file: str = Field(default="", description="Its key, without a passphrase")

    def tls(self, server: Server) -> TlsFiles:
        """Collect the files for a server."""
        ca, certificate, key = (
            getattr(self, f"{server}_{kind}_file") for kind in ("ca", "cert", "key")
        )
        return TlsFiles(server.upper(), ca, certificate, key)


def check_tls(server: Server, files: TlsFiles, urls: SecretStr) -> None:
    """Raise ``ValueError`` unless the files can be used, and the URLs fit them."""
    if not files:
        return
    get_tls_context(files)
    setting = f"{files.name}_URL"
    for url in urls.get_secret_value().split():
        parts = urlsplit(url)
        options = parse_qs(parts.query, keep_blank_values=True)
        if server in SCHEMES and parts.scheme != SCHEMES[server]:
            raise ValueError(f"{setting}: must begin with {SCHEMES[server]}:// to use TLS files")
        if server == "database" and options.get("sslmode") == [VERIFY_FULL]:
            del options["sslmode"]
        if any(name in URL_OPTIONS or name.startswith("ssl_") for name in options):
            raise ValueError(f"{setting}: must have no options of TLS beside {files.name}_CA_FILE")
