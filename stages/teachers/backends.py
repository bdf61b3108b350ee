"""Who answers a teacher's requests: a model on this machine, a server that speaks OpenAI's protocol, or a recording."""

from typing import Any

from stages.params import Runtime, Teacher
from stages.teachers.local import Local
from stages.teachers.recording import Recording
from stages.teachers.server import OpenAI
from stages.teachers.teacher import Backend

BACKENDS: dict[str, Any] = {"local": Local, "openai": OpenAI, "replay": Recording}


def backend(options: Teacher, runtime: Runtime) -> Backend:
    return BACKENDS[options.kind](options, runtime)
