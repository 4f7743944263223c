"""What the gateways answer when a person asks them what is free to ask: balance and listings.

A key goes only to its gateway's own address.
"""

from __future__ import annotations

from dataclasses import dataclass

import anyio

from callsheet.core.catalogue.cards import GatewayFacts
from callsheet.core.gateway.endpoint import Endpoint
from callsheet.core.gateway.protocol import (
    Balance,
    BalanceReader,
    Gateway,
    HttpReply,
    HttpRequest,
    ListingReader,
    TaskRef,
)
from callsheet.core.gateway.replies import read_complaint, read_object
from callsheet.errors import CallsheetError, KeyProblem
from callsheet.gateways.openai_videos import ADVICE, MADE_UP_ID, OpenAIVideos, read_dialect
from callsheet.service.dependencies import Dependencies
from callsheet.service.ports import SecretKey


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether a gateway's own catalogue has a model now; None is "it does not say", and `said` why."""

    model: str
    listed: bool | None
    said: str = ""


@dataclass(frozen=True, slots=True)
class GatewayAnswer:
    """What a gateway answered, and when (seconds since the epoch). `said` is why there is no balance."""

    gateway: str
    name: str
    at: float
    balance: Balance | None
    said: str
    listings: tuple[Listing, ...]


@dataclass(frozen=True, slots=True)
class EndpointAnswer:
    """What a server answers to what is free to ask: (question, answer) in words, its models, and whose dialect it is.

    `advice` are sentences on what its table in the policy should say.
    """

    replies: tuple[tuple[str, str], ...]
    models: tuple[str, ...]
    dialect: str
    advice: tuple[str, ...]


async def ask_endpoint(deps: Dependencies, endpoint: Endpoint, key: SecretKey | None) -> EndpointAnswer:
    """Ask for its models, a job that does not exist, and its jobs, which is free. Raises `GatewayUnreachable`."""
    server, policy = OpenAIVideos(endpoint), deps.policy()
    route = endpoint.route(proxy=policy.proxy, ca=policy.ca)
    asked = {
        "models": server.build_models(),
        "a job that does not exist": server.build_status(TaskRef("", MADE_UP_ID)),
        "list of jobs": server.build_recent(),
    }
    async with deps.http:
        replies = [
            await deps.http.fetch(request, base_url=endpoint.base_url, key=key, route=route)
            for request in asked.values()
        ]
    said = [deps.sanitize(read_complaint(read_object(reply.body))[1], limit=120) for reply in replies]
    shown = [f"HTTP {reply.status}{f': {text}' if text else ''}" for reply, text in zip(replies, said, strict=True)]
    models = tuple(deps.sanitize(name, limit=130) for name in server.read_models(replies[0]) or ())
    dialect = read_dialect(replies[1])
    advice = [ADVICE[dialect]] if dialect in ADVICE else []
    advice += [f"It does not list {offer.model}." for offer in endpoint.models if models and offer.model not in models]
    advice += ["It lists no jobs, so a lost answer has to be resolved by hand."] if replies[2].status != 200 else []
    return EndpointAnswer(tuple(zip(asked, shown, strict=True)), models, dialect, tuple(advice))


async def ask_gateways(deps: Dependencies) -> list[GatewayAnswer]:
    """Ask every gateway what is free to ask: what is left on the account, and which models it lists."""
    answers: dict[str, GatewayAnswer] = {}

    async def ask(facts: GatewayFacts) -> None:
        answers[facts.id] = await _ask_gateway(deps, facts)

    async with deps.http, anyio.create_task_group() as group:
        for facts in deps.catalogue().gateways:
            group.start_soon(ask, facts)
    return [answers[facts.id] for facts in deps.catalogue().gateways]


async def _ask_gateway(deps: Dependencies, facts: GatewayFacts) -> GatewayAnswer:
    if deps.live_base_url(facts) != facts.base_url:
        why = "not asked: the policy names another address for it"
        return GatewayAnswer(facts.id, facts.name, deps.clock.now(), None, why, ())
    gateway = deps.gateway(facts.id)
    balance, why = await _ask_balance(deps, facts, gateway)
    listings = await _ask_listings(deps, facts, gateway)
    return GatewayAnswer(facts.id, facts.name, deps.clock.now(), balance, why, listings)


async def _ask_balance(deps: Dependencies, facts: GatewayFacts, gateway: Gateway) -> tuple[Balance | None, str]:
    if not isinstance(gateway, BalanceReader):
        return None, "documents no way to ask for the balance"
    try:
        key = deps.find_key(facts)
        deps.require_named_address(facts)
    except KeyProblem as problem:
        return None, problem.message
    if deps.is_sealed(facts.id):
        return None, "its key is sealed, so not asked"
    if key is None:
        return None, "no key, so not asked"
    reply = await _fetch(deps, facts, gateway.build_balance(), key)
    if isinstance(reply, CallsheetError):
        return None, reply.message
    balance = gateway.read_balance(reply)
    return balance, "" if balance else f"the answer does not say (HTTP {reply.status})"


async def _ask_listings(deps: Dependencies, facts: GatewayFacts, gateway: Gateway) -> tuple[Listing, ...]:
    if not isinstance(gateway, ListingReader):
        return ()
    listings: list[Listing] = []
    # Whether Sora is still there is the question; `catalogue.refresh` asks for all models in one request.
    for card in facts.models:
        if card.family != "sora-2":
            continue
        # No gateway needs a key here; one that came to need it would not be asked.
        reply = await _fetch(deps, facts, gateway.build_listing(card.model), None)
        if isinstance(reply, CallsheetError):
            return (*listings, Listing(card.model, None, reply.message))
        listed = gateway.read_listing(reply)
        listings.append(Listing(card.model, listed, "" if listed is not None else f"HTTP {reply.status}"))
    return tuple(listings)


async def _fetch(
    deps: Dependencies, facts: GatewayFacts, request: HttpRequest, key: SecretKey | None
) -> HttpReply | CallsheetError:
    try:
        return await deps.http.fetch(request, base_url=facts.base_url, key=key, route=deps.policy().route(facts.id))
    except CallsheetError as error:
        return error
