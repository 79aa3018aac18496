"""Which deliveries of a channel may be acknowledged with one ``multiple`` ack.

``multiple`` acknowledges everything below a tag, and a second ack of one of these closes
the channel. So only the highest tag below which *every* delivery is settled is ever sent.
"""

from collections.abc import Iterable


class AckTracker:
    """Settled delivery tags of one channel; tags count from 1 without gaps."""

    def __init__(self) -> None:
        """Begin with nothing delivered."""
        self._low = 0
        self._settled: set[int] = set()

    def settle(self, tags: Iterable[int]) -> int | None:
        """Note settled tags; tells the tag to acknowledge up to, if that has moved."""
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
        """List settled tags above an unsettled one; they are to be acknowledged singly."""
        tags = sorted(self._settled)
        self._settled.clear()
        return tags
