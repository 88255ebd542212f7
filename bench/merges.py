"""How fast a snapshot is merged into its parent, and what the guest notices of it."""
import contextlib
import os
import re
import subprocess
import time

import images
from foreground import foreground, now_ms
from job import GIB, MIB, Job, Sample, four_k, rank
from servers import Servers

PARENT_TO_CHILD = 3  # of a child that hid most of its parent, less would be moved than the child holds


def child_bytes(bench):
    return GIB // 4 if bench.quick else 2 * GIB


def guest(bench):
    """It writes what the child holds, and leaves the disk some time: a queue that is always full waits for itself, with
    a merge or without."""
    return [*four_k('randwrite', 16), '--rate_iops=2000', f'--size={child_bytes(bench)}']


def images_of(descriptor):
    with open(descriptor) as f:
        return re.findall('<File>(.*?)</File>', f.read())


def pair(bench):
    """A full parent and a child with some clusters, on the disk and out of memory. As Servers, whose image is the
    child. The parent is made once; a child that was merged is made again."""
    folder, size_bytes = os.path.join(bench.scratch, 'merge'), PARENT_TO_CHILD * child_bytes(bench)
    base = os.path.join(folder, 'root.hds')
    if not os.path.exists(folder):
        os.mkdir(folder)
        images.mapped(base, size_bytes)
    descriptor = Servers(bench.ploop, folder, base, 0, size_bytes).descriptor()
    if len(images_of(descriptor)) == 1:
        bench.ploop('snapshot', descriptor)
        child = next(name for name in images_of(descriptor) if name != 'root.hds')
        images.mapped(os.path.join(folder, child), size_bytes, child_bytes(bench))
    child = next(os.path.join(folder, name) for name in images_of(descriptor) if name != 'root.hds')
    images.evict(base)
    images.evict(child)
    return Servers(bench.ploop, folder, child, 0, size_bytes)


def merge(bench, disk):
    """Bytes per second. The child must have been moved: the other way round would be another question."""
    base = os.path.join(disk.scratch, 'root.hds')
    before, begin = os.stat(base).st_ino, time.monotonic()
    bench.ploop('snapshot-merge', disk.descriptor())
    seconds = time.monotonic() - begin
    if os.stat(base).st_ino != before or images_of(disk.descriptor()) != ['root.hds']:
        raise RuntimeError('the child was not merged into its parent')
    return child_bytes(bench) / seconds


def offline(bench, job):
    return Sample(merge(bench, pair(bench)))


def online_idle(bench, job):
    """The disk is served, and nobody is connected."""
    disk = pair(bench)
    with disk.ours(disk.descriptor()):
        return Sample(merge(bench, disk))


def copied(*commands):
    """The side that moves as many bytes with these commands, from {child} to {base} or to {new}, no file yet."""
    def side(bench, job):
        disk = pair(bench)
        names = {'child': disk.image, 'base': os.path.join(disk.scratch, 'root.hds'),
                 'new': os.path.join(disk.scratch, 'new')}
        begin = time.monotonic()
        for command in commands:
            subprocess.run([word.format(**names) for word in command], check=True, stderr=subprocess.DEVNULL)
        seconds = time.monotonic() - begin
        with contextlib.suppress(FileNotFoundError):
            os.unlink(names['new'])
        return Sample(child_bytes(bench) / seconds)
    return side


def latency(bench, during):
    """p99 of the guest's requests, in ms, while during(disk) is at work."""
    disk = pair(bench)
    with disk.ours(disk.descriptor()) as target, foreground(disk.scratch, target, guest(bench)) as running:
        begin = now_ms()
        notes = during(disk)
        end = now_ms()
        return Sample(rank(running.stop().took_between(begin, end), 0.99), notes=notes or {})


def latency_merging(bench, job):
    return latency(bench, lambda disk: {'merge beside the guest, MiB/s': merge(bench, disk) / MIB})


def latency_alone(bench, job):
    return latency(bench, lambda disk: time.sleep(bench.runtime_s))


# The headers and BATs are the first MiB of both images: the parent stays a disk.
CP = copied(['cp', '--reflink=never', '--sparse=never', '{child}', '{new}'], ['sync', '{new}'])
OVERWRITE = copied(['dd', 'if={child}', 'of={base}', 'bs=1M', 'skip=1', 'seek=1', 'conv=notrunc,fsync'])

JOBS = [
    Job('merge-offline', 'merge of a 2 GiB child into its full parent, stopped disk', 'MiB/s',
        {'ours': offline, 'cp + sync': CP, 'dd over the parent': OVERWRITE}, {'cp + sync': 0.8},
        beside={'ours / dd conv=notrunc,fsync over the parent': ('ours', 'dd over the parent')}),
    Job('merge-idle', 'the same of a served disk that nobody uses', 'MiB/s', {'ours': online_idle, 'stopped': offline},
        {'stopped': 0.5}),
    Job('merge-latency', '4k randwrite of the guest while its disk is merged, p99', 'ms',
        {'ours': latency_merging, 'no merge': latency_alone}, at_most={'no merge': 2.0}),
]
