"""The error class for what a user can fix, and the first line of any other error, without secrets."""

import re

USER = re.compile(r"(?<=://)[^/@\s]*@")  # user:password@ in a URL
SECRET = re.compile(r"(?i)(api_?key|token|secret|password|credential)(_env)?$")  # ends a parameter that may hold a secret


class DataError(Exception):
    """An error that a user can fix: each line of its message names the place, the cause and what to change."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if it has none; a password in a URL is hidden."""
    return USER.sub("***@", (str(error).strip().splitlines() or [type(error).__name__])[0])


def shown(key: str, value: object) -> str:
    """Return the value of a parameter as an error shows it: without a secret that somebody put into it."""
    return USER.sub("***@", repr(_without_secrets(key, value)))


def _without_secrets(key: str, value: object) -> object:
    if isinstance(value, dict):
        return {name: _without_secrets(str(name), child) for name, child in value.items()}
    return "***" if isinstance(value, str) and SECRET.search(key) else value
