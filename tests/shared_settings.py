"""A vhost and a database that test modules use one after the other.

Making them takes half a second of CPU time, most of it for the quorum queues. Each module finds an
empty event log, and tables and queues are emptied before each test (see ``tests.cleaning``). Where
a module has changed anything else, the next one gets others.
"""

from contextlib import ExitStack
from functools import partial
from typing import Any

import aio_pika
import asyncpg
from yarl import URL

from infra.amqp.management_api import ManagementApiError
from infra.amqp.topology import EVENT_LOG
from infra.amqp.topology_declaration import declare
from infra.deploy.services.threads import run_in_thread
from infra.settings import Settings
from tests.services import TESTER, Services, open_settings, url_as

# Seconds; a busy machine answers late. What is tested with a deadline sets its own.
PATIENCE = {"confirm_deadline": 3.0, "reply_deadline": 15.0}
# What a test may change in a database, besides rows.
SHAPE = """
    select 'column', attrelid::regclass || '.' || attname, concat(atttypid::regtype, attnotnull)
    from pg_attribute join pg_class on pg_class.oid = attrelid
    where relnamespace = 'public'::regnamespace and attnum > 0
    union all select 'index', indexrelid::regclass::text, pg_get_indexdef(indexrelid)
    from pg_index join pg_class on pg_class.oid = indrelid
    where relnamespace = 'public'::regnamespace
    union all select 'constraint', conname, pg_get_constraintdef(oid)
    from pg_constraint where connamespace = 'public'::regnamespace
    union all select 'function', oid::regprocedure::text, prosrc
    from pg_proc where pronamespace = 'public'::regnamespace
    union all select 'trigger', tgname, concat(tgenabled, pg_get_triggerdef(oid))
    from pg_trigger where not tgisinternal
    union all select 'privileges', relname, relacl::text
    from pg_class where relnamespace = 'public'::regnamespace
    union all select 'settings', setrole::text, setconfig::text from pg_db_role_setting
    where setdatabase in (0, (select oid from pg_database where datname = current_database()))
    order by 1, 2, 3
"""
# What the definitions of a vhost leave out.
PERMISSIONS = ("permissions", "topic-permissions")


class SharedSettings:
    """The settings that the test modules of a session use in turn."""

    def __init__(self, services: Services) -> None:
        """Prepare; nothing is made yet."""
        self._services = services
        self._made = 0
        self._open = ExitStack()
        self._settings: Settings | None = None
        self._shape: object = None

    def get(self) -> Settings:
        """Give settings whose event log is empty."""
        if self._settings is None:
            self._made += 1
            made = open_settings(self._services, f"shared_{self._made}")
            self._settings = self._open.enter_context(made).model_copy(update=PATIENCE)
            self._shape = self._read_shape(self._settings)
        else:
            run_in_thread(partial(_empty_log, self._settings))
        return self._settings

    def check(self) -> None:
        """Drop vhost and database if their shape is no longer what it was."""
        if self._settings is not None and self._read_shape(self._settings) != self._shape:
            self.close()

    def close(self) -> None:
        """Remove vhost and database."""
        self._settings = None
        self._open.close()

    def _read_shape(self, settings: Settings) -> object:
        vhost = URL(settings.rabbitmq_url.get_secret_value()).path.strip("/")
        call = self._services.operator.call
        try:
            found = [call("GET", "definitions", vhost)]
            found += [call("GET", "vhosts", vhost, name) for name in PERMISSIONS]
        except ManagementApiError:  # the vhost is gone
            return None
        return [_sort(one) for one in found], run_in_thread(partial(_read_tables, settings))


def _sort(found: Any) -> Any:
    """Sort every list of an answer: the broker's order is any."""
    if isinstance(found, dict):
        return {name: _sort(value) for name, value in found.items()}
    if isinstance(found, list):
        return sorted((_sort(value) for value in found), key=repr)
    return found


async def _read_tables(settings: Settings) -> list[Any]:
    session = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        found: list[Any] = await session.fetch(SHAPE)
        return found
    finally:
        await session.close()


async def _empty_log(settings: Settings) -> None:
    connection = await aio_pika.connect(url_as(TESTER, settings.rabbitmq_url), timeout=10)
    try:
        async with connection.channel() as channel:
            await channel.queue_delete(EVENT_LOG)
        await declare(connection)
    finally:
        await connection.close()
