"""First writes: to clusters that only an image below has, and to clusters that no image has."""
import contextlib
import json
import os
import subprocess
import time

import images
from foreground import foreground, now_ms
from job import MIB, Job, Sample, four_k, rank
from servers import Servers

WRITES = 200_000
QUICK_WRITES = 5_000
QCOW2 = 'qcow2 of qemu-nbd'
HOT_BYTES = 64 * MIB  # where the guest works while the rest is filled


def written_by(pids):
    """Bytes that these processes have sent to the disk."""
    total = 0
    for pid in pids:
        with open(f'/proc/{pid}/io') as f:
            total += next(int(line.split()[1]) for line in f if line.startswith('write_bytes:'))
    return total


def burst_command(target, args, writes):
    return ['fio', '--name=job', '--output-format=json', '--randrepeat=0', '--norandommap', '--end_fsync=1',
            f'--number_ios={writes}', *target.fio_args, *args]


def burst(bench, target, args, writes=None):
    """So many writes, and a flush: writes per second, the flush included, and the bytes that the host has written for
    each byte of the guest."""
    writes = writes or (QUICK_WRITES if bench.quick else WRITES)
    before = written_by(target.pids)
    done = subprocess.run(burst_command(target, args, writes), capture_output=True, text=True, timeout=600,
                          stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f'fio: {done.stderr.strip() or done.stdout[-500:]}')
    job = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    return job['write']['total_ios'] / (job['job_runtime'] / 1000), (written_by(target.pids) - before) / (writes * 4096)


@contextlib.contextmanager
def fresh(bench):
    """Ours, over the full disk; what is partial at the end stays so, and is thrown away."""
    folder = os.path.join(bench.scratch, 'fresh')
    os.makedirs(folder, exist_ok=True)
    top = os.path.join(folder, 'top.hds')
    images.mapped(top, bench.disk_bytes, 0)
    servers = Servers(bench.ploop, folder, top, 0, bench.disk_bytes)
    with servers.ours('--no-wait', bench.disk.image, top) as target:
        yield target
    os.unlink(top)


@contextlib.contextmanager
def fresh_qcow2(bench, options='extended_l2=on,cluster_size=128k'):
    folder = os.path.join(bench.scratch, 'fresh-qcow2')
    os.makedirs(folder, exist_ok=True)
    top = os.path.join(folder, 'top')
    subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', options, '-b', bench.disk.image, '-F',
                    'parallels', top], check=True)
    with Servers(bench.ploop, folder, top, 0, bench.disk_bytes).qemu('qcow2') as target:
        yield target
    os.unlink(top)


@contextlib.contextmanager
def empty(bench, serve):
    folder = os.path.join(bench.scratch, 'empty')
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, 'empty.hds')
    images.mapped(path, bench.disk_bytes, 0)
    with serve(Servers(bench.ploop, folder, path, 0, bench.disk_bytes)) as target:
        yield target
    os.unlink(path)


def writes(server, *args, amount=None):
    def side(bench, job):
        with server(bench) as target:
            rate, amplification = burst(bench, target, [*four_k('randwrite', 32), *args], amount)
            return Sample(rate, notes={'bytes written per byte of the guest': amplification})
    return side


def bare(measure):
    """Without notes: those are ours."""
    def side(bench, job):
        return Sample(measure(bench, job).rate)
    return side


def reads_after(bench, job):
    with fresh(bench) as target:
        burst(bench, target, four_k('randwrite', 32))
        return Sample(read_rate(bench, target))


def read_rate(bench, target):
    done = subprocess.run(['fio', '--name=job', '--output-format=json', '--randrepeat=0', '--norandommap', '--time_based',
                           f'--runtime={min(bench.runtime_s, 4)}', *target.fio_args, *four_k('randread', 32)],
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, check=True)
    return json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]['read']['iops']


def reads_plain(bench, job):
    with bench.disk.ours() as target:
        return Sample(read_rate(bench, target))


def synced(server):
    def side(bench, job):
        with server(bench) as target:
            amount = 500 if bench.quick else 5_000
            return Sample(burst(bench, target, ['--rw=randwrite', '--bs=4k', '--iodepth=1', '--fsync=1'], amount)[0])
    return side


def guest_p99(bench, target):
    """Of a guest that writes at a rate which leaves the disk time, in the last part of the disk."""
    where = [*four_k('randwrite', 8), '--rate_iops=2000', f'--offset={bench.disk_bytes - HOT_BYTES}']
    target.fio_args = [a for a in target.fio_args if not a.startswith('--size')] + [f'--size={HOT_BYTES}']
    with foreground(bench.scratch, target, where) as guest:
        time.sleep(1 if bench.quick else 6)  # until what is not written counts as cold
        begin = now_ms()
        time.sleep(2 if bench.quick else 6)
        end = now_ms()
        return rank(guest.stop().took_between(begin, end), 0.99)


def latency_filling(bench, job):
    with fresh(bench) as target:
        burst(bench, target, [*four_k('randwrite', 32)], 20_000)
        return Sample(guest_p99(bench, target))


def latency_plain(bench, job):
    with bench.disk.ours() as target:
        return Sample(guest_p99(bench, target))


def ours_mapped(bench):
    return bench.disk.ours()


JOBS = [
    Job('first-write', '4k randwrite, 32 in flight, and a flush, over a full base', 'IOPS',
        {'ours': writes(fresh), 'mapped': bare(writes(ours_mapped)), QCOW2: bare(writes(fresh_qcow2))},
        {'mapped': 0.7, QCOW2: 2.0}, {'bytes written per byte of the guest': 1.5}, most_rounds=5),
    Job('first-write-flush', 'the same, a flush every 32 writes', 'IOPS',
        {'ours': writes(fresh, '--fsync=32', amount=20_000),
         QCOW2: bare(writes(fresh_qcow2, '--fsync=32', amount=20_000))}, {QCOW2: 2.0}, most_rounds=5),
    Job('first-write-read', '4k randread, 32 in flight, right after it', 'IOPS',
        {'ours': reads_after, 'plain': reads_plain}, {'plain': 0.85}, most_rounds=5),
    Job('empty-write', '4k randwrite, 32 in flight, and a flush, to an empty disk', 'IOPS',
        {'ours': bare(writes(lambda bench: empty(bench, lambda s: s.ours()))), 'mapped': bare(writes(ours_mapped))},
        {'mapped': 0.7}, most_rounds=5),
    Job('empty-fsync', '4k randwrite, each with fsync, to an empty disk', 'IOPS',
        {'ours': synced(lambda bench: empty(bench, lambda s: s.ours())),
         'qemu-nbd': synced(lambda bench: empty(bench, lambda s: s.qemu()))}, {'qemu-nbd': 2.0}, most_rounds=5),
    Job('fill-latency', 'p99 of a guest while partial clusters are filled', 'ms',
        {'ours': latency_filling, 'plain': latency_plain}, at_most={'plain': 1.5}, most_rounds=3),
]
