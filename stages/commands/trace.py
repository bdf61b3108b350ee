"""`tunetrail trace`: from a result back to what it was made from."""

from stages import lineage
from stages.terminal import visible


def show(id: str) -> None:
    for line in lineage.trace(id):
        print(visible(line))
