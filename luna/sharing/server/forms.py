"""What each kind of request may hold, and where it has its conversation.

llama-server lets pass what it does not know, and the asker never learns that it was not heeded. Here a key that
nobody heeds is refused. The keys are those of llama.cpp's server-schema.cpp, which
`python -m bench.peer` compares, and of the code that reads each form.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from luna.errors import InputError

Body = dict[str, Any]

_SAMPLING = """
    adaptive_decay adaptive_target backend_sampling cache_prompt dry_allowed_length dry_base dry_multiplier
    dry_penalty_last_n dry_sequence_breakers dynatemp_exponent dynatemp_range frequency_penalty grammar id_slot ignore_eos
    json_schema logit_bias logprobs max_completion_tokens max_tokens min_keep min_p mirostat mirostat_eta mirostat_tau n
    n_cmpl n_indent n_keep n_predict n_probs post_sampling_probs presence_penalty repeat_last_n repeat_penalty
    response_fields return_progress return_tokens samplers seed sse_ping_interval stop stream stream_options
    t_max_predict_ms temperature timings_per_token top_k top_n_sigma top_p typical_p verbose xtc_probability
    xtc_threshold
"""
_REASONING = "reasoning_budget_message reasoning_budget_tokens reasoning_control reasoning_effort reasoning_format thinking_budget_tokens"
_CHAT = f"""
    messages tools tool_choice parallel_tool_calls response_format top_logprobs add_generation_prompt
    continue_final_message chat_template_kwargs {_REASONING} {_SAMPLING}
"""
#: Labels for the asker's own books: they change no answer, here or anywhere.
_LABELS = "user metadata safety_identifier prompt_cache_key prompt_cache_retention"
#: Settings of a service, which are heeded where they ask for what is done anyway.
_ONLY: dict[str, tuple[Any, ...]] = {
    "store": (False,),
    "service_tier": ("auto", "default"),
    "modalities": (["text"],),
    "best_of": (1,),
    "suffix": ("",),
    "background": (False,),
    "truncation": ("disabled",),
    "include": ([],),
}


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= -1


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_stop(value: Any) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(text, str) for text in value)
    )


#: What llama-server would pass over, or take for something else, where it has another type.
_VALUES: dict[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_output_tokens", "n_predict", "n", "top_k"),
        (_is_whole, "a whole number"),
    ),
    **dict.fromkeys(
        ("temperature", "frequency_penalty", "presence_penalty"), (_is_number, "a number")
    ),
    **dict.fromkeys(
        ("top_p", "min_p"),
        (lambda value: _is_number(value) and 0 <= value <= 1, "a number from 0 to 1"),
    ),
    "stop": (_is_stop, "a text or a list of texts"),
    "stop_sequences": (_is_stop, "a list of texts"),
    "stream": (lambda value: isinstance(value, bool), "true or false"),
    "stream_options": (lambda value: isinstance(value, dict), "an object"),
    "logit_bias": (lambda value: isinstance(value, dict | list), "an object"),
    "tools": (lambda value: isinstance(value, list), "a list"),
}


def _keys(text: str) -> frozenset[str]:
    return frozenset(f"model {_LABELS} {text}".split())


@dataclass(frozen=True)
class Form:
    """``needs`` is the key that must be there. ``conversation`` gives chat messages, for a form that has them."""

    keys: frozenset[str]
    needs: str
    conversation: Callable[[Body], list[Any]] | None = None
    system: str | None = None  # the key of its system prompt; None: it is a message
    mended: Callable[[Body], Body] = lambda body: (
        body
    )  # what llama-server would not heed, in words that it does

    def check(self, body: Body) -> None:
        """Raises InputError naming what is missing or not known."""
        for key, value in body.items():
            holds, words = _VALUES.get(key, (None, ""))
            if holds and key in self.keys and value is not None and not holds(value):
                raise Unknown(f"'{key}' must be {words}.", key)
            if key in self.keys or value is None or value in _ONLY.get(key, ()):
                continue
            if key in _ONLY:
                raise Unknown(f"'{key}' may only be {_ONLY[key][0]!r} here: leave it out.", key)
            raise Unknown(f"'{key}' is not known here: leave it out.", key)
        if body.get(self.needs) is None:
            raise Unknown(f"'{self.needs}' is missing: send it.", self.needs)
        if body.get("tool_choice") not in (None, "none", "auto") and not body.get("tools"):
            raise Unknown("'tool_choice' needs 'tools': send them, or leave it out.", "tool_choice")
        wanted = body.get("response_format") or {}
        inner = wanted.get("json_schema", wanted) if isinstance(wanted, dict) else None
        if not isinstance(inner, dict) or not isinstance(inner.get("schema") or {}, dict):
            raise Unknown("'response_format': its schema must be an object.", "response_format")


class Unknown(InputError):
    """A key of a request that is not known, not heeded or missing; ``key`` names it."""

    def __init__(self, sentence: str, key: str) -> None:
        super().__init__(sentence)
        self.key = key


_ROLES = (None, "system", "developer", "user", "assistant", "tool")
#: Parts of a message that are pictures, sound and the like; every other part is llama.cpp's to judge.
_NO_WORDS = re.compile(r"image|audio|video|file|document|media")


def _listed(value: Any, key: str) -> list[Any]:
    """Messages, none of which holds what no generation of Luna's can read."""
    if not isinstance(value, list) or not value:
        raise Unknown(f"'{key}' must be a list of messages, and not empty.", key)
    for message in value:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise Unknown(f"'{key}': a message has one of the roles {', '.join(_ROLES[1:])}.", key)
        content = message.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict) or _NO_WORDS.search(str(part.get("type"))):
                raise Unknown(f"'{key}': a message may hold text alone, no pictures or sound.", key)
    return value


def _chat(body: Body) -> list[Any]:
    return _listed(body["messages"], "messages")


def _responses(body: Body) -> list[Any]:
    given = body["input"]
    messages = (
        [{"role": "user", "content": given}] if isinstance(given, str) else _listed(given, "input")
    )
    # An item is a message where it has a role; its type says nothing more then.
    messages = [
        {key: value for key, value in item.items() if key not in ("type", "id", "status")}
        if isinstance(item, dict) and item.get("type") in (None, "message")
        else item
        for item in messages
    ]
    system = body.get("instructions")
    return messages if system is None else [{"role": "system", "content": system}, *messages]


def _responses_format(body: Body) -> Body:
    """Said in the words of the form that llama-server makes of it: it passes over ``text``, and tools that it does not know."""
    for tool in body.get("tools") or ():
        if not isinstance(tool, dict) or tool.get("type") != "function":
            raise Unknown("'tools' may only hold functions here: leave the others out.", "tools")
    text = body.get("text") or {}
    wanted = text.get("format") or {} if isinstance(text, dict) else {}
    body = {key: value for key, value in body.items() if key != "text"}
    if wanted.get("type") == "json_schema":
        schema = {"schema": wanted.get("schema") or {}}
        return body | {"response_format": {"type": "json_schema", "json_schema": schema}}
    return body | ({"response_format": wanted} if wanted else {})


def _anthropic(body: Body) -> list[Any]:
    messages, system = _listed(body["messages"], "messages"), body.get("system")
    return messages if system is None else [{"role": "system", "content": system}, *messages]


CHAT = Form(_keys(_CHAT), "messages", _chat)
RENDERING = Form(_keys(_CHAT), "messages")  # what llama.cpp itself makes of it
COMPLETION = Form(_keys(f"prompt echo {_SAMPLING}"), "prompt")
RESPONSES = Form(
    _keys(
        f"input instructions max_output_tokens tools tool_choice parallel_tool_calls reasoning text {_SAMPLING}"
    ),
    "input",
    _responses,
    "instructions",
    _responses_format,
)
ANTHROPIC = Form(
    _keys(
        "messages system max_tokens tools tool_choice stop_sequences temperature top_p top_k stream thinking chat_template_kwargs"
    ),
    "messages",
    _anthropic,
    "system",
)
EMBEDDING = Form(_keys("input encoding_format embd_normalize"), "input")
TOKENISE = Form(_keys("content add_special parse_special with_pieces"), "content")
DETOKENISE = Form(_keys("tokens"), "tokens")

#: Path -> form, of what is passed to llama-server.
PASSED: dict[str, Form] = {
    "/v1/chat/completions": CHAT,
    "/chat/completions": CHAT,
    "/v1/chat/completions/input_tokens": CHAT,
    "/chat/completions/input_tokens": CHAT,
    "/apply-template": RENDERING,
    "/v1/completions": COMPLETION,
    "/completions": COMPLETION,
    "/completion": COMPLETION,
    "/v1/responses": RESPONSES,
    "/responses": RESPONSES,
    "/v1/responses/input_tokens": RESPONSES,
    "/responses/input_tokens": RESPONSES,
    "/v1/messages": ANTHROPIC,
    "/v1/messages/count_tokens": ANTHROPIC,
    "/v1/embeddings": EMBEDDING,
    "/embeddings": EMBEDDING,
    "/tokenize": TOKENISE,
    "/detokenize": DETOKENISE,
}


#: Of the window, what an answer may take where the request does not say.
ANSWER_SHARE = 4


@dataclass(frozen=True)
class Limit:
    """How a form says how long an answer may be: the first of its keys that is there; the first is set where none is."""

    keys: tuple[str, ...]

    def bounded(self, body: Body, window: int) -> tuple[Body, int]:
        """The body with a limit for its answer, and the tokens that request and answer take at most together.

        A text that is not yet tokens counts a token a byte, which is more than it takes.
        """
        prompt = body.get("prompt", body.get("input"))
        parts = prompt if isinstance(prompt, list) else []
        whole = bool(parts) and all(isinstance(token, int) for token in parts)
        length = len(parts) if whole else len(str(body).encode("utf-8", "replace"))
        given = next((body[key] for key in self.keys if _is_limit(body.get(key))), None)
        limit = max(1, window // ANSWER_SHARE) if given is None else given
        if given is None and self.keys:
            body = {key: value for key, value in body.items() if key not in self.keys}
            body[self.keys[0]] = limit
        times = max((body[key] for key in ("n", "n_cmpl") if _is_limit(body.get(key))), default=1)
        several = 1 if whole else max(1, len(parts))
        answer = min(limit, window) if self.keys else 0
        return body, min(length, window * several) + times * several * answer


def _is_limit(value: Any) -> bool:
    return _is_whole(value) and value >= 0


_COMMON = Limit(("max_tokens", "max_completion_tokens", "n_predict"))
#: Path -> its limit, of what takes a place in a server's memory.
WRITING: dict[str, Limit] = {
    "/v1/chat/completions": _COMMON,
    "/chat/completions": _COMMON,
    "/v1/completions": _COMMON,
    "/completions": _COMMON,
    "/completion": _COMMON,
    "/v1/responses": Limit(("max_output_tokens",)),
    "/responses": Limit(("max_output_tokens",)),
    "/v1/messages": Limit(("max_tokens",)),
    "/v1/embeddings": Limit(()),
    "/embeddings": Limit(()),
}
