"""Does a request get slower when the disk has many snapshots?"""
import os
import subprocess

import images
from job import MIB, Job, four_k, iops, over
from servers import Servers

DEPTH = 100


def our_chain(bench):
    """A chain over which the clusters of the disk are spread."""
    folder = os.path.join(bench.scratch, 'chain')
    paths = [os.path.join(folder, f'{level:03}.hds') for level in range(DEPTH)]
    if not os.path.exists(folder):
        os.mkdir(folder)
        for level, path in enumerate(paths):
            images.striped(path, bench.disk_bytes, DEPTH, level)
    return Servers(bench.ploop, folder, paths[-1], 0, bench.disk_bytes).ours(*paths)


def qcow2_chain(bench, depth):
    """The same for the peer, in clusters of the same size, written by its own tools."""
    folder = os.path.join(bench.scratch, f'qcow2-{depth}')
    top = os.path.join(folder, f'{depth - 1:03}')
    if not os.path.exists(folder):
        os.mkdir(folder)
        noise = os.path.join(folder, 'noise')
        with open(noise, 'wb') as f:
            f.write(os.urandom(MIB))
        below = []
        for level in range(depth):
            path = os.path.join(folder, f'{level:03}')
            subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'cluster_size=1M', *below, path,
                            str(bench.disk_bytes)], check=True)
            writes = ''.join(f'write -q -s {noise} {cluster}M 1M\n'
                             for cluster in range(level, bench.disk_bytes // MIB, depth))
            subprocess.run(['qemu-io', '-f', 'qcow2', path], input=writes, text=True, check=True,
                           stdout=subprocess.DEVNULL)
            images.evict(path)
            below = ['-b', path, '-F', 'qcow2']
    return Servers(bench.ploop, folder, top, 0, bench.disk_bytes).qemu('qcow2')


JOBS = [
    Job(f'depth-{DEPTH}', f'4k randread, 32 in flight, {DEPTH} images deep against one', 'IOPS',
        {'ours': over(our_chain, iops),
         'depth 1': over(lambda bench: bench.disk.ours(), iops),
         f'qcow2 of depth {DEPTH}': over(lambda bench: qcow2_chain(bench, DEPTH), iops),
         'qcow2 of depth 1': over(lambda bench: qcow2_chain(bench, 1), iops)},
        {'depth 1': 0.95},
        beside={f'qcow2 of qemu-nbd, {DEPTH} images deep against one':
                (f'qcow2 of depth {DEPTH}', 'qcow2 of depth 1')},
        fio=four_k('randread', 32)),
]
