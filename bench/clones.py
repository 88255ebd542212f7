"""What a linked clone costs: time, space, and waiting for the disk."""
import contextlib
import os
import shutil
import stat
import statistics
import subprocess
import time

from job import MIB, Job, Sample

SYNC_CALLS = 'fsync,fdatasync,sync,syncfs,msync'


def template(bench):
    """A sealed disk of 100 GiB with a fresh ext4, made once."""
    folder = os.path.join(bench.scratch, 'template')
    if not os.path.exists(folder):
        os.mkdir(folder)
        bench.ploop('init', '-s', '100G', '-t', 'ext4', os.path.join(folder, 'root.hds'))
        bench.ploop('clone', '--seal', folder)
        os.sync()  # what mkfs has written is not the clone's to wait for
    return folder


@contextlib.contextmanager
def clones(bench, count):
    """[(folder, seconds)]: clones of the template, made one after another."""
    source, parent = template(bench), os.path.join(bench.scratch, 'clones')
    os.mkdir(parent)
    try:
        made = []
        for number in range(count):
            target = os.path.join(parent, str(number))
            begin = time.monotonic()
            bench.ploop('clone', '--linked', source, target)
            made.append((target, time.monotonic() - begin))
        yield made
    finally:
        shutil.rmtree(parent)


def wall_ms(bench, job):
    with clones(bench, 5 if bench.quick else 50) as made:
        return Sample(1000 * statistics.median(seconds for _, seconds in made))


def thousand_s(bench, job):
    count = 20 if bench.quick else 1000
    with clones(bench, count) as made:
        return Sample(sum(seconds for _, seconds in made) * 1000 / count)


def owned_bytes(folder):
    """What would be free again without this folder: blocks of files that have no other name, and of the folder."""
    entries = [os.lstat(folder), *(os.lstat(entry.path) for entry in os.scandir(folder))]
    return sum(e.st_blocks * 512 for e in entries if stat.S_ISDIR(e.st_mode) or e.st_nlink == 1)


def space_mib(bench, job):
    with clones(bench, 1) as made:
        return Sample(owned_bytes(made[0][0]) / MIB)


def syncs(bench, job):
    """strace does not see what io_uring does, so the engine is left without it and falls back to system calls."""
    source, target = template(bench), os.path.join(bench.scratch, 'counted')
    trace = os.path.join(bench.scratch, 'trace')
    try:
        subprocess.run(['strace', '-f', '-o', trace, '-e', f'trace={SYNC_CALLS},io_uring_setup',
                        '-e', 'inject=io_uring_setup:error=EPERM',
                        bench.ploop.path, 'clone', '--linked', source, target], check=True, stdout=subprocess.DEVNULL)
        with open(trace) as f:
            return Sample(sum('sync(' in line or 'syncfs(' in line for line in f))
    finally:
        shutil.rmtree(target, ignore_errors=True)


JOBS = [
    Job('clone', 'linked clone of a 100 GiB ext4 template, median of 50', 'ms', {'ours': wall_ms},
        at_most={'figure': 20}),
    Job('clone-space', 'what a linked clone takes on disk', 'MiB', {'ours': space_mib}, at_most={'figure': 2},
        most_rounds=1),
    Job('clone-syncs', 'fsync and fdatasync of a linked clone', 'calls', {'ours': syncs}, at_most={'figure': 4},
        most_rounds=1, tools=('strace',)),
    Job('clone-1000', '1000 linked clones, one after another', 's', {'ours': thousand_s}, at_most={'figure': 20},
        most_rounds=3),
]
