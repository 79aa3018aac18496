"""Normalises e-mail addresses, so that one mailbox cannot have two accounts."""

from email_validator import EmailNotValidError, validate_email


class InvalidEmail(ValueError):
    """The text is no e-mail address; the message says why and may be displayed to a user."""


def normalise_email(text: str) -> str:
    """Check the syntax and return the spelling that is stored and looked up.

    Unicode is composed (NFC), the domain is internationalised (IDNA), everything is lower case:
    mail systems that distinguish ``Ada@`` from ``ada@`` are rarer than people who type both.
    No DNS query is made. Raises ``InvalidEmail``.
    """
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidEmail(str(error)) from None
    return found.normalized.lower()
