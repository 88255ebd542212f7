"""How long a guest stands still while its disk gets a snapshot."""
import json
import os
import shutil
import time

import images
from foreground import foreground, now_ms
from job import MIB, TIB, Job, Sample, four_k, rank
from servers import Servers

SNAPSHOTS, QUICK_SNAPSHOTS = 100, 10
SETTLE_S = 0.5            # until the guest has its own copy of what it writes, and is as fast as before
WRITTEN_BYTES = 128 * MIB  # where the guest writes: each snapshot costs at most as much space again
# Not as fast as it goes: a queue that is always full would hide a pause behind its own length.
GUEST = [*four_k('randwrite', 8), '--rate_iops=4000', f'--size={WRITTEN_BYTES}']
HELD = 'pause the server reports, p99, ms'


def take(bench, disk, count):
    """[(begin, end, pause)], in ms, of so many snapshots in a row."""
    taken = []
    for _ in range(count):
        begin = now_ms()
        result = json.loads(bench.ploop('snapshot', '--json', disk.descriptor()))
        if not result['running']:
            raise RuntimeError('ploop snapshot did not find the running disk')
        taken.append((begin, now_ms(), result['pause_ns'] / 1e6))
        time.sleep(SETTLE_S)
    return taken


def notes(requests, taken):
    """What stands beside the figure, so that a reader can tell the snapshot from the machine and from the copying."""
    held = [pause_ms for _, _, pause_ms in taken]
    quiet = [requests.longest_gap_ms(begin - (end - begin), begin - 1) for begin, end, _ in taken]
    slowest = [max(requests.took_between(begin, end + 1)) for begin, end, _ in taken]
    return {HELD: rank(held, 0.99),
            'pause the server reports, longest, ms': max(held),
            'no request complete in as much time before the snapshot, p99, ms': rank(quiet, 0.99),
            'slowest request around a snapshot, median, ms': rank(slowest, 0.5),
            'slowest request around a snapshot, longest, ms': max(slowest),
            'requests of the whole run, p99.9, ms': rank(requests.took_ms, 0.999)}


def pause(bench, job):
    folder = os.path.join(bench.scratch, 'snapshots')
    os.mkdir(folder)
    try:
        path = os.path.join(folder, 'root.hds')
        images.mapped(path, TIB, WRITTEN_BYTES)
        disk = Servers(bench.ploop, folder, path, 0, TIB)
        with disk.ours_mounted() as target, foreground(folder, target, GUEST) as guest:
            taken = take(bench, disk, QUICK_SNAPSHOTS if bench.quick else SNAPSHOTS)
            requests = guest.stop()
        gaps = [requests.longest_gap_ms(begin, end) for begin, end, _ in taken]
        return Sample(rank(gaps, 0.99), notes=notes(requests, taken))
    finally:
        shutil.rmtree(folder)


JOBS = [
    Job('snapshot-pause', 'guest pause of a snapshot: mounted 1 TiB disk, 4k randwrite, p99 of 100 in a row', 'ms',
        {'ours': pause}, at_most={'figure': 10, HELD: 10}, most_rounds=3, root=True),
]
