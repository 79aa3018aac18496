"""What admins order is what the auth worker knows how to do."""

from handlers.auth.actions import ACTIONS
from handlers.auth.admin_commands import DEEDS, take_order


def test_every_order_has_a_deed_and_every_deed_an_order() -> None:
    assert {kind for kind, action in ACTIONS.items() if action.run is take_order} == {*DEEDS}
