"""A guest at work while something is done to its disk: fio in the background, and each of its requests in a log."""
import bisect
import contextlib
import os
import signal
import subprocess
import time

from job import fio_command

LEAD_S = 1.5   # fio needs some time to connect and to get up to its rate
LONGEST_S = 3600


class Requests:
    """What fio has logged: when each request was complete (in ms of the wall clock), and how long it took."""

    def __init__(self, path):
        self.done_ms, self.took_ms = [], []
        with open(path) as f:
            for done_ms, took_ns in sorted(tuple(map(int, line.split(',')[:2])) for line in f):
                self.done_ms.append(done_ms)
                self.took_ms.append(took_ns / 1e6)
        if not self.done_ms:
            raise RuntimeError('fio has logged no request')

    def took_between(self, begin_ms, end_ms):
        """How long the requests took that were complete in this time."""
        first, last = bisect.bisect_left(self.done_ms, begin_ms), bisect.bisect_right(self.done_ms, end_ms)
        if first == last:
            raise RuntimeError('no request of fio was complete while it was watched')
        return self.took_ms[first:last]

    def longest_gap_ms(self, begin_ms, end_ms):
        """The longest time in which nothing was complete, of those that touch this time."""
        first = max(0, bisect.bisect_left(self.done_ms, begin_ms) - 1)
        seen = self.done_ms[first:bisect.bisect_right(self.done_ms, end_ms) + 1]
        if len(seen) < 2:
            raise RuntimeError('fio was not at work while it was watched')
        return max(after - before for before, after in zip(seen, seen[1:]))


class Foreground:
    """Begins fio, lets it run until stop(), and gives its Requests."""

    def __init__(self, scratch, target, args):
        self.log = os.path.join(scratch, 'foreground')
        command = fio_command(target, args, LONGEST_S) + [f'--write_lat_log={self.log}', '--per_job_logs=0',
                                                         '--log_unix_epoch=1', '--disable_slat=1']
        self.fio = subprocess.Popen(command, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.PIPE)

    def lead(self):
        time.sleep(LEAD_S)
        if self.fio.poll() is not None:
            raise RuntimeError(f'fio: {self.fio.stderr.read().strip()}')

    def stop(self):
        """Interrupted, fio writes its logs; that is no failure, whatever it says."""
        self.fio.send_signal(signal.SIGINT)
        _, said = self.fio.communicate(timeout=60)
        try:
            return Requests(self.log + '_clat.log')
        except FileNotFoundError:
            raise RuntimeError(f'fio: {said.strip()}') from None

    def kill(self):
        """Asked to, for its workers would live on without it."""
        self.fio.terminate()
        self.fio.communicate(timeout=60)
        for kind in ('lat', 'clat', 'slat'):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(f'{self.log}_{kind}.log')


@contextlib.contextmanager
def foreground(scratch, target, args):
    guest = Foreground(scratch, target, args)
    try:
        guest.lead()
        yield guest
    finally:
        guest.kill()


def now_ms():
    return time.time() * 1000
