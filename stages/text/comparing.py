"""Which differences between two texts count, decided once for each purpose; docs/reference/metrics.md has the table.

`exact` is for exact match and `content` for what is found within a longer text: token F1, options, equal prompts. Both keep
what can change the meaning: signs and operators, combining marks, numbers, the case of units. ROUGE, lengths and shared runs
of words use `words.tokens`, which keep words alone.
"""

import unicodedata
from functools import lru_cache

import regex

from stages.text.words import CJK

# What looks different and means the same: quotes, dashes, full-width forms; and what is invisible.
LOOKS = str.maketrans(
    {
        **dict.fromkeys("‘’‚‛‹›`´ʼʻ׳", "'"),
        **dict.fromkeys("“”„‟«»「」『』《》״", '"'),
        **dict.fromkeys("‐‑‒–−﹣", "-"),
        **dict.fromkeys(["\u00ad", "\u200b", "\u200e", "\u200f", "\u2060", "\ufe0e", "\ufe0f", "\ufeff"], ""),
        **dict.fromkeys(["\u0640", "\u061c", *map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))], ""),  # of Arabic
        **{"µ": "μ", "℃": "°C", "℉": "°F", "İ": "i"},
        **{chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    }
)
# Not before a single letter, as in "- x", nor a + or # of code. __init__ is a name, and <h1> is not <h2>.
BULLET = regex.compile(
    r"^[^\S\n]*[-*•]\s+(?=\P{N}{2})(?!\p{L}\b)|^#{1,6}\s+(?=\p{Lu}|\p{Lo})|^>\s+(?=\p{L}{2})", regex.MULTILINE
)
EMPHASIS = regex.compile(r"(?<![\w*])(\*{1,3}|_)(?=\S)([^*_\n]+)(?<=\S)\1(?![\w*])")
TAGS = regex.compile(r"<((?:final_?)?answer|ans|b|code|em|i|mark|p|span|strong|u)>([^<>]*)</\1>", regex.IGNORECASE)
FORMULA = regex.compile(  # where pandoc sees one; "$5 and $6" is none
    r"(?<![\\$])\$(?=[^\s$])(?<inner>[^$\n]*[^\s$])\$(?!\d)|\\\((?<inner>[^\n]*?)\\\)"
)
QUOTED = regex.compile(r"(?<![\w°'])'(?=\S)|(?<![\w°\"])\"(?=\S)")  # then no ' is a prime
PRIME = regex.compile(r"(?<=(?<![\p{L}'])\p{L}|[\p{N}°])'(?![\p{L}'])")
SECOND = regex.compile(r"(?<=\p{N})\"")
UNIT = regex.compile(
    rf"""
      (?P<character>[{CJK}]\p{{M}}*)
    | (?P<number>(?:(?<![\p{{L}}\p{{M}}\p{{N}})\]}}])[-+±])?(?:(?<![\p{{L}}\p{{M}}\p{{N}}.])\.)?
        \p{{N}}+(?:[.:]\p{{N}}+|,\p{{N}}{{3}}(?!\p{{N}}))*)
    | (?P<word>(?<=\p{{N}})[xX](?=\p{{N}})
        |\p{{L}}(?:(?![{CJK}])[\p{{L}}\p{{M}}\p{{N}}\u200c\u200d])*(?:[+\#]+(?![\p{{L}}\p{{N}}]))?)
    | (?P<hyphen>(?<=\p{{L}}[\p{{L}}\p{{M}}])-(?=[\p{{L}}\p{{N}}])|(?<=\p{{L}})-(?=\p{{L}}[\p{{L}}\p{{M}}]))
    | (?P<option>(?<!\S)(?:\.{{1,2}}(?=/)|--(?=\p{{L}})|\.(?=\p{{L}}))|(?<=(?<![\p{{L}}\p{{N}}])\p{{L}})--(?!\w)
        |(?<!\w)__+(?=\p{{L}})|(?<=[\p{{L}}\p{{N}}])__+(?!\w))
    | (?P<dash>(?<=(?:\p{{L}}\p{{L}}|[.,;:!?)])\s)-+(?=\s)|(?<=\s)-+(?=\s\p{{L}}\p{{L}})|--+)
    | (?P<quote>")
    | (?P<sign>[-=]+>
        |(?<=(?:[*/^=×÷·]|[-+](?=\s?\(\s?\p{{N}}))\s?)\(|\)(?=\s?[*/^×÷·])
        |(?<![\w!])!(?=\p{{L}})|(?<=\p{{N}}!?|(?<!\p{{L}})\p{{L}})!(?!\w)|!(?==)|[\p{{S}}\p{{M}}\p{{Cf}}\#%&*/@\\‰′″-])
    | (?P<bracket>[\p{{Ps}}\p{{Pe}}])
    | (?P<mark>\S)
    """,
    regex.VERBOSE,
)
NUMBER_PARTS = regex.compile(r"[-+±,:]|[^-+±,:]+")
Unit = tuple[str, str]  # of a text, and the name of its group in UNIT
LONGEST_MIXED, LONGEST_UNIT = 4, 2  # letters of a word whose capitals within count (mRNA), and of a unit's after a number (Mg)


@lru_cache(maxsize=100_000)
def exact(text: str) -> tuple[str, ...]:
    """Return the parts that two equal texts share: all but white space, quotes, and the punctuation around the text.

    The case of a word counts only where it is not typographic: within short words (mW is not MW), and in units after a number
    (5 Mg is not 5 mg).
    """
    units = [part for unit in _units(text) if unit[1] != "quote" for part in _parts(*unit)]
    while units and units[-1][1] in ("mark", "dash"):
        units.pop()
    start = next((place for place, (_, kind) in enumerate(units) if kind not in ("mark", "dash")), 0)
    return _folded(units[start:]) or verbatim(text)


@lru_cache(maxsize=100_000)
def content(text: str) -> tuple[str, ...]:
    """Return the words, numbers and signs of a text, without its punctuation, brackets and hyphens; case as in `exact`."""
    return _folded([unit for unit in _units(text) if unit[1] in ("character", "number", "word", "option", "sign")]) or exact(
        text
    )


@lru_cache(maxsize=100_000)
def verbatim(text: str) -> tuple[str, ...]:
    """Return all parts of a text but white space."""
    return tuple(text for text, _ in _units(text))


def _units(text: str) -> list[Unit]:
    plain = unicodedata.normalize("NFC", text).translate(LOOKS)
    plain = TAGS.sub(r" \2 ", BULLET.sub("", plain))
    plain = FORMULA.sub(r"\g<inner>", EMPHASIS.sub(r"\2", plain))
    if not QUOTED.search(plain):
        plain = SECOND.sub("″", PRIME.sub("′", plain))
    return [(found[0], str(found.lastgroup)) for found in UNIT.finditer(plain)]


def _parts(text: str, kind: str) -> list[Unit]:
    """Return a number as its sign, its digits, its commas and colons, between which white space does not count."""
    if kind != "number":
        return [(text, kind)]
    return [(part, kind if part[-1].isalnum() else "sign") for part in NUMBER_PARTS.findall(text)]


def _folded(units: list[Unit]) -> tuple[str, ...]:
    kinds = ["", *(kind for _, kind in units)]
    return tuple(
        text if kind == "word" and _has_meaningful_case(text, after_number=before == "number") else text.casefold()
        for (text, kind), before in zip(units, kinds, strict=False)
    )


def _has_meaningful_case(word: str, after_number: bool) -> bool:
    if after_number and len(word) <= LONGEST_UNIT and not (len(word) == LONGEST_UNIT and word.isupper()):
        return True
    return len(word) <= LONGEST_MIXED and not (word.isupper() or word[1:].islower() or word.islower() or len(word) == 1)
