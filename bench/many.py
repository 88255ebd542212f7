"""What a hundred mounted disks cost, how long one takes to come and go, and how well limits hold."""
import contextlib
import glob
import json
import os
import shutil
import statistics
import subprocess
import time

from job import KIB, MIB, Job, Sample, fio_command
from servers import Target

DISKS, QUICK_DISKS = 100, 10
LIMIT_BYTES, LIMIT_REQUESTS, LIMIT_S = 20 * MIB, 300, 10


def servers():
    """Processes of ours: servers, holders and keepers."""
    pids = set()
    for comm in glob.glob('/proc/[0-9]*/comm'):
        with contextlib.suppress(OSError), open(comm) as f:
            if f.read().startswith('ploop-'):
                pids.add(int(comm.split('/')[2]))
    return pids


class Mounted:
    """Disks of 64 MiB with an ext4, mounted one after another; how long each took, and the processes behind them."""

    def __init__(self, bench, count):
        self.bench = bench
        self.folder = os.path.join(bench.scratch, 'many')
        self.count = count
        self.mount_ms, self.umount_ms = [], []

    def disk(self, number):
        return os.path.join(self.folder, f'disk-{number}')

    def make(self):
        first = self.disk(0)
        os.makedirs(first)
        self.bench.ploop('init', '-s', '64M', '-t', 'ext4', os.path.join(first, 'root.hds'))
        for number in range(self.count):
            if number:
                shutil.copytree(first, self.disk(number))
            os.mkdir(self.mount_point(number))

    def mount_point(self, number):
        return self.disk(number) + '.mnt'

    def mount(self, number):
        begin = time.monotonic()
        self.bench.ploop('mount', '-m', self.mount_point(number), self.disk(number))
        with open(os.path.join(self.mount_point(number), 'file'), 'w') as f:
            f.write('usable')
        self.mount_ms.append(1000 * (time.monotonic() - begin))

    def umount(self, number):
        begin = time.monotonic()
        self.bench.ploop('umount', self.disk(number))
        self.umount_ms.append(1000 * (time.monotonic() - begin))

    def __enter__(self):
        self.make()
        before = servers()
        for number in range(self.count):
            self.mount(number)
        self.pids = servers() - before
        return self

    def usable(self):
        """Each still has what was written, and takes more."""
        for number in range(self.count):
            path = os.path.join(self.mount_point(number), 'file')
            with open(path, 'r+') as f:
                if f.read() != 'usable':
                    raise RuntimeError(f'{path}: not what was written')
                os.fsync(f.fileno())

    def __exit__(self, *exc):
        for number in range(len(self.mount_ms)):
            self.umount(number)
        shutil.rmtree(self.folder)


def come_and_go(bench, job):
    with Mounted(bench, QUICK_DISKS if bench.quick else DISKS) as disks:
        begin = time.monotonic()
        disks.usable()
        sync_s = time.monotonic() - begin
        listed = [list_ms(bench) for _ in range(5)]
        pss_mib = Target([], disks.pids).pss_bytes() / MIB / disks.count
    return Sample(statistics.median(disks.mount_ms),
                  notes={'umount, median, ms': statistics.median(disks.umount_ms),
                         'PSS of a disk, all its processes, MiB': pss_mib,
                         'ploop list of all, ms': statistics.median(listed),
                         'fsync of a file on each, one after another, s': sync_s})


def list_ms(bench):
    begin = time.monotonic()
    bench.ploop('list')
    return 1000 * (time.monotonic() - begin)


def rate(target, rw, block, runtime_s):
    """(bytes, requests) a second, reads and writes together."""
    done = subprocess.run(fio_command(target, [f'--rw={rw}', f'--bs={block}', '--iodepth=16'], runtime_s),
                          capture_output=True, text=True, timeout=runtime_s + 60, stdin=subprocess.DEVNULL, check=True)
    result = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    sides = [side for side in (result['read'], result['write']) if side['runtime']]
    return (sum(side['io_bytes'] / side['runtime'] * 1000 for side in sides),
            sum(side['total_ios'] / side['runtime'] * 1000 for side in sides))


def limits(bench, job):
    """How far the worst of reads, writes and mixes is off the limit, in per cent."""
    runtime_s = 2 if bench.quick else LIMIT_S
    descriptor = bench.disk.descriptor()
    off = {}
    try:
        with bench.disk.ours(descriptor) as target:
            bench.ploop('set', '--iolimit', '0', '--iopslimit', str(LIMIT_REQUESTS), descriptor)
            for rw in ('randread', 'randwrite', 'randrw'):
                off[f'{rw} 4k'] = rate(target, rw, 4 * KIB, runtime_s)[1] / LIMIT_REQUESTS - 1
            bench.ploop('set', '--iolimit', str(LIMIT_BYTES // 512), '--iopslimit', '0', descriptor)
            for rw in ('read', 'write', 'rw'):
                off[f'{rw} 128k'] = rate(target, rw, 128 * KIB, runtime_s)[0] / LIMIT_BYTES - 1
    finally:
        bench.ploop('set', '--iolimit', '0', '--iopslimit', '0', descriptor)
    return Sample(100 * max(abs(value) for value in off.values()),
                  notes={f'{what}, % off': 100 * value for what, value in off.items()})


JOBS = [
    Job('mount-100', 'mount of a disk until a file on its ext4 is written, median of 100 that stay mounted', 'ms',
        {'ours': come_and_go},
        at_most={'figure': 150, 'umount, median, ms': 150, 'PSS of a disk, all its processes, MiB': 8,
                 'ploop list of all, ms': 100},
        most_rounds=3, root=True),
    Job('limits', f'the worst of reads, writes, mixes over {LIMIT_S} s, off limits of 20 MiB/s and 300 requests/s', '%',
        {'ours': limits}, at_most={'figure': 5}, most_rounds=1),
]
