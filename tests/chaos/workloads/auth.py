"""Work for the auth worker."""

from events import RegistrationRequested
from events.envelope import Event, new_id
from events.sources import API_SOURCE
from events.users import EncryptedRequestData
from infra.security.sealed_box import encrypt_payload
from tests.chaos.stage import Stage
from tests.chaos.workloads.base import COUNT, Queued


class Register(Queued):
    """Registrations, sealed as the ingress does it."""

    module, queue = "workers.auth", "auth.register"

    async def send(self, stage: Stage) -> None:
        await stage.publish([self._event(stage, number) for number in range(COUNT)])

    async def check(self, stage: Stage) -> None:
        kinds = ("user.registered.v1", "session.started.v1", "audit.recorded.v1")
        await stage.caused_once(*kinds, by=stage.sent)
        rows = await stage.rows("select email from users")
        assert sorted(row[0] for row in rows) == sorted(f"{n}@example.com" for n in range(COUNT))
        assert await stage.rows("select outcome from audit") == [("ok",)] * COUNT

    def _event(self, stage: Stage, number: int) -> Event:
        event_id, purpose = new_id(), RegistrationRequested.event_type()
        account = {"email": f"{number}@example.com", "password": "plain but long enough"}
        key = stage.settings.seal_public_key or ""
        box = encrypt_payload(key, {"body": account}, purpose=purpose, request_id=event_id)
        return RegistrationRequested(
            id=event_id, source=API_SOURCE, data=EncryptedRequestData(sealed=box)
        )
