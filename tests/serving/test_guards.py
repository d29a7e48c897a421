"""What stands before the routes: hosts, origins, tokens, rates, bodies; and what an address needs before it is bound."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from serving.guards import Guard, Rules
from serving.metrics import Metrics
from serving.run import Address, ServingError, rules_for
from tests.serving.service import LOCAL, Registry, model_at, offer, running

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(offer(model_at(tmp_path_factory.mktemp("model")), "1"))


def test_a_page_of_another_site_gets_nothing(registry: Registry) -> None:
    with running(registry) as up:
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
            assert up.client.get("/v1/models", headers={"Host": host}).status_code == 400
        assert up.client.get("/v1/models", headers={"Host": "127.0.0.1:8000"}).status_code == 200
        for origin in ("https://evil.example", "null"):
            answer = up.client.post("/v1/images", json={}, headers={"Origin": origin})
            assert answer.status_code == 403
            assert "access-control-allow-origin" not in answer.headers
        assert up.client.post("/v1/images", json={}, headers={"Origin": "http://testserver"}).status_code == 200
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
            assert up.client.post("/v1/images", content=b"{}", headers={"Content-Type": kind}).status_code == 415
        assert up.client.post("/v1/images", content=b"{}").status_code == 415
        assert up.client.options("/v1/images", headers={"Origin": "http://testserver"}).status_code == 405


def test_a_token_is_needed_for_all_but_the_page(registry: Registry) -> None:
    with running(registry, Rules(token="s3cret", hosts=())) as up:
        for path in ("/", "/page/studio.js", "/page/studio.css", "/healthz", "/readyz"):
            assert up.client.get(path).status_code == 200, path
        for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/jobs/1", "/nothing"):
            for given in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": "Basic s3cret"},
                {"Authorization": "s3cret"},
                {"Authorization": "Bearer \xe9"},
            ):
                answer = up.client.get(path, headers=[(name, value.encode("latin-1")) for name, value in given.items()])
                assert answer.status_code == 401, path
                assert answer.headers["www-authenticate"] == "Bearer"
        for scheme in ("Bearer", "bearer"):  # its case means nothing (RFC 9110, 11.1)
            assert up.client.get("/v1/models", headers={"Authorization": f"{scheme} s3cret"}).status_code == 200


def test_paths_lead_nowhere_but_to_the_pages_own_files(registry: Registry) -> None:
    with running(registry) as up:
        for path in (
            "/page/../api.py",
            "/page/%2e%2e%2fapi.py",
            "/page/..%2f..%2fetc%2fpasswd",
            "/page//etc/passwd",
            "/page/a%00b",
        ):
            assert up.client.get(path).status_code == 404, path
        answer = up.client.get("/page/studio.js")
        assert answer.headers["content-type"].startswith("text/javascript")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_bodies_are_limited_and_their_time_too(registry: Registry) -> None:
    with running(registry) as up:
        large = b'{"prompt": "' + b"a" * 2**20 + b'"}'
        assert up.client.post("/v1/images", content=large, headers=JSON).status_code == 413

        def pieces() -> Any:
            for _ in range(100):
                yield b" " * 1000

        assert up.client.post("/v1/images", content=pieces(), headers=JSON).status_code == 413


def ask(guard: Guard, received: Any, **scope: Any) -> list[Any]:
    """One request through a guard, by hand."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"127.0.0.1"), *scope.pop("headers", [(b"content-type", b"application/json")])]
    whole = {"type": "http", "method": "POST", "path": "/", "headers": headers, "client": ("1.2.3.4", 5)}
    asyncio.run(guard(whole | scope, received, send))
    return sent


async def answered(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": (await receive())["body"]})


def test_a_client_that_is_slow_or_gone_holds_nothing() -> None:
    guard = Guard(answered, Rules(body_seconds=0.05), Metrics())

    async def slow() -> Any:
        await asyncio.sleep(5)

    assert ask(guard, slow)[0]["status"] == 408

    async def gone() -> Any:
        return {"type": "http.disconnect"}

    assert ask(guard, gone) == []


def test_a_client_that_asks_too_often_waits_and_others_do_not() -> None:
    guard = Guard(answered, Rules(per_second=0.5), Metrics())

    async def empty() -> Any:
        return {"type": "http.request", "body": b""}

    codes = [ask(guard, empty)[0]["status"] for _ in range(8)]
    assert codes == [200] * 5 + [429] * 3
    assert dict(ask(guard, empty)[0]["headers"])[b"retry-after"] in (b"1", b"2")
    assert ask(guard, empty, client=("5.6.7.8", 9))[0]["status"] == 200
    assert LOCAL.per_second == 0


def test_an_address_that_others_can_reach_needs_a_token_or_a_word() -> None:
    for host in ("0.0.0.0", "192.168.1.5", "::", "gallery.example"):
        with pytest.raises(ServingError, match="DARKROOM_TOKEN"):
            rules_for(Address(host))
        assert rules_for(Address(host, token="t")).token == "t"
        assert rules_for(Address(host, is_open=True)).per_second > 0
    for host in ("127.0.0.1", "localhost", "::1", "127.8.9.1"):
        assert "localhost" in rules_for(Address(host)).hosts
    assert "my.name" in rules_for(Address("127.0.0.1", names=("my.name",))).hosts


def test_the_page_loads_nothing_from_elsewhere() -> None:
    page = Path(__file__).parents[2] / "serving/page"
    for file in page.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text and "//cdn" not in text, file.name


def test_tokens_may_not_be_tried_at_any_rate() -> None:
    guard = Guard(answered, Rules(per_second=0.5, token="s3cret"), Metrics())

    async def empty() -> Any:
        return {"type": "http.request", "body": b""}

    assert [ask(guard, empty, path="/v1/models")[0]["status"] for _ in range(8)] == [401] * 5 + [429] * 3
