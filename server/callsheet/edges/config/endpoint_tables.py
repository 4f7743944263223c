"""The parts of the policy file about servers and the way to them: `[endpoints.<id>]` and `[network]`.

Both decide where prompts, pictures and keys go. So what is private, unencrypted or free must be written out, and a
table with a mistake means that the whole file is not used.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from callsheet.core.consent import Policy
from callsheet.core.gateway.endpoint import FREE, PRICE, SIZE, Endpoint, Offer
from callsheet.core.payload.request import fold_name
from callsheet.core.security.redaction import clean
from callsheet.core.security.urls import check_endpoint_url, is_loopback, is_proxy
from callsheet.edges.files.files import current_user, open_regular, read_bounded
from callsheet.errors import SetupProblem
from callsheet.gateways import GATEWAYS

from .catalogue_files import load_catalogue
from .policy_table import PolicyTable

WIRE = "openai-videos"
FREE_AT_A_PUBLIC_HOST = "I pay nothing there"
EXTRAS = ("seed", "negative_prompt")
TEXTS = ("base_url", "address", "fingerprint", "insecure", "key_env", "free")
CHOICES = {
    "body": ("multipart", "json"),
    "seconds_as": ("string", "integer"),
    "image": ("none", "file", "image_url", "data_url"),
    "content": ("route", "url"),
}
COUNTS = {"clips_per_day": (40, 10_000), "concurrent": (1, 1000), "patience_minutes": (120, 10_080)}
"""Default and most."""
MOST_CA_BYTES = 1 << 20
_ID = re.compile(r"[a-z][a-z0-9-]{0,31}")
"""An id is what a person types for what is free, so it is no number."""
_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,63})?")
_VARIABLE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


def read_network(table: PolicyTable) -> tuple[str, str]:
    """The proxy and the file of certificates."""
    proxy = table.text("proxy")
    if proxy and not is_proxy(proxy):
        table.refuse("proxy", 'must be like "http://proxy.corp.example:3128", without user, password or path')
    return proxy, table.file("ca_file")


def read_endpoints(table: PolicyTable) -> tuple[Endpoint, ...]:
    """Every endpoint, in the order of the file."""
    found: list[Endpoint] = []
    taken = {*map(fold_name, GATEWAYS)}
    for name in table.names():
        if not _ID.fullmatch(name):
            rule = "is not an id: a lower-case letter, then up to 31 lower-case letters, digits and hyphens"
            table.refuse(clean(name, limit=40), rule)
        _refuse_twin(table, name, taken)
        found.append(_read_endpoint(table.table(name), name))
    return tuple(found)


def _refuse_twin(table: PolicyTable, name: str, taken: set[str]) -> None:
    """Names that differ by case and hyphens alone are one name to those who ask for it."""
    if fold_name(name) in taken:
        table.refuse(name, "is the name of another, or too much like it; choose another")
    taken.add(fold_name(name))


def _read_endpoint(table: PolicyTable, name: str) -> Endpoint:
    table.choice("wire", (WIRE,), WIRE)
    said: dict[str, Any] = {key: table.text(key) for key in TEXTS}
    said |= {key: table.switch(key, False) for key in ("key_over_plain_http", "strict_model")}
    said |= {key: table.choice(key, allowed, allowed[0]) for key, allowed in CHOICES.items()}
    said |= {key: table.whole(key, usual, most=most) for key, (usual, most) in COUNTS.items()}
    said |= {"extras": table.texts("extras"), "result_hosts": table.hosts("result_hosts")}
    endpoint = Endpoint(id=name, ca_file=table.file("ca_file"), **said)
    _check_way(table, endpoint)
    _check_wire(table, endpoint)
    models = table.table("models")
    twins: set[str] = set()
    offers = tuple(_read_offer(models, model, endpoint, twins) for model in models.names())
    if not offers:
        table.refuse("models", f'needs at least one table, like [endpoints.{name}.models."wan-2.2"]')
    return replace(endpoint, models=offers)


def _check_way(table: PolicyTable, endpoint: Endpoint) -> None:
    """Where it is, and how it is known that it is the right one."""
    problem = check_endpoint_url(endpoint.base_url, address=endpoint.address).problem
    if problem:
        table.refuse("base_url", f"cannot be used. {problem.removesuffix('.')}")
    plain, wanted = endpoint.base_url.startswith("http://"), f"no TLS on {endpoint.address}"
    if plain and not is_loopback(endpoint.base_url):
        if not endpoint.address:
            table.refuse("base_url", "must begin with https://; http is for private networks, where `address` is set")
        if endpoint.insecure != wanted:
            table.refuse("insecure", f'must be "{wanted}", because http encrypts nothing; or use https')
        if endpoint.key_env and not endpoint.key_over_plain_http:
            rule = "must be true as well, because everybody on the network can read the key; or leave out `key_env`"
            table.refuse("key_over_plain_http", rule)
    elif endpoint.insecure or endpoint.key_over_plain_http:
        name = "insecure" if endpoint.insecure else "key_over_plain_http"
        table.refuse(name, "is only for an http:// `base_url` that is not on this computer")
    if endpoint.fingerprint and not _FINGERPRINT.fullmatch(endpoint.fingerprint):
        table.refuse("fingerprint", "must be sha256: and 64 lower-case hexadecimal digits")
    if (endpoint.ca_file or endpoint.fingerprint) and (plain or (endpoint.ca_file and endpoint.fingerprint)):
        table.refuse("ca_file", "and `fingerprint` are for https, and only one of them")
    _check_key(table, endpoint.key_env)


def _check_key(table: PolicyTable, variable: str) -> None:
    if variable and not _VARIABLE.fullmatch(variable):
        table.refuse("key_env", 'must be the name of an environment variable, like "GPU_BOX_KEY"')
    if variable and variable in {facts.key_env for facts in load_catalogue().gateways}:
        table.refuse("key_env", "holds the key of a gateway; the server needs one of its own")


def _check_wire(table: PolicyTable, endpoint: Endpoint) -> None:
    """What is sent, and where the clip comes from."""
    if set(endpoint.extras) - set(EXTRAS):
        table.refuse("extras", f"may hold {' and '.join(EXTRAS)}; nothing else is sent")
    if endpoint.seconds_as == "integer" and endpoint.body == "multipart":
        table.refuse("seconds_as", "can only be integer where `body` is json")
    if endpoint.image != "none" and (endpoint.image == "file") != (endpoint.body == "multipart"):
        table.refuse("image", '"file" needs `body` multipart; "image_url" and "data_url" need `body` json')
    if (endpoint.content == "url") != bool(endpoint.result_hosts):
        table.refuse("result_hosts", 'names the hosts of links if `content` is "url", and is empty otherwise')


def _read_offer(models: PolicyTable, model: str, endpoint: Endpoint, taken: set[str]) -> Offer:
    if not _MODEL.fullmatch(model):
        models.refuse(clean(model, limit=80), 'is not the id of a model, like "wan-2.2" or "Wan-AI/Wan2.2"')
    _refuse_twin(models, model, taken)
    table = models.table(model)
    offer = Offer(model, table.wholes("seconds"), table.texts("sizes"), table.text("price"))
    if not offer.seconds or not all(1 <= value <= 3600 for value in offer.seconds):
        table.refuse("seconds", "must list the lengths that it takes, like [2, 3, 4, 5]")
    if not all(SIZE.fullmatch(size) for size in offer.sizes):
        table.refuse("sizes", 'must be a list like ["832x480", "1280x720"]')
    _check_price(table, offer.price, endpoint)
    return offer


def _check_price(table: PolicyTable, price: str, endpoint: Endpoint) -> None:
    if price == FREE:
        is_public = not endpoint.address and not is_loopback(endpoint.base_url)
        if is_public and endpoint.free != FREE_AT_A_PUBLIC_HOST:
            rule = f'"none" at a public host needs `free = "{FREE_AT_A_PUBLIC_HOST}"` in the endpoint\'s own table'
            table.refuse("price", rule)
    elif price and not ((found := PRICE.fullmatch(price)) and float(found[1]) > 0):
        table.refuse("price", f'must be like "0.02 USD per second", "0.10 USD per clip" or "{FREE}"')


def load_certificates(policy: Policy, *, is_under_project: Callable[[Path], bool]) -> Policy:
    """The policy with what its files of certificates hold now, which is part of its version. Raises `SetupProblem`."""
    held = {name: _read_ca(Path(name), is_under_project) for name in policy.certificate_files}
    endpoints = tuple(replace(item, ca=held.get(item.ca_file, "")) for item in policy.endpoints)
    version = hashlib.sha256("".join([policy.version, *held.values()]).encode()).hexdigest()[:12]
    return replace(
        policy, endpoints=endpoints, ca=held.get(policy.ca_file, ""), version=version if held else policy.version
    )


def _read_ca(path: Path, is_under_project: Callable[[Path], bool]) -> str:
    if is_under_project(path):
        _refuse_ca(path, "is under the working directory, where an agent may write")
    try:
        with open_regular(path.resolve()) as file:
            status, user = os.fstat(file.fileno()), current_user()
            if user is not None and (status.st_uid not in (0, user) or status.st_mode & 0o022):
                _refuse_ca(path, "can be changed by others")
            text = read_bounded(file, MOST_CA_BYTES).decode("ascii")
    except (OSError, ValueError) as error:
        _refuse_ca(path, f"cannot be read ({type(error).__name__})")
    if "-----BEGIN CERTIFICATE-----" not in text:
        _refuse_ca(path, "holds no certificate in PEM form")
    return text


def _refuse_ca(path: Path, why: str) -> NoReturn:
    raise SetupProblem(
        f"The file of certificates {path} {why}, so the policy is not used.",
        next_step="Name a PEM file that only you or the system can change, as `ca_file` in the policy file.",
    )
