"""Items to score: an example and what a system answered to it."""

from typing import Any

import pytest

from stages.records import Example, Message, Prediction


def made(kind: Any, reference: str, answer: str, stopped: bool = True, **more: Any) -> tuple[Example, Prediction]:
    """Keywords of Prediction go there, all others to Example."""
    predicted = {key: more.pop(key) for key in list(more) if key in Prediction.model_fields}
    messages = (Message(role="user", content="?"), Message(role="assistant", content=reference))
    example = Example(kind=kind, messages=messages, **{"source": "s", **more})
    return example, Prediction(
        example=example.id, system="s", text=answer, stopped=stopped, prompt_tokens=1, new_tokens=1, **predicted
    )


@pytest.fixture
def item() -> Any:
    return made
