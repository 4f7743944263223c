"""Which certificates a connection trusts, and what is said where one is not trusted.

Only the policy file changes that: variables such as SSL_CERT_FILE and HTTPS_PROXY are ignored, and the texts say so.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from collections.abc import Iterator

import httpx2

from callsheet.core.gateway.protocol import Route


def build_context(route: Route) -> ssl.SSLContext:
    """What a connection on that route accepts. Raises `OSError` for certificates that cannot be read."""
    if route.fingerprint:
        return _pinned_context(route.fingerprint)
    if route.only_ca:
        return ssl.create_default_context(cadata=route.ca)
    context = httpx2.create_ssl_context(trust_env=False)
    if route.ca:
        context.load_verify_locations(cadata=route.ca)
    return context


def _pinned_context(fingerprint: str) -> ssl.SSLContext:
    """Accepts exactly one certificate, no matter who signed it; another ends the handshake before anything is sent."""

    def require(certificate: bytes | None) -> None:
        found = f"sha256:{hashlib.sha256(certificate or b'').hexdigest()}"
        if not hmac.compare_digest(found, fingerprint):
            raise ssl.SSLCertVerificationError(1, "its fingerprint is not the one in the policy")

    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            require(self.getpeercert(binary_form=True))

    class PinnedSocket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            require(self.getpeercert(binary_form=True))

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.sslobject_class, context.sslsocket_class = PinnedObject, PinnedSocket
    return context


def explain_failure(error: BaseException) -> str:
    """What went wrong, in the words of the type; and why a certificate is not trusted."""
    found = next((each for each in _chain(error) if isinstance(each, ssl.SSLCertVerificationError)), None)
    if found is None:
        return type(error).__name__
    reason = getattr(found, "verify_message", "") or (found.args[1] if len(found.args) > 1 else "")
    return f"{type(error).__name__}: its certificate is not trusted, {str(reason)[:120]}"


def advise(error: BaseException) -> str:
    """What a person can set in the policy file, beginning with a space; empty where that is no remedy."""
    if any(isinstance(each, ssl.SSLCertVerificationError) for each in _chain(error)):
        return (
            " If a proxy inspects connections, or the server has certificates of its own, set `ca_file` in the policy"
            " file, under [network] or for the endpoint. Such variables in the environment are ignored."
        )
    if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.ProxyError):
        return " If this network needs a proxy, set it under [network] in the policy file; HTTPS_PROXY is ignored."
    return ""


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__
