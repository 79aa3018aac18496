"""Our namespace among CloudEvents sources: ``urn:adrelay`` and all that begins with it.

Namespaces of URNs are compared without regard to case (RFC 8141, section 3.1). A reader of a
source may also decode percents, fold compatibility forms or drop what cannot be seen; so a
source is ours in every such spelling, and nobody else may speak for it.
"""

import re
import unicodedata
from urllib.parse import unquote

RESERVED_SOURCE_PREFIX = "urn:adrelay:"
# The namespace, and then its end: "urn:adrelays:x" is somebody else's.
RESERVED_NAMESPACE = re.compile(r"urn:adrelay(?![a-z0-9-])")
MAX_DECODING_ROUNDS = 5  # of decoding; what is encoded more often is read by nobody


def is_reserved_source(source: str) -> bool:
    """Tell whether a source lies in our namespace, however it is written."""
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
    # Neither spaces nor what only formats text (such as U+200B) tells two sources apart.
    seen = (c for c in plain if unicodedata.category(c) not in {"Cf", "Cc", "Zs", "Mn"})
    return "".join(seen)
