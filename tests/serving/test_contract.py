"""The API against its own description: what that allows, and much that it does not, is answered as it says, never by a 500.

DARKROOM_CASES sets how many cases a route gets; `python -m benchmarks serving` runs thousands.
"""

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from tests.serving.service import Registry, listening, model_at, offer, put_together

CASES = int(os.environ.get("DARKROOM_CASES", "6"))
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = offer(model_at(tmp_path_factory.mktemp("model")), "1")
    with listening(put_together(Registry(model, model), batch=16)[1]) as address:
        yield address


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["allowed", "not allowed"])
def test_the_api_keeps_its_word(address: str, mode: GenerationMode) -> None:
    described, asked = schemathesis.openapi.from_url(f"{address}/openapi.json"), Counter[str]()
    for found in described.get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not operation.body:
            continue  # nothing to get wrong there

        @settings(max_examples=CASES, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(generation_mode=mode))
        def keeps(case: Any) -> None:
            asked[case.path] += 1
            case.call_and_validate(checks=CHECKS)

        keeps()
    print(f"{asked.total():,} cases")
    assert asked["/v1/images"] >= CASES and asked["/v1/jobs"] >= CASES


def test_every_route_says_what_it_may_answer_and_its_examples_work(address: str) -> None:
    described = httpx.get(f"{address}/openapi.json").json()
    assert {"/v1/images", "/v1/jobs", "/v1/models", "/v1/nearest", "/healthz", "/readyz", "/metrics"} <= set(described["paths"])
    for path, methods in described["paths"].items():
        for method, route in methods.items():
            assert route["description"], f"{method} {path}"
            assert "application/problem+json" in route["responses"]["429"]["content"], f"{method} {path}"
    examples = described["paths"]["/v1/images"]["post"]["requestBody"]["content"]["application/json"]["examples"]
    for name, example in examples.items():
        asked = example["value"] | ({"label": "dark"} if "label" in example["value"] else {})
        assert httpx.post(f"{address}/v1/images", json=asked, timeout=60).status_code == 200, name
