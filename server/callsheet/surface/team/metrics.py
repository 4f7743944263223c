"""Figures for Prometheus, on a port of their own that no ingress should expose; no prompt and no link is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from callsheet.core.people import PROGRAM, Period
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.errors import CallsheetError
from callsheet.service.blockers import spending_windows

from .callbacks import Outcome
from .viewer import as_viewer


class TeamMetrics:
    """Read from the database at each scrape: every replica reports the same, so rules take the highest.

    Each replica counts its own callbacks, by `callbacks`, so rules add them.
    """

    def __init__(
        self, ledger: TeamLedger, people: People, now: Callable[[], float], callbacks: Mapping[Outcome, int]
    ) -> None:
        self._ledger, self._people, self._now, self._callbacks = ledger, people, now, callbacks

    def collect(self) -> Iterator[Metric]:
        """The gauges; only `callsheet_up` where the database does not answer."""
        up = GaugeMetricFamily("callsheet_up", "Whether the database answers.")
        tasks = GaugeMetricFamily("callsheet_tasks", "Tasks by mode and state.", labels=["mode", "state"])
        used = GaugeMetricFamily(
            "callsheet_budget_used_ratio", "The used share of each budget.", labels=["payer", "name", "period"]
        )
        try:
            with as_viewer(PROGRAM):
                windows = dict(zip(Period, spending_windows(self._now()), strict=True))
                for mode, state, count in self._ledger.count_tasks():
                    tasks.add_metric([mode, state], count)
                for budget in self._people.budgets():
                    share = self._ledger.spent(budget, windows) / max(1, budget.micros)
                    used.add_metric([budget.payer, budget.name, budget.period], share)
            up.add_metric([], 1)
        except CallsheetError:
            up.add_metric([], 0)
        rung = CounterMetricFamily("callsheet_callbacks", "Callbacks by what became of them.", labels=["outcome"])
        for outcome, count in list(self._callbacks.items()):
            rung.add_metric([outcome], count)
        yield from (up, tasks, used, rung)


def serve_metrics(listen: str, metrics: TeamMetrics) -> None:
    """Serve them in a thread until the process ends."""
    registry = CollectorRegistry()
    registry.register(metrics)
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host, registry=registry)
