"""Spans of team mode, for the collector that the configuration or `OTEL_EXPORTER_OTLP_ENDPOINT` names.

Without one, the API that comes with `mcp` does nothing and the SDK is not loaded. A span says what was done, how long
it took and whether it failed: no address's path, no text of an error, nothing of a request or an answer. Each process
makes its own traces; `callsheet.task.id` and `callsheet.sheet.id` join them. An agent's trace context is not taken:
with it, an agent could hide its calls or write into our traces. What the MCP SDK says is screened, because an agent
chooses the names in it and an error's text may quote anything.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast
from urllib.parse import urlsplit

from opentelemetry import propagate, trace
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace import Span, SpanKind, Status, StatusCode

from callsheet import __version__
from callsheet.core.gateway.protocol import HttpReply, HttpRequest
from callsheet.errors import SetupProblem

if TYPE_CHECKING:
    import requests
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

SCOPE = "callsheet"
CLIENT, SERVER = SpanKind.CLIENT, SpanKind.SERVER
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
FLUSH_SECONDS = 3.0
"""How long a process that ends waits for the collector to take the last spans."""
ERROR = "error.type"
STATUS = "http.response.status_code"

_FOREIGN = re.compile(r"-?[0-9]{1,6}|20[0-9]{2}-[0-9]{2}-[0-9]{2}")
"""Of another library's values, numbers and the protocol's versions are shown beside known words."""
_SUBJECT = re.compile(r"(sheet|task)_[a-z0-9-]+")
_TRACER = trace.get_tracer(SCOPE, __version__)
"""Finds its provider when there is one."""
Edge = TypeVar("Edge")


@contextmanager
def span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, str | int] | None = None
) -> Iterator[Span]:
    """A span while the block runs. Of an error it has the type alone."""
    with _TRACER.start_as_current_span(
        name, kind=kind, attributes=attributes, record_exception=False, set_status_on_exception=False
    ) as current:
        try:
            yield current
        except Exception as error:
            fail(current, type(error).__qualname__)
            raise


def fail(current: Span, why: str) -> None:
    """Mark the span as failed, for one of few reasons."""
    current.set_attribute(ERROR, why)
    current.set_status(StatusCode.ERROR)


def is_inside() -> bool:
    """Whether this happens within a span."""
    return trace.get_current_span().get_span_context().is_valid


def note(subject: str, event: str) -> None:
    """Say in the present span what happened to a sheet or a task."""
    found = _SUBJECT.fullmatch(subject)
    if found:
        current = trace.get_current_span()
        current.set_attribute(f"callsheet.{found[1]}.id", subject)
        current.add_event(event, {f"callsheet.{found[1]}.id": subject})


def traced(edge: Edge, **spans: str) -> Edge:
    """The edge, with a span of that name around each of those methods."""
    return cast("Edge", _Traced(edge, spans))


class _Traced:
    def __init__(self, edge: Any, spans: Mapping[str, str]) -> None:
        self._edge, self._spans = edge, spans

    async def __aenter__(self) -> _Traced:
        await self._edge.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._edge.__aexit__(*error)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._edge, name)
        if name not in self._spans:
            return method

        async def call(*given: Any, **options: Any) -> Any:
            with span(self._spans[name], SpanKind.CLIENT, _describe(given, options)) as current:
                answer = await method(*given, **options)
                if isinstance(answer, HttpReply):
                    current.set_attribute(STATUS, answer.status)
                    if answer.status >= 400:
                        fail(current, str(answer.status))
                return answer

        return call


def _describe(given: Sequence[Any], options: Mapping[str, Any]) -> dict[str, str | int]:
    """The method of a request and the host that a person named for it; nothing of a link, which a gateway wrote."""
    known: dict[str, str | int] = {}
    for request in given:
        if isinstance(request, HttpRequest):
            known["http.request.method"] = request.method
    if base_url := options.get("base_url"):
        parts = urlsplit(base_url)
        known["server.address"] = parts.hostname or ""
        known["server.port"] = parts.port or (443 if parts.scheme == "https" else 80)
    return known


class Screened:
    """Passes spans on to an exporter: ours as they are, those of a library with nothing but known words.

    `known` are the words. No error's text passes, and of the events only ours.
    """

    def __init__(self, exporter: SpanExporter, known: Collection[str]) -> None:
        self._exporter, self._known = exporter, frozenset(known)
        self.shutdown, self.force_flush = exporter.shutdown, exporter.force_flush

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Pass them on."""
        return self._exporter.export([self._screen(each) for each in spans])

    def _screen(self, it: ReadableSpan) -> ReadableSpan:
        from opentelemetry.sdk.trace import ReadableSpan

        scope = it.instrumentation_scope
        is_own = scope is not None and scope.name == SCOPE
        shown = [word if is_own or word in self._known else "other" for word in it.name.split(" ")[:3]]
        return ReadableSpan(
            name=it.name if is_own else " ".join(shown),
            context=it.context,
            parent=it.parent,
            resource=it.resource,
            attributes={
                name: value for name, value in (it.attributes or {}).items() if is_own or self._is_plain(name, value)
            },
            events=it.events if is_own else (),
            kind=it.kind,
            status=Status(it.status.status_code),
            start_time=it.start_time,
            end_time=it.end_time,
            instrumentation_scope=scope,
        )

    def _is_plain(self, name: str, value: object) -> bool:
        return name == ERROR or value in self._known or _FOREIGN.fullmatch(str(value)) is not None


def start(process: str, *, known: Collection[str], collector: str = "") -> Callable[[], None]:
    """Send spans to the collector, if one is named. Returns what ends that, within `FLUSH_SECONDS`."""
    if not collector and not any(os.environ.get(name) for name in ENDPOINTS):
        return lambda: None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    for handler in logging.getLogger().handlers:
        handler.addFilter(_hide_values)
    endpoint = f"{collector.rstrip('/')}/v1/traces" if collector else None
    try:
        exporter = OTLPSpanExporter(endpoint, session=_build_session())
        return provide(process, BatchSpanProcessor(cast("SpanExporter", Screened(exporter, known))))
    except ValueError as error:
        # Its text may quote a header. The names are no secret.
        names = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_")))
        raise SetupProblem(
            f"A setting of OpenTelemetry cannot be used ({type(error).__name__}). Set are: {names}.",
            next_step="Correct that variable, or remove it.",
        ) from None


def _hide_values(record: logging.LogRecord) -> bool:
    """Of what OpenTelemetry logs, the sentence and numbers: other values are headers, addresses and settings."""
    if record.name.startswith("opentelemetry") and isinstance(record.args, tuple):
        record.args = tuple(value if isinstance(value, int | float) else "…" for value in record.args)
    return True


def _build_session() -> requests.Session:
    """How the collector is asked. Of its answer nothing but the head is read: a body might never end."""
    import requests

    session = requests.Session()
    session.stream = True
    session.hooks["response"].append(lambda response, **_: response.close())
    return session


def provide(process: str, processor: Any) -> Callable[[], None]:
    """Give all spans of this process to the processor."""
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider

    about = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or process, "service.version": __version__}
    provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    propagate.set_global_textmap(CompositePropagator([]))
    trace.set_tracer_provider(provider)

    def end() -> None:
        # The SDK waits for half a minute, and for the collector's own limits.
        ending = threading.Thread(target=provider.shutdown, daemon=True)
        ending.start()
        ending.join(FLUSH_SECONDS)

    return end
