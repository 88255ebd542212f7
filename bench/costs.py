"""What one request costs the server: CPU time, and system calls as perf counts them from outside."""
import json
import os
import subprocess

from firsts import burst_command, fresh, ours_mapped
from job import Job, Sample, fio_command, four_k

FLUSHED = ['--rw=randwrite', '--bs=4k', '--iodepth=1', '--fsync=1']
CALLS = 'system calls per I/O'


def timed(*args):
    return lambda bench, target: fio_command(target, args, bench.runtime_s)


def so_many(writes, *args):
    return lambda bench, target: burst_command(target, args, writes // 40 if bench.quick else writes)


def calls_of(path):
    """From `perf stat -x,`: the count is the first field of its line."""
    with open(path) as f:
        return next(int(line.split(',')[0]) for line in f if 'sys_enter' in line)


def cost(server, command):
    def side(bench, job):
        counts = os.path.join(bench.scratch, 'calls')
        with server(bench) as target:
            before = target.cpu_s()
            done = subprocess.run(['perf', 'stat', '-x,', '-o', counts, '-e', 'raw_syscalls:sys_enter', '-p',
                                   ','.join(map(str, target.pids)), '--', *command(bench, target)],
                                  capture_output=True, text=True, timeout=600, stdin=subprocess.DEVNULL, check=True)
            cpu_s = target.cpu_s() - before
        result = json.loads(done.stdout[done.stdout.index('{'):])['jobs'][0]
        ios = result['read']['total_ios'] + result['write']['total_ios']
        rate = max(result[way]['iops'] for way in ('read', 'write'))
        return Sample(rate, cpu_s * 1e6 / ios, {CALLS: calls_of(counts) / ios})
    return side


def row(name, title, server, command):
    return Job(name, title, 'IOPS', {'ours': cost(server, command)}, most_rounds=3, root=True, tools=('perf',))


JOBS = [
    row('cost-read', 'cost of a 4k read, 32 in flight', ours_mapped, timed(*four_k('randread', 32))),
    row('cost-write', 'cost of a 4k write in place, 32 in flight', ours_mapped, timed(*four_k('randwrite', 32))),
    row('cost-first-write', 'cost of a 4k write to a fresh snapshot, 32 in flight', fresh,
        so_many(200_000, *four_k('randwrite', 32))),
    row('cost-flush', 'cost of a 4k write in place and its flush', ours_mapped, timed(*FLUSHED)),
    row('cost-first-flush', 'cost of a 4k write to a fresh snapshot and its flush', fresh, so_many(5_000, *FLUSHED)),
]
