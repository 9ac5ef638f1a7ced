"""LangChain's chat models of real providers, with every request through the run's guarded client.

A provider is known here only if its HTTP client can be replaced: otherwise a manifest could name a host the guard
never sees. Nothing is taken from the process's environment, though the providers' packages try to: address, key and
headers are set here, and of the headers they make only those that belong to the request are sent.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import httpx2
from langchain.chat_models import init_chat_model
from langchain_core.language_models import BaseChatModel

from agentos_engine.runtime import errors

MAX_BODY = 32 * 1024 * 1024
BASE_URLS = {
    "anthropic": "https://api.anthropic.com",
    "deepseek": "https://api.deepseek.com/v1",
    "fireworks": "https://api.fireworks.ai/inference/v1",
    "groq": "https://api.groq.com/openai/v1",
    "mistralai": "https://api.mistral.ai/v1",
    "nvidia": "https://integrate.api.nvidia.com/v1",
    "ollama": "http://localhost:11434/v1",
    "openai": "https://api.openai.com/v1",
    "openrouter": "https://openrouter.ai/api/v1",
    "perplexity": "https://api.perplexity.ai",
    "together": "https://api.together.xyz/v1",
    "xai": "https://api.x.ai/v1",
}
"""Where each provider is reached unless a Model says otherwise. All but Anthropic speak OpenAI's chat completions."""
PARAMETERS = frozenset({
    "betas", "extra_body", "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "model_kwargs",
    "output_config", "presence_penalty", "reasoning", "reasoning_effort", "seed", "service_tier", "stop",
    "stop_sequences", "temperature", "thinking", "timeout", "top_k", "top_logprobs", "top_p", "truncation",
    "use_responses_api", "verbosity",
})  # fmt: skip
"""What `params` of a Model may set. Whatever else a LangChain class takes concerns the connection."""
_HEADERS = ("accept", "content-type", "user-agent", "anthropic-version", "anthropic-beta", "idempotency-key")


def base_url(model: Mapping[str, Any]) -> str:
    """Where the model is reached; raises ``BadRequest`` for a provider that cannot be guarded."""
    provider = model["provider"]
    if provider not in BASE_URLS:
        known = ", ".join(sorted(BASE_URLS))
        raise errors.RunError(
            "BadRequest", f"model {model['name']}: provider {provider} is not supported; known: {known}"
        )
    return str(model.get("baseUrl") or BASE_URLS[provider]).rstrip("/")


def chat(model: Mapping[str, Any], key: str | None, client: httpx.AsyncClient) -> BaseChatModel:
    """A chat model for one run. It makes one attempt per call; `key` None sends no credentials."""
    url = base_url(model)
    params = dict(model.get("params") or {})
    if unknown := params.keys() - PARAMETERS:
        raise errors.RunError("BadRequest", f"model {model['name']}: params.{min(unknown)} is not allowed")
    if model["provider"] == "anthropic":
        return _anthropic(model["model"], url, key, client, params)
    return _openai(model["provider"], model["model"], url, key, client, params)


def _openai(
    provider: str, name: str, url: str, key: str | None, client: httpx.AsyncClient, params: dict[str, Any]
) -> BaseChatModel:
    from langchain_openai.chat_models import base

    # Those who took over OpenAI's format took it as it was before `max_completion_tokens` and the responses API.
    class_ = base.ChatOpenAI if provider == "openai" else base.BaseChatOpenAI
    if provider != "openai":
        params["use_responses_api"] = False
    # What OpenAI's client has no argument for goes into the body as it is.
    extra = {"top_k": "top_k"} | ({"seed": "random_seed"} if provider == "mistralai" else {})
    if moved := {extra[param]: params.pop(param) for param in extra if param in params}:
        params["extra_body"] = {**(params.get("extra_body") or {}), **moved}
    auth = {"authorization": f"Bearer {key}"} if key is not None else {}
    made: BaseChatModel = class_(
        model=name,
        base_url=url,
        api_key=key or "none",
        max_retries=0,
        http_client=_NO_SYNC,
        http_async_client=_bridged(client, auth),
        stream_usage=True,
        **params,
    )
    return made


def _anthropic(
    name: str, url: str, key: str | None, client: httpx.AsyncClient, params: dict[str, Any]
) -> BaseChatModel:
    import anthropic

    made: BaseChatModel = init_chat_model(
        name, model_provider="anthropic", base_url=url, api_key=key or "none", max_retries=0, **params
    )
    auth = {"x-api-key": key} if key is not None else {}
    timeout = {"timeout": params["timeout"]} if "timeout" in params else {}
    # LangChain's class takes no client, but makes its own on first use under this name.
    made.__dict__["_async_client"] = anthropic.AsyncAnthropic(
        api_key=key or "none", base_url=url, max_retries=0, http_client=_bridged(client, auth), **timeout
    )
    return made


def _bridged(client: httpx.AsyncClient, auth: Mapping[str, str]) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=_Bridge(client, auth), trust_env=False, follow_redirects=False)


class _Bridge(httpx2.AsyncBaseTransport):
    """Sends the SDK's requests through the guarded client, with our credentials and no others."""

    def __init__(self, client: httpx.AsyncClient, auth: Mapping[str, str]) -> None:
        self._client = client
        self._auth = auth

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        headers = {name: request.headers[name] for name in _HEADERS if name in request.headers} | dict(self._auth)
        timeout = request.extensions.get("timeout")
        content = await request.aread()
        made = self._client.build_request(
            request.method,
            str(request.url),
            headers=headers,
            content=content,
            extensions={"timeout": timeout} if timeout is not None else None,
        )
        try:
            response = await self._client.send(made, stream=True, follow_redirects=False)
        except httpx.TimeoutException as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except httpx.HTTPError as error:
            raise httpx2.ConnectError(str(error)) from error
        return httpx2.Response(response.status_code, headers=response.headers.multi_items(), stream=_Body(response))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, response: httpx.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        read = 0
        try:
            async for chunk in self._response.aiter_raw():
                read += len(chunk)
                if read > MAX_BODY:
                    raise httpx2.ReadError(f"the answer is larger than {MAX_BODY:,} bytes")
                yield chunk
        except httpx.TimeoutException as error:
            raise httpx2.ReadTimeout(str(error)) from error
        except httpx.HTTPError as error:
            raise httpx2.ReadError(str(error)) from error

    async def aclose(self) -> None:
        with contextlib.suppress(httpx.HTTPError):
            await self._response.aclose()


class _Refuse(httpx2.BaseTransport):
    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("runs are asynchronous: nothing is sent from here")


_NO_SYNC = httpx2.Client(transport=_Refuse(), trust_env=False)
