"""Real providers' clients against a server that speaks their wire formats."""

from __future__ import annotations

from typing import Any

import pytest

from agentos_engine.runtime import errors, graphs, providers
from agentos_engine.runtime.cassette import Cassette
from tests.support import model_server, world

KEY = "sk-canary/0123456789+abcdef"
PROVIDERS = ["openai", "anthropic"]
Say = model_server.Say


def model(url: str, provider: str = "openai", **more: Any) -> dict[str, Any]:
    base = f"{url}/v1" if provider == "openai" else url
    return {
        "name": "fast", "provider": provider, "model": "some-model", "params": {"temperature": 0.5, "max_tokens": 100},
        "baseUrl": base, "auth": {"secret": "model-key"}, "fallbacks": [],
        "price": {"input": 2.0, "output": 8.0, "cachedInput": 0.5}, **more,
    }  # fmt: skip


async def ask(
    here: world.World, folded: dict[str, Any], record: world.Record | None = None, *, tokens: bool = False, **step: Any
) -> Any:
    body = world.workflow(
        [{"id": "ask", "type": "llm", "model": "fast", "system": "Be brief.", "prompt": "Hello ${input.name}", **step}],
        models={"fast": folded},
        output="${steps.ask.output}",
    )
    graph = await graphs.build(here.add(body), here, graphs=graphs.Graphs())
    return (await graph.ainvoke({"input": {"name": "Bo"}}, world.config(here, record, tokens=tokens)))["output"]


@pytest.fixture
async def here() -> Any:
    made = world.World(secrets={"model-key": KEY})
    yield made
    if made.client is not None:
        await made.client.aclose()


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_text_usage_and_cost(here: world.World, provider: str) -> None:
    record = world.Record()
    async with model_server.serve(Say("Hi!", usage=(1000, 10), cached=400)) as server:
        assert await ask(here, model(server.url, provider), record) == "Hi!"
        (request,) = server.requests
    row = record.last("ask")
    assert (row["tokens_in"], row["tokens_out"]) == (1000, 10)
    assert row["cost_micros"] == 600 * 2 + 400 * 0.5 + 10 * 8
    assert request.json["temperature"] == 0.5
    assert request.json["max_tokens" if provider == "anthropic" else "max_completion_tokens"] == 100
    assert here.hosts == [(server.url.removeprefix("http://"),)]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_the_process_environment_is_never_sent(
    here: world.World, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "of-the-controller")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    async with model_server.serve(Say("Hi!")) as server:
        without = {**model(server.url, provider), "auth": None}
        assert await ask(here, without) == "Hi!"
        await ask(here, model(server.url, provider))
    anonymous, known = server.requests
    for request in server.requests:
        assert "of-the-controller" not in str(request)
    assert "authorization" not in anonymous.headers
    assert "x-api-key" not in anonymous.headers
    sent = known.headers.get("authorization") or known.headers["x-api-key"]
    assert sent.removeprefix("Bearer ") == KEY


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_a_key_echoed_in_a_refusal_appears_nowhere(here: world.World, provider: str) -> None:
    record = world.Record()
    async with model_server.serve(Say("wrong key", status=401, echo_key=True)) as server:
        with pytest.raises(errors.RunError) as raised:
            await ask(here, model(server.url, provider), record)
    assert len(server.requests) == 1
    assert raised.value.class_ == "Unauthorized"
    assert "wrong key (your key was [redacted])" in raised.value.message
    chain: BaseException | None = raised.value
    assert KEY not in repr((raised.value, raised.value.as_json(), record.rows, record.events))
    assert chain is not None
    assert chain.__suppress_context__


async def test_a_key_echoed_in_an_answer_is_taken_out(here: world.World) -> None:
    record = world.Record()
    async with model_server.serve(Say("fine", echo_key=True)) as server:
        assert await ask(here, model(server.url), record) == "fine (your key was [redacted])"
    assert KEY not in repr(record)


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_busy_servers_are_asked_again_when_they_say(here: world.World, provider: str) -> None:
    record = world.Record()
    busy = [Say(status=429, headers={"retry-after": "7"}), Say(status=500), Say("at last")]
    async with model_server.serve(*busy) as server:
        assert await ask(here, model(server.url, provider), record) == "at last"
    waits = [data["waitMs"] for kind, _, data in record.events if kind == "retry"]
    assert waits == [7000, 2000]
    assert [data["error"]["class"] for kind, _, data in record.events if kind == "retry"] == [
        "RateLimited",
        "Unavailable",
    ]


async def test_it_gives_up_after_the_attempts_of_its_step(here: world.World) -> None:
    async with model_server.serve(Say(status=503)) as server:
        with pytest.raises(errors.RunError) as raised:
            await ask(here, model(server.url), retry={"attempts": 2})
    assert raised.value.class_ == "Unavailable"
    assert len(server.requests) == 2


async def test_fallbacks_answer_after_the_retries(here: world.World) -> None:
    record = world.Record()
    async with model_server.serve(Say(status=500)) as broken, model_server.serve(Say("plan B")) as other:
        second = model(other.url, "anthropic", name="second")
        assert await ask(here, model(broken.url, fallbacks=[second]), record) == "plan B"
        assert len(broken.requests) == 3
    assert [data["fallback"] for kind, _, data in record.events if kind == "fallback"] == ["second"]


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_slow_answers_time_out(here: world.World, provider: str) -> None:
    folded = model("", provider)
    folded["params"]["timeout"] = 0.05
    async with model_server.serve(Say(never=True)) as server:
        folded["baseUrl"] = server.url + ("/v1" if provider == "openai" else "")
        with pytest.raises(errors.RunError) as raised:
            await ask(here, folded, retry={"attempts": 1})
    assert raised.value.class_ == "Timeout"


async def test_an_unreachable_server_is_unavailable(here: world.World) -> None:
    async with model_server.serve(Say()) as server:
        url = server.url
    with pytest.raises(errors.RunError) as raised:
        await ask(here, model(url), retry={"attempts": 1})
    assert raised.value.class_ == "Unavailable"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_refusals_are_errors(here: world.World, provider: str) -> None:
    async with model_server.serve(Say("no", refusal="I will not.")) as server:
        with pytest.raises(errors.RunError) as raised:
            await ask(here, model(server.url, provider))
    assert raised.value.class_ == "ModelRefused"


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_objects_are_asked_for_and_repaired_once(here: world.World, provider: str) -> None:
    schema = {"type": "object", "required": ["score"], "properties": {"score": {"type": "number"}}}
    record = world.Record()
    async with model_server.serve(Say("7 of 10, I think"), Say('```json\n{"score": 7}\n```')) as server:
        assert await ask(here, model(server.url, provider), record, output=schema) == {"score": 7.0}
        first, second = server.requests
    assert "JSON Schema" in first.body.decode()
    assert "cannot be used" in second.body.decode()
    assert record.last("ask")["tokens_in"] == 20
    async with model_server.serve(Say("still no JSON")) as server:
        with pytest.raises(errors.RunError) as raised:
            await ask(here, model(server.url, provider), output=schema)
        assert len(server.requests) == 2
    assert raised.value.class_ == "InvalidOutput"


async def test_tokens_are_told_as_they_come(here: world.World) -> None:
    record = world.Record()
    async with model_server.serve(Say("one two three", usage=(3, 4))) as server:
        assert await ask(here, model(server.url), record, tokens=True) == "one two three"
    assert "".join(data["text"] for kind, _, data in record.events if kind == "token") == "one two three"
    assert record.last("ask")["tokens_out"] == 4


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_agents_use_tools_through_the_wire_format(here: world.World, provider: str) -> None:
    double = here.add(
        world.workflow([{"id": "nothing", "type": "set"}], name="double", output="${input.n * 2}",
                       input={"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}})
    )  # fmt: skip
    parameters = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}
    agent = {
        "form": "agent", "name": "clerk", "model": "fast", "instructions": "Count.", "input": None, "output": None,
        "tools": [
            {"name": "double", "alias": "double", "type": "workflow", "target": "double", "description": "Doubles.",
             "input": parameters}
        ],
        "limits": {}, "uses": {"Workflow/double": double},
    }  # fmt: skip
    calls = [{"name": "double", "args": {"n": 2}}, {"name": "double", "args": {"n": "x"}}]
    record = world.Record()
    async with model_server.serve(Say(tool_calls=calls), Say("4")) as server:
        digest = here.add({**agent, "models": {"fast": model(server.url, provider)}})
        graph = await graphs.build(digest, here, graphs=graphs.Graphs())
        assert (await graph.ainvoke({"input": {"q": "2*2?"}}, world.config(here, record)))["output"] == "4"
        first, second = server.requests
    offered = first.json["tools"][0]
    assert (offered["input_schema"] if provider == "anthropic" else offered["function"]["parameters"]) == parameters
    told = second.body.decode()
    assert "InvalidInput: args.n" in told
    assert record.last("double")["output"] == 4
    assert record.last("double#2")["state"] == "failed"
    assert record.total("tokens_in") == 20


async def test_arguments_that_are_no_json_are_told_to_the_model(here: world.World) -> None:
    agent = {
        "form": "agent", "name": "clerk", "model": "fast", "instructions": "Count.", "input": None, "output": None,
        "tools": [], "limits": {}, "uses": {},
    }  # fmt: skip
    async with model_server.serve(Say(tool_calls=[{"name": "x", "args": '{"n": '}]), Say("sorry")) as server:
        digest = here.add({**agent, "models": {"fast": model(server.url)}})
        graph = await graphs.build(digest, here, graphs=graphs.Graphs())
        assert (await graph.ainvoke({"input": "go"}, world.config(here)))["output"] == "sorry"
        assert "the arguments are no JSON" in server.requests[1].body.decode()


@pytest.mark.parametrize("provider", sorted(providers.BASE_URLS.keys() - {"openai", "anthropic"}))
async def test_those_who_speak_openai_s_format(here: world.World, provider: str) -> None:
    params = {"temperature": 0.5, "max_tokens": 100, "top_k": 5, "seed": 7, "reasoning_effort": "high"}

    async with model_server.serve(Say("Hi you!")) as server:
        folded = {**model(server.url, params=params), "provider": provider, "baseUrl": f"{server.url}/v1"}
        assert await ask(here, folded) == "Hi you!"
        assert await ask(here, folded, tokens=True) == "Hi you!"
        whole, streamed = server.requests
    for request in (whole, streamed):
        assert request.path == "/v1/chat/completions"
        assert request.headers["authorization"] == f"Bearer {KEY}"
        seed = "random_seed" if provider == "mistralai" else "seed"
        assert request.json.items() >= {"max_tokens": 100, "top_k": 5, seed: 7, "reasoning_effort": "high"}.items()
    assert here.hosts == [(server.url.removeprefix("http://"),)] * 2


async def test_usage_told_again_and_again_is_not_added_up(here: world.World) -> None:
    """Several providers send, with each piece, what was used so far; and reasoning in the total alone."""
    record = world.Record()
    async with model_server.serve(Say("a b c", usage=(10, 5), reasoning_apart=20, usage_always=True)) as server:
        folded = {**model(server.url, "openai"), "provider": "xai"}
        assert await ask(here, folded, record, tokens=True) == "a b c"
    assert record.last("ask")["tokens_in"] == 10
    assert record.last("ask")["tokens_out"] == 25


async def test_unknown_providers_and_connection_parameters_are_refused(here: world.World) -> None:
    for more, words in (({"provider": "mystery"}, "not supported"), ({"params": {"base_url": "x"}}, "params.base_url")):
        with pytest.raises(errors.RunError, match=words):
            await ask(here, {**model("http://127.0.0.1:1"), **more})


async def test_recorded_exchanges_answer_when_the_secret_is_not_set(here: world.World) -> None:
    here.cassette = Cassette(mode="record")
    async with model_server.serve(Say("recorded", echo_key=True)) as server:
        folded = model(server.url)
        assert await ask(here, folded) == "recorded (your key was [redacted])"
    replayed = world.World(cassette=Cassette(here.cassette.exchanges()))
    record = world.Record()
    assert await ask(replayed, folded, record) == "recorded (your key was [redacted])"
    assert record.last("ask")["tokens_in"] == 10
    assert replayed.hosts == []
    with pytest.raises(errors.RunError, match="the nearest recorded request is"):
        await ask(replayed, folded, prompt="Something else")
