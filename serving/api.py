"""The API and the studio's page: routes, and what OpenAPI says of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel

from darkroom import __version__
from serving.answers import ImagesTold, ModelTold, headers_of, images_told, model_told, picture
from serving.asked import ImagesAsked, JobAsked, NearestAsked
from serving.guards import App, Guard, Rules
from serving.jobs import Job, JobTold
from serving.neighbours import NeighboursTold
from serving.problems import Problem, responses, told_as_problems
from serving.service import NOTHING_YET, Service, drawn_or_problem
from serving.slot import Watch

PAGE = Path(__file__).parent / "page"
KINDS = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
EXAMPLES = {
    "one": {"summary": "One image", "value": {"seed": 7}},
    "grid": {"summary": "A grid of one class", "value": {"count": 8, "seed": 7, "label": "cat", "format": "png"}},
    "quick": {"summary": "In a hurry", "value": {"count": 4, "seed": 7, "preset": "draft"}},
    "like": {
        "summary": "More like the third image of seed 7",
        "value": {"count": 6, "seed": 7, "first": 2, "variation": {"seed": 1}},
    },
    "way": {"summary": "From one image to another", "value": {"count": 8, "seed": 7, "between": {"seed": 8}}},
}
PICTURE: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ImagesTold,
        "description": "JSON, or a picture whose headers and metadata tell the same",
        "content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in ("image/png", "image/webp")},
    }
}


class ModelsTold(BaseModel):
    """What is served under each alias; `trouble` says what of it is not as it should be.

    `compares`: whether there are training images to compare with, at `/v1/nearest`.
    """

    models: dict[str, ModelTold]
    trouble: list[str]
    compares: bool


class Ready(BaseModel):
    """Whether images can be drawn."""

    ready: bool
    serving: dict[str, str]
    detail: str


def application(service: Service, rules: Rules, every: float = 2.0, grace: float = 10.0) -> App:
    """The whole of it, behind its guard. The registry is looked at `every` seconds; at the end the queue has `grace` seconds."""

    @asynccontextmanager
    async def day(_: FastAPI) -> AsyncIterator[None]:
        watch = Watch(list(service.slots.values()), every)
        yield
        watch.stop()
        await asyncio.to_thread(service.engine.close, grace)

    app = FastAPI(
        title="Darkroom",
        version=__version__,
        description=__doc__,
        docs_url=None,
        redoc_url=None,
        lifespan=day,
        redirect_slashes=False,
    )
    told_as_problems(app)
    _images(app, service)
    _jobs(app, service)
    _states(app, service)
    _page(app)
    return Guard(app, rules, service.metrics)


def _images(app: FastAPI, service: Service) -> None:
    @app.post("/v1/images", responses=responses(404, 422, 503, 504) | PICTURE, response_model=None)
    async def images(asked: Annotated[ImagesAsked, Body(openapi_examples=EXAMPLES)], request: Request) -> Response:
        """Draw images. The same seed, settings and version give the same bytes, whoever else is drawn for."""
        order, drawn = await service.drawn(asked, request)
        if asked.format == "json":
            told = await asyncio.to_thread(images_told, order, drawn, service.signer)
            return Response(told.model_dump_json(), headers=headers_of(order), media_type="application/json")
        file = await asyncio.to_thread(picture, order, drawn, asked.columns, asked.format, service.signer)
        return Response(file, headers=headers_of(order), media_type=f"image/{asked.format}")

    @app.post("/v1/nearest", responses=responses(404, 409, 422, 503, 504))
    async def nearest(asked: NearestAsked, request: Request) -> NeighboursTold:
        """Draw an image again, and find the training images that it is most like."""
        if service.neighbours is None:
            raise Problem(404, "No training images", "this service has no training images to compare with")
        order, drawn = await service.drawn(asked, request)
        return await asyncio.to_thread(service.neighbours.of, drawn[0], order.model)


def _jobs(app: FastAPI, service: Service) -> None:
    def found(job: str) -> Job:
        return service.jobs.get(job)

    @app.post("/v1/jobs", status_code=202, responses=responses(404, 422, 503))
    async def begin(asked: JobAsked) -> JobTold:
        """Begin to draw images; `/v1/jobs/{job}/events` shows them as they form."""
        return service.jobs.add(service.submit(asked)).told()

    @app.get("/v1/jobs/{job}", responses=responses(404, 422))
    async def state(job: Annotated[Job, Depends(found)]) -> JobTold:
        """How far it is."""
        return job.told()

    events_told: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "Server-sent events"}
    }

    @app.get("/v1/jobs/{job}/events", responses=responses(404, 422) | events_told, response_class=StreamingResponse)
    async def events(job: Annotated[Job, Depends(found)]) -> StreamingResponse:
        """`state` events say how far it is, `forming` events hold an image on the way; the last event is a `state`."""

        async def lines() -> AsyncIterator[str]:
            async for event in job.events():
                kind = "state" if isinstance(event, JobTold) else "forming"
                yield f"event: {kind}\ndata: {event.model_dump_json()}\n\n"

        return StreamingResponse(lines(), media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    @app.get("/v1/jobs/{job}/images", responses=responses(404, 409, 422, 503))
    async def result(job: Annotated[Job, Depends(found)]) -> ImagesTold:
        """Its images, once it is done."""
        if not job.order.future.done():
            raise Problem(409, "Not yet", f"it is {job.state}: {job.order.progress:.0%} done; `events` tells when it ends")
        if job.state == "cancelled":
            raise Problem(409, "Cancelled", "it was cancelled; there are no images")
        return await asyncio.to_thread(images_told, job.order, drawn_or_problem(job.order), service.signer)

    @app.delete("/v1/jobs/{job}", responses=responses(404, 422))
    async def cancel(job: Annotated[Job, Depends(found)]) -> JobTold:
        """Give it up; one that is done already stays done."""
        job.order.drop()
        return job.told()


def _states(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models", responses=responses())
    async def models() -> ModelsTold:
        """The versions that are served, and what each can be asked for."""
        told = {alias: model_told(slot.model) for alias, slot in service.slots.items() if slot.model}
        trouble = [slot.trouble for slot in service.slots.values() if slot.trouble]
        return ModelsTold(models=told, trouble=trouble, compares=service.neighbours is not None)

    @app.get("/healthz", responses=responses())
    async def alive() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "alive"}

    @app.get("/readyz", responses=responses() | {503: {"model": Ready, "description": "No model is being served yet"}})
    async def ready() -> JSONResponse:
        """Whether images can be drawn, with which versions, and what is not as it should be."""
        champion = service.slots["champion"]
        trouble = "; ".join(slot.trouble for slot in service.slots.values() if slot.trouble)
        told = Ready(ready=champion.model is not None, serving=service.served(), detail=trouble)
        if not told.ready and not trouble:
            told.detail = NOTHING_YET if champion.looked else "the registry has not been asked yet: still starting"
        return JSONResponse(told.model_dump(), 200 if told.ready else 503)

    @app.get("/metrics", responses={**responses(), 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}})
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


def _page(app: FastAPI) -> None:
    """The studio's files: read once, so that no path of a request ever reaches the file system."""
    files = {file.name: (file.read_bytes(), KINDS[file.suffix]) for file in PAGE.iterdir() if file.suffix in KINDS}

    def told(name: str) -> Response:
        if name not in files:
            raise Problem(404, "Not found", "there is nothing at this address")
        content, kind = files[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "no-cache"})

    @app.get("/", include_in_schema=False)
    async def studio() -> Response:
        return told("index.html")

    @app.get("/page/{name}", include_in_schema=False)
    async def part(name: str) -> Response:
        return told(name)
