"""The file that describes a team's server: `team.toml`. Secrets are files that it names, never values in it."""

from __future__ import annotations

import base64
import binascii
import stat
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from callsheet.core.consent import Floor, Policy
from callsheet.core.people import Role
from callsheet.core.security.urls import is_loopback
from callsheet.edges.config.policy_file import parse_policy
from callsheet.errors import SetupProblem

WORDS = {
    "missing": "is missing",
    "extra_forbidden": "is no setting",
    "string_type": "must be text in quotes",
    "bool_type": "must be true or false",
    "tuple_type": 'must be a list, such as ["makers"]',
    "model_type": "must be a table",
    "dict_type": "must be a table",
}
"""What is said of a mistake, by the type that pydantic gives it."""
KEY_BYTES = 32
SECRET_MOST_BYTES = 65_536
MOST_PORT = 65_535
Names = Annotated[tuple[str, ...], Field(strict=False)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class DatabaseSettings(_Table):
    """`dsn_file` has the address of PostgreSQL, with its password; `pooled` says that PgBouncer is between."""

    dsn_file: str
    listen_dsn_file: str = ""
    pooled: bool = False


class IdentitySettings(_Table):
    """The OpenID provider. `typed_tokens = false` for one that does not mark access tokens (Entra, Keycloak)."""

    issuer: str
    client_id: str
    client_secret_file: str
    secret_in_body: bool = False
    audiences: Names = ()
    scopes: Names = ("callsheet",)
    login_scopes: Names = ("openid", "profile")
    algorithms: Names = ("RS256", "ES256", "PS256", "EdDSA")
    typed_tokens: bool = True
    introspection: bool = False
    subject_claim: str = "sub"
    groups_claim: str = "groups"
    allowed_clients: Names = ()
    trusted_hosts: Names = ()

    @field_validator("issuer")
    @classmethod
    def _is_safe(cls, url: str) -> str:
        if urlsplit(url).scheme != "https" and not (url.startswith("http://") and is_loopback(url)):
            raise ValueError("must be an https address, or http on localhost")
        if "?" in url or "#" in url or "@" in url:
            raise ValueError("must be an address without user, query and fragment")
        return url


class RolesSettings(_Table):
    """The groups of the provider that make a member, an approver, an admin. `admin` cannot be empty."""

    member: Names = ()
    approver: Names = ()
    admin: Names

    @field_validator("admin")
    @classmethod
    def _has_admin(cls, groups: tuple[str, ...]) -> tuple[str, ...]:
        if not groups:
            raise ValueError("must name a group, or nobody could run the team")
        return groups

    def by_role(self) -> dict[Role, tuple[str, ...]]:
        """The groups of each role."""
        return {Role.MEMBER: self.member, Role.APPROVER: self.approver, Role.ADMIN: self.admin}


class StorageSettings(_Table):
    """Where clips go: `s3://bucket/prefix`, or nothing for the server's own disk."""

    url: str = ""


class ApprovalSettings(_Table):
    """`four_eyes`: nobody approves what they asked for themselves."""

    four_eyes: bool = False


class CallbackSettings(_Table):
    """Which gateways may ring, and PoYo's signing secret if there is one."""

    gateways: Names = ()
    poyo_secret_file: str = ""


class TeamConfig(_Table):
    """The whole file. Paths in it start at its own directory. `traces` is a collector, like http://collector:4318."""

    public_url: str
    listen: str = "127.0.0.1:8080"
    metrics: str = ""
    traces: str = ""
    drains: bool = True
    tenant: str = "callsheet"
    home: str
    policy: str = "policy.toml"
    keys_file: str
    database: DatabaseSettings
    identity: IdentitySettings
    roles: RolesSettings
    teams: dict[str, Names] = {}
    storage: StorageSettings = StorageSettings()
    approval: ApprovalSettings = ApprovalSettings()
    callbacks: CallbackSettings = CallbackSettings()
    trusted_proxies: Names = ()
    directory: Path = Path()

    @field_validator("public_url")
    @classmethod
    def _is_origin(cls, url: str) -> str:
        parts = urlsplit(url)
        if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError("must be an origin, such as https://clips.example.com")
        if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(url)):
            raise ValueError("must be https, or http on localhost")
        return url.rstrip("/")

    @field_validator("listen", "metrics")
    @classmethod
    def _is_port(cls, address: str) -> str:
        port = address.rpartition(":")[2]
        if address and not (":" in address and port.isdecimal() and int(port) <= MOST_PORT):
            raise ValueError("must be an address and a port, such as 0.0.0.0:8080")
        return address

    @field_validator("traces")
    @classmethod
    def _is_web_address(cls, url: str) -> str:
        if url and not url.startswith(("http://", "https://")):
            raise ValueError("must begin with http:// or https://")
        return url

    @property
    def mcp_url(self) -> str:
        """The address of the MCP endpoint, which tokens must be for."""
        return f"{self.public_url}/mcp"

    def team_of(self, groups: tuple[str, ...]) -> str:
        """The team of somebody in these groups, whose budget counts; `default` for one in none."""
        own = set(groups)
        return next((team for team, names in self.teams.items() if own & set(names)), "default")

    def path(self, name: str) -> Path:
        """A path that the file names."""
        return self.directory / name

    def secret(self, name: str) -> str:
        """The content of a file with a secret, without white space around it; raises `SetupProblem`."""
        path = self.path(name)
        try:
            # Orchestrators mount secrets that everybody in the container may read.
            is_open = path.stat().st_mode & stat.S_IWOTH
            found = path.read_bytes()[:SECRET_MOST_BYTES].decode("utf-8").strip()
        except OSError as error:
            raise _problem(f"{path} cannot be read ({error.strerror}).") from None
        except UnicodeDecodeError:
            raise _problem(f"{path} is not text.") from None
        if is_open:
            raise _problem(f"{path} can be changed by everybody on this computer.")
        if not found:
            raise _problem(f"{path} is empty.")
        return found

    def keys(self) -> list[bytes]:
        """The server's own keys, the newest first: each line is 32 bytes in base64. Raises `SetupProblem`."""
        try:
            keys = [base64.b64decode(line, validate=True) for line in self.secret(self.keys_file).split()]
        except binascii.Error:
            keys = []
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise _problem(f"Each line of {self.path(self.keys_file)} must be {KEY_BYTES} random bytes in base64.")
        return keys


def load_config(path: Path) -> TeamConfig:
    """Read the file; raises `SetupProblem` with every mistake in it."""
    try:
        table = tomllib.loads(path.read_bytes().decode("utf-8"))
    except OSError as error:
        raise _problem(f"{path} cannot be read ({error.strerror}).") from None
    except tomllib.TOMLDecodeError as error:
        raise _problem(f"{path} is not TOML: {error}.") from None
    except (ValueError, RecursionError):
        raise _problem(f"{path} is not TOML.") from None
    try:
        return TeamConfig.model_validate({**table, "directory": path.resolve().parent})
    except ValidationError as error:
        raise _problem(f"{path}: {'; '.join(map(_explain, error.errors()))}.") from None


@contextmanager
def opening(setting: str, address: str) -> Iterator[None]:
    """Say which setting names an address that cannot be opened in the block, as a `SetupProblem`."""
    try:
        yield
    except OSError as error:
        raise SetupProblem(
            f"`{setting}`: {address} cannot be opened ({str(error.strerror).partition(' (')[0]}).",
            next_step="End what uses the port, or set another. Processes on one computer need one each.",
        ) from None


def _explain(mistake: ErrorDetails) -> str:
    """Which setting, and what is wrong with it, without its value."""
    said = WORDS.get(mistake["type"]) or mistake["msg"].removeprefix("Value error, ")
    return f"{'.'.join(map(str, mistake['loc']))} {said}"


def judge_team_policy(raw: bytes, *, where: str, paused: bool = False) -> Policy:
    """The policy of those bytes, in which only a passkey approves; raises `SetupProblem`."""
    policy = parse_policy(raw, where=where)
    rules = tuple((name, replace(rule, floor=None)) for name, rule in policy.rules)
    return replace(policy, floor=Floor.PASSPHRASE, rules=rules, background=False, paused=paused)


def _problem(message: str) -> SetupProblem:
    return SetupProblem(message, next_step="Correct the team's configuration, then start again.")
