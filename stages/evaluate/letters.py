"""The letter of an option that an answer states, in the wordings and languages of models."""

import re
from collections.abc import Sequence

MASK = "\ufdd0"  # a Unicode noncharacter, which is in no choice
# What announces a letter, in languages that questions are asked in.
CUES = (
    "ans(?:wer)?|option|choice|choose|pick|select|letter|conclusion|verdict|go(?:ing)? with|it['’]s|it is|"
    "antwort|lösung|réponse|choix|respuesta|opción|risposta|opzione|resposta|opção|alternativa|antwoord|optie|svar(?:et)?|vastaus|"
    "odpowiedź|odpověď|válasz|răspuns(?:ul)?|ответ|вариант|відповідь|απάντηση|cevap|yanıt|jawaban|pilihan|đáp án|"
    "الإجابة|الجواب|پاسخ|תשובה|उत्तर|विकल्प"
)
CUES_UNSPACED = "答案|选项?|選項?|选择|選擇|正解|正答|答え|解答|정답|답|คำตอบ"  # stand without a space after other words
LINKS = (
    r"[\s:：=]|(?:is|are|was|would be|must be|should be|clearly|definitely|therefore|corr\w{2,6}|certa|ist|lautet|wäre|est|es|"
    r"è|é|är|er|on|la|le|de|das|die|to|jest|je|este|это|είναι|adalah|là|هي|هو|היא|है)\b|คือ|应该?|應該?|就|是|为|為|は|은|는"
)
OPENINGS = r"[\s*_\"'“”‘’(（{\[【<>$—–-]|\\(?:boxed|text|textbf|textit|mathbf|mathrm|bf)\b"
WRONG = (
    r"[\W_]{0,4}(?:(?:is|was|are)\ (?:not|wrong|incorrect|false)|isn['’]t|ist\ falsch|不|(?:can|must)\ be\ (?:ruled|excluded))"
)
RIGHT = r"is\ (?:correct|right|the\ (?:(?:correct|right|best|most\ likely)\ )?(?:answer|option|choice|one)\b)"
# A letter joined to another one does not count: "A or B", "A/B".
JOINED = (
    r"[\W_]{1,4}(?:or|and|oder|und|ou|et|o|y|e|of|en|eller|och|lub|nebo|или|и|veya|ve|atau|dan|hoặc|và)[\W_]{1,4}[A-Z]\b"
    r"|[\W_]{0,4}(?:[/&]|或|和|または|か|또는)[\W_]{0,4}[A-Z](?![A-Za-z])"
)
END = rf"(?![A-Za-z0-9_À-ɏ-])(?!{WRONG})(?!{JOINED})"
THINK = r"\b(?:[Ii](?:['’]d|\ would)?\ (?:think|say|believe|guess)|[Ii]['’]m\ going\ for)(?:\ that)?"
# "B", "B. text", "B is correct", "answer is: B", "option B", "I choose B", "\boxed{B}", "Answer: b)", "정답은 B입니다". An A
# before a word is an article, but not after "option", nor before "is correct" or a reason ("because").
LETTER = re.compile(
    rf"""^[^\w\n]*([A-Z])(?:[.):]|[^\w\n]*$|\ {RIGHT})
    | \b[Nn]ot\ [A-Z],?\ but\ (?:rather\ )?([A-Z]){END}
    | {THINK}[^\w\n]{{1,4}}([A-Z])[^\w\n]*$
    | (?<![\w.-])([A-Z])[)\]*_"'”’]{{0,3}}\ {RIGHT}
    | (?<!not\ )(?<!n['’]t\ )(?:\b(?i:{CUES.replace(" ", chr(92) + " ")})\b|{CUES_UNSPACED}|\\boxed)
      (?:{LINKS.replace(" ", chr(92) + " ")}|{OPENINGS}){{0,40}}+
      (?:(?<![A-Za-z])([B-Z]){END}|(?<![A-Za-z])(A){END}(?!\ (?!(?:because|since|as|or|and)\b)\w)|(?<=ption\ )(A){END}
      |(?<![A-Za-z])([a-z])(?=[.):](?!\w)|[^\w\n]*$))""",
    re.MULTILINE | re.VERBOSE,
)
ALONE = re.compile(r"[\W_]*(?:\\(?:boxed|text|textbf|mathbf|mathrm)[\W_]*)*([A-Za-z])[\W_]*")  # the whole answer


def stated(answer: str, choices: Sequence[str]) -> list[int]:
    """Return positions of the choices whose letter the answer states; the C of a choice "C. difficile" does not count."""
    alone = ALONE.fullmatch(answer)
    found = {alone[1]} if alone else {"".join(groups) for groups in LETTER.findall(_without(answer, choices))}
    positions = {ord(letter.upper()) - ord("A") for letter in found}
    return [position for position in sorted(positions) if position < len(choices)]


def _without(answer: str, choices: Sequence[str]) -> str:
    """Return the answer with "_" for each character of a choice in it, case aside; of choices that overlap the longest goes."""
    rest, folded = list(answer), _folded(answer)
    for choice in sorted(map(_folded, choices), key=len, reverse=True):
        start = folded.find(choice)
        while choice and start >= 0:
            end = start + len(choice)
            if _is_whole(folded, start, end):
                rest[start:end] = "_" * len(choice)
                folded = folded[:start] + MASK * len(choice) + folded[end:]
            start = folded.find(choice, start + 1)
    return "".join(rest)


def _folded(text: str) -> str:
    """Return the text without the difference of case, each character in its place."""
    return "".join(folded if len(folded := character.casefold()) == 1 else character for character in text)


def _is_whole(text: str, start: int, end: int) -> bool:
    """Return whether no word runs on over either end."""
    return not any(
        character.isalnum() or character == "_" for character in text[max(0, start - 1) : start] + text[end : end + 1]
    )
