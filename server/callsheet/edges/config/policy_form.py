"""A policy as the text of its file, with a comment on each part, so that a person can edit it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from decimal import Decimal

from callsheet.core.consent import Policy, Rule
from callsheet.core.gateway.endpoint import Endpoint, Offer
from callsheet.core.security.urls import url_host

NO_LIMIT = "none"


def render_policy(policy: Policy) -> str:
    """The policy as a commented TOML file that a person can edit; parsing it returns the same policy."""
    save, notices = policy.save_directory, policy.notices
    return _FORM.format(
        mode=quote(policy.mode.value),
        per_clip=_limit(policy.caps.per_clip),
        per_day=_limit(policy.caps.per_day),
        per_month=_limit(policy.caps.per_month),
        concurrent=policy.caps.concurrent,
        unknown=_limit(policy.unknown_price_ceiling),
        callback=_list(policy.callback_hosts),
        image=_list(policy.image_hosts),
        notify=_list(tuple(filter(None, [url_host(notices.address)]))),
        address=f"address = {quote(notices.address)}\n" if notices.address else "",
        form=quote(notices.form.value),
        prompt=_boolean(notices.prompt),
        desktop=_boolean(notices.desktop),
        inputs=_list(policy.input_directories),
        asks=_boolean(policy.sandbox_asks),
        speed=repr(policy.sandbox_speed),
        save_name=quote(policy.save_name),
        save_tags=_boolean(policy.save_tags),
        save='# directory = "~/Videos/Sora"' if save is None else f"directory = {quote(save)}",
        keyring=_boolean(policy.use_keyring),
        background=_boolean(policy.background),
        refresh=quote("weekly" if policy.weekly_refresh else "never"),
        floor=quote(policy.floor.value),
        passphrase_from=_limit(policy.passphrase_from),
        gateways="".join((*_gateway_tables(policy), *_endpoint_tables(policy))),
        network=_network_table(policy),
    )


def _gateway_tables(policy: Policy) -> Iterator[str]:
    rules = dict(policy.rules)
    for name in sorted({*rules, *dict(policy.base_urls)}):
        table = f"models.{quote(name)}" if "/" in name else f"gateways.{name}"
        url, rule = policy.base_url(name), rules.get(name, Rule())
        lines = [
            f"base_url = {quote(url)}\n" if url else "",
            "" if rule.allowed else "allowed = false\n",
            f"per_clip = {_limit(rule.per_clip)}\n" if rule.per_clip is not None else "",
            f"floor = {quote(rule.floor.value)}\n" if rule.floor else "",
        ]
        yield f"\n[{table}]\n{''.join(lines)}"


def _network_table(policy: Policy) -> str:
    said = (("proxy", policy.proxy, "http://proxy.corp.example:3128"), ("ca_file", policy.ca_file, "~/corp-ca.pem"))
    lines = [f"{'' if value else '# '}{name} = {quote(value or usual)}" for name, value, usual in said]
    return "\n".join(["[network]" if policy.proxy or policy.ca_file else "# [network]", *lines])


def _endpoint_tables(policy: Policy) -> Iterator[str]:
    """What differs from the defaults, under the names that the reader knows."""
    for item in policy.endpoints:
        yield f"\n[endpoints.{item.id}]\n{_format_values(item, 'id', 'ca', 'models')}"
        for offer in item.models:
            yield f"[endpoints.{item.id}.models.{quote(offer.model)}]\n{_format_values(offer, 'model')}"


def _format_values(record: Endpoint | Offer, *but: str) -> str:
    values = {each.name: getattr(record, each.name) for each in fields(record) if each.name not in but}
    # JSON's spelling of these values is TOML's as well.
    return "".join(
        f"{name} = {quote(value) if isinstance(value, str) else json.dumps(value)}\n"
        for name, value in values.items()
        if value not in ("", (), False)
    )


_FORM = """\
# Callsheet's policy: what may be spent, where, and who approves. Only you change this file.
# Keep it private (chmod 600). Approvals are bound to its content: after an edit, approve again.

# "sandbox" rehearses on this computer for free, "live" may spend money, "read-only" submits nothing.
mode = {mode}

# Upper limits in US dollars, in quotes; "none" removes one. `concurrent` limits the open tasks.
[caps]
per_clip = {per_clip}
per_day = {per_day}
per_month = {per_month}
concurrent = {concurrent}

# How you approve a clip: "client" accepts your client's form, where you type the amount; "passphrase" needs the
# approval passphrase, or a passkey, in a terminal or on the desk page. From `passphrase_from` US dollars it is always
# needed; "none" sets no such price. An agent that can write your client's settings can answer its form.
[approval]
floor = {floor}
passphrase_from = {passphrase_from}

# The most that a clip of unknown price is assumed to cost; "none" refuses such clips.
[prices]
unknown_ceiling = {unknown}

# Exact host names. An empty callback list allows no callback; an empty image list allows any public host.
[hosts]
callback = {callback}
image = {image}
notify = {notify}

# Where a notice goes when a clip waits for you; by default nowhere. `address` is an ntfy topic, a Slack or Discord
# webhook or a server of yours (`form` is "ntfy", "slack", "discord" or "json"): https, its host listed in `notify`
# above, its last part a secret. `prompt` adds the prompt. `desktop` shows it on this computer.
[notify]
{address}form = {form}
prompt = {prompt}
desktop = {desktop}

# Directories in which an agent may name pictures of yours for a clip, for example "~/Pictures/for-clips". Each upload
# still needs your approval. In your own terminal you can name any picture. Write the directory's real path: one that
# is reached by a symbolic link is not used.
[inputs]
directories = {inputs}

# `asks` rehearses the approval too. `speed` is how many times faster than real time the sandbox runs.
[sandbox]
asks = {asks}
speed = {speed}

# Where clips are saved. The default is Callsheet/ in your videos directory. `name` is how their files are named, by the
# first words of the prompt too. `metadata` adds prompt, model, price and date to each file.
[save]
{save}
name = {save_name}
metadata = {save_tags}

# Whether gateway keys are also read from the keyring of the operating system.
[keys]
keyring = {keyring}

# Whether a program that ends leaves a process behind that follows its open live tasks until their clips are saved.
[tasks]
background = {background}

# "weekly" fetches the gateways' own lists of models and prices again when they are a week old: for free, without a key,
# while Callsheet runs. "never" leaves it to you.
[catalogue]
refresh = {refresh}

# The way to gateways and public endpoints. `proxy` opens tunnels; `ca_file` holds certificates that are trusted beside
# the usual ones. Such settings in the environment (HTTPS_PROXY, SSL_CERT_FILE, …) are ignored.
{network}

# Rules for one gateway or one model, a table each. All keys are optional. `base_url` (gateways only) replaces the
# gateway's address: https, or http on this computer.
# [gateways.poyo]
# base_url = "https://proxy.example.com"
# allowed = true
# per_clip = "0.50"
# floor = "passphrase"
# [models."poyo/sora-2-pro-official"]
# allowed = false
# [endpoints.<id>] declares a server of your own that speaks /v1/videos; see docs/endpoints.md.
{gateways}"""


def quote(text: str) -> str:
    """Text as a TOML string."""
    # A TOML string is a JSON string, except that DEL must be escaped too.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _limit(amount: Decimal | None) -> str:
    return quote(NO_LIMIT if amount is None else f"{amount:f}")


def _list(names: tuple[str, ...]) -> str:
    return f"[{', '.join(quote(name) for name in names)}]"


def _boolean(value: bool) -> str:
    return "true" if value else "false"
