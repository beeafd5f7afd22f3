"""Ollama's documented rules, by themselves: how it reads a Modelfile and what its Go template makes of a conversation.

https://docs.ollama.com/modelfile, https://docs.ollama.com/template and https://pkg.go.dev/text/template, as far as the
templates that Luna writes go. It is a second implementation, so that the first can be wrong.
"""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from typing import Any

Messages = list[tuple[str, str]]
_TAG = re.compile(r'\{\{(- )?((?:"(?:\\.|[^"\\])*"|[^"])*?)( -)?\}\}')  # a string may hold }}
_WORD = re.compile(r'"(?:\\.|[^"\\])*"|\$?\.?[\w.]+|\$|-?\d+|:=|=')


class GoError(Exception):
    """What Ollama answers as an error."""


def read(text: str) -> dict[str, list[str]]:
    """The commands of a Modelfile; a parameter is under its own name. Characters that cannot be printed are lost."""
    commands: dict[str, list[str]] = defaultdict(list)
    rest = text
    while rest := rest.lstrip(" \t\r\n"):
        if rest[0] == "#":
            rest = rest.partition("\n")[2]
            continue
        name, _, rest = rest.partition(" ")
        name = name.lower()
        if name == "parameter":
            name, _, rest = rest.partition(" ")
        for quote in ('"""', '"'):
            if rest.startswith(quote):
                value, found, rest = rest.removeprefix(quote).partition(quote)
                assert found and rest[:1] in ("\n", ""), "it ends before its line does"
                break
        else:
            value, _, rest = rest.partition("\n")
        assert name in ("from", "template", "system", "stop", "temperature", "num_ctx"), name
        commands[name].append("".join(one for one in value if one.isprintable() or one in "\n\t "))
    return commands


def prompt(modelfile: str, messages: Messages, adds: str = "") -> str:
    """What the model is given. ``adds``: the text of the token that the runner puts first by itself."""
    commands = read(modelfile)
    system = commands.get("system", [""])[0]
    if system and messages[0][0] != "system":
        messages = [("system", system), *messages]
    rows = [{"Role": role, "Content": content} for role, content in joined(messages)]
    return adds + execute(commands["template"][0], {"Messages": rows})


def joined(messages: Messages) -> Messages:
    """Messages of one role that follow each other are one."""
    rows: Messages = []
    for role, content in messages:
        if rows and rows[-1][0] == role:
            rows[-1] = (role, f"{rows[-1][1]}\n\n{content}")
        else:
            rows.append((role, content))
    return rows


def execute(template: str, data: dict[str, Any]) -> str:
    """The Go template over the data."""
    nodes, rest = _parse(_tokens(template))
    assert not rest
    out: list[str] = []
    _run(nodes, data, {"$": data}, out)
    return "".join(out)


def _tokens(template: str) -> list[tuple[str, Any]]:
    tokens: list[tuple[str, Any]] = []
    at, trim = 0, False
    for tag in _TAG.finditer(template):
        text = template[at : tag.start()]
        text = text.lstrip() if trim else text
        tokens.append(("text", text.rstrip() if tag[1] else text))
        tokens.append(("tag", _WORD.findall(tag[2])))
        at, trim = tag.end(), bool(tag[3])
    tokens.append(("text", template[at:].lstrip() if trim else template[at:]))
    return tokens


def _parse(tokens: list[tuple[str, Any]]) -> tuple[list[Any], list[tuple[str, Any]]]:
    nodes: list[Any] = []
    while tokens:
        (kind, value), tokens = tokens[0], tokens[1:]
        if kind == "text":
            nodes.append(value)
        elif value[0] in ("end", "else"):
            return nodes, [(kind, value), *tokens]
        elif value[0] == "range":
            body, tokens = _parse(tokens)
            assert tokens[0][1] == ["end"]
            nodes.append(("range", value[1:], body))
            tokens = tokens[1:]
        elif value[0] == "if":
            branches, condition = [], value[1:]
            while True:
                body, tokens = _parse(tokens)
                branches.append((condition, body))
                mark, tokens = tokens[0][1], tokens[1:]
                if mark == ["end"]:
                    break
                assert mark[0] == "else" and (len(mark) == 1 or mark[1] == "if"), mark
                condition = mark[2:] if len(mark) > 1 else None
            nodes.append(("if", branches))
        else:
            nodes.append(("act", value))
    return nodes, []


def _run(nodes: list[Any], dot: Any, names: dict[str, Any], out: list[str]) -> None:
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
        elif node[0] == "range":
            for row in _value(node[1], dot, names):
                _run(node[2], row, names, out)
        elif node[0] == "if":
            for condition, body in node[1]:
                if condition is None or _value(condition, dot, names):
                    _run(body, dot, names, out)
                    break
        elif node[1][1:2] in ([":="], ["="]):
            assert (node[1][0] in names) == (node[1][1] == "="), node
            names[node[1][0]] = _value(node[1][2:], dot, names)
        else:
            out.append(str(_value(node[1], dot, names)))


def _value(words: list[str], dot: Any, names: dict[str, Any]) -> Any:
    if words[0] == "eq":
        left, right = (_value([word], dot, names) for word in words[1:])
        return left == right
    if words[0] == "index":
        rows, at = (_value([word], dot, names) for word in words[1:])
        if not 0 <= at < len(rows):
            raise GoError(f"index out of range: {at}")
        return rows[at]
    [word] = words
    if word.startswith('"'):
        return ast.literal_eval(word)
    if re.fullmatch(r"-?\d+", word):
        return int(word)
    if word.startswith("$."):
        return names["$"][word[2:]]
    return names[word] if word.startswith("$") else dot[word[1:]]
