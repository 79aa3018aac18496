"""What admins order is what the auth worker knows how to do."""

from handlers.orders import DEEDS, take_order
from handlers.sessions import ACTIONS


def test_every_order_has_a_deed_and_every_deed_an_order() -> None:
    assert {kind for kind, action in ACTIONS.items() if action.run is take_order} == {*DEEDS}
