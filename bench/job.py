"""What a row of the table is, and the ways to measure that many rows share."""
import json
import math
import subprocess
from dataclasses import dataclass, field

KIB, MIB, GIB, TIB = 1 << 10, 1 << 20, 1 << 30, 1 << 40


@dataclass
class Sample:
    rate: float                  # operations (or, for copies, bytes) per second; for the others the figure in job.unit
    cpu_us: float | None = None  # server CPU per operation
    notes: dict = field(default_factory=dict)  # text -> value: what else was seen; printed below the table


@dataclass
class Job:
    name: str
    title: str
    unit: str                    # IOPS, MiB/s, or what the figure is counted in
    sides: dict                  # name -> function(bench, job) -> Sample; 'ours' first, then 'raw', then the peer
    at_least: dict = field(default_factory=dict)  # side -> bound on ours / side
    at_most: dict = field(default_factory=dict)   # same from above; 'figure', a note -> on ours; 'cpu' -> on its ratio
    beside: dict = field(default_factory=dict)    # text -> (side, side): a ratio that is printed below the table
    fio: list = field(default_factory=list)
    least_runtime_s: int = 0
    most_rounds: int = 7
    root: bool = False
    tools: tuple = ()            # beyond those that every run needs


def fio_command(target, args, runtime_s):
    return ['fio', '--name=job', '--output-format=json', '--time_based', f'--runtime={runtime_s}', '--randrepeat=0',
            '--norandommap', '--group_reporting', *target.fio_args, *args]


def fio_sample(target, args, runtime_s):
    """One fio run. A run that hangs is an error, not a wait."""
    before = target.cpu_s()
    done = subprocess.run(fio_command(target, args, runtime_s), capture_output=True, text=True, timeout=runtime_s + 60,
                          stdin=subprocess.DEVNULL)
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


def four_k(rw, depth):
    return [f'--rw={rw}', '--bs=4k', f'--iodepth={depth}']


def over(server, measure):
    """The side that measures what a server serves. server: function(bench) -> context manager of a Target"""
    def side(bench, job):
        with server(bench) as target:
            return measure(bench, job, target)
    return side


def rank(values, share):
    """The value that this share of all values does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]
