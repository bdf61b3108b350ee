"""What a server is asked for each row of a split, and the predictions that its answers are."""

from collections.abc import Mapping, Sequence

from stages.errors import DataError
from stages.params import Budget, Sampling
from stages.records import Call, Example, Message, Prediction
from stages.served.server import Server, of_engine, renamed
from stages.teachers.teacher import Ask, Teacher
from stages.text.prompts import with_shots

FREE = Budget(max_calls=None, max_tokens=None, max_usd=None)
FIELDS = {"role", "content", "trained"}  # of a message that any chat completions API takes; `trained` concerns training alone


def requests(examples: Sequence[Example], shots: Mapping[str, Sequence[Message]], max_new_tokens: int) -> list[Ask]:
    """Return one greedy request per row, with the example turns of its data set; raise DataError for a row that has none."""
    sampling = Sampling(temperature=0.0, top_p=1.0, presence_penalty=0.0, max_new_tokens=max_new_tokens)
    return [Ask(_messages(example, shots[example.dataset]), sampling) for example in examples]


def shown(examples: Sequence[Example], shots: Mapping[str, Sequence[Message]]) -> list[Example]:
    """Return the rows with the example turns in their prompts, as the server was asked."""
    return [e.model_copy(update={"messages": (*_messages(e, shots[e.dataset]), e.messages[-1])}) for e in examples]


def _messages(example: Example, shots: Sequence[Message]) -> tuple[Message, ...]:
    if example.choices:
        raise DataError(
            f"{example.id}: its choices are scored by their likelihoods, and a server gives none; use engine=transformers"
        )
    messages = with_shots(example.prompt, shots)
    if not messages:
        raise DataError(f"{example.id}: a plain text without a question, and a server answers chats; use engine=transformers")
    if more := sorted({name for message in messages for name in message.model_dump()} - FIELDS):
        raise DataError(
            f"{example.id}: its prompt has {', '.join(more)}, which servers read differently; use engine=transformers"
        )
    return tuple(Message(role=message.role, content=message.content) for message in messages)


def answer(server: Server, asks: Sequence[Ask]) -> tuple[list[Call], Teacher]:
    """Return one answer per request, and who gave them; raise DataError unless all were answered.

    Answers that arrived are stored, so the next run asks for the others only.
    """
    teacher = Teacher(server, FREE, seed=0)
    with of_engine():
        calls = [call for call in teacher.answer(asks) if call]
    if teacher.refused:
        first = next(iter(teacher.refused.values())).reason
        raise DataError(
            f"engine: {len(teacher.refused)} of {len(asks)} rows were refused ({renamed(first)}); every "
            "answer that arrived is kept: serve a model that takes them, or use engine=transformers"
        )
    return calls, teacher


def predictions(system: str, examples: Sequence[Example], calls: Sequence[Call]) -> list[Prediction]:
    """Return the answers as predictions, without likelihoods."""
    return [
        Prediction(
            example=example.id,
            system=system,
            text=call.text,
            stopped=call.stopped,
            prompt_tokens=call.prompt_tokens,
            new_tokens=call.new_tokens,
            thoughts=call.thoughts,
            parents=(example.id,),
        )
        for example, call in zip(examples, calls, strict=True)
    ]
