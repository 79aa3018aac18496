"""E-mail addresses: one spelling for each mailbox, so that an account cannot exist twice."""

from email_validator import EmailNotValidError, validate_email


class InvalidEmail(ValueError):
    """The text is no e-mail address; the message says why, in words for a person."""


def normalise_email(text: str) -> str:
    """Check the syntax and give the one spelling that we store and look up.

    Unicode is composed (NFC), the domain is internationalised (IDNA), all is lower case:
    mail systems that tell ``Ada@`` from ``ada@`` are rarer than people who type both.
    No DNS is asked. Raises ``InvalidEmail``.
    """
    try:
        found = validate_email(text, check_deliverability=False, test_environment=True)
    except EmailNotValidError as error:
        raise InvalidEmail(str(error)) from None
    return found.normalized.lower()
