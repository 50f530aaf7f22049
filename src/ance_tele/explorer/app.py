"""The web application: three files and a few JSON endpoints."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import lru_cache
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException

from ance_tele.console.errors import UserError
from ance_tele.explorer.asking import MOST_CHARACTERS, MOST_PASSAGES, Asker
from ance_tele.explorer.case import UnknownError, case
from ance_tele.explorer.guard import HEADERS, Limits, refusal
from ance_tele.explorer.marking import Marks
from ance_tele.explorer.training import ANALYSED, SORTS, Training

STATIC = Path(__file__).parent / "static"
FILES = {"/": "index.html", "/explorer.css": "explorer.css", "/explorer.js": "explorer.js"}


class _Body(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class Question(_Body):
    """A search with one checkpoint."""

    words: str
    checkpoint: int
    k: int = 10


class Mark(_Body):
    """A verdict on a negative of a training query; None removes it."""

    query_id: str
    passage_id: str
    verdict: str | None


def make_app(
    about: Mapping[str, Any],
    asker: Asker,
    training: Training,
    marks: Marks,
    host: str,
    background: Callable[[], AbstractContextManager[None]] = nullcontext,
) -> FastAPI:
    """Return the application.

    ``about`` are facts of the run for the head of the page; ``background`` is what goes on while it is served.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with background():
            yield

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    _guard(app, host)
    _errors(app)
    cases = lru_cache(maxsize=16)(lambda query: case(training, query))

    def review() -> dict[str, Any]:
        return {"path": str(marks.path), "counts": marks.counts(), "exists": marks.path.is_file()}

    def send(name: str) -> Callable[[], FileResponse]:
        return lambda: FileResponse(STATIC / name)

    for path, name in FILES.items():
        app.get(path)(send(name))

    @app.get("/api/run")
    def run() -> dict[str, Any]:
        there = {name: name not in ANALYSED or name in training.analysed for name in SORTS}
        return {
            **about,
            "columns": asker.columns(),
            "rounds": [{"number": number, "label": label} for number, label in enumerate(training.labels, 1)],
            "queries": len(training),
            "metric": training.metric,
            "sorts": [{"name": name, "label": label, "there": there[name]} for name, label in SORTS.items()],
            "notice": training.notice,
            "most": {"characters": MOST_CHARACTERS, "passages": MOST_PASSAGES},
            "review": review(),
        }

    @app.get("/api/columns")
    def columns() -> dict[str, Any]:
        return {"columns": asker.columns()}

    @app.post("/api/search")
    def search(question: Question) -> dict[str, Any]:
        return {"hits": asker.ask(question.checkpoint, question.words, question.k)}

    @app.get("/api/queries")
    def queries(sort: str = "", words: str = "", page: int = 1) -> dict[str, Any]:
        return training.page(sort, words, page)

    @app.get("/api/query")
    def query(id: str) -> dict[str, Any]:
        return {**cases(id), "verdicts": marks.of(id)}

    @app.post("/api/review")
    def mark(given: Mark) -> dict[str, Any]:
        marks.set(cases(given.query_id), given.passage_id, given.verdict)
        return {"verdicts": marks.of(given.query_id), "review": review()}

    @app.get("/review.csv")
    def review_file() -> FileResponse:
        if not marks.path.is_file():
            raise UnknownError("Nothing is marked yet, so there is no review.csv.")
        return FileResponse(marks.path, media_type="text/csv", filename="review.csv")

    return app


def _guard(app: FastAPI, host: str) -> None:
    limits = Limits()

    async def limited(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if sentence := limits.enter():
            return JSONResponse({"error": sentence}, 429, {"Retry-After": "1"})
        try:
            return await answer(request)
        finally:
            limits.leave()

    @app.middleware("http")
    async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        refused = refusal(request.method, str(request.url), request.headers, host)
        response = JSONResponse({"error": refused[1]}, refused[0]) if refused else await limited(request, answer)
        response.headers.update(HEADERS)
        return response


def _errors(app: FastAPI) -> None:
    """Answer errors with one sentence."""

    def answer(sentence: str, status: int) -> JSONResponse:
        return JSONResponse({"error": sentence}, status)

    @app.exception_handler(UserError)
    def user_error(request: Request, error: UserError) -> JSONResponse:
        return answer(str(error), 404 if isinstance(error, UnknownError) else 400)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "the body"
        return answer(f"The request is malformed ({where}: {first['msg']}); reload the page.", 422)

    @app.exception_handler(HTTPException)
    def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return answer(f"There is nothing at {request.url.path[:80]}; go to the start page.", error.status_code)

    @app.exception_handler(OSError)
    def disk(request: Request, error: OSError) -> JSONResponse:
        return answer(
            f"{error.strerror or error} ({error.filename or 'the run folder'}); correct it and try again.", 500
        )
