"""What is measured: one function or row per line of the table."""
import json
import os
import subprocess
import time
from dataclasses import dataclass, field

import images
from servers import process, users_of, wait_for, Target

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


@dataclass
class Sample:
    rate: float                  # operations (or, for copies, bytes) per second; seconds or bytes for the others
    cpu_us: float | None = None  # server CPU per operation


@dataclass
class Job:
    name: str
    title: str
    unit: str                    # IOPS, MiB/s, s, MiB
    at_least: dict               # peer (or 'cpu') -> bound on the ratio; 'max' -> bound on the figure itself
    sides: dict = field(default_factory=dict)  # name -> name of the server; 'ours' and 'raw' first
    fio: list = field(default_factory=list)
    least_runtime_s: int = 0
    run: object = None           # instead of fio: function(bench, target) -> Sample


def fio_sample(target, args, runtime_s):
    """One fio run. A run that hangs is an error, not a wait."""
    command = ['fio', '--name=job', '--output-format=json', '--time_based', f'--runtime={runtime_s}', '--randrepeat=0',
               '--norandommap', '--group_reporting', *target.fio_args, *args]
    before = target.cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, timeout=runtime_s + 60, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        raise RuntimeError(f'fio: {done.stderr.strip() or done.stdout[-500:]}')
    cpu_s = target.cpu_s() - before
    result = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
    side = result['read'] if result['read']['total_ios'] else result['write']
    return side, (cpu_s * 1e6 / side['total_ios'] if target.pids else None)


def iops(bench, job, target):
    side, cpu_us = fio_sample(target, job.fio, max(bench.runtime_s, job.least_runtime_s if not bench.quick else 0))
    return Sample(side['iops'], cpu_us)


def bandwidth(bench, job, target):
    side, cpu_us = fio_sample(target, job.fio, bench.runtime_s)
    return Sample(side['bw_bytes'], cpu_us)


def copy(bench, job, target):
    """nbdcopy to nowhere; the raw side reads the same extents from the file with as much in flight."""
    begin = time.monotonic()
    if target.uri:
        subprocess.run(['nbdcopy', target.uri, 'null:'], check=True, timeout=300)
    else:
        subprocess.run(['fio', '--name=job', '--output-format=terse', '--rw=read', '--bs=256k', '--iodepth=64',
                        *target.fio_args], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return Sample(bench.copy_bytes / (time.monotonic() - begin))


def open_huge(bench, job, target):
    """From starting the server to its socket: a 16 TiB disk with every BAT entry taken, warm in tmpfs."""
    path = os.path.join('/dev/shm', f'ploop-bench-{os.getpid()}.hds')
    socket = bench.servers.socket('huge')
    try:
        images.full_bat(path, 16 * TIB)
        begin = time.monotonic()
        with process([bench.servers.ploop, 'serve', path, '--socket', socket]):
            wait_for(lambda: os.path.exists(socket), 'ploop serve', 120)
            seconds = time.monotonic() - begin
            bench.extra['open-16t PSS, MiB'] = Target([], users_of(path)).pss_bytes() / MIB
        return Sample(seconds)
    finally:
        os.unlink(path)


def idle_memory(bench, job, target):
    """PSS of a server whose client has looked at the disk and gone."""
    path = os.path.join(bench.scratch, 'idle.hds')
    socket = bench.servers.socket('idle')
    images.mapped(path, 10 * GIB, 0)
    with process([bench.servers.ploop, 'serve', path, '--socket', socket]):
        wait_for(lambda: os.path.exists(socket), 'ploop serve')
        subprocess.run(['nbdinfo', f'nbd+unix:///?socket={socket}'], check=True, stdout=subprocess.DEVNULL)
        time.sleep(1 if bench.quick else 5)
        return Sample(Target([], users_of(path)).pss_bytes() / MIB)


NBD = {'ours': 'ours', 'raw': 'raw', 'qemu-nbd': 'qemu'}
MOUNTED = {'ours': 'ours_mounted', 'raw': 'raw_loop', 'nbdfuse': 'nbdfuse_loop'}
ALONE = {'ours': None}


def four_k(rw, depth):
    return [f'--rw={rw}', '--bs=4k', f'--iodepth={depth}']


JOBS = [
    Job('randread-qd32', '4k randread, 32 in flight', 'IOPS', {'raw': 0.80, 'qemu-nbd': 1.25}, NBD, four_k('randread', 32),
        run=iops),
    Job('randread-qd1', '4k randread, 1 in flight', 'IOPS', {'raw': 0.70, 'qemu-nbd': 1.3}, NBD, four_k('randread', 1),
        run=iops),
    Job('randwrite-qd32', '4k randwrite, 32 in flight', 'IOPS', {'raw': 0.70, 'qemu-nbd': 1.25}, NBD,
        four_k('randwrite', 32), run=iops),
    Job('read-128k-qd8', '128k read, 8 in flight', 'MiB/s', {'qemu-nbd': 1.8}, NBD,
        ['--rw=read', '--bs=128k', '--iodepth=8'], run=bandwidth),
    Job('write-128k-qd8', '128k write, 8 in flight', 'MiB/s', {'qemu-nbd': 2.5}, NBD,
        ['--rw=write', '--bs=128k', '--iodepth=8'], run=bandwidth),
    Job('cpu-qd32', 'server CPU per 4k read, 32 in flight', 'IOPS', {'cpu': 0.7}, NBD, four_k('randread', 32), 20, iops),
    Job('nbdcopy', 'nbdcopy of a 2 GiB half-full disk to null:', 'MiB/s', {'raw': 0.9, 'qemu-nbd': 1.0}, NBD, run=copy),
    Job('mount-randread-qd32', 'mounted (FUSE + loop): 4k randread, 32 in flight', 'IOPS', {'nbdfuse': 3.0}, MOUNTED,
        four_k('randread', 32), run=iops),
    Job('mount-randwrite-qd32', 'mounted (FUSE + loop): 4k randwrite, 32 in flight', 'IOPS', {'nbdfuse': 3.0}, MOUNTED,
        four_k('randwrite', 32), run=iops),
    Job('open-16t', 'open of a 16 TiB disk with a full BAT', 's', {'max': 0.3}, ALONE, run=open_huge),
    Job('idle-pss', 'idle server of a 10 GiB disk', 'MiB', {'max': 12}, ALONE, run=idle_memory),
]
