"""Show a bar, each result, and a warning if other programs interfere."""

import sys

import psutil
from tqdm import tqdm

#: Share of the machine's time. Beyond it, threads that synchronise wait up to ten times as long.
_DISTURBING = 0.1


class Progress:
    """A progress bar with a line for each measurement; a context manager."""

    def __init__(self, total: int):
        self._bar = tqdm(total=total, unit="measurement", file=sys.stderr)
        self._others = OthersShare()
        #: Largest share of the machine's time that other programs took during one measurement.
        self.disturbance = 0.0

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.close()

    def begin(self, what: str) -> None:
        """Announce the next measurement."""
        self._bar.set_description(what)

    def done(self, line: str) -> None:
        """Print a result, with a warning if it was disturbed."""
        share = self._others.since_last()
        self.disturbance = max(self.disturbance, share)
        self._bar.write(line + disturbed(share), file=sys.stderr)
        self._bar.update()


def disturbed(share: float) -> str:
    """Warn if other programs took too much of the machine's time."""
    if share < _DISTURBING:
        return ""
    return f"  ! other programs took {share:.0%} of the machine: times are too long, above all generation's"


class OthersShare:
    """Measures the share of the machine's time that other programs take."""

    def __init__(self):
        self._process = psutil.Process()
        self._before = self._now()

    def since_last(self) -> float:
        """Share since the last call."""
        before, self._before = self._before, self._now()
        whole, busy, own = (after - earlier for earlier, after in zip(before, self._before, strict=True))
        return max(0.0, (busy - own) / whole) if whole > 0 else 0.0

    def _now(self) -> tuple[float, float, float]:
        """Seconds of all cores: total, busy, and busy with this program."""
        times = psutil.cpu_times()
        whole = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        busy = whole - times.idle - getattr(times, "iowait", 0.0)
        own = self._process.cpu_times()
        return whole, busy, own.user + own.system + sum(map(_seconds, self._process.children(recursive=True)))


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system
