"""What the console's process holds open and shares between its requests."""

import asyncio
from dataclasses import dataclass

from aiohttp import web
from jinja2 import Environment

from infra.resources import Resources
from infra.security.access_tokens import TokenVerifier
from infra.web.auth_worker import AuthWorkerClient
from infra.web.database import Database
from infra.web.rate_limits import RateLimiter
from workers.ops.assets import Asset
from workers.ops.doctor import Doctor
from workers.ops.kept_form import KeptFormSealer
from workers.ops.log_reader import LogReader
from workers.ops.processes import ProcessMonitor
from workers.ops.sampler import Sampler
from workers.ops.session import SessionStore


@dataclass(frozen=True, slots=True)
class ConsoleState:
    """Built once at start-up."""

    resources: Resources
    database: Database
    auth_worker: AuthWorkerClient
    verifier: TokenVerifier
    rate_limiter: RateLimiter
    sessions: SessionStore
    kept_forms: KeptFormSealer
    sampler: Sampler
    processes: ProcessMonitor
    log_reader: LogReader
    doctor: Doctor
    environment: Environment
    assets: dict[str, Asset]
    operation_key: bytes
    draining: asyncio.Event


STATE: web.AppKey[ConsoleState] = web.AppKey("state", ConsoleState)
