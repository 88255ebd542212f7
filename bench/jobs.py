"""What is measured: one row of the table per job."""
import os
import subprocess
import time

import clones
import costs
import depth
import firsts
import images
import many
import merges
import snapshots
from job import GIB, MIB, TIB, Job, Sample, bandwidth, four_k, iops, over
from servers import process, users_of, wait_for, Target


def copy(bench, job, target):
    """nbdcopy to nowhere; the raw side reads the same extents from the file with as much in flight."""
    begin = time.monotonic()
    if target.uri:
        subprocess.run(['nbdcopy', target.uri, 'null:'], check=True, timeout=300)
    else:
        subprocess.run(['fio', '--name=job', '--output-format=terse', '--rw=read', '--bs=256k', '--iodepth=64',
                        *target.fio_args], check=True, timeout=300, stdout=subprocess.DEVNULL)
    return Sample(bench.half_full.data_bytes / (time.monotonic() - begin))


def open_huge(bench, job):
    """From starting the server to its socket: a 16 TiB disk with every BAT entry taken, warm in tmpfs."""
    path = os.path.join('/dev/shm', f'ploop-bench-{os.getpid()}.hds')
    socket = bench.disk.socket('huge')
    try:
        images.full_bat(path, 16 * TIB)
        begin = time.monotonic()
        with process([bench.ploop.path, 'serve', path, '--socket', socket]):
            wait_for(lambda: os.path.exists(socket), 'ploop serve', 120)
            seconds = time.monotonic() - begin
            pss_bytes = Target([], users_of(path)).pss_bytes()
        return Sample(seconds, notes={'PSS, MiB': pss_bytes / MIB})
    finally:
        os.unlink(path)


def idle_memory(bench, job):
    """PSS of a server whose client has looked at the disk and gone."""
    path = os.path.join(bench.scratch, 'idle.hds')
    socket = bench.disk.socket('idle')
    images.mapped(path, 10 * GIB, 0)
    with process([bench.ploop.path, 'serve', path, '--socket', socket]):
        wait_for(lambda: os.path.exists(socket), 'ploop serve')
        subprocess.run(['nbdinfo', f'nbd+unix:///?socket={socket}'], check=True, stdout=subprocess.DEVNULL)
        time.sleep(1 if bench.quick else 5)
        return Sample(Target([], users_of(path)).pss_bytes() / MIB)


def nbd(measure, disk='disk'):
    """The three sides of most rows; disk: which attribute of the bench they serve."""
    return {'ours': over(lambda bench: getattr(bench, disk).ours(), measure),
            'raw': over(lambda bench: getattr(bench, disk).raw(), measure),
            'qemu-nbd': over(lambda bench: getattr(bench, disk).qemu(), measure)}


MOUNTED = {'ours': over(lambda bench: bench.disk.ours_mounted(), iops),
           'raw': over(lambda bench: bench.disk.raw_loop(), iops),
           'nbdfuse': over(lambda bench: bench.disk.nbdfuse_loop(), iops)}

JOBS = [
    Job('randread-qd32', '4k randread, 32 in flight', 'IOPS', nbd(iops), {'raw': 0.80, 'qemu-nbd': 1.25},
        fio=four_k('randread', 32)),
    Job('randread-qd1', '4k randread, 1 in flight', 'IOPS', nbd(iops), {'raw': 0.70, 'qemu-nbd': 1.3},
        fio=four_k('randread', 1)),
    Job('randwrite-qd32', '4k randwrite, 32 in flight', 'IOPS', nbd(iops), {'raw': 0.70, 'qemu-nbd': 1.25},
        fio=four_k('randwrite', 32)),
    Job('read-128k-qd8', '128k read, 8 in flight', 'MiB/s', nbd(bandwidth), {'qemu-nbd': 1.8},
        fio=['--rw=read', '--bs=128k', '--iodepth=8']),
    Job('write-128k-qd8', '128k write, 8 in flight', 'MiB/s', nbd(bandwidth), {'qemu-nbd': 2.5},
        fio=['--rw=write', '--bs=128k', '--iodepth=8']),
    Job('cpu-qd32', 'server CPU per 4k read, 32 in flight', 'IOPS', nbd(iops), at_most={'cpu': 0.7},
        fio=four_k('randread', 32), least_runtime_s=20),
    Job('nbdcopy', 'nbdcopy of a 2 GiB half-full disk to null:', 'MiB/s', nbd(copy, 'half_full'),
        {'raw': 0.9, 'qemu-nbd': 1.0}),
    Job('mount-randread-qd32', 'mounted (FUSE + loop): 4k randread, 32 in flight', 'IOPS', MOUNTED, {'nbdfuse': 3.0},
        fio=four_k('randread', 32), root=True),
    Job('mount-randwrite-qd32', 'mounted (FUSE + loop): 4k randwrite, 32 in flight', 'IOPS', MOUNTED, {'nbdfuse': 3.0},
        fio=four_k('randwrite', 32), root=True),
    Job('open-16t', 'open of a 16 TiB disk with a full BAT', 's', {'ours': open_huge}, at_most={'figure': 0.3}),
    Job('idle-pss', 'idle server of a 10 GiB disk', 'MiB', {'ours': idle_memory}, at_most={'figure': 12}),
    *firsts.JOBS, *costs.JOBS, *depth.JOBS, *snapshots.JOBS, *clones.JOBS, *merges.JOBS, *many.JOBS,
]
