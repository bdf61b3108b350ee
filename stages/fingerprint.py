"""What decides a result besides its inputs: code and libraries. The key of stored or unfinished work holds it.

Without it an answer of earlier code would be taken for one of today's, and a fresh clone would get another.
"""

from importlib.metadata import version
from pathlib import Path

from stages.files import file_hash

LIBRARIES = ("torch", "transformers", "peft", "trl", "bitsandbytes")


def code(*names: str) -> list[str]:
    """Return the hashes of the code in rooms or files below stages/, and the versions of the libraries that compute."""
    here = Path(__file__).parent
    paths = [path for name in names for path in (sorted((here / name).glob("*.py")) or [here / name])]
    return [*map(file_hash, paths), *map(version, LIBRARIES)]
