"""What a request to luna serve may hold, how much memory it takes, and who waits for whom."""

from __future__ import annotations

import asyncio

import pytest

from luna.sharing.server import forms
from luna.sharing.server.forms import Unknown
from luna.sharing.server.llama_server import Window
from luna.sharing.server.servers import Cells

ASK = [{"role": "user", "content": "Hi"}]


@pytest.mark.parametrize("path", sorted(forms.PASSED))
def test_a_key_that_nobody_heeds_is_named(path):
    form = forms.PASSED[path]
    form.check({form.needs: "x", "model": "m", "user": "me", "colour": None})
    with pytest.raises(Unknown) as refused:
        form.check({form.needs: "x", "colour": 1})
    assert refused.value.key == "colour"
    with pytest.raises(Unknown) as refused:
        form.check({})
    assert refused.value.key == form.needs


@pytest.mark.parametrize("wrong", [1, {"type": "json_object", "schema": 123}, {"json_schema": 1}])
def test_a_schema_that_is_none_is_refused(wrong):
    right = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
    for given in (right, {"type": "text"}, {"type": "json_object"}, None):
        forms.CHAT.check({"messages": ASK, "response_format": given})
    with pytest.raises(Unknown):
        forms.CHAT.check({"messages": ASK, "response_format": wrong})


def test_what_a_response_asks_for_is_put_in_words_that_are_heeded():
    schema = {"type": "json_schema", "name": "a", "schema": {"type": "object"}}
    asked = {"input": "Hi", "instructions": "Be.", "text": {"format": schema}}
    mended = forms.RESPONSES.mended(asked)
    assert mended["response_format"]["json_schema"]["schema"] == {"type": "object"}
    assert "text" not in mended
    assert forms.RESPONSES.conversation(asked) == [{"role": "system", "content": "Be."}, *ASK]
    with pytest.raises(Unknown):
        forms.RESPONSES.mended({"input": "Hi", "tools": [{"type": "web_search"}]})


@pytest.mark.parametrize(
    ("body", "limit", "cells"),
    [
        ({"prompt": [1] * 100}, 250, 350),  # no limit: a quarter of the window
        ({"prompt": [1] * 100, "max_tokens": 10, "n": 3}, 10, 130),
        ({"prompt": [1] * 100, "max_tokens": None, "max_completion_tokens": 7}, None, 107),
        ({"prompt": [1] * 100, "n_predict": -1}, 250, 350),
        ({"prompt": [1] * 100, "max_tokens": 5_000}, 5_000, 1_100),
    ],
)
def test_an_answer_has_a_limit_and_its_tokens_are_counted(body, limit, cells):
    bounded, count = forms.WRITING["/v1/chat/completions"].bounded(body, 1_000)
    assert (bounded.get("max_tokens"), count) == (limit, cells)


def test_requests_wait_in_their_order_and_one_that_gives_up_holds_nothing():
    async def run() -> list[str]:
        cells, order = Cells(Window(100, 100, 2)), []

        async def ask(name: str, count: int) -> None:
            async with cells.taken(count):
                order.append(name)
                await asyncio.sleep(0)

        async with cells.taken(60):
            given_up = asyncio.create_task(ask("given up", 100))
            waiting = [asyncio.create_task(ask("large", 80)), asyncio.create_task(ask("small", 10))]
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
            assert order == []
        await asyncio.gather(*waiting)
        async with cells.taken(100):
            return order

    assert asyncio.run(run()) == ["large", "small"]
