"""Prints an access token of the first admin: ``python -m infra.deploy.access_token``."""

import asyncio
import os
import sys

import aiohttp

from infra.env_file import read_env_file
from infra.settings import SERVICES_ENV

TIMEOUT = 15.0  # seconds
ADVICE = "'make status' shows what runs, 'make up' starts it"


async def log_in() -> str:
    """Log in; raises ``RuntimeError`` with a sentence when that is not possible."""
    env = {**read_env_file(SERVICES_ENV), **os.environ}
    if not {"ADRELAY_URL", "ADRELAY_ADMIN_EMAIL", "ADRELAY_ADMIN_PASSWORD"} <= env.keys():
        raise RuntimeError(f"nothing has been started here yet: {ADVICE}")
    url = f"{env['ADRELAY_URL']}/api/v1/auth/login"
    body = {"email": env["ADRELAY_ADMIN_EMAIL"], "password": env["ADRELAY_ADMIN_PASSWORD"]}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    try:
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            session.post(url, json=body) as answer,
        ):
            said = await answer.json(content_type=None)
    except (aiohttp.ClientError, OSError, ValueError):
        raise RuntimeError(f"no answer at {env['ADRELAY_URL']}: {ADVICE}") from None
    if not said.get("success"):
        raise RuntimeError(f"{url} answered {answer.status}: {said['error']['message']}")
    return str(said["data"]["access_token"])


def main() -> int:
    """Print the token, or say on standard error why there is none."""
    try:
        print(asyncio.run(log_in()))
    except RuntimeError as error:
        print(f"adrelay: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
