"""The client of teachers, asked for predictions: which engine a server runs, and the key of its stored answers."""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, ValidationError

from stages.errors import DataError
from stages.figures.engine import UNKNOWN, Engine
from stages.files import printable
from stages.params import Connection, OpenAITeacher, Price, Runtime
from stages.records import first_problem
from stages.teachers.server import OpenAI, _response
from stages.teachers.teacher import Ask, Unit

UNPRICED = Price(usd_per_million_input=0.0, usd_per_million_output=0.0)
ROUNDS = 16  # of requests at the same time that share a wave; at its end some of them wait for the longest answer
OWNERS = {"vllm": "vllm", "llamacpp": "llama.cpp", "sglang": "sglang", "library": "ollama"}  # of models, as /models has them
VERSIONS = {  # the path and the key under which a server states its version
    "vllm": ("version", "version"),
    "llama.cpp": ("props", "build_info"),
    "sglang": ("get_server_info", "version"),
    "ollama": ("api/version", "version"),
}
LONGEST, LISTED = 60, 8  # characters of a server's word, names of models in a message
# Of servers that list no models; `transformers serve` fails without a cache of the hub. Other errors would end requests too.
UNLISTED = (404, 405, 500, 501)
PROBE_SECONDS, PROBE_RETRIES = 10.0, 2
OPTION = re.compile(r"\bteacher\.(?=base_url|max_retries|api_key_env|limit_field|omit)")


@contextmanager
def of_engine() -> Iterator[None]:
    """Name the options of the engine in errors of the teachers' client."""
    try:
        yield
    except DataError as error:
        raise DataError(renamed(str(error))) from None


def renamed(text: str) -> str:
    return re.sub(r"^teacher:", "engine:", OPTION.sub("engine.server.", text))


class Entry(BaseModel):
    id: str
    owned_by: str | None = None


class Listing(BaseModel):
    """The answer to GET /v1/models, as far as it is read."""

    data: list[Entry]


class Server(OpenAI):
    """A server that answers as one model; stored answers belong to its engine, the model's name and `weights`, a hash.

    They do not belong to its address: another port gives the same answers. The hash stands for weights that this process has
    and cannot see on the server: a model that was trained again under the same name is asked again.
    """

    def __init__(self, connection: Connection, model: str, weights: str, runtime: Runtime) -> None:
        options = OpenAITeacher(kind="openai", model=model, price=UNPRICED, **connection.model_dump())
        super().__init__(options, runtime)
        with of_engine():
            self.engine = self._found()
        self.identity = {"engine": self.engine.model_dump(), "weights": weights}
        if options.omit:
            self.identity["omit"] = sorted(set(options.omit))

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        most = ROUNDS * self.options.concurrency
        for start in range(0, len(asks), most):
            yield [[ask] for ask in asks[start : start + most]]

    def _found(self) -> Engine:
        """Return the engine; raise DataError unless the server answers and has the model."""
        import openai

        client = openai.OpenAI(
            base_url=self.options.base_url,
            api_key=self._key(),
            timeout=self.options.timeout_seconds,
            max_retries=min(self.options.max_retries, PROBE_RETRIES),
        )
        where, model = f"teacher.base_url = {self.options.base_url}", self.options.model
        try:
            entries = Listing.model_validate_json(client.get("/models", cast_to=str)).data
        except openai.OpenAIError as error:
            if _response(error)[0] not in UNLISTED:
                raise DataError(f"{where}: {self._reason(error)}") from None
            entries = []
        except ValidationError as error:
            raise DataError(f"{where}: /models is not a list of models ({first_problem(error)}); name a server's API") from None
        names = {entry.id: entry.owned_by for entry in entries}
        is_folder = model.startswith("/") or Path(model).is_dir()  # transformers loads one that it does not list
        if names and model not in names and not is_folder:
            listed = ", ".join(map(_word, [*list(names)[:LISTED], *["…"] * (len(names) > LISTED)]))
            raise DataError(
                f"engine.models: {self.options.base_url} has no model {model}; it has {listed}; serve the model under this "
                "name, or change the key"
            )
        kind = OWNERS.get(names.get(model) or "")
        asked = {kind: VERSIONS[kind]} if kind else VERSIONS
        found = next(((name, stated) for name, place in asked.items() if (stated := self._version(client, *place))), None)
        server, version = found or (kind or UNKNOWN, UNKNOWN)
        return Engine(kind="openai", server=server, version=_word(version), model=model)

    def _version(self, client: Any, path: str, key: str) -> str:
        """Return the version that a server states at this path next to its API, "" if it states none."""
        import openai

        parts = urlsplit(self.options.base_url)
        root = parts.path.rstrip("/").removesuffix("/v1")
        address = urlunsplit((parts.scheme, parts.netloc, f"{root}/{path}", "", ""))
        try:
            stated = json.loads(client.with_options(max_retries=0, timeout=PROBE_SECONDS).get(address, cast_to=str))
        except (openai.OpenAIError, ValueError, RecursionError):
            return ""
        version = stated.get(key) if isinstance(stated, dict) else None
        return version if isinstance(version, str) else ""


def _word(text: str) -> str:
    return " ".join(printable(text).split())[:LONGEST] or UNKNOWN
