"""How long to wait for many things: as long as they get fewer."""

import asyncio
import math


class Patience:
    """Lasts ``seconds`` from the last time that something had got less."""

    def __init__(self, seconds: float) -> None:
        """Begin at the first look; needs a running event loop then."""
        self._seconds = seconds
        self._fewest = math.inf
        self._end = math.inf

    def lasts(self, left: int) -> bool:
        """Look at how many are left; tells whether it is worth waiting on."""
        now = asyncio.get_running_loop().time()
        if left < self._fewest:
            self._fewest, self._end = left, now + self._seconds
        return now < self._end
