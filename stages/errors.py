"""The one kind of error that a user can fix, and the first line of any other."""


class DataError(Exception):
    """Something a user can fix: the message is one line that names the place, the cause and what to change."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its class where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
