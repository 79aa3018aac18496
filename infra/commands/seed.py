"""Creates the initial admin, API key and sample campaigns; with ``--admin`` the admin alone.

The user of ``UPSTREAM_RABBITMQ_URL`` may then publish over AMQP what the key may over HTTP.

It may be run at every start: what is there stays as it is, except that the admin's password
becomes the one in the settings, so that the settings always allow a login; if it was another,
the admin's sessions end. The campaigns are requested by events, as upstream systems do; they have
fixed ids, so none is created twice, and one that was deleted stays deleted.
The sandbox platforms recognise them by their names.

Exit status: 0 done, 1 not possible (the message says why).
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

from pydantic import SecretStr, ValidationError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import CampaignCreateRequested
from events.campaigns import CampaignCreateRequestedData
from events.envelope import now
from events.sources import SEED_SOURCE
from infra.amqp.message import build_message
from infra.messaging import outbox
from infra.messaging.authorization import asking_users, parse_broker_users
from infra.security.email_address import normalise_email
from infra.security.passwords import Passwords, check_strength
from infra.settings import Settings, load_settings
from infra.storage.api_keys import ParsedApiKey, insert_api_key, parse_api_key
from infra.storage.engine import open_engine
from infra.storage.publishers import RegisteredPublisher, put_publisher
from infra.storage.sessions import end_sessions_of, expiry_cutoff
from infra.storage.tables import campaigns
from infra.storage.users import UserRow, find_user_row, put_admin
from schemas.campaigns import Targeting
from schemas.types import PLATFORMS, Platform
from schemas.users import User

SCOPES = ("events:publish:*",)
SEED_TIMEOUT = 60.0  # seconds

SAMPLE_CAMPAIGNS: tuple[tuple[str, Decimal, Targeting], ...] = (
    (
        "Seeded spring launch",
        Decimal(1200),
        Targeting(interests=("gardening", "balcony"), age_range=(25, 65)),
    ),
    (
        "Seeded city runners",
        Decimal("850.50"),
        Targeting(interests=("running", "health"), age_range=(18, 45)),
    ),
    (
        "Seeded quiet evenings",
        Decimal(400),
        Targeting(interests=("books", "tea"), age_range=(30, 80)),
    ),
)


@dataclass(frozen=True, slots=True)
class UpstreamData:
    """What lets another system publish: an API key and a broker user, for one source."""

    key: ParsedApiKey
    source: str
    publisher: str | None


@dataclass(frozen=True, slots=True)
class SeedData:
    """Who and what is to be there."""

    email: str
    password: str = field(repr=False)
    upstream: UpstreamData | None


def read_seed_settings(settings: Settings, *, only_admin: bool = False) -> SeedData:
    """Read from the settings what is to be there; raises ``ValueError`` for what is wrong."""
    password = _require_secret(settings.adrelay_admin_password, "ADRELAY_ADMIN_PASSWORD")
    weak = check_strength(password)
    if weak is not None:
        raise ValueError(f"ADRELAY_ADMIN_PASSWORD {weak}")
    if not settings.adrelay_admin_email:
        raise ValueError("ADRELAY_ADMIN_EMAIL is not set")
    return SeedData(
        email=normalise_email(settings.adrelay_admin_email),
        password=password,
        upstream=None if only_admin else _read_upstream(settings),
    )


def _read_upstream(settings: Settings) -> UpstreamData:
    return UpstreamData(
        key=parse_api_key(_require_secret(settings.adrelay_api_key, "ADRELAY_API_KEY")),
        source=settings.adrelay_api_key_source,
        publisher=_upstream_user(settings),
    )


def _upstream_user(settings: Settings) -> str | None:
    """Read the broker user to register as a publisher; None for one of Adrelay's own users."""
    if settings.upstream_rabbitmq_url is None:
        return None
    (user, *_) = parse_broker_users(settings.upstream_rabbitmq_url.get_secret_value())
    ours = parse_broker_users(settings.rabbitmq_url.get_secret_value()) | asking_users(settings)
    return None if user in ours else user


def seeded_campaigns(owner_id: UUID) -> list[CampaignCreateRequested]:
    """Build the commands for the sample campaigns: three on each platform, the same each time."""
    return [
        _build_command(platform, number, owner_id)
        for platform in PLATFORMS
        for number in range(len(SAMPLE_CAMPAIGNS))
    ]


async def seed(settings: Settings, engine: AsyncEngine, *, only_admin: bool = False) -> None:
    """Put everything there, or the admin alone, in one transaction.

    Raises ``ValueError`` for wrong settings.
    """
    data, passwords = read_seed_settings(settings, only_admin=only_admin), Passwords(settings)
    async with engine.connect() as connection:
        account = await find_user_row(connection, data.email)
    stored = account.password_hash if account else None
    is_new = not await passwords.verify(data.password, stored)
    if is_new:
        stored = await passwords.hash(data.password)
    admin = User(id=account.user.id if account else uuid4(), email=data.email, role="admin")
    async with engine.begin() as tx:
        admin_id = await put_admin(tx, UserRow(admin, stored or ""))
        if is_new:
            since, at = expiry_cutoff(settings, now()), now()
            await end_sessions_of(tx, admin_id, "password_changed", since=since, at=at)
        if data.upstream:
            await _put_upstream(tx, data.upstream, admin_id)


async def _put_upstream(tx: AsyncConnection, upstream: UpstreamData, admin_id: UUID) -> None:
    """Enter the key, the publisher and the commands for the sample campaigns."""
    await insert_api_key(
        tx,
        upstream.key,
        name="seed",
        owner_id=admin_id,
        scopes=SCOPES,
        sources=(upstream.source,),
    )
    if upstream.publisher:
        sources = frozenset({upstream.source})
        await put_publisher(tx, RegisteredPublisher(upstream.publisher, sources, admin_id))
    commands = await _leave_out_existing(tx, seeded_campaigns(admin_id))
    await outbox.add(tx, [build_message(command) for command in commands])


async def _leave_out_existing(
    tx: AsyncConnection, commands: Sequence[CampaignCreateRequested]
) -> list[CampaignCreateRequested]:
    """Leave out the campaigns that exist or existed."""
    ids = [command.data.campaign_id for command in commands]
    rows = await tx.execute(select(campaigns.c.id).where(campaigns.c.id.in_(ids)))
    there = {row.id for row in rows}
    return [command for command in commands if command.data.campaign_id not in there]


def _build_command(platform: Platform, number: int, owner_id: UUID) -> CampaignCreateRequested:
    name, budget, targeting = SAMPLE_CAMPAIGNS[number]
    event_id = f"{platform}-{number + 1}"
    creation = CampaignCreateRequestedData(
        campaign_id=uuid5(NAMESPACE_URL, f"{SEED_SOURCE}:{event_id}"),
        name=name,
        budget=budget,
        platform=platform,
        targeting=targeting,
    )
    return CampaignCreateRequested(
        id=event_id, source=SEED_SOURCE, ownerid=str(owner_id), data=creation
    )


def _require_secret(secret: SecretStr | None, variable: str) -> str:
    text = secret.get_secret_value() if secret else ""
    if not text:
        raise ValueError(f"{variable} is not set")
    return text


async def _run(settings: Settings, *, only_admin: bool) -> None:
    engine = open_engine(settings)
    try:
        async with asyncio.timeout(SEED_TIMEOUT):
            await seed(settings, engine, only_admin=only_admin)
    finally:
        await engine.dispose()


def main(*, only_admin: bool = False) -> int:
    """Seed the database of the settings, or the admin alone; returns the exit status."""
    try:
        asyncio.run(_run(load_settings(), only_admin=only_admin))
    except (ValueError, ValidationError, OSError, SQLAlchemyError) as error:
        sys.stderr.write(f"not seeded: {error}\n")
        return 1
    return 0
