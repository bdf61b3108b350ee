"""Who answers a teacher's requests: a model on this machine, a server that speaks OpenAI's protocol, or a recording."""

import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from stages import chat, generate, models, provenance
from stages.params import LocalTeacher, OpenAITeacher, ReplayTeacher, Runtime, Teacher
from stages.records import Call, DataError, content_hash, file_hash, read
from stages.synthesize.teacher import Answer, Ask, Keep, Refused, Unit, about

REFUSALS = (400, 413, 422)  # of this request, where others are answered


class Local:
    """A transformers model, the base or another. Sampled texts differ between batches, so the batch is the unit.

    Where a batch ends is decided by the requests in it (content-defined chunking, as in rsync and backup tools): a changed
    document moves the borders behind it until they find each other again, and the batches after that keep their answers.
    """

    def __init__(self, options: LocalTeacher, runtime: Runtime) -> None:
        self.options, self.runtime = options, runtime
        self.manifest = models.fetch(options.model) if options.model else models.read_manifest()
        self.identity = {"model": self.manifest.model_dump(), "runtime": runtime.model_dump()}
        self._loaded: Any = None

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        batch: list[Ask] = []
        for ask in asks:
            if batch and ask.sampling != batch[-1].sampling:
                yield [batch]
                batch = []
            batch.append(ask)
            is_border = int(content_hash(ask.request)[:8], 16) % self.options.batch_size == 0
            if len(batch) == self.options.batch_size or (is_border and len(batch) >= self.options.batch_size // 2):
                yield [batch]
                batch = []
        if batch:
            yield [batch]

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None:
        if self._loaded is None:
            provenance.prepare(self.runtime)
            weights = models.ensure(self.manifest)
            self._loaded = models.load_tokenizer(weights), models.load_base(weights, provenance.device(self.runtime))
        tokenizer, model = self._loaded
        for number, (unit, seed) in enumerate(zip(units, seeds, strict=True)):
            prompts = [chat.prompt_ids(tokenizer, ask.messages) for ask in unit]
            started = time.monotonic()
            answers = generate.sample(model, tokenizer, prompts, unit[0].sampling, seed)
            spent = {"retries": 0, "seconds": round((time.monotonic() - started) / len(unit), 3)}
            counted = zip(prompts, answers, strict=True)
            keep(number, [{**asdict(answer), "prompt_tokens": len(prompt), **spent} for prompt, answer in counted])

    def usd(self, prompt_tokens: int, new_tokens: int) -> float:
        return 0.0


class OpenAI:
    """Any server with OpenAI's chat completions: vLLM, llama.cpp, Ollama, `transformers serve`, a vendor.

    The client repeats a request after 408, 409, 429, 5xx and broken connections and waits as long as Retry-After says, but
    repeats none after one above two minutes; a body that is no answer is repeated likewise. The key is read from the
    environment and kept nowhere. Tokens are those that the server reports, or estimated where it reports none.

    What the server refuses for what is in it (too long, or against its policy: 400, 413, 422) is told to the teacher as such.
    """

    def __init__(self, options: OpenAITeacher, runtime: Runtime) -> None:
        self.options = options
        self.identity = {"model": options.model, "base_url": options.base_url.rstrip("/")}

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        for start in range(0, len(asks), self.options.concurrency):
            yield [[ask] for ask in asks[start : start + self.options.concurrency]]

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None:
        import openai

        client = openai.OpenAI(
            base_url=self.options.base_url,
            api_key=self._key(),
            timeout=self.options.timeout_seconds,
            max_retries=self.options.max_retries,
        )
        failed: list[Exception] = []

        def one(number: int) -> None:
            try:
                keep(number, [self._answer(client, units[number][0], seeds[number])])
            except (openai.OpenAIError, _Unusable) as error:
                if getattr(error, "status_code", None) in REFUSALS:
                    keep(number, Refused(self._reason(error)))
                else:
                    failed.append(error)

        with ThreadPoolExecutor(self.options.concurrency) as pool:
            list(pool.map(one, range(len(units))))
        if failed:
            raise DataError(
                f"teacher.base_url = {self.options.base_url}: {len(failed)} of {len(units)} requests failed with "
                f"teacher.max_retries = {self.options.max_retries} ({self._reason(failed[0])}); "
                "every answer that arrived is kept: run again"
            )

    def usd(self, prompt_tokens: int, new_tokens: int) -> float:
        price = self.options.price
        return (prompt_tokens * price.usd_per_million_input + new_tokens * price.usd_per_million_output) / 1e6

    def _reason(self, error: Exception) -> str:
        return (str(error).strip().splitlines() or [type(error).__name__])[0].replace(self._key(), "***")

    def _key(self) -> str:
        name = self.options.api_key_env
        if name is None:
            return "none"  # the client insists on one; local servers ignore it
        if not (key := os.environ.get(name)):
            raise DataError(f"teacher.api_key_env = {name}: this environment variable is not set")
        if not key.isascii():
            raise DataError(f"teacher.api_key_env = {name}: this environment variable holds letters that no key has")
        return key

    def _answer(self, client: Any, ask: Ask, seed: int) -> Answer:
        from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

        retries = 0

        def count(state: RetryCallState) -> None:
            nonlocal retries
            retries += 1 + state.outcome.exception().retries

        again = Retrying(
            retry=retry_if_exception_type(_Unusable),
            stop=stop_after_attempt(self.options.max_retries + 1),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            before_sleep=count,
            reraise=True,
        )
        started = time.monotonic()
        answer = again(self._once, client, ask, seed)
        seconds = round(time.monotonic() - started, 3)
        return {**answer, "retries": answer["retries"] + retries, "seconds": seconds}

    def _once(self, client: Any, ask: Ask, seed: int) -> Answer:
        raw = client.chat.completions.with_raw_response.create(
            model=self.options.model,
            messages=[message.model_dump() for message in ask.messages],
            temperature=ask.sampling.temperature,
            top_p=ask.sampling.top_p,
            presence_penalty=ask.sampling.presence_penalty,
            max_tokens=ask.sampling.max_new_tokens,
            seed=seed % 2**31,
        )
        try:
            body = raw.parse()
            choice = body.choices[0]
            said = choice.message.content or ""  # a model that says nothing: for the filters
            text = said.encode("utf-8", "replace").decode()  # half an escaped pair such as \ud83d cannot be stored
            return {
                "text": text.strip(),
                "stopped": choice.finish_reason == "stop",
                "prompt_tokens": _count(body.usage, "prompt_tokens", sum(about(m.content) for m in ask.messages)),
                "new_tokens": _count(body.usage, "completion_tokens", about(text)),
                "retries": raw.retries_taken,
            }
        except (ValueError, AttributeError, IndexError, TypeError, RecursionError) as error:
            raise _Unusable(f"the server sent no chat completion: {raw.text[:80]!r}", raw.retries_taken) from error


def _count(usage: Any, name: str, estimate: int) -> int:
    """Servers leave out the usage, or a part of it, or send null."""
    count = getattr(usage, name, None)
    return count if isinstance(count, int) and count >= 0 else estimate


class _Unusable(Exception):
    """A body with status 200 that holds no answer; `retries` are those that the client had made for it."""

    def __init__(self, said: str, retries: int) -> None:
        super().__init__(said)
        self.retries = retries


class Replay:
    """A recorded calls.jsonl; the parameters hold its sha256, so that another recording is another run."""

    def __init__(self, options: ReplayTeacher, runtime: Runtime) -> None:
        path = self.path = Path(options.path)
        recorded = {call.request: call for call in read(path, Call)}
        if (seen := file_hash(path)) != options.sha256:
            raise DataError(f"teacher.sha256: {path} has sha256 {seen}, expected {options.sha256}")
        self.identity = {"recording": options.sha256}
        self.recorded = recorded

    def waves(self, asks: Sequence[Ask]) -> Iterator[list[Unit]]:
        yield [[ask] for ask in asks]

    def ask(self, units: Sequence[Unit], seeds: Sequence[int], keep: Keep) -> None:
        found = [self.recorded.get(content_hash(unit[0].request)) for unit in units]
        if missing := found.count(None):
            raise DataError(
                f"teacher.path = {self.path}: {missing} of the {len(units)} requests of this step are not recorded there; "
                "record them with teacher=local or teacher=openai, or undo what changed the prompts; where a budget ended the "
                f"recording: synthesis.budget.max_calls={len(self.recorded)}"
            )
        for number, call in enumerate(found):
            assert call is not None
            keep(number, [call.model_dump(include={"text", "stopped", "prompt_tokens", "new_tokens"}) | {"retries": 0}])

    def usd(self, prompt_tokens: int, new_tokens: int) -> float:
        return 0.0


BACKENDS: dict[str, Any] = {"local": Local, "openai": OpenAI, "replay": Replay}


def backend(options: Teacher, runtime: Runtime) -> Any:
    return BACKENDS[options.kind](options, runtime)
