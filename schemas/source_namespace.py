"""The reserved namespace of CloudEvents sources: ``urn:adrelay`` and all that begins with it.

Only Adrelay itself publishes with these sources (``events.sources``). URN namespaces are
compared case-insensitively (RFC 8141, section 3.1). A reader of a source may also decode
percent-encoding, fold compatibility forms or drop invisible characters; so a source is
reserved in every such spelling.
"""

import re
import unicodedata
from functools import lru_cache
from urllib.parse import unquote

RESERVED_SOURCE_PREFIX = "urn:adrelay:"
# The namespace and its end: "urn:adrelays:x" is another namespace.
RESERVED_NAMESPACE = re.compile(r"urn:adrelay(?![a-z0-9-])")
MAX_DECODING_ROUNDS = 5  # times that percent-encoding is decoded


@lru_cache(maxsize=1024)
def is_reserved_source(source: str) -> bool:
    """Return whether a source is in the reserved namespace, in any spelling."""
    if source.isascii() and "%" not in source:
        return RESERVED_NAMESPACE.match(source.strip().lower()) is not None
    return RESERVED_NAMESPACE.match(_folded(source)) is not None


def _folded(source: str) -> str:
    for _ in range(MAX_DECODING_ROUNDS):
        decoded = unquote(source)
        if decoded == source:
            break
        source = decoded
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", source).casefold())
    # Spaces and format characters (such as U+200B) do not distinguish sources.
    seen = (c for c in plain if unicodedata.category(c) not in {"Cf", "Cc", "Zs", "Mn"})
    return "".join(seen)
