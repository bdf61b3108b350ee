"""The error class for what a user can fix, and the first line of any other error."""


class DataError(Exception):
    """An error that a user can fix: each line of its message names the place, the cause and what to change."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
