"""Settings of the connections to RabbitMQ, Postgres and Redis, and of what is kept there."""

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

from infra.settings.rules import BrokerUrls, DatabaseUrl, Duration, RedisUrl, Seconds, SecretHttpUrl


class ServerSettings(BaseSettings):
    """Where the servers are, how long to wait for them, and how long rows are kept."""

    rabbitmq_url: BrokerUrls = Field(
        default=SecretStr("amqp://guest:guest@127.0.0.1:5672/"),
        description="AMQP URL of the broker; several, separated by spaces, are tried in turn",
    )
    ingress_user: str | None = Field(
        default=None,
        description="The users of the broker that may ask the auth worker, separated by spaces: the"
        " ingress' and the console's, if they are others than RABBITMQ_URL's",
    )
    workers_user: str | None = Field(
        default=None,
        description="The users of the broker that the workers have, separated by spaces, if they"
        " are others than RABBITMQ_URL's: the console runs dead letters dry as they would",
    )
    rabbitmq_management_url: SecretHttpUrl | None = Field(
        default=None,
        description="Management API of the broker; the release step sets a policy through it, the"
        " relay compares the topology",
    )
    database_url: DatabaseUrl = Field(
        default=SecretStr("postgresql://adrelay@127.0.0.1:5432/adrelay"),
        description="Postgres URL",
    )
    redis_url: RedisUrl = Field(
        default=SecretStr("redis://127.0.0.1:6379/0"), description="Redis URL"
    )
    prometheus_url: SecretHttpUrl | None = Field(
        default=None,
        description="Prometheus with Adrelay's rules, which tells the console what alerts fire",
    )
    heartbeat: int = Field(default=10, ge=5, le=60, description="AMQP heartbeat, in seconds")
    broker_timeout: Seconds = Field(default=10, description="Longest wait for a broker's answer")
    confirm_deadline: Seconds = Field(
        default=1, description="The ingress waits so long for a confirm, then uses the outbox"
    )
    reply_deadline: Seconds = Field(
        default=5, description="The ingress waits so long for the auth worker's answer"
    )
    database_pool: int = Field(
        default=10, ge=1, le=1000, description="Database connections a process"
    )
    statement_timeout: Seconds = Field(default=10, description="Longest run of a statement")
    redis_timeout: Seconds = Field(default=0.25, description="Longest wait for Redis")
    outbox_poll: Seconds = Field(
        default=0.5,
        description="Seconds between two reads of the outbox when no notification comes",
    )
    outbox_lease: Seconds = Field(default=30, description="Life of a relay's claim on rows")
    inbox_days: int = Field(
        default=30, ge=1, le=3650, description="How long a handled event id is known"
    )
    dead_letter_days: int = Field(
        default=30, ge=1, description="A replayed or discarded dead letter is kept for so long"
    )
    unrecognised_days: int = Field(
        default=30,
        ge=1,
        description="A replayed or discarded webhook that was not recognised is kept for so long",
    )
    operation_days: int = Field(
        default=90, ge=30, description="The outcome of a write is kept for so long"
    )
    history_max_age: Duration = Field(
        default="7D", description="The event log drops what is older; a number and Y, M, D, h, m, s"
    )
    history_max_bytes: int = Field(
        default=10 * 1024**3, ge=1024**2, description="The event log drops what is more"
    )
    backup_max_age: Duration | None = Field(
        default=None,
        description="The newest backup of the database gets as old as this; the event log has to"
        " reach back further. A number and Y, M, D, h, m, s",
    )
    audit_days: int = Field(default=400, ge=1, description="The audit log is kept for so long")
    waiting_event_days: int = Field(
        default=7, ge=1, description="Why an event was put off is known for so long"
    )
    log_mark_days: int = Field(
        default=2, ge=1, description="How far the event log had taken effect is known for so long"
    )
