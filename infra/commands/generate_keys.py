"""Generates the keys of an installation.

Keys are 32 random bytes in base64url without padding (``infra.base64url``).
"""

import secrets
import sys

from events.envelope import now
from infra.base64url import KEY_BYTES, encode_base64url
from infra.commands.output import print_json
from infra.env_file import write_env
from infra.security import access_tokens, sealed_box


def generate_keys() -> dict[str, str]:
    """Generate a value for every variable that holds a key of Adrelay."""
    signing, sealing = access_tokens.make_signing_keys(), sealed_box.make_encryption_keys()
    return {
        "TOKEN_SIGNING_KEY": signing.private,
        "TOKEN_VERIFY_KEYS": signing.public,
        "TOKEN_KEYS_SINCE": now().isoformat(timespec="seconds"),
        "SEAL_PRIVATE_KEY": sealing.private,
        "SEAL_PUBLIC_KEY": sealing.public,
        "REFRESH_KEY": encode_base64url(secrets.token_bytes(KEY_BYTES)),
        "VAULT_KEYS": encode_base64url(secrets.token_bytes(KEY_BYTES)),
        "OPERATION_KEY": secrets.token_urlsafe(KEY_BYTES),
    }


def print_keys(*, as_json: bool) -> None:
    """Print new keys, as lines of an environment file or as a JSON line."""
    keys = generate_keys()
    if as_json:
        print_json(keys)
    else:
        sys.stdout.write(write_env(keys))
