"""TLS of a client: the authority that it trusts, and the certificate that it presents.

The files are read again when they change, so a renewed certificate counts from the next connection
on and needs no restart.
"""

import ssl
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

MAX_CONTEXTS = 16


class UnusableTlsFiles(OSError, ValueError):
    """A file cannot be read, or is not what it should be; the text names the file's setting.

    A setting is wrong at the start, and a connection is not made later.
    """


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files of one server's setting; an empty name is none.

    Without ``ca`` the authorities of the system count. ``name`` begins the names of the settings
    (``RABBITMQ``), for messages.
    """

    name: str = ""
    ca: str = ""
    certificate: str = ""
    key: str = ""

    def __bool__(self) -> bool:
        """Tell whether a file is named."""
        return bool(self.ca or self.certificate or self.key)


NO_TLS_FILES = TlsFiles()


def get_tls_context(files: TlsFiles) -> ssl.SSLContext:
    """Give the context that verifies a server's chain and name (RFC 9525), of TLS 1.2 or newer.

    Raises ``UnusableTlsFiles``.
    """
    return _build(files, tuple(map(_stamp, (files.ca, files.certificate, files.key))))


def _stamp(file: str) -> tuple[int, int, int]:
    """Tell the contents of a file from others without reading it."""
    try:
        found = Path(file).stat() if file else None
    except OSError:
        return (0, 0, 0)
    return (0, 0, 0) if found is None else (found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=MAX_CONTEXTS)
def _build(files: TlsFiles, _stamps: object) -> ssl.SSLContext:
    if bool(files.certificate) != bool(files.key):
        given, missing = ("CERT", "KEY") if files.certificate else ("KEY", "CERT")
        raise UnusableTlsFiles(f"{files.name}_{given}_FILE: needs {files.name}_{missing}_FILE too")
    try:
        context = ssl.create_default_context(cafile=files.ca or None)
    except (OSError, ValueError) as error:
        raise UnusableTlsFiles(
            f"{files.name}_CA_FILE: must be a readable file of certificates in PEM"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if files.certificate:
        try:
            # Without a password the library would ask for one on the terminal.
            context.load_cert_chain(files.certificate, files.key, password="")
        except (OSError, ValueError) as error:
            raise UnusableTlsFiles(
                f"{files.name}_CERT_FILE: must be a readable certificate in PEM, and"
                f" {files.name}_KEY_FILE its key, without a passphrase"
            ) from error
    return context
