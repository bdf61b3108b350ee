"""The error class for what a user can fix, and the first line of any other error, without secrets."""

import re

RUN = re.compile(r"\S+")  # a URL has no blanks
# Names a parameter that may hold a secret, also in a part of its dotted key; "author" and "max_tokens" do not.
SECRET = re.compile(
    r"(?i)(?:(?:key|token)s?(?:[_-]?(?:id|env|value|pem|file|b(?:ase)?64|v?\d+))*|base_url|dsn|headers?)$"
    r"|secret|passw(?:or)?d|passphrase|pwd|cookie|bearer|credential|signature|private_?key|webhook|connection_?str|auth(?!or(?:ed|s)?$)"
)
COUNTED = re.compile(r"_tokens$")


class DataError(Exception):
    """An error that a user can fix: each line of its message names the place, the cause and what to change."""


def reason(error: BaseException) -> str:
    """Return the first line of an error's message, or its class if it has none; a password in a URL is hidden."""
    return _without_users((str(error).strip().splitlines() or [type(error).__name__])[0])


def shown(key: str, value: object) -> str:
    """Return the value of a parameter as an error shows it: without a secret that somebody put into it."""
    return _without_users(repr("***" if any(map(_is_secret, key.split("."))) else _without_secrets(value)))


def _is_secret(name: object) -> bool:
    return bool(SECRET.search(str(name))) and not COUNTED.search(str(name))


def _without_secrets(value: object) -> object:
    if isinstance(value, dict):
        return {name: "***" if _is_secret(name) else _without_secrets(child) for name, child in value.items()}
    return [_without_secrets(child) for child in value] if isinstance(value, list) else value


def _without_users(text: str) -> str:
    """Hide user:password@ in each URL, with or without its scheme."""
    return RUN.sub(_without_user, text)


def _without_user(run: re.Match[str]) -> str:
    before, at, host = run[0].rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}{slashes}***@{host}" if slashes else f"***@{host}" if at and ":" in before else run[0]
