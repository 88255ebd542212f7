#!/usr/bin/env python3
"""The figures: ours, the raw file and the peer take turns on the same image file, round after round."""
import argparse
import json
import os
import platform
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True

import images
from jobs import GIB, JOBS, fio_sample, four_k
from report import Row, markdown
from servers import Servers


class Bench:
    def __init__(self, args, scratch):
        self.scratch = scratch
        self.quick = args.quick
        self.runtime_s = args.runtime or (2 if args.quick else 8)
        self.rounds = args.rounds or (1 if args.quick else 7)
        self.extra = {}
        build = os.path.abspath(os.environ.get('BUILD', os.path.join(os.path.dirname(__file__), '../build/release')))
        size_bytes = args.size * GIB
        os.mkdir(os.path.join(scratch, 'disk'))
        os.mkdir(os.path.join(scratch, 'copy'))
        path = os.path.join(scratch, 'disk', 'root.hds')
        offset = images.mapped(path, size_bytes)
        self.servers = Servers(build, os.path.dirname(path), path, offset, size_bytes)
        self.copy_bytes = 1 * GIB
        path = os.path.join(scratch, 'copy', 'root.hds')
        offset = images.mapped(path, 2 * GIB, self.copy_bytes)
        self.copy_servers = Servers(build, os.path.dirname(path), path, offset, self.copy_bytes)

    def choose_qemu_aio(self):
        """The peer gets the setting that suits it best here."""
        best = {}
        for aio in ('io_uring', 'native'):
            self.servers.qemu_aio = aio
            try:
                with self.servers.qemu() as target:
                    best[aio] = fio_sample(target, four_k('randread', 32), 2)[0]['iops']
            except (RuntimeError, OSError):
                continue
        self.servers.qemu_aio = self.copy_servers.qemu_aio = max(best, key=best.get)

    def sample(self, job, server):
        servers = self.copy_servers if job.name == 'nbdcopy' else self.servers
        if server is None:
            return job.run(self, job, None)
        with getattr(servers, server)() as target:
            return job.run(self, job, target)

    def round(self, job, number):
        """One run of every side. The order turns with the round; raw runs twice, as far apart as it goes."""
        sides = list(job.sides)
        turn = number % len(sides)
        order = sides[turn:] + sides[:turn] + (['raw again'] if 'raw' in sides else [])
        result = {}
        for side in order:
            result[side] = self.sample(job, job.sides['raw' if side == 'raw again' else side])
        return result

    def measure(self, job):
        rounds = []
        for number in range(self.rounds):
            print(f'{job.name}: round {number + 1} of {self.rounds}', file=sys.stderr)
            rounds.append(self.round(job, number))
        return Row(job, rounds)


def machine():
    return (f'{os.cpu_count()} CPUs, Linux {platform.release()}; median of paired ratios (lowest…highest round); '
            f'each round runs every side on the same file')


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument('--quick', action='store_true', help='one short round: shows that it works, not how fast')
    p.add_argument('--job', action='append', metavar='NAME', choices=[job.name for job in JOBS])
    p.add_argument('--rounds', type=int)
    p.add_argument('--runtime', type=int, metavar='SECONDS', help='of each fio run')
    p.add_argument('--size', type=int, default=4, metavar='GIB', help='of the disk (default 4)')
    p.add_argument('--dir', default='/var/tmp', help='where the image files go: the disk that is measured')
    p.add_argument('--json', metavar='FILE', help='every sample')
    p.add_argument('--list', action='store_true')
    return p.parse_args()


def main():
    args = arguments()
    if args.list:
        for job in JOBS:
            print(f'{job.name:22}{job.title}')
        return 0
    chosen = [job for job in JOBS if not args.job or job.name in args.job]
    missing = [tool for tool in ('fio', 'qemu-nbd', 'nbdcopy', 'nbdinfo', 'nbdfuse') if not shutil.which(tool)]
    if missing:
        sys.exit(f'{", ".join(missing)}: not installed; make deps')
    if os.geteuid() != 0:
        left_out = [job.name for job in chosen if 'ours_mounted' in job.sides.values()]
        chosen = [job for job in chosen if job.name not in left_out]
        print(f'Without root these are left out: {", ".join(left_out)}', file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix='ploop-bench-', dir=args.dir) as scratch:
        bench = Bench(args, scratch)
        if not args.quick and any('qemu' in job.sides.values() for job in chosen):
            bench.choose_qemu_aio()
        rows = [bench.measure(job) for job in chosen]
        print(markdown(rows, bench.extra, machine() + f'; qemu-nbd --aio={bench.servers.qemu_aio}'))
        if args.json:
            with open(args.json, 'w') as f:
                json.dump([row.json() for row in rows], f, indent=1)
    return 0 if all(reached for row in rows for _, reached in row.goals()) or args.quick else 1


if __name__ == '__main__':
    sys.exit(main())
