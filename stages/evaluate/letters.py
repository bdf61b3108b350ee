"""The letter of an option that an answer states, in the wordings and languages of models."""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

MASK = "\ufdd0"  # a Unicode noncharacter, which is in no choice
BORDERS = "\ufdd1\ufdd2\ufdd3\ufdd4"  # likewise: neither, the next, the last, or both of two characters are of a word
# What announces a letter, in languages that questions are asked in.
CUES = (
    "ans(?:wer)?|correct|solution|response|option|choice|choose|pick|select(?:ed)?|letter|conclusion|verdict|go(?:ing)? with|"
    "it['’]s|it is|has to be|antwort|richtig|lösung|réponse|choix|c['’]est|respuesta|opción|risposta|opzione|resposta|opção|"
    "alternativa|letra|antwoord|optie|svar(?:et)?|vastaus|odpowiedź|odpověď|válasz|răspuns(?:ul)?|ответ|вариант|відповідь|"
    "варіант|απάντηση|cevap|yanıt|jawaban|pilihan|đáp án|trả lời|chọn|[وف]?(?:ال)?(?:[إا]جابة|جواب|خيار|حرف)|پاسخ|گزینه|"
    "ו?ה?(?:תשובה|אות)|उत्तर|विकल्प|अक्षर|lettre|lettera|buchstabe|bokstav(?:en)?|kirjain|litera|písmeno|буква|літера|huruf"
)
SHORT_CUES = r"(?:[Aa]ns|ANS|Antw|Rép|Resp|Risp|Odp|Отв|Відп|Sv)\."  # in lower case, resp. means "respectively"
CUES_UNSPACED = "答案|选项?|選項?|选择|選擇|字母|正解|正答|答え|解答|정답|답|คำตอบ|ตอบ|ข้อ"  # no space before
# What announces the letter that is left when others are eliminated, if no further word follows: not in "leaves A behind".
REST = r"leav(?:es|ing)(?:\ us)?(?:\ with)?(?:\ only|\ just)?|bleibt|reste|queda|resta|остаётся|остается"
REST_UNSPACED = "剩下|只剩|残るのは"
LINKS = (
    r"[\s:：=]|[(\[][A-Z](?:[-–/][A-Z]){1,9}[)\]]|[(\[][^\W\d_A-Za-z][)\]]|"  # the last one: (ب)
    r"(?i:is|are|was|would be|must be|should be|clearly|definitely|therefore|corr\w{2,6}|certa|ist|"
    r"lautet|wäre|est|es|è|é|är|er|on|la|le|de|das|die|to (?:this|the) question|to|jest|je|este|corect|"
    r"это|είναι|το|adalah|yang benar|là|đúng|هي|هو|الصحيحة|الصحيح|صحیح|היא|הנכונה|है)\b|"
    r"ที่ถูกต้อง|คือ|应该?|應該?|就|是|为|為|は|은|는"
)
BOXES = r"(?:f?box(?:ed)?|text\w{0,4}|math\w{1,4}|bf)"  # of LaTeX
OPENINGS = rf"[\s*_\"'“”‘’(（{{\[【】\])<>$—–-]|\\{BOXES}\b"
# What follows a letter that is wrong, or right.
WRONG = (
    r"[\W_]{0,4}(?:(?:is|was|are|seems|looks|would\ be)\ (?:not|wrong|incorrect|false|unlikely|impossible|excluded|ruled)|"
    r"(?:is|does|can|could|would)n['’]t|cannot|can['’]t|(?:does|do)\ not|(?:can|must)\ be\ (?:ruled|excluded)|is\ fout|"
    r"ist\ (?:falsch|nicht)|kann\ ausgeschlossen|stimmt\ nicht|est\ (?:fausse|faux|incorrecte?)|est[áa]\ (?:errada|mal)|"
    r"(?:es|é|è)\ (?:incorrecta|falsa|errada|sbagliata)|неверен|неверно|değil|خاطئة|不|错误|錯誤|[가이]\ 아닙|ではあり|ではな)"
)
RIGHT = (
    r"(?:it\ is\b|(?:remains|is\ left)(?!\ \w)|"
    r"(?:is|seems|would\ be)\ (?:correct|right|true|the\ (?:(?:correct|right|best|most\ likely)\ )?"
    r"(?:answer|option|choice|one)\b)|ist\ (?:richtig|korrekt)|est\ (?:correcte?|juste)\b|es\ (?:la\ )?correcta)"
)
RIGHT_UNSPACED = (
    "(?:选项|選項|项|項)?是?(?:正确|正確|对的|對的)|(?:が|は)?(?:正解|正しい)|です|(?:가|이)?\\ ?(?:정답|맞)|입니다"
)
# A letter joined to another one does not count: "A or B", "A/B".
JOINED = (
    r"[\W_]{1,4}(?:or|and|and/or|oder|und|ou|et|o|y|e|of|en|eller|och|lub|nebo|или|и|veya|ve|atau|dan|hoặc|và|أو|و|או)"
    r"[\W_]{1,4}[A-Z]\b|[\W_]{0,4}(?:[/&,、]|或|和|または|か|또는|และ|หรือ)[\W_]{0,4}[A-HJ-Z](?![A-Za-z])"
)
END = rf"(?![A-Za-z0-9_À-ɏ+\#-])(?!(?<=[EI])['’]\ ?[a-z])(?!(?<=I)\ [a-z])(?!{WRONG})(?!{JOINED})"
# What stands before a letter that ends the line.
BEFORE = (
    r"(?:^(?:Question\ )?\d+[.):]|\b(?:[Ss]o|[Tt]hus|[Hh]ence|[Dd]efinitely|[Pp]robably"
    r"|[Ii](?:['’]d|\ would)?\ (?:think|say|believe|guess)|[Ii]['’]m\ going\ for"
    r"|[Bb]y\ (?:process\ of\ )?elimination)(?:\ that)?)"
)
# "B", "B. text", "B is correct", "answer is: B", "option B", "I choose B", "\boxed{B}", "Answer: b)", "정답은 B입니다". An A
# before a word is an article, but not after "option", nor before "is correct" or a reason ("because").
LETTER = re.compile(
    rf"""^[^\w\n]*([A-Z]|[a-z](?=\)\ ))(?:(?:\.(?!\w\.)|\)|(?<!A):)(?!{WRONG}|\ no\b|\ No,)|[^\w\n]*$|\ {RIGHT})
    | \b[Nn]ot\ [A-Z],?\ but\ (?:rather\ )?([A-Z]){END}
    | ^[^\w\n]*([A-Z])(?!{JOINED})(?:,?\ (?:because|since)\b|,\ not\b|\ [—–-]\ )
    | (?<![A-Za-z])([A-Z])(?:{RIGHT_UNSPACED})
    | {BEFORE}[^\w\n]{{1,4}}([A-Z])[^\w\n]*$
    | (?<![\w.-])([A-Z])[)\]*_"'”’]{{0,3}}\ {RIGHT}
    | (?:\b(?i:{REST})\b|{REST_UNSPACED})(?:{OPENINGS}|[\s:：]|(?i:option|choice|answer|letter)\b){{0,40}}+
      (?<![A-Za-z])([A-Z]){END}(?![)\]*_"'”’]{{0,3}}\ (?!as\b)\w)
    | (?<!not\ )(?<!n['’]t\ )(?:\b(?i:{CUES.replace(" ", chr(92) + " ")})\b|\b{SHORT_CUES}|{CUES_UNSPACED}|\\{BOXES})
      (?:{LINKS.replace(" ", chr(92) + " ")}|{OPENINGS}){{0,40}}+
      (?:(?<![A-Za-z])([B-Z]){END}|(?<![A-Za-z])(A){END}(?!\ (?!(?:because|since|as|or|and)\b)\w)|(?<=ption\ )(A){END}
      |(?<![A-Za-z])([a-z])(?=[.):](?!\w)|[^\w\n]*$)|(?<![A-Za-z])([b-z])(?=,\ ))""",
    re.MULTILINE | re.VERBOSE,
)
HAS_TEXT = re.compile(r"[^\w\n]*\w")  # on the rest of the line
FULL_WIDTH = {code: code - 0xFEE0 for code in range(ord("Ａ"), ord("ｚ") + 1)}
OPTION, DISCUSSED = re.compile(r"(?i)option|choice|选项?|選項?|선택"), 2  # such a letter may only be discussed
ALONE = re.compile(rf"[\W_]*(?:\\{BOXES}[\W_]*)*([A-Za-z])[\W_]*")  # the whole answer


def stated(answer: str, choices: Sequence[str]) -> tuple[list[int], bool]:
    """Return positions of the choices whose letter the answer states, and whether they may only be discussed ("option A").

    The C of a choice "C. difficile" does not count.
    """
    answer = answer.translate(FULL_WIDTH)
    alone = ALONE.fullmatch(answer)
    found, rank = ([alone[1]], 0) if alone else _strongest(list(LETTER.finditer(_without(answer, choices))))
    positions = {ord(letter.upper()) - ord("A") for letter in found}
    return [position for position in sorted(positions) if position < len(choices)], rank == DISCUSSED


def _strongest(found: Sequence[re.Match[str]]) -> tuple[list[str], int]:
    """Return the letters of the lowest rank, and it: those of an answer, a line of their own, an option, a line's beginning."""
    ranks = [
        3 if one[1] and HAS_TEXT.match(one.string, one.end()) else 1 if one[1] else DISCUSSED if OPTION.match(one[0]) else 0
        for one in found
    ]
    best = min(ranks, default=0)
    return ["".join(filter(None, one.groups())) for one, rank in zip(found, ranks, strict=True) if rank == best], best


def _without(answer: str, choices: Sequence[str]) -> str:
    """Return the answer with "_" for each character of a choice in it, case aside; of choices that overlap the longest goes."""
    rest, folded = list(answer), list(_folded(answer))
    for choice in sorted(map(_folded, choices), key=len, reverse=True):
        for start in _whole(choice, "".join(folded)):
            part = slice(start, start + len(choice))
            rest[part], folded[part] = "_" * len(choice), MASK * len(choice)
    return "".join(rest)


def _folded(text: str) -> str:
    """Return the text without the difference of case, each character in its place."""
    return "".join(folded if len(folded := character.casefold()) == 1 else character for character in text)


def _whole(part: str, text: str) -> Iterator[int]:
    """Yield where the part begins in the text, without overlaps and only where no word runs on over either end.

    A sign between any two characters says which of them are of a word. With it one search finds parts and their borders, in
    linear time also where a long part nearly repeats itself.
    """
    sought, marked = _marked(part), _marked(text)
    place = marked.find(sought) if part else -1
    while place >= 0:
        yield place // 2
        place = marked.find(sought, place + len(sought) - 1)


def _marked(text: str) -> str:
    """Return the text with a sign before, between and after its characters; outside it no word goes on."""
    in_word = [False, *(character.isalnum() or character == "_" for character in text), False]
    signs = [BORDERS[2 * before + after] for before, after in pairwise(in_word)]
    return "".join(sign + character for sign, character in zip(signs, [*text, ""], strict=True))
