"""What the page asks for: reading by GET, every change by POST and by the operation of a command."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from luna.errors import InputError
from luna.forensics.report import collect, graph, page
from luna.history.line import read_line
from luna.history.lineage import lineage
from luna.importing.chatlog import Learn
from luna.operations import status, votes, waiting
from luna.sharing import keeping
from luna.sharing.chat import REGENERATE_TEMPERATURE
from luna.sharing.server.body import json_object
from luna.sharing.server.servers import Servers
from luna.studio import live, pages
from luna.studio.jobs import Jobs
from luna.studio.uploads import MOST_BYTES, Uploads

_LISTED = 200  # of what waits; the counts are of all
_WATCHED = ("evolve", "verify")
_LEARN = tuple(side.value for side in Learn)
Handler = Callable[[Request], Awaitable[Any]]


class Studio:
    """The handlers, over the servers of the generations and the commands that run."""

    def __init__(
        self, root: Path, prefix: str, servers: Servers, jobs: Jobs, uploads: Uploads
    ) -> None:
        self._root, self._prefix = root, prefix
        self._servers, self._jobs, self._uploads = servers, jobs, uploads

    def routes(self) -> list[Route]:
        """Each path with its one method."""
        reading: dict[str, Handler] = {
            "state": self.state,
            "waiting": self.waiting,
            "running": self.running,
            "line": self.line,
            "diff": self.diff,
            "votes": self.votes,
        }
        changing: dict[str, Handler] = {
            "keep": self.keep,
            "take-back": self.take_back,
            "vote": self.vote,
            "upload": self.upload,
            "import": self.bring_in,
            "forget": self.forget,
            "evolve": self.evolve,
            "verify": self.verify,
            "stop": self.stop,
            "rollback": self.rollback,
        }
        return [
            *(_route(name, handler, "GET") for name, handler in reading.items()),
            *(_route(name, handler, "POST") for name, handler in changing.items()),
            Route("/studio/report.html", self.report, methods=["GET"]),
        ]

    # -- reading

    async def state(self, request: Request) -> dict[str, Any]:
        """Where the line stands, as 'luna status' has it, and its generations."""
        return await asyncio.to_thread(self._state)

    def _state(self) -> dict[str, Any]:
        now = status.status(self._root)
        line = read_line(self._root, self._prefix)
        return asdict(now) | {
            "prefix": self._prefix,
            "next": now.next_step,
            "worth": now.balance.sentence if now.balance else None,
            "doubts": [doubt.sentence for doubt in now.doubts],
            "line": [
                {"name": entry.name, "short": entry.short, "state": entry.state}
                for entry in lineage(line).entries
                if entry.name
            ]
            if line.sealed
            else [],
            "regenerate_temperature": REGENERATE_TEMPERATURE,
            "most_compared": votes.MOST,
            "most_bytes": MOST_BYTES,
        }

    async def waiting(self, request: Request) -> dict[str, Any]:
        """What waits to be learnt, as 'luna status --waiting' has it; the longest list is cut."""
        ahead = asdict(await asyncio.to_thread(waiting.outlook, self._root))
        rows = ahead["conversations"]
        # What can be taken back first: that is what somebody looks for.
        rows.sort(key=lambda row: not row["inbox"])
        return ahead | {"count": len(rows), "conversations": rows[:_LISTED]}

    async def running(self, request: Request) -> dict[str, Any]:
        """What is at work: the commands that were started here, and the build in this folder, whoever started it."""
        jobs = {kind: self._jobs.of(kind) for kind in _WATCHED}
        return {
            "build": await asyncio.to_thread(live.build, self._root),
            **{kind: job.as_json() if job else None for kind, job in jobs.items()},
        }

    async def line(self, request: Request) -> dict[str, Any]:
        """What the report shows of each generation, and its drawing."""
        return await asyncio.to_thread(self._line)

    def _line(self) -> dict[str, Any]:
        line = read_line(self._root, self._prefix)
        if not line.sealed:
            return {"generations": []}
        data = collect.collect(line)
        drawing = graph.strokes(data["generations"])
        for item in data["generations"]:  # HTML, which this page does not take
            del item["card"], item["evaluation"], item["files"]
        kept = ("prefix", "scores", "head", "generations", "moves", "faults")
        return {key: data[key] for key in kept} | {"drawing": asdict(drawing)}

    async def diff(self, request: Request) -> Any:
        """'luna diff A B'."""
        a, b = [await self._name(request.query_params.get(side)) for side in ("a", "b")]
        return await self._jobs.run("diff", a, b, "--json", well=(0, 1))

    async def votes(self, request: Request) -> dict[str, Any]:
        """The counts of the votes."""
        counted = await asyncio.to_thread(votes.pairs, self._root)
        return {"pairs": [asdict(pair) for pair in counted]}

    async def report(self, request: Request) -> Response:
        """The report, as 'luna report' writes it."""
        data = await asyncio.to_thread(lambda: collect.collect(read_line(self._root, self._prefix)))
        if not data["generations"]:
            raise InputError("No generation has been sealed yet, so there is nothing to report.")
        text = await asyncio.to_thread(page.render, data)
        return Response(text, media_type="text/html", headers=pages.HEADERS)

    # -- changing

    async def keep(self, request: Request) -> dict[str, Any]:
        """Praise, or a correction: /good and /bad of 'luna chat'."""
        body = await json_object(request)
        turns, good = _turns(body.get("turns")), body.get("good")
        correction = body.get("correction")
        if not isinstance(good, list) or not all(isinstance(at, int) for at in good):
            raise InputError("'good' must be a list of indexes.")
        if correction is not None and not (isinstance(correction, str) and correction.strip()):
            raise InputError("Write the answer that would have been right.")
        if correction is None and body.get("stopped"):
            raise InputError(
                "The answer was stopped, so it is not whole: regenerate it, or correct it."
            )
        kept = await asyncio.to_thread(keeping.keep, self._root, turns, good, correction)
        return {
            "identity": kept.path.stem,
            "new": kept.new,
            "turns": kept.turns,
            "good": sorted(kept.good),
        }

    async def take_back(self, request: Request) -> dict[str, Any]:
        """/undo of 'luna chat'."""
        body = await json_object(request)
        await asyncio.to_thread(waiting.take_back, self._root, _text(body, "identity"))
        return {}

    async def vote(self, request: Request) -> dict[str, Any]:
        """Which answer was best: /prefer of 'luna chat'."""
        body = await json_object(request)
        answers, best = body.get("answers"), body.get("best")
        if not isinstance(answers, dict) or not all(isinstance(v, str) for v in answers.values()):
            raise InputError("'answers' must have a text for each generation.")
        named = {await self._name(name): text for name, text in answers.items()}
        winner = None if best is None else await self._name(best)
        question = _text(body, "question")
        blind = body.get("blind") is True
        await asyncio.to_thread(votes.add, self._root, question, named, winner, blind)
        return await self.votes(request)

    async def upload(self, request: Request) -> dict[str, Any]:
        """A file, as the request's body; nothing is imported by it."""
        return {"upload": await self._uploads.take(request, request.query_params.get("name", ""))}

    async def bring_in(self, request: Request) -> Any:
        """'luna import' of an uploaded file; with 'dry_run', only what would come."""
        body = await json_object(request)
        word = _text(body, "upload")
        words = ["import", str(self._uploads.path(word)), "--json"]
        if body.get("inbox") is True:
            words.append("--inbox")
        if body.get("dry_run") is not False:
            words.append("--dry-run")
        if me := body.get("me"):
            learn = body.get("learn", _LEARN[0])
            if not isinstance(me, str) or learn not in _LEARN:
                raise InputError(f"'learn' is one of {', '.join(_LEARN)}, and 'me' a name.")
            words += [f"--me={me}", f"--learn={learn}"]
        document = await self._jobs.run(*words, well=(0, 1))
        if not document["dry_run"]:
            self._uploads.forget(word)
        return document

    async def forget(self, request: Request) -> dict[str, Any]:
        """Remove an uploaded file that is not to be imported."""
        self._uploads.forget(_text(await json_object(request), "upload"))
        return {}

    async def evolve(self, request: Request) -> dict[str, Any]:
        """'luna evolve'."""
        body = await json_object(request)
        most = body.get("max", 1)
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise InputError("'max' must be a whole number from 1 on.")
        return (await self._jobs.start("evolve", "--json", "--max", str(most))).as_json()

    async def verify(self, request: Request) -> dict[str, Any]:
        """'luna verify', of all or of one generation, with the bytes in cold storage where 'remote' says so."""
        body = await json_object(request)
        words = ["verify", "--json", "--progress"]
        if generation := body.get("generation"):
            words.append(await self._name(generation))
        if body.get("remote") is True:
            words.append("--remote")
        return (await self._jobs.start(*words)).as_json()

    async def stop(self, request: Request) -> dict[str, Any]:
        """Ctrl-C for a command that was started here."""
        what = _text(await json_object(request), "what")
        return (await self._jobs.stop(what)).as_json()

    async def rollback(self, request: Request) -> Any:
        """'luna rollback'."""
        body = await json_object(request)
        name = await self._name(body.get("generation"))
        reason = body.get("reason", "")
        if not isinstance(reason, str):
            raise InputError("'reason' must be text.")
        stay = ["--stay"] if body.get("stay") is True else []
        return await self._jobs.run("rollback", name, f"--reason={reason}", *stay, "--json")

    async def _name(self, reference: object) -> str:
        """The full name, so that no text of a request becomes an option of a command. Raises InputError where there is none."""
        if not isinstance(reference, str) or not reference:
            raise InputError("Name a generation: G003, 3, the full name, or HEAD.")
        return await self._servers.full_name(reference)


def _route(name: str, handler: Handler, method: str) -> Route:
    async def answer(request: Request) -> Response:
        # What was begun is finished, also when the page is closed meanwhile.
        return JSONResponse(await asyncio.shield(handler(request)), headers=pages.HEADERS)

    return Route(f"/studio/{name}", answer, methods=[method])


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str) or not value:
        raise InputError(f"'{key}' is missing: send a text.")
    return value


def _turns(value: object) -> list[tuple[str, str]]:
    """A conversation in turn, from a question to an answer."""
    if not isinstance(value, list) or len(value) < 2 or len(value) % 2:
        raise InputError("There is no answer yet: ask something first.")
    turns = []
    for at, turn in enumerate(value):
        role = ("user", "assistant")[at % 2]
        if not (isinstance(turn, list) and len(turn) == 2 and turn[0] == role):
            raise InputError("'turns' must be [role, text] in turn, user first.")
        if not isinstance(turn[1], str):
            raise InputError("'turns' must be [role, text] in turn, user first.")
        turns.append((role, turn[1]))
    return turns
