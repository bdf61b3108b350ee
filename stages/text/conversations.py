"""Which turns tell a conversation from others, so that rows unrolled from one conversation are known by its beginning."""

from collections.abc import Sequence

from stages.records import Message
from stages.text.comparing import content

# Words and signs of the user that tell; fewer, such as "Hi there", begin conversations that have nothing else in common.
TELLING = 3


def beginning(turns: Sequence[Message]) -> Sequence[Message]:
    """Return the first turns, until the user has written TELLING words or a number; all if that never happens."""
    words = 0
    for number, turn in enumerate(turns[:-1], start=1):
        if turn.role == "user":
            words += len(content.__wrapped__(turn.content))
            if words >= TELLING or any(map(str.isdigit, turn.content)):
                return turns[:number]
    return turns
