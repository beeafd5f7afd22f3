"""What to do after a denial: the one change that is most likely to help, and why.

It is decided from the clauses of the rule, the numbers of the generation and its answers. Where several clauses
failed, the first that a change can reach counts: a model that does not know what it was taught has no
generalisation and no voice yet.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from luna.promotion.rule import Fault, Verdict
from luna.scores import ABILITY, BY_NAME, GENERALISATION, RECALL, TONE_DRIFT

_LONGER = 2  # times as much training
_GENTLER, _MUCH_GENTLER = (
    2,
    4,
)  # parts of the learning rate; the second after a training that failed
_MORE_REPLAY = 2  # times as many conversations
_MORE_GENERAL, _ENOUGH_GENERAL = 0.15, 0.5  # of the training set
_BLOCK = 32  # tokens by which a limit is rounded up
_NEARLY_ALL = 0.95  # of a sample of some dozens
_ENDED_EARLY = "known"  # why a training ended, in train_args.json: before all steps, because what is taught was known
_OTHER_VOICE = 0.07  # drift of lessons from earlier ones; in one voice about other facts at most 0.069 was measured
_NAMED = 3  # questions that are named
_CHOICE = "choice"  # the other kind of probe that generalisation rests on


class Why(StrEnum):
    """Where the cause lies."""

    MODEL = "model"
    DATA = "data"
    EXAM = "exam"


class Change(StrEnum):
    """What to change."""

    TRAIN_LONGER = "train longer"
    TRAIN_GENTLER = "train more gently"
    REPLAY_MORE = "replay more"
    LONGER_ANSWERS = "allow longer answers"
    SETTLE = "settle contradictions"
    ADD_WORDINGS = "add other ways to ask"
    AUGMENT = "train in other words, made by rule"
    ADD_CONVERSATIONS = "add conversations"
    ASK_MORE = "ask more questions"
    ADD_UNKNOWN = "add conversations that the base does not know"
    ACCEPT_VOICE = "accept the new voice"
    KEEP_GENERAL = "replay general answers"


@dataclass(frozen=True)
class Setting:
    """A key of params.yaml, such as ``train.epochs``: what it was, and what it should be."""

    key: str
    was: Any
    to: Any


@dataclass(frozen=True)
class Advice:
    """``clause`` failed (None: the training itself did); ``settings`` are to be changed so.

    ``conversations`` and ``wordings``: how many more are needed. ``questions`` are those concerned, ``about`` how many.
    """

    clause: str | None
    why: Why
    change: Change
    settings: tuple[Setting, ...] = ()
    conversations: int = 0
    wordings: int = 0
    questions: tuple[str, ...] = ()
    about: int = 0

    @property
    def reason(self) -> str:
        """What failed and why, for a person."""
        title = BY_NAME[self.clause].title if self.clause else "Training"
        return f"{title} failed because of {_CAUSES[self.why]}: {_REASONS[self.change]}"

    @property
    def step(self) -> str:
        """What to do, for a person; the last word is the command."""
        return f"{_STEPS[self.change].format(**self._words())}, then luna evolve"

    @property
    def sentence(self) -> str:
        """Both."""
        return f"{self.reason}; next: {self.step}"

    def as_json(self) -> dict[str, Any]:
        """As metrics.json keeps it."""
        return asdict(self)

    def _words(self) -> dict[str, str]:
        settings = " and ".join(
            f"{item.key} to {_shown(item.to)} (it was {_shown(item.was)})" for item in self.settings
        )
        more = f" and {self.about - len(self.questions)} more"
        questions = "; ".join(self.questions) + (more if self.about > len(self.questions) else "")
        ways = f"other way{_s(self.wordings)} to ask"
        new = f"conversation{_s(self.conversations)}"
        instead = (
            f", or {self.conversations} more conversation{_s(self.conversations)}"
            if self.conversations
            else ""
        )
        return {
            "settings": f"set {settings} in params.yaml",
            "questions": questions,
            "ways": f"{self.wordings} {ways}" if self.wordings else ways,
            "new": f"{self.conversations} {new}" if self.conversations else new,
            "instead": instead,
        }


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


_CAUSES = {
    Why.MODEL: "the model",
    Why.DATA: "the data",
    Why.EXAM: "the exam, which does not ask enough",
}
_REASONS = {
    Change.TRAIN_LONGER: "it does not answer taught questions as it was taught, so it was trained too little",
    Change.TRAIN_GENTLER: "its weights were changed too much at once",
    Change.REPLAY_MORE: "it knows what is new, and has forgotten what earlier generations were taught",
    Change.LONGER_ANSWERS: "its answers were cut off before the taught replies end",
    Change.SETTLE: "the same question is taught with replies that contradict each other",
    Change.ADD_WORDINGS: "a fact that is always asked in the same words is learnt as these words",
    Change.AUGMENT: "a fact that is always asked in the same words is learnt as these words",
    Change.ADD_CONVERSATIONS: "there are too few questions for a verdict",
    Change.ASK_MORE: "there are too few questions for a verdict, and data.probes_per_kind allows no more",
    Change.ADD_UNKNOWN: "the untaught base passes it as well, so it cannot tell taught from untaught",
    Change.ACCEPT_VOICE: "the new conversations speak in another voice than the earlier ones",
    Change.KEEP_GENERAL: "it has forgotten what the base could do, and little of that is trained beside the lessons",
}
_STEPS = {
    Change.TRAIN_LONGER: "{settings}",
    Change.TRAIN_GENTLER: "{settings}",
    Change.REPLAY_MORE: "{settings}",
    Change.LONGER_ANSWERS: "{settings}",
    Change.SETTLE: "keep one reply to each of these questions: {questions}",
    Change.ADD_WORDINGS: "add {ways} ('paraphrases' of a conversation, or the same fact in conversations of other words){instead}",
    Change.AUGMENT: "{settings}",
    Change.ADD_CONVERSATIONS: "add {new} to data/conversations",
    Change.ASK_MORE: "{settings}",
    Change.ADD_UNKNOWN: "add {new} that the base does not know to data/conversations",
    Change.ACCEPT_VOICE: "write the new conversations in the earlier voice, or, if the new one is wanted, {settings}",
    Change.KEEP_GENERAL: "{settings}",
}


def loads(document: Mapping[str, Any] | None) -> Advice | None:
    """As ``as_json`` wrote it; None where there is none, or one that this version does not know."""
    if not document:
        return None
    try:
        given = dict(document)
        if given["clause"] is not None and given["clause"] not in BY_NAME:
            return None
        return Advice(
            why=Why(given.pop("why")),
            change=Change(given.pop("change")),
            settings=tuple(Setting(**item) for item in given.pop("settings")),
            questions=tuple(given.pop("questions")),
            **given,
        )
    except (KeyError, TypeError, ValueError):
        return None


@dataclass(frozen=True)
class Denied:
    """All that the advice is decided by: the clauses, and what the stages report.

    ``train`` is train_args.json, ``prep`` prep.json, ``recall`` and ``tone`` the details of those scores,
    ``probes_per_kind`` the most questions of a kind that were allowed (None: not known).
    """

    verdicts: Sequence[Verdict]
    train: Mapping[str, Any]
    prep: Mapping[str, Any]
    answers: Sequence[Mapping[str, Any]]
    recall: Mapping[str, Any] = field(default_factory=dict)
    tone: Mapping[str, Any] = field(default_factory=dict)
    probes_per_kind: int | None = None

    def failed(self, clause: str) -> Verdict | None:
        """The verdict on a clause, where it did not hold."""
        return next(
            (item for item in self.verdicts if item.clause == clause and not item.passed), None
        )


def advise(denied: Denied) -> Advice | None:
    """The one change that is most likely to help; None where everything holds."""
    stopped = denied.train.get("stopped")
    if stopped and stopped["failed"]:
        return _gentler(None, denied, _MUCH_GENTLER)
    for clause, of in (
        (RECALL.name, _recall),
        (GENERALISATION.name, _generalisation),
        (TONE_DRIFT.name, _tone),
        (ABILITY.name, _ability),
    ):
        if verdict := denied.failed(clause):
            return of(verdict, denied)
    return None


def _recall(verdict: Verdict, denied: Denied) -> Advice:
    name = verdict.clause
    if verdict.fault is Fault.BLIND:
        return Advice(name, Why.DATA, Change.ADD_UNKNOWN)
    asked = [row for row in denied.answers if row["kind"] == RECALL.name]
    if verdict.lacking and not _hopeless(verdict, len(asked)):
        return _more(verdict, denied)
    wrong = [row for row in asked if not row["correct"]]

    def decides(rows: Sequence[Mapping[str, Any]]) -> bool:
        """Whether these wrong answers alone keep the clause from holding, or are most of the wrong ones."""
        reached = (len(asked) - len(wrong) + len(rows)) / len(asked)
        return bool(rows) and (reached >= (verdict.limit or 1.0) or 2 * len(rows) > len(wrong))

    if decides(torn := _contradicted(asked)):
        questions = list(dict.fromkeys(row["messages"][-1][1] for row in torn))
        return Advice(
            name,
            Why.DATA,
            Change.SETTLE,
            questions=tuple(questions[:_NAMED]),
            about=len(questions),
        )
    if decides(cut := [row for row in wrong if _is_cut(row)]):
        return Advice(name, Why.EXAM, Change.LONGER_ANSWERS, (_longer_answers(cut),))
    if verdict.fault is Fault.REGRESSION or _forgot(verdict, denied):
        return _replay(name, denied)
    return Advice(name, Why.MODEL, Change.TRAIN_LONGER, _longer(denied))


def _generalisation(verdict: Verdict, denied: Denied) -> Advice:
    name, asked = verdict.clause, denied.prep.get("probes", {})
    by_choice = not asked.get(GENERALISATION.name)
    if verdict.fault is Fault.BLIND and not by_choice:
        return Advice(name, Why.DATA, Change.ADD_UNKNOWN)
    if by_choice and "made_by_rule" in denied.prep and denied.prep["made_by_rule"] is None:
        setting = Setting("data.augment", "none", "rules")
        return Advice(name, Why.DATA, Change.AUGMENT, (setting,))
    if verdict.lacking and (raised := _allow_more(verdict, denied)):
        return Advice(name, Why.EXAM, Change.ASK_MORE, (raised,))
    if verdict.lacking:
        held, new = denied.prep.get("held_out") or 0, denied.prep["new_conversations"]
        more = verdict.lacking
        if (
            by_choice
        ):  # only what is held out is asked, and where nothing is, more of it gives no probe
            more = math.ceil(verdict.lacking * (held + new) / held) if held else 0
        return Advice(
            name, Why.EXAM, Change.ADD_WORDINGS, conversations=more, wordings=verdict.lacking
        )
    if verdict.fault is Fault.REGRESSION:
        return _replay(name, denied)
    return Advice(name, Why.DATA, Change.ADD_WORDINGS)


def _tone(verdict: Verdict, denied: Denied) -> Advice:
    name = verdict.clause
    if verdict.lacking:
        return _more(verdict, denied)
    voice, limit = denied.tone.get("new_voice"), verdict.limit or 0.0
    if voice is not None and voice > max(limit, _OTHER_VOICE) and verdict.value is not None:
        accepted = math.ceil(verdict.value * 100) / 100
        setting = Setting("promotion.tone_drift.maximum", limit, accepted)
        return Advice(name, Why.DATA, Change.ACCEPT_VOICE, (setting,))
    return _gentler(name, denied, _GENTLER)


def _ability(verdict: Verdict, denied: Denied) -> Advice:
    """More of the base's own answers beside the lessons, while that is a small part of them and there are more; then gentler."""
    replayed, most = denied.prep.get("general_replay", 0), denied.prep.get("general_available", 0)
    share = replayed / max(1, denied.prep["total_training_examples"])
    if replayed >= most or share >= _ENOUGH_GENERAL:
        return _gentler(verdict.clause, denied, _GENTLER)
    setting = Setting("data.general_replay", round(share, 2), round(share + _MORE_GENERAL, 2))
    return Advice(verdict.clause, Why.MODEL, Change.KEEP_GENERAL, (setting,))


def _hopeless(verdict: Verdict, n: int) -> bool:
    """Whether the minimum is out of reach even if all the probes that are lacking were answered rightly."""
    if verdict.fault is not Fault.FEW or verdict.value is None or not n:
        return False
    return verdict.value * n + verdict.lacking < (verdict.limit or 0.0) * (n + verdict.lacking)


def _more(verdict: Verdict, denied: Denied) -> Advice:
    """More questions: of the conversations that there are, where only their number is limited, else of new ones."""
    if setting := _allow_more(verdict, denied):
        return Advice(verdict.clause, Why.EXAM, Change.ASK_MORE, (setting,))
    return Advice(verdict.clause, Why.EXAM, Change.ADD_CONVERSATIONS, conversations=verdict.lacking)


def _allow_more(verdict: Verdict, denied: Denied) -> Setting | None:
    """As many more probes as are lacking and will be left out, where the most of a kind were made; else None."""
    cap, made = denied.probes_per_kind, dict(denied.prep.get("probes", {}))
    general = verdict.clause == GENERALISATION.name
    kinds = (GENERALISATION.name, _CHOICE) if general else (RECALL.name,)
    asked = [row for row in denied.answers if row["kind"] in kinds]
    # Those that a person wrote, in evals/probes, are all asked, whatever the setting is.
    written = sum(row["kind"] == GENERALISATION.name and row["generation"] is None for row in asked)
    if cap is None or max(made.get(kind, 0) - general * written for kind in kinds) < cap:
        return None
    share = sum(made.get(kind, 0) for kind in kinds) / max(1, len(asked))
    more = math.ceil(verdict.lacking * max(1.0, share))
    return Setting("data.probes_per_kind", cap, cap + more)


def _gentler(clause: str | None, denied: Denied, parts: int) -> Advice:
    rate = denied.train["learning_rate"]
    to = float(f"{rate / parts:.2g}")
    setting = Setting("train.learning_rate", rate, to)
    return Advice(clause, Why.MODEL, Change.TRAIN_GENTLER, (setting,))


def _forgot(verdict: Verdict, denied: Denied) -> bool:
    old, new, least = denied.recall.get("old"), denied.recall.get("new"), verdict.limit or 0.0
    return old is not None and new is not None and old < least <= new


def _replay(clause: str, denied: Denied) -> Advice:
    """More replay where there is more to replay; else what is replayed must be learnt longer."""
    replayed = denied.prep["replay_samples"]
    most = denied.prep.get("replay_available", math.inf)
    if replayed < most:
        to = int(min(most, max(_MORE_REPLAY * replayed, denied.prep["new_conversations"])))
        setting = Setting("data.replay_samples", replayed, to)
        return Advice(clause, Why.MODEL, Change.REPLAY_MORE, (setting,))
    return Advice(clause, Why.MODEL, Change.TRAIN_LONGER, _longer(denied))


def _longer(denied: Denied) -> tuple[Setting, ...]:
    """Twice as many steps, or passes over the training set, in the words of the settings that it was trained by."""
    settings, steps = denied.train["settings"], denied.train["training_steps"]
    if (
        denied.train.get("ended") == _ENDED_EARLY
    ):  # its own sample of what is taught was known, and the exam knows better
        enough = settings["stop_when_known"]
        to = round((1 + enough) / 2, 2) if enough < _NEARLY_ALL else 1.0
        return (Setting("train.stop_when_known", enough, to),)
    if settings["max_steps"] > 0:
        return (Setting("train.max_steps", settings["max_steps"], _LONGER * steps),)
    examples = max(1, denied.prep["total_training_examples"])
    each = denied.train["batch_size"] * denied.train["gradient_accumulation"]
    passes = round(steps * each / examples, 1)
    own = settings["epochs"]
    to = float(_LONGER * (passes if isinstance(own, str) else max(own, passes)))
    return (Setting("train.epochs", own, to),)


def _is_cut(row: Mapping[str, Any]) -> bool:
    """Whether the taught reply is longer than what could be written."""
    longest = max(map(len, (row["reference"], *row.get("also", ()))))
    return not row["ended"] and not row["failed"] and longest > len(row["text"])


def _longer_answers(cut: Sequence[Mapping[str, Any]]) -> Setting:
    """Room for the longest taught reply, by the number of tokens that the cut answers had for their characters."""
    limit = max(row["tokens"] for row in cut)
    needed = max(row["tokens"] * len(row["reference"]) / max(1, len(row["text"])) for row in cut)
    to = max(_LONGER * limit, math.ceil(needed / _BLOCK) * _BLOCK)
    return Setting("evaluate.max_tokens", limit, to)


def _contradicted(asked: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Wrong answers to questions for which two conversations accept nothing in common."""
    by_question: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in asked:
        if row["expect"]:
            by_question[repr(row["messages"])].append(row)
    torn: list[Mapping[str, Any]] = []
    for rows in by_question.values():
        accepted = [{text.casefold() for text in row["expect"]} for row in rows]
        if len(rows) > 1 and not set.intersection(*accepted):
            torn += [row for row in rows if not row["correct"]]
    return torn
