"""Figures for Prometheus, on a port of their own that no ingress should expose; no prompt and no link is in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.core import GaugeMetricFamily

from callsheet.core.people import PROGRAM, Period
from callsheet.edges.postgres.ledger import TeamLedger
from callsheet.edges.postgres.people import People
from callsheet.errors import CallsheetError
from callsheet.service.blockers import spending_windows

from .viewer import as_viewer


class TeamMetrics:
    """Read from the database at each scrape: every replica reports the same, so rules take the highest."""

    def __init__(self, ledger: TeamLedger, people: People, now: Callable[[], float]) -> None:
        self._ledger, self._people, self._now = ledger, people, now

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
        yield from (up, tasks, used)


def serve_metrics(listen: str, ledger: TeamLedger, people: People, *, now: Callable[[], float]) -> None:
    """Serve them in a thread until the process ends."""
    registry = CollectorRegistry()
    registry.register(TeamMetrics(ledger, people, now))
    host, _, port = listen.rpartition(":")
    start_http_server(int(port), addr=host, registry=registry)
