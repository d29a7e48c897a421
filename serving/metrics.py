"""What Prometheus may ask: counted here, told at /metrics."""

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one service, in a registry of its own: several may run in one process."""

    def __init__(self) -> None:
        self._all = CollectorRegistry()
        self._requests = Counter("darkroom_requests", "Answered requests.", ["route", "status"], registry=self._all)
        self._seconds = Histogram(
            "darkroom_request_seconds", "Time to the end of an answer.", ["route"], buckets=SECONDS, registry=self._all
        )
        self._images = Counter("darkroom_images", "Images drawn.", registry=self._all)
        self._batches = Histogram(
            "darkroom_batch_images", "Images drawn in one walk.", buckets=(1, 2, 4, 8, 16, 32, 64), registry=self._all
        )
        self._drawing = Counter("darkroom_drawing_seconds", "Time the device was drawing.", registry=self._all)

    def watch(self, name: str, what: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when it is told."""
        Gauge(name, what, registry=self._all).set_function(value)

    def versions(self, name: str, what: str, value: Callable[[], Mapping[str, str]]) -> None:
        """Which version each alias serves, as labels."""
        self._version = Gauge(name, what, ["alias", "version"], registry=self._all)
        self._of_alias = value

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request came to its end."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def drawn(self, images: int, seconds: float) -> None:
        """The engine drew a batch."""
        self._images.inc(images)
        self._batches.observe(images)
        self._drawing.inc(seconds)

    def text(self) -> bytes:
        """All of it, in Prometheus's format."""
        self._version.clear()
        for alias, version in self._of_alias().items():
            self._version.labels(alias, version).set(1)
        return generate_latest(self._all)
