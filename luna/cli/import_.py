"""The command `luna import`; the work is in operations/import_.py (Python keeps the word)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from luna.cli.common import Json, print_json, printable, repository_root, say
from luna.errors import Refused
from luna.importing.chatlog import Learn, Sides
from luna.importing.draft import Mend, Reason
from luna.operations import import_
from luna.operations.import_ import Imported, Result

_SHOWN = 160  # characters of a message in an example
_PLACES = 5  # with a likely secret

_RULES = {
    Mend.MERGED_TURNS: "messages of one role in a row were merged",
    Mend.DROPPED_TAIL: "ended with the user: the last message was dropped",
    Mend.DROPPED_GREETING: "began with the assistant: the greeting was dropped",
    Mend.TOOK_TEXT_PARTS: "had content in parts: the text parts were taken",
    Mend.DROPPED_MEDIA: "held pictures, files or a messenger's own lines: dropped",
    Mend.DROPPED_TOOLS: "held tool calls: dropped, with their results",
    Mend.DROPPED_THINKING: "held the model's thinking: dropped",
    Mend.DROPPED_HIDDEN: "held hidden messages: dropped",
    Mend.DROPPED_EMPTY: "held empty messages: dropped",
    Mend.DROPPED_SYSTEM: "held a system message in the middle: dropped",
    Mend.DROPPED_REJECTED: "had a chosen and a rejected reply: the chosen one was taken",
    Mend.KEPT_BRANCH: "had several branches: the one that was kept was taken",
    Mend.CLEANED_TEXT: "held control characters or citation marks: removed",
}
_REASONS = {
    Reason.NO_REPLY: "no reply of the assistant",
    Reason.NO_QUESTION: "no message of the user before the assistant's",
    Reason.NOT_JSON: "not valid JSON",
    Reason.UNKNOWN_FORM: "none of the known forms",
    Reason.UNKNOWN_ROLE: "a role that is not known",
    Reason.BROKEN_TREE: "a tree of messages that goes in a circle or is none",
    Reason.TOO_LONG: "longer than a line may be",
    Reason.NOT_VALID: "not valid",
}


def command(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE", help="Files, zips or folders to read; told by content."),
    ],
    inbox: Annotated[
        bool, typer.Option("--inbox", help="Into data/inbox, which the next generation takes in.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would come; nothing is written.")
    ] = False,
    me: Annotated[
        str | None,
        typer.Option("--me", metavar="NAME", help="WhatsApp, Telegram: who of the chat you are."),
    ] = None,
    learn: Annotated[
        Learn,
        typer.Option("--learn", help="With --me: whose messages are learnt."),
    ] = Learn.OTHERS,
    as_json: Json = False,
) -> None:
    """Bring in conversations from other programs.

    ChatGPT's, Claude's, Open WebUI's and LM Studio's exports; OpenAI, ShareGPT, Alpaca and pairs of prompt
    and completion as JSON, JSON lines, CSV or Parquet; folders of datasets; plain text with 'user:' and
    'assistant:'; WhatsApp and Telegram with --me. What has another shape is mended by stated rules, what
    cannot be used goes to data/rejected with the reason, what is there already is left out: docs/import.md.
    Exit code 1 when there was nothing that could be used.
    """
    root = repository_root()
    result = import_.run(
        root,
        sources,
        Sides(me, learn),
        inbox,
        dry_run,
        lambda count: None if as_json else say(f"luna: {count:,} conversations read"),
    )
    if as_json:
        print_json(_document(result))
    else:
        _show(result)
    if not any(source.taken + source.known + source.repeated for source in result.sources):
        raise Refused(
            "Nothing could be used: see the reasons above"
            f"{'' if dry_run else f' and the rows in {import_.REJECTED.as_posix()}'}."
        )


def _document(result: Result) -> dict[str, Any]:
    survey = result.survey
    return {
        "dry_run": result.dry_run,
        **{
            key: sum(getattr(source, key) for source in result.sources)
            for key in ("read", "taken", "known", "repeated", "rejected")
        },
        "sources": [_source(source) for source in result.sources],
        "mended": _plain(source.mended for source in result.sources),
        "reasons": _plain(source.reasons for source in result.sources),
        "languages": survey.languages,
        "languages_sample": survey.languages_sample,
        "tokens": vars(survey.tokens),
        "near_duplicates": survey.near_duplicates,
        "several_answers": survey.several_answers,
        "secrets": vars(survey.secrets),
        "examples": survey.examples,
    }


def _source(source: Imported) -> dict[str, Any]:
    return {
        "source": source.source,
        "read": source.read,
        "taken": source.taken,
        "known": source.known,
        "repeated": source.repeated,
        "rejected": source.rejected,
        "forms": _plain([source.forms]),
        "skipped": source.skipped,
        "file": source.file.as_posix() if source.file else None,
        "rejects": source.rejects.as_posix() if source.rejects else None,
        "wrong": source.wrong,
    }


def _plain(counters: Iterable[Counter[Any]]) -> dict[str, int]:
    """The counts of all counters by the value of the enum, the most frequent first."""
    total: Counter[Enum] = Counter()
    for counter in counters:
        total.update(counter)
    return {key.value: count for key, count in total.most_common()}


def _show(result: Result) -> None:
    for source in result.sources:
        _show_source(source, result.dry_run)
    _show_counts("Mended", _RULES, [source.mended for source in result.sources])
    _show_counts("Rejected", _REASONS, [source.reasons for source in result.sources])
    if any(source.taken for source in result.sources):
        _show_survey(result)
    if result.dry_run:
        some = any(source.taken for source in result.sources)
        more = " The same command without --dry-run imports it." if some else ""
        typer.echo(f"Nothing was written.{more}")
    elif any(source.file for source in result.sources):
        typer.echo("Next: luna evolve")


def _show_source(source: Imported, dry_run: bool) -> None:
    forms = ", ".join(form.value for form, _ in source.forms.most_common())
    parts = [f"{source.read:,} read", f"{source.taken:,} {'to take' if dry_run else 'taken'}"]
    for count, words in (
        (source.known, "known already"),
        (source.repeated, "repeated"),
        (source.rejected, "rejected"),
    ):
        if count:
            parts.append(f"{count:,} {words}")
    typer.echo(printable(f"{source.source}{f' ({forms})' if forms else ''}: {', '.join(parts)}"))
    if source.file:
        typer.echo(f"  to {source.file.as_posix()}")
    if source.rejects:
        typer.echo(f"  rejects in {source.rejects.as_posix()}")
    for sentence in source.wrong if dry_run else ():
        typer.echo(printable(f"  {sentence[:200]}"))
    for name, why in list(source.skipped.items())[:10]:
        typer.echo(printable(f"  {name} {why}: passed over"))
    if len(source.skipped) > 10:
        typer.echo(f"  and {len(source.skipped) - 10:,} more files passed over")


def _show_counts(title: str, words: dict[Any, str], counters: list[Counter[Any]]) -> None:
    total: Counter[Any] = Counter()
    for counter in counters:
        total.update(counter)
    if total:
        typer.echo(f"{title}:")
    for key, count in total.most_common():
        typer.echo(f"  {count:>7,} {words[key]}")


def _show_survey(result: Result) -> None:
    survey = result.survey
    tokens = survey.tokens
    about = "" if tokens.exact else "about "
    named = ", ".join(f"{code} {count:,}" for code, count in list(survey.languages.items())[:8])
    sample = sum(source.taken for source in result.sources) > survey.languages_sample
    typer.echo(
        f"Languages{f' of {survey.languages_sample:,} of them' if sample else ''}, about: {named}"
    )
    typer.echo(
        f"Tokens: {about}{tokens.median:,} in the median, {about}{tokens.longest:,} in the longest; "
        f"{about}{tokens.beyond:,} longer than the {tokens.window:,} of train.max_seq_length, which are learnt part by part"
        f"{'' if tokens.exact else ' (estimated)'}"
    )
    if tokens.too_long:
        remedy = f"they fit with train.max_seq_length: {tokens.window_needed}"
        if tokens.fit_none:
            remedy = f"some are longer than the {tokens.readable:,} tokens that the base can read: shorten them"
        typer.echo(f"Too long to be learnt: {about}{tokens.too_long:,} replies; {remedy}")
    typer.echo(
        f"Near duplicates: about {survey.near_duplicates:,}; "
        f"questions with several answers: {survey.several_answers:,}"
    )
    secrets = survey.secrets
    if secrets.kinds:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in secrets.kinds.items())
        typer.echo(
            f"Likely secrets, which the model would learn: {kinds}"
            f"{'' if secrets.complete else ' (not all lines were looked at)'}"
        )
        more = len(secrets.where) - _PLACES
        rest = f" and {more} more" if more > 0 else ""
        typer.echo(
            printable(f"  in {', '.join(secrets.where[:_PLACES])}{rest} (--json lists them)")
        )
    else:
        typer.echo("Likely secrets: none seen")
    typer.echo("Examples:")
    for row in survey.examples:
        for message in row["messages"]:
            text = " ".join(message["content"].split())
            shown = text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."
            typer.echo(printable(f"  {message['role']}: {shown}"))
        typer.echo("")
