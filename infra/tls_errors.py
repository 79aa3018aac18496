"""Says in a sentence why a TLS connection was not made; it quotes no data and no address.

Codes of the verification: OpenSSL's manual, ``X509_STORE_CTX_get_error``. Alerts, which the server
sends: RFC 8446, section 6.2; with TLS 1.3 they arrive after the client's own handshake.
"""

import ssl
from collections.abc import Iterator, Mapping

PREFIX = "TLS fails: "
UNKNOWN_AUTHORITY = "its certificate is not of an authority that is trusted here (the CA file)"
VERIFICATION: Mapping[int, str] = {
    9: "its certificate is not valid yet",
    10: "its certificate has expired",
    18: UNKNOWN_AUTHORITY,
    19: UNKNOWN_AUTHORITY,
    20: UNKNOWN_AUTHORITY,
    21: UNKNOWN_AUTHORITY,
    62: "its certificate is for another name than the URL's host",
    64: "its certificate is for another address than the URL's host",
}
NO_CERTIFICATE = "it requires a client certificate (the settings of the certificate and key file)"
NOT_ACCEPTED = "it does not accept our client certificate"
# Parts of OpenSSL's reasons.
ALERTS: Mapping[str, str] = {
    "CERTIFICATE_REQUIRED": NO_CERTIFICATE,
    "ALERT_HANDSHAKE_FAILURE": f"it refuses the handshake; perhaps {NO_CERTIFICATE}",
    "ALERT_UNKNOWN_CA": f"{NOT_ACCEPTED}: its authority is unknown there",
    "ALERT_CERTIFICATE_EXPIRED": f"{NOT_ACCEPTED}: it has expired",
    "ALERT_CERTIFICATE_UNKNOWN": NOT_ACCEPTED,
    "ALERT_BAD_CERTIFICATE": NOT_ACCEPTED,
    "ALERT_PROTOCOL_VERSION": "it speaks an older TLS than 1.2",
    "WRONG_VERSION_NUMBER": "it speaks no TLS at this port",
}
# How asyncpg and Postgres say it, which have no code of their own for it.
TEXTS: Mapping[str, str] = {
    "requires a valid client certificate": NO_CERTIFICATE,
    "rejected SSL upgrade": "it speaks no TLS",
}


# A server that closes at once may discard the alert before the client has read it.
CLOSED = (ConnectionResetError, BrokenPipeError, EOFError)
CLOSED_TEXTS = ("Connection closed by server", "Server disconnected")
PERHAPS_NO_CERTIFICATE = (
    f"{PREFIX}it closes the connection after the handshake; perhaps it requires another client"
    " certificate (the settings of the certificate and key file)"
)


def describe_tls_error(error: BaseException) -> str | None:
    """Say what is wrong with TLS; None where an error and its causes have nothing to do with it."""
    found = None
    for one in _chain(error):
        found = _describe(one) or found
    return None if found is None else f"{PREFIX}{found}"


def describe_closed_connection(error: BaseException) -> str | None:
    """Say what is wrong where a connection over TLS could not be begun; None if it is not TLS."""
    if (words := describe_tls_error(error)) is not None:
        return words
    closed = any(
        isinstance(one, CLOSED) or any(text in str(one) for text in CLOSED_TEXTS)
        for one in _chain(error)
    )
    return PERHAPS_NO_CERTIFICATE if closed else None


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = current.__cause__ or current.__context__


def _describe(error: BaseException) -> str | None:
    if (text := str(error)).startswith(PREFIX):
        return text.removeprefix(PREFIX)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
        return None  # it has closed the connection, as one that stops does
    if isinstance(error, ssl.SSLCertVerificationError):
        # aiohttp derives an error of its own that lacks these; its cause has them.
        code = getattr(error, "verify_code", None)
        return code and VERIFICATION.get(code, f"its certificate: {error.verify_message}")
    # Some clients quote the reason in an error of their own.
    text = (error.reason or text) if isinstance(error, ssl.SSLError) else text
    for part, sentence in {**ALERTS, **TEXTS}.items():
        if part in text:
            return sentence
    if isinstance(error, ssl.SSLError):
        return f"the handshake fails ({error.reason or type(error).__name__})"
    return None
