"""Errors as clients see them: problem details (RFC 9457), what happened and what to do, never a traceback."""

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

MEDIA_TYPE = "application/problem+json"
log = logging.getLogger("darkroom.serving")


class ProblemTold(BaseModel):
    """An error as told to a client."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str


class Problem(Exception):
    """An error with its HTTP status, a short title, and a sentence that says what to do."""

    def __init__(self, status: int, title: str, detail: str, headers: dict[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.headers = status, title, detail, headers or {}

    def response(self) -> Response:
        """The answer to the client."""
        told = ProblemTold(title=self.title, status=self.status, detail=self.detail)
        return JSONResponse(told.model_dump(), self.status, headers=self.headers, media_type=MEDIA_TYPE)


def told_as_problems(app: FastAPI) -> None:
    """Every error of the application leaves it as problem details."""
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"description": description, "content": {MEDIA_TYPE: {"schema": ProblemTold.model_json_schema()}}}
    for status, description in (
        (400, "The request cannot be read, or names another host"),
        (401, "A token is needed"),
        (403, "The request comes from another site's page"),
        (404, "There is no such thing"),
        (408, "The request came too slowly"),
        (409, "It cannot be done in this state"),
        (413, "The body is too large"),
        (415, "The body is not JSON"),
        (422, "A value is out of its range, or the model does not know it"),
        (429, "Too many images are waiting; see Retry-After"),
        (500, "A fault of the service; its log says more"),
        (503, "No model is being served yet"),
        (504, "It was not drawn in time"),
    )
}


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the errors of a route, those of every route with them."""
    return {status: RESPONSES[status] for status in sorted({400, 401, 403, 408, 413, 415, 429, 500, *statuses})}


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return error.response()


async def _invalid(request: Request, error: Exception) -> Response:
    """Where, and what is wrong; what was sent is not repeated: it may be a megabyte, or no text at all."""
    assert isinstance(error, RequestValidationError)
    faults = [f"{_where(fault['loc'])}: {fault['msg']}" for fault in error.errors()[:10]]
    return Problem(422, "The request is not valid", "; ".join(faults)).response()


def _where(location: tuple[Any, ...]) -> str:
    text = ".".join(str(part)[:40] for part in location)
    return text.encode("ascii", "replace").decode()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    title = HTTPStatus(error.status_code).phrase
    return Problem(error.status_code, title, str(error.detail), dict(error.headers or {})).response()


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s: unexpected %s", request.method, request.url.path, type(error).__name__, exc_info=error)
    return Problem(500, "A fault of the service", "something unexpected happened; the service's log says more").response()
