"""Acknowledges the deliveries of one channel, with as few acks as possible.

``multiple`` acknowledges everything below a tag, and a second ack of one of these closes the
channel (AMQP 0-9-1, basic.ack). So only the highest tag below which *every* delivery is settled is
ever sent with it.
"""

from collections.abc import Iterable

from aiormq.channel import Channel

from infra.amqp.connection import with_broker_timeout
from infra.errors import Outage


class ChannelLost(Exception):
    """The channel is closed: the broker has its unacknowledged messages again."""


class AckTracker:
    """Settled delivery tags of one channel; tags count from 1 without gaps."""

    def __init__(self) -> None:
        """Begin with nothing delivered."""
        self._low = 0
        self._settled: set[int] = set()

    def settle(self, tags: Iterable[int]) -> int | None:
        """Note settled tags; gives the tag to acknowledge up to, or None if it has not moved."""
        self._settled.update(tags)
        low = self._low
        while low + 1 in self._settled:
            low += 1
            self._settled.remove(low)
        if low == self._low:
            return None
        self._low = low
        return low

    def out_of_order(self) -> list[int]:
        """List settled tags above an unsettled one; they are to be acknowledged one by one."""
        tags = sorted(self._settled)
        self._settled.clear()
        return tags


class Acknowledgements:
    """Sends the acks of a channel; raises ``ChannelLost`` when they cannot be sent."""

    def __init__(self, channel: Channel, timeout: float) -> None:
        """``timeout`` bounds each wait for the broker, in seconds."""
        self._channel = channel
        self._timeout = timeout
        self._tracker = AckTracker()
        self._is_held = False
        self._unsent: int | None = None  # tag up to which an ack is held back

    def hold(self) -> None:
        """Send no ack until ``release``."""
        self._is_held = True

    async def release(self) -> None:
        """Send the ack that was held back."""
        self._is_held = False
        unsent, self._unsent = self._unsent, None
        if unsent is not None:
            await self._send(unsent, multiple=True)

    async def ack(self, tags: Iterable[int]) -> None:
        """Note that deliveries are settled, and acknowledge as far as ``multiple`` allows."""
        highest = self._tracker.settle(tags)
        if highest is None:
            return
        if self._is_held:
            self._unsent = highest
        else:
            await self._send(highest, multiple=True)

    async def ack_out_of_order(self) -> None:
        """Acknowledge one by one what is settled above a delivery that is not."""
        for tag in self._tracker.out_of_order():
            await self._send(tag, multiple=False)

    async def _send(self, tag: int, *, multiple: bool) -> None:
        acking = self._channel.basic_ack(tag, multiple=multiple, wait=False)
        try:
            await with_broker_timeout(acking, self._timeout)
        except Outage as error:
            raise ChannelLost("acks cannot be sent; the inbox knows what was done") from error
