"""Plant copies, paraphrases and shared forms, and count which rows format removes: python bench/overlap.py [pairs] [seed]

Each pair is a held-out question and a train row. The row is a copy, a paraphrase, or a row of its own that shares only form:
the preamble of the prompt, a list of options or a closing phrase. Prints the share of rows removed, by kind.
"""

import json
import random
import sys
from collections.abc import Callable

from faker import Faker

from stages.format import overlap
from stages.records import Message, Task

NGRAM = 10  # the default of format.overlap_ngram
PREAMBLE = "Read the note of a customer below and say in one word which of our departments should answer it.\n\nNote: "
OPTIONS = "\n\nOptions:\nA. yes\nB. no\nC. maybe\n\nPlease choose the correct answer."
ASKING = " Could you please help me with this?"
CLOSING = " Thank you in advance for your help with this matter, and please do not hesitate to write to me."


def task(input: str, number: int, output: str = "yes", history: tuple[Message, ...] = ()) -> Task:
    return Task(kind="text", input=input, output=output, history=history, source=f"row-{number}")


def main(pairs: int, seed: int) -> None:
    generator, faker = random.Random(seed), Faker()
    faker.seed_instance(seed)

    def question() -> str:
        return " ".join(faker.sentence(generator.randint(8, 14)) for _ in range(3))

    def short() -> str:
        return faker.sentence(6, variable_nb_words=False)[:-1] + "?"

    def replaced(text: str) -> str:
        return " ".join(faker.word() if place % 6 == 5 else word for place, word in enumerate(text.split()))

    def reordered(text: str) -> str:
        first, *rest = text.split(". ")
        return ". ".join([*rest, first])

    def earlier(text: str) -> tuple[Message, ...]:
        return (Message(role="user", content=text), Message(role="assistant", content="yes"))

    makers: dict[str, dict[str, Callable[[str, int], Task]]] = {
        "copy": {
            "as it is": lambda text, n: task(text, n),
            "other case and punctuation": lambda text, n: task(text.upper().replace(". ", "; "), n),
            "within a longer text": lambda text, n: task(f"{question()} {text} {question()}", n),
            "as an earlier turn": lambda text, n: task(question(), n, history=earlier(text)),
            "in an answer": lambda text, n: task(question(), n, output=f"You asked: {text}"),
            "short, within a longer text": lambda text, n: task(f"{question()} {text} {question()}", n),
            "short, in an answer": lambda text, n: task(question(), n, output=f"You asked: {text}"),
        },
        "paraphrase": {
            "every sixth word replaced": lambda text, n: task(replaced(text), n),
            "sentences in another order": lambda text, n: task(reordered(text), n),
        },
        "form": {
            "preamble": lambda text, n: task(PREAMBLE + question(), n),
            "options": lambda text, n: task(question() + OPTIONS, n),
            "closing": lambda text, n: task(question() + CLOSING, n),
            "closing question": lambda text, n: task(question() + ASKING, n),
        },
    }
    shared = {"preamble": PREAMBLE + "{}", "options": "{}" + OPTIONS, "closing": "{}" + CLOSING}
    shared["closing question"] = "{}" + ASKING
    found = dict[str, dict[str, float]]()
    for kind, ways in makers.items():
        found[kind] = {}
        for way, make in ways.items():
            texts = [short() if way.startswith("short") else question() for _ in range(pairs)]
            shown = shared.get(way, "{}")
            held_out = [task(shown.format(text), number) for number, text in enumerate(texts)]
            train = [make(text, pairs + number) for number, text in enumerate(texts)]
            kept = list(overlap.reasons(train, held_out, NGRAM)).count(None)
            found[kind][way] = round(1 - kept / pairs, 4)
    print(json.dumps({"pairs of each way": pairs, "removed": found}, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500, int(sys.argv[2]) if len(sys.argv) > 2 else 1)
