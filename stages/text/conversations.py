"""Which turns tell a conversation from others, so that rows unrolled from one conversation are known by its beginning."""

from collections.abc import Sequence

from stages.records import Message
from stages.text.comparing import content

TELLING = 3  # words and signs of the user; fewer, such as "Hi there", begin conversations that have nothing else in common


def beginning(turns: Sequence[Message]) -> Sequence[Message]:
    """Return the first turns, as many as it takes until the user has written TELLING words; all if that never happens."""
    words = 0
    for number, turn in enumerate(turns[:-1], start=1):
        words += len(content.__wrapped__(turn.content)) if turn.role == "user" else 0
        if words >= TELLING:
            return turns[:number]
    return turns
