"""A teacher behind any server that speaks OpenAI's chat completions."""

import os
import re
import time
from base64 import b64encode
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from html.entities import html5
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from stages.errors import DataError, reason
from stages.files import printable
from stages.params import OpenAITeacher, Runtime, Sampling
from stages.teachers import completions, refusals
from stages.teachers.teacher import Ask, Keep, Refused, Reply, Unit

# What chat models use as control tokens. A server renders the template itself and would read them as such in a message.
# Ordinary text has none of them: [NOTE], [FIRST_NAME], <b> and <think> are sent.
CONTROL = re.compile(
    r"<\|[^|<>\s]{1,80}\|?>|<\|(?i:im|turn|eot|start|end|begin)[ _-][\w -]{1,40}\|>"
    r"|<\w{1,80}\|>|<｜[^｜<>]{1,80}｜>|</?s>|<</?SYS>>"
    r"|<(?i:(?:bos|eo[adhmpst]|so[ps]|pad|unk|cls|sep)(?:_token)?"
    r"|(?:start|end|begin)_of_\w{1,40}|fim_\w{1,40}|im_(?:start|end)|(?:start|end)_header_id)>"
    r"|</?tool_(?:calls?|response)>|<(?:start|end)_function_\w{1,40}>|</?arg_(?:key|value)>|</?minimax:\w{1,40}>|<(?:reponame|filename|empty_output|pr|intermediate_to_code"
    r"|(?:repo|file|gh|issue|jupyter|commit|pr|code)_\w{1,40})>"
    r"|<(?i:\w{0,40}(?:unused|reserved)\w{0,40}\d|(?:extra_id|special)_\d{1,6}|ctrl\d{1,6}|0x[\da-f]{2})>|</?seed:\w{1,40}>"
    r"|\[/?(?:INST|SYSTEM_PROMPT|AVAILABLE_TOOLS|TOOL_(?:CALLS|RESULTS|CONTENT)|MODEL_SETTINGS|CALL_ID|IMG_(?:BREAK|END)|THINK)\]"
    r"|\[(?:[gs]?MASK|EOT|(?:CLS|SEP|PAD|UNK|BOS|EOS)(?:_TOKEN)?|(?i:unused(?:_token_)?\d{1,6}))\]|\]<\][^\[\]<>]{1,40}\[>\[|\]~!?b[\[\]]|\[e~\["
    r"|\[\|[^|\[\]\s]{1,40}\|\]|<_(?:system|user|bot|start|end)>"
)
# Characters of a key in sequence that a text may not hold. Servers quote pieces of it in errors; answers hold ordinary words,
# which a short placeholder for a key may hold too.
PART, PART_OF_ANSWER = 6, 8
NOT_FOUND = 404
LONGEST = 300  # characters of a server's words


class OpenAI:
    """Any server with OpenAI's chat completions: vLLM, llama.cpp, Ollama, `transformers serve`, a vendor.

    The client repeats a request after 408, 409, 429, 5xx, broken connections and bodies without an answer. It waits as long
    as Retry-After demands, but gives up if that exceeds two minutes. The key is read from the environment and kept nowhere.
    Token counts are the server's, or estimates if it reports none.

    Requests that the server refuses for their content (400, 403, 413, 422, 451: too long, against its policy) become
    `Refused`, but not a 403 for the key or the account. So do requests with a control token such as <|im_end|> in a message,
    which are not sent.
    """

    def __init__(self, options: OpenAITeacher, runtime: Runtime) -> None:
        self.options = options
        self.code: Sequence[str] = ()  # that of the server is unknown
        self.identity: dict[str, Any] = {"model": options.model, "base_url": options.base_url.rstrip("/")}
        if options.omit:  # otherwise answers stored before this option was there keep their names
            self.identity["omit"] = sorted(set(options.omit))

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
            if control := next(filter(None, (CONTROL.search(message.content) for message in units[number][0].messages)), None):
                keep(number, Refused(f"not sent: a message holds the control token {control[0]!r}"))
                return
            try:
                keep(number, [self._answer(client, units[number][0], seeds[number])])
            except (openai.OpenAIError, _Unusable) as error:
                if refusals.is_of_one(*_response(error)):
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
        """Return the server's words, without the key, and the option to change if they name one."""
        status, body = _response(error)
        message = self._masked(refusals.words(body))
        if status == refusals.OK:
            shown = f"the server sent no chat completion: {message[:LONGEST]!r}"
        elif status:
            shown = f"Error code: {status}" + (f" - {message[:LONGEST]}" if message else "")
        else:
            message, cause = str(error), str(error.__cause__ or "")  # the cause names why there was no connection
            shown = self._masked(message if cause in message else f"{message} ({cause})") or type(error).__name__
        shown = reason(Exception(shown))
        address = "teacher.base_url usually ends in /v1" if status == NOT_FOUND else ""
        return "; ".join(filter(None, (shown, refusals.remedy(message, self.options) or address)))

    def _fields(self, sampling: Sampling, seed: int) -> dict[str, Any]:
        """Return the sampling options that a request sends; the server's default applies to those left out."""
        fields = sampling.model_dump(exclude={"max_new_tokens"}) | {"seed": seed % 2**31}
        sent = {name: value for name, value in fields.items() if name not in self.options.omit}
        return sent | {self.options.limit_field: sampling.max_new_tokens}

    def _masked(self, text: str, part: int = PART) -> str:
        """Hide the key and long parts of it, which a server may send back; before a text is cut, or a part would remain."""
        if not self.options.api_key_env:
            return text
        key = self._key()
        return _without_parts(_spellings(key).sub("***", text), key, part)

    def _key(self) -> str:
        name = self.options.api_key_env
        if name is None:
            return "none"  # the client requires a key; local servers ignore it
        if not (key := os.environ.get(name)):
            raise DataError(f"teacher.api_key_env = {name}: this environment variable is not set")
        if not key.isascii() or not key.isprintable():
            raise DataError(f"teacher.api_key_env = {name}: this environment variable holds letters that no key has")
        return key

    def _answer(self, client: Any, ask: Ask, seed: int) -> Reply:
        retries = 0

        def count(state: RetryCallState) -> None:
            nonlocal retries
            retries += 1 + state.outcome.exception().retries

        again = Retrying(
            retry=retry_if_exception(_is_passing),
            stop=stop_after_attempt(self.options.max_retries + 1),
            wait=wait_random_exponential(multiplier=0.5, max=8),
            before_sleep=count,
            reraise=True,
        )
        started = time.monotonic()
        answer = again(self._once, client, ask, seed)
        seconds = round(time.monotonic() - started, 3)
        return answer.model_copy(update={"retries": answer.retries + retries, "seconds": seconds})

    def _once(self, client: Any, ask: Ask, seed: int) -> Reply:
        raw = client.chat.completions.with_raw_response.create(
            model=self.options.model,
            messages=[message.model_dump() for message in ask.messages],
            **self._fields(ask.sampling, seed),
        )

        def clean(text: str) -> str:
            return self._masked(printable(text), PART_OF_ANSWER)

        try:
            return completions.reply(raw.parse(), ask, clean, raw.retries_taken)
        except (ValueError, AttributeError, LookupError, TypeError, RecursionError) as error:
            raise _Unusable(raw.text, raw.retries_taken) from error


@cache
def _spellings(key: str) -> re.Pattern[str]:
    """Return the pattern of a key, also with blanks in it, or where JSON, Python, HTML or a URL escapes characters of it."""

    def spellings(sign: str) -> str:
        number = f"(?i:{ord(sign):02x})"
        named = "".join(f"|{name}" for name, meant in html5.items() if meant == sign and name.endswith(";"))
        html = f"&(?:#0{{0,5}}{ord(sign)};|#[xX]0{{0,5}}{number};{named})"
        escape = rf"\\{{1,4}}(?:[ux](?:00)?{number}|u\{{0{{0,4}}{number}\}}|0{{0,2}}{ord(sign):o})"
        return rf"(?:\\{{0,4}}(?:{re.escape(sign)}|{html})|{escape}|%(?:25)*{number})"

    return re.compile(r"[\s\u00ad\u200b-\u200f\u2060\ufeff]{0,2}".join(map(spellings, key)))


def _without_parts(text: str, key: str, part: int) -> str:
    """Hide each run of `part` or more characters that the key, or its Base64 or hexadecimal form, holds too."""
    known = _windows(key, part)
    found = [start for start in range(len(text) - part + 1) if text[start : start + part] in known]
    pieces, end = [], 0
    for start in found:
        if start >= end:
            pieces += [text[end:start], "***"]
        end = start + part
    return "".join([*pieces, text[end:]])


@cache
def _windows(key: str, part: int) -> frozenset[str]:
    """Return all runs of `part` characters of a key, of its hexadecimal form and of its Base64, at three offsets in a text."""
    written = key.encode()
    base64 = (b64encode(b" " * offset + written).decode()[offset and offset + 1 :] for offset in range(3))
    texts = [key, written.hex(), written.hex().upper(), *base64]
    return frozenset(text[start : start + part] for text in texts for start in range(len(text) - part + 1))


class _Unusable(Exception):
    """A body with status 200 that holds no answer, after `retries` of the client."""

    def __init__(self, body: str, retries: int) -> None:
        super().__init__()
        self.body, self.retries = body, retries


def _response(error: BaseException) -> tuple[int, str]:
    """Return the status and the body of the response that an error is about, 0 and "" if there was none."""
    import openai

    if isinstance(error, _Unusable):
        return refusals.OK, error.body
    return (error.status_code, error.response.text) if isinstance(error, openai.APIStatusError) else (0, "")


def _is_passing(error: BaseException) -> bool:
    """Return whether another attempt may bring an answer; the client itself repeats requests with another status."""
    return isinstance(error, _Unusable) and not refusals.is_of_one(*_response(error))
