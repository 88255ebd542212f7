"""Writes per second over time to a fresh snapshot, from the first one until nothing is unfinished."""
import contextlib
import csv
import json
import os
import subprocess
import time

from figure import Figure, Line
from firsts import fresh_qcow2
from job import MIB, fio_command, four_k

STEP_MS = 500           # a point
BURST_S = 8             # the guest writes everywhere …
WORK_S = 12             # … then in a part of the disk, so that the rest goes cold …
WORKING_SHARE = 16      # … in this one; then it rests
QUICK_S = 2             # of each
REST_S = 60             # for what is not filled by then, at most


@contextlib.contextmanager
def fresh_qcow2_plain(bench):
    with fresh_qcow2(bench, 'cluster_size=64k') as target:
        yield target


@contextlib.contextmanager
def fresh_bundle(bench):
    """Ours, as a bundle: `ploop info` is to tell how many of its clusters are unfinished."""
    descriptor = bench.disk.descriptor()
    bench.ploop('snapshot', descriptor)
    with bench.disk.ours(descriptor, '--no-wait') as target:
        target.unfinished = lambda: json.loads(bench.ploop('info', '-s', '--json', descriptor))['unfinished_clusters']
        yield target


def read_log(path):
    with open(path) as f:
        rows = [line.split(',') for line in f]
    os.unlink(path)
    return [(int(row[0]) / 1000, float(row[1])) for row in rows]


def guest(bench, target, where, seconds):
    """[(seconds of the wall clock, writes per second)] of one that writes at random"""
    log = os.path.join(bench.scratch, 'over-time')
    subprocess.run(fio_command(target, [*where, f'--write_iops_log={log}', f'--log_avg_msec={STEP_MS}',
                                        '--per_job_logs=0', '--log_unix_epoch=1'], seconds),
                   check=True, timeout=seconds + 60, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    return read_log(f'{log}_iops.log')


def filled_at(target):
    """When the last cluster became whole; None: not for a long time."""
    end = time.time() + REST_S
    while time.time() < end:
        if target.unfinished() == 0:
            return time.time()
        time.sleep(0.25)
    return None


def measure(bench, name, server):
    burst, work = (QUICK_S, QUICK_S) if bench.quick else (BURST_S, WORK_S)
    with server(bench) as target:
        runs = [guest(bench, target, four_k('randwrite', 32), burst)]
        target.fio_args = [a for a in target.fio_args if not a.startswith('--size')]
        where = [*four_k('randwrite', 32), f'--size={bench.disk_bytes // WORKING_SHARE // MIB * MIB}']
        runs.append(guest(bench, target, where, work))
        at = filled_at(target) if hasattr(target, 'unfinished') else None
    begin = runs[0][0][0] - STEP_MS / 1000
    return Line(name, [[(t - begin, rate / 1000) for t, rate in run] for run in runs],
                ((at - begin, 'all is filled'),) if at else ())


def save(path, lines, disk_bytes):
    title = f'4k random writes, 32 in flight, to a fresh snapshot over a full {disk_bytes >> 30} GiB base'
    figure = Figure(title, f'seconds since the first write; after {BURST_S} s in a sixteenth of the disk, then the guest rests',
                    'thousand writes a second', lines)
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, 'w') as f:
        f.write(figure.svg())
    with open(os.path.splitext(path)[0] + '.csv', 'w', newline='') as f:
        out = csv.writer(f, lineterminator='\n')
        out.writerow(['who', 'seconds', 'writes_per_second'])
        for line in lines:
            out.writerows([line.name, f'{x:.1f}', round(y * 1000)] for run in line.points for x, y in run)


def draw(bench, path):
    sides = {'qcow2, qemu-nbd': fresh_qcow2_plain,
             'qcow2 with extended_l2=on,cluster_size=128k, qemu-nbd': fresh_qcow2,
             'ours': fresh_bundle}
    lines = [measure(bench, name, server) for name, server in sides.items()]
    save(path, lines[::-1], bench.disk_bytes)
