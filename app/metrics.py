"""What Prometheus is told: of this process, and of the whole service as the database knows it.

Every process of the API tells the same of the whole service. Take the maximum over processes of those, not the sum.
"""

import json
from collections.abc import Iterator
from importlib.metadata import version

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import select, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session, sessionmaker

from jobs import meters
from jobs.meters import BOUND, SUM, Meter, MeterRow
from jobs.states import Status

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
INF = "inf"

# A second series for each, which nobody reads.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """All of them; those of this process are counted here."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self.registry = CollectorRegistry()
        registry = self.registry
        self.created = Counter("compression_jobs_created", "Jobs that were accepted.", registry=registry)
        self.downloaded = Counter(
            "compression_artifact_download_bytes", "Bytes of artifacts that went through the API.", registry=registry
        )
        self._exchanges = Histogram(
            "compression_http_request_duration_seconds",
            "From the first byte of a request to the last of its answer.",
            ("method", "route", "status"),
            registry=registry,
        )
        build = Gauge("compression_build_info", "The version that runs.", ("version",), registry=registry)
        build.labels(version("prunery")).set(1)
        ProcessCollector(registry=registry)
        registry.register(_Service(sessions))

    def exchanged(self, method: str, route: str, status: int, seconds: float) -> None:
        """Note a request that was answered."""
        self._exchanges.labels(method if method in METHODS else "other", route, str(status)).observe(seconds)


class _Service(Collector):
    """Reads the database when asked; says that it does not answer if so."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def describe(self) -> Iterator[Metric]:
        """Nothing, so that nothing is read when this is registered."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        found: list[Metric] = []
        try:
            with self._sessions() as session:
                found = [*_gauges(session), *_counted(session)]
        except SQLAlchemyError:
            found = []
        up = GaugeMetricFamily("compression_database_up", "Whether the database answered this scrape.")
        up.add_metric([], float(bool(found)))
        return iter([up, *found])


# Each gives rows of the labels' values and the value.
GAUGES: tuple[tuple[str, str, tuple[str, ...], str], ...] = (
    (
        "compression_jobs",
        "Jobs by where they stand.",
        ("status",),
        "SELECT status, count(*) FROM jobs GROUP BY status",
    ),
    (
        "compression_queue_depth",
        "Jobs that wait for a worker, by the class of GPU that they ask for.",
        ("class",),
        "SELECT coalesce(gpu_class, 'any'), count(*) FROM jobs WHERE status = 'queued' GROUP BY 1",
    ),
    (
        "compression_queue_oldest_age_seconds",
        "How long the job has waited that has waited longest.",
        (),
        "SELECT coalesce(extract(epoch FROM now() - min(queued_at)), 0) FROM jobs WHERE status = 'queued'",
    ),
    (
        "compression_outbox_unsent",
        "Doorbells that the broker has not taken yet.",
        (),
        "SELECT count(*) FROM outbox",
    ),
    (
        "compression_outbox_oldest_age_seconds",
        "How long the oldest of them has waited.",
        (),
        "SELECT coalesce(extract(epoch FROM now() - min(created_at)), 0) FROM outbox",
    ),
    (
        "compression_workers",
        "Workers that were seen within a minute.",
        ("class", "state"),
        """
        SELECT coalesce(gpu_class, 'any'),
               CASE WHEN fault IS NOT NULL THEN 'faulty' WHEN job_id IS NULL THEN 'idle' ELSE 'busy' END, count(*)
        FROM workers WHERE seen_at > now() - interval '1 minute' GROUP BY 1, 2
        """,
    ),
    (
        "compression_gpu_memory_used_bytes",
        "Memory in use on each GPU of the machines on which there are workers.",
        ("host", "gpu"),
        """
        SELECT host, number - 1, max(bytes) FROM workers, unnest(gpu_used_bytes) WITH ORDINALITY AS gpu (bytes, number)
        WHERE seen_at > now() - interval '1 minute' GROUP BY 1, 2
        """,
    ),
    (
        "compression_webhook_pending",
        "Messages that webhooks are still to be sent.",
        (),
        "SELECT count(*) FROM webhook_deliveries WHERE status = 'pending'",
    ),
    (
        "compression_part_seen_timestamp_seconds",
        "When a part that nobody calls was last at work.",
        ("part",),
        f"SELECT labels::json ->> 'part', value FROM meters WHERE name = '{meters.SEEN}'",
    ),
)
# What is there even if nothing is: a series that comes and goes is hard to alert on.
ZEROS: dict[str, dict[tuple[str, ...], float]] = {
    "compression_jobs": {(str(status),): 0.0 for status in Status},
    "compression_queue_depth": {("any",): 0.0},
    "compression_workers": {("any", "idle"): 0.0, ("any", "busy"): 0.0, ("any", "faulty"): 0.0},
}


def _gauges(session: Session) -> Iterator[Metric]:
    for name, says, labels, query in GAUGES:
        family = GaugeMetricFamily(name, says, labels=labels)
        rows = {tuple(map(str, values)): float(value) for *values, value in session.execute(text(query))}
        rows = ZEROS.get(name, {}) | rows
        for values, value in rows.items():
            family.add_metric(values, value)
        yield family


def _counted(session: Session) -> Iterator[Metric]:
    rows = [(row.name, json.loads(row.labels), row.value) for row in session.execute(select(MeterRow.__table__))]
    for meter in meters.METERS:
        own = {_key(meter, labels): value for name, labels, value in rows if name == meter.name}
        yield _histogram(meter, own) if meter.bounds else _counter(meter, own)


def _key(meter: Meter, labels: dict[str, str]) -> tuple[str, ...]:
    return (*(labels[label] for label in meter.labels), labels.get(BOUND, ""))


def _counter(meter: Meter, rows: dict[tuple[str, ...], float]) -> Metric:
    family = CounterMetricFamily(meter.name, meter.says, labels=meter.labels)
    # A counter that first shows with its first count has, to Prometheus, not gone up.
    for (*values, _), value in (rows or ({} if meter.labels else {("",): 0.0})).items():
        family.add_metric(values, value)
    return family


def _histogram(meter: Meter, rows: dict[tuple[str, ...], float]) -> Metric:
    family = HistogramMetricFamily(meter.name, meter.says, labels=meter.labels)
    for values in sorted({key[:-1] for key in rows} or ({()} if not meter.labels else set())):
        total, buckets = 0.0, []
        for bound in (*map(str, meter.bounds), INF):
            total += rows.get((*values, bound), 0.0)
            buckets.append(("+Inf" if bound == INF else bound, total))
        family.add_metric(values, buckets, rows.get((*values, SUM), 0.0))
    return family
