"""Keeps the input of a form that was sent when its session was over, until its sender logs in.

    the act is refused    the login page has the input, encrypted, in a hidden field
    the login             the input moves to Redis, under the new session
    the page of the form  shows it above its contents: the act is done when it is sent again

Only the browser that has sent the form gets it back: the field opens with the id of the session
that is over, which is in that browser's cookie. Nothing is done by itself.
"""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from events.envelope import now
from schemas.types import FrozenModel
from workers.ops.session import ConsoleSession, SessionStore

FIELD = "kept"
SENT_AGAIN = "kept_form"  # the field of a form that is sent for the second time
MAX_BYTES = 384 * 1024  # of the input as JSON
MAX_AGE = timedelta(hours=1)
NONCE_BYTES = 12
SECRET_WORD = "password"  # noqa: S105 - no field with this in its name is kept


class KeptForm(FrozenModel):
    """The input of a form: where it was to be sent, the page that it is on, and its fields."""

    action: str
    page: str
    fields: Mapping[str, str]
    sent_at: datetime


@dataclass(frozen=True, slots=True)
class KeptFormSealer:
    """Encrypts kept forms for the way over the login page (AES-256-GCM)."""

    key: bytes

    def seal(self, form: KeptForm, session_id: str) -> str | None:
        """Encrypt a form; None where it is larger than ``MAX_BYTES``."""
        text = form.model_dump_json().encode()
        if len(text) > MAX_BYTES:
            return None
        nonce = secrets.token_bytes(NONCE_BYTES)
        sealed = nonce + self._cipher().encrypt(nonce, text, session_id.encode())
        return base64.urlsafe_b64encode(sealed).decode()

    def open(self, text: str, session_id: str) -> KeptForm | None:
        """Decrypt a form of this browser; None for another text, or one older than ``MAX_AGE``."""
        try:
            sealed = base64.urlsafe_b64decode(text)
            nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
            plain = self._cipher().decrypt(nonce, body, session_id.encode())
            form = KeptForm.model_validate_json(plain)
        except (binascii.Error, InvalidTag, ValueError):
            return None
        return form if now() - form.sent_at <= MAX_AGE else None

    def _cipher(self) -> AESGCM:
        return AESGCM(sha256(b"adrelay console kept form\0" + self.key).digest())


async def find_kept_form(sessions: SessionStore, session: ConsoleSession) -> KeptForm | None:
    """Find the form that is kept under a session."""
    text = await sessions.find_kept(session)
    return None if text is None else KeptForm.model_validate_json(text)
