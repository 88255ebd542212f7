#!/usr/bin/env python3
"""The figures: ours, the raw file and the peer take turns on the same image file, round after round."""
import argparse
import functools
import json
import os
import platform
import shutil
import signal
import sys
import tempfile

sys.dont_write_bytecode = True

import images
import over_time
from job import GIB, fio_sample, four_k
from jobs import JOBS
from report import Row, markdown
from servers import Ploop, Servers


PEERS = ('qemu-nbd', 'nbdfuse', 'qcow2 of depth 1')  # sides that qemu-nbd serves


class Bench:
    def __init__(self, args, scratch):
        self.scratch = scratch
        self.quick = args.quick
        self.runtime_s = args.runtime or (2 if args.quick else 8)
        self.rounds = args.rounds or (1 if args.quick else None)
        self.disk_bytes = (args.size or (1 if args.quick else 4)) * GIB
        build = os.environ.get('BUILD', os.path.join(os.path.dirname(__file__), '../build/release'))
        self.ploop = Ploop(os.path.abspath(build))

    def make(self, name, size_bytes, mapped_bytes):
        folder = os.path.join(self.scratch, name)
        os.mkdir(folder)
        path = os.path.join(folder, 'root.hds')
        return Servers(self.ploop, folder, path, images.mapped(path, size_bytes, mapped_bytes), mapped_bytes)

    @functools.cached_property
    def disk(self):
        """The disk of most rows, with all clusters mapped."""
        return self.make('disk', self.disk_bytes, self.disk_bytes)

    @functools.cached_property
    def half_full(self):
        return self.make('copy', 2 * GIB, 1 * GIB)

    def choose_qemu_aio(self):
        """The peer gets the setting that suits it best here."""
        best = {}
        for aio in ('io_uring', 'native'):
            Servers.qemu_aio = aio
            try:
                with self.disk.qemu() as target:
                    best[aio] = fio_sample(target, four_k('randread', 32), 2)[0]['iops']
            except (RuntimeError, OSError):
                continue
        Servers.qemu_aio = max(best, key=best.get)

    def round(self, job, number):
        """One run of every side. The order turns with the round; raw runs twice, as far apart as it goes."""
        sides = list(job.sides)
        turn = number % len(sides)
        order = sides[turn:] + sides[:turn] + (['raw again'] if 'raw' in sides else [])
        result = {}
        for side in order:
            result[side] = job.sides['raw' if side == 'raw again' else side](self, job)
        return result

    def measure(self, job):
        rounds = []
        count = self.rounds or min(7, job.most_rounds)
        for number in range(count):
            print(f'{job.name}: round {number + 1} of {count}', file=sys.stderr)
            rounds.append(self.round(job, number))
        return Row(job, rounds)


def machine():
    return (f'{os.cpu_count()} CPUs, Linux {platform.release()}; median of paired ratios (lowest…highest round); '
            f'each round runs every side')


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--quick', action='store_true', help='one short round: shows that it works, not how fast')
    p.add_argument('--job', action='append', metavar='NAME', choices=[job.name for job in JOBS])
    p.add_argument('--rounds', type=int)
    p.add_argument('--runtime', type=int, metavar='SECONDS', help='of each fio run')
    p.add_argument('--size', type=int, metavar='GIB', help='of the disk (default 4)')
    p.add_argument('--dir', default='/var/tmp', help='where the image files go: the disk that is measured')
    p.add_argument('--json', metavar='FILE', help='every sample')
    p.add_argument('--over-time', metavar='FILE.svg',
                   help='instead of the table: first writes per second over time, as a figure and a .csv beside it')
    p.add_argument('--list', action='store_true')
    return p.parse_args()


def possible(jobs):
    """Those that can be measured here and by us."""
    for job in jobs:
        tools = [tool for tool in job.tools if not shutil.which(tool)]
        lacks = 'root' if job.root and os.geteuid() != 0 else ', '.join(tools)
        if lacks:
            print(f'{job.name} is left out: it needs {lacks}', file=sys.stderr)
        else:
            yield job


def end_in_order(_signal, _frame):
    """What is mounted is unmounted, and the files go."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit('ended by a signal')


def main():
    args = arguments()
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, end_in_order)
    if args.list:
        for job in JOBS:
            print(f'{job.name:22}{job.title}')
        return 0
    chosen = [job for job in JOBS if not args.job or job.name in args.job]
    missing = [tool for tool in ('fio', 'qemu-nbd', 'nbdcopy', 'nbdinfo', 'nbdfuse') if not shutil.which(tool)]
    if missing:
        sys.exit(f'{", ".join(missing)}: not installed; make deps')
    chosen = list(possible(chosen))
    with tempfile.TemporaryDirectory(prefix='ploop-bench-', dir=args.dir) as scratch:
        bench = Bench(args, scratch)
        if not args.quick and any(side in PEERS for job in chosen for side in job.sides):
            bench.choose_qemu_aio()
        if args.over_time:
            over_time.draw(bench, args.over_time)
            return 0
        rows = [bench.measure(job) for job in chosen]
        print(markdown(rows, machine() + f'; qemu-nbd --aio={Servers.qemu_aio}'))
        if args.json:
            with open(args.json, 'w') as f:
                json.dump([row.json() for row in rows], f, indent=1)
    return 0 if all(reached for row in rows for _, reached in row.goals()) or args.quick else 1


if __name__ == '__main__':
    sys.exit(main())
