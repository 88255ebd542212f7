"""How fast a snapshot is merged into its parent, and what the guest notices of it."""
import contextlib
import os
import re
import shutil
import subprocess
import time

import images
from foreground import foreground, now_ms
from job import GIB, MIB, Job, Sample, four_k, rank
from servers import Servers

# A guest with work to do that leaves the disk some time: what a full queue waits for is its own length, not the merge.
GUEST = [*four_k('randwrite', 16), '--rate_iops=2000']


def merged_bytes(bench):
    return GIB // 4 if bench.quick else 2 * GIB


@contextlib.contextmanager
def pair(bench):
    """A disk of two images in both of which every cluster is mapped, on the disk and out of memory. As Servers, whose
    image is the child."""
    folder, size_bytes = os.path.join(bench.scratch, 'merge'), merged_bytes(bench)
    os.mkdir(folder)
    try:
        base = os.path.join(folder, 'root.hds')
        images.mapped(base, size_bytes)
        descriptor = Servers(bench.ploop, folder, base, 0, size_bytes).descriptor()
        bench.ploop('snapshot', descriptor)
        with open(descriptor) as f:
            child = next(name for name in re.findall('<File>(.*?)</File>', f.read()) if name != 'root.hds')
        child = os.path.join(folder, child)
        images.mapped(child, size_bytes)
        yield Servers(bench.ploop, folder, child, 0, size_bytes)
    finally:
        shutil.rmtree(folder)


def merge_s(bench, disk):
    begin = time.monotonic()
    bench.ploop('snapshot-merge', disk.descriptor())
    return time.monotonic() - begin


def offline(bench, job):
    with pair(bench) as disk:
        return Sample(disk.data_bytes / merge_s(bench, disk))


def online_idle(bench, job):
    """The disk is served, and nobody is connected."""
    with pair(bench) as disk, disk.ours(disk.descriptor()):
        return Sample(disk.data_bytes / merge_s(bench, disk))


def copied(command):
    """The side that moves as many bytes with this command; {child} and {base} are the images, {new} is no file yet."""
    def side(bench, job):
        with pair(bench) as disk:
            names = {'child': disk.image, 'base': os.path.join(disk.scratch, 'root.hds'),
                     'new': os.path.join(disk.scratch, 'new')}
            begin = time.monotonic()
            for words in command:
                subprocess.run([word.format(**names) for word in words], check=True, stderr=subprocess.DEVNULL)
            return Sample(disk.data_bytes / (time.monotonic() - begin))
    return side


def latency(bench, during):
    """p99 of the guest's requests, in ms, while during(disk) is at work."""
    with pair(bench) as disk, disk.ours(disk.descriptor()) as target, \
            foreground(disk.scratch, target, GUEST) as guest:
        begin = now_ms()
        during(disk)
        end = now_ms()
        return Sample(rank(guest.stop().took_between(begin, end), 0.99))


def latency_merging(bench, job):
    def merge(disk):
        bench.note('merge-latency: speed of the merge beside the guest, MiB/s',
                   disk.data_bytes / merge_s(bench, disk) / MIB)
    return latency(bench, merge)


def latency_alone(bench, job):
    return latency(bench, lambda disk: time.sleep(bench.runtime_s))


CP = copied([['cp', '--reflink=never', '--sparse=never', '{child}', '{new}'], ['sync', '{new}']])
OVERWRITE = copied([['dd', 'if={child}', 'of={base}', 'bs=1M', 'conv=notrunc,fsync']])

JOBS = [
    Job('merge-offline', 'merge of a full 2 GiB image into its full parent, stopped disk', 'MiB/s',
        {'ours': offline, 'cp + sync': CP, 'dd over the parent': OVERWRITE}, {'cp + sync': 0.8},
        beside={'merge-offline: ours / dd conv=notrunc,fsync over the parent': ('ours', 'dd over the parent')}),
    Job('merge-idle', 'the same of a served disk that nobody uses', 'MiB/s', {'ours': online_idle, 'stopped': offline},
        {'stopped': 0.5}),
    Job('merge-latency', '4k randwrite of the guest while its disk is merged, p99', 'ms',
        {'ours': latency_merging, 'no merge': latency_alone}, at_most={'no merge': 2.0}),
]
