"""Who serves the disk: ours, the peers, the raw file. Each is a context manager that gives a Target and cleans up."""
import contextlib
import glob
import os
import shutil
import signal
import subprocess
import time

TICKS_PER_S = os.sysconf('SC_CLK_TCK')


class Target:
    """What fio talks to, and the processes whose CPU time counts."""

    def __init__(self, fio_args, pids=(), uri=None):
        self.fio_args = fio_args
        self.pids = list(pids)
        self.uri = uri

    def cpu_s(self):
        total = 0
        for pid in self.pids:
            with open(f'/proc/{pid}/stat') as f:
                fields = f.read().rsplit(')', 1)[1].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS_PER_S

    def pss_bytes(self):
        total = 0
        for pid in self.pids:
            with open(f'/proc/{pid}/smaps_rollup') as f:
                total += next(int(line.split()[1]) for line in f if line.startswith('Pss:')) * 1024
        return total


def wait_for(condition, what, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f'{what}: nothing after {seconds} s')
        time.sleep(0.01)


def users_of(path):
    """Processes, other than ourselves, that have the file open."""
    pids = set()
    for fd in glob.glob('/proc/[0-9]*/fd/*'):
        with contextlib.suppress(OSError):
            if os.readlink(fd) == os.path.realpath(path):
                pids.add(int(fd.split('/')[2]))
    return sorted(pids - {os.getpid()})


@contextlib.contextmanager
def process(args, **kw):
    p = subprocess.Popen(args, stdin=subprocess.DEVNULL, **kw)
    try:
        yield p
    finally:
        if p.poll() is None:
            p.send_signal(signal.SIGTERM)
            try:
                p.wait(30)
            except subprocess.TimeoutExpired:
                p.kill()
                p.wait()


class Ploop:
    """The command that is measured. Called, it gives what it prints; what it has against the words is an error."""

    def __init__(self, build):
        self.path = os.path.join(build, 'ploop')

    def __call__(self, *words):
        done = subprocess.run([self.path, *words], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise RuntimeError(f'ploop {" ".join(words)}: {done.stderr.strip()}')
        return done.stdout


class Servers:
    """All of them, over one image file and in one scratch folder."""

    qemu_aio = 'io_uring'

    def __init__(self, ploop, scratch, image, data_offset, data_bytes):
        self.ploop, self.scratch, self.image = ploop, scratch, image
        self.data_offset, self.data_bytes = data_offset, data_bytes

    def socket(self, name):
        path = os.path.join(self.scratch, name + '.sock')
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        return path

    def over_nbd(self, socket, pids):
        uri = f'nbd+unix:///?socket={socket}'
        return Target(['--ioengine=nbd', f'--uri={uri}', f'--size={self.data_bytes}'], pids, uri)

    @contextlib.contextmanager
    def ours(self, *words):
        """words: the disk, if it is more than the one image, of which self.image is the top"""
        socket = self.socket('ours')
        with process([self.ploop.path, 'serve', *(words or [self.image]), '--socket', socket]) as p:
            wait_for(lambda: os.path.exists(socket) or p.poll() is not None, 'ploop serve')
            if p.poll() is not None and p.returncode != 0:
                raise RuntimeError('ploop serve failed')
            yield self.over_nbd(socket, users_of(self.image))

    @contextlib.contextmanager
    def qemu(self, image_format='parallels'):
        socket = self.socket('qemu')
        with process(['qemu-nbd', '-f', image_format, '-k', socket, '-t', '-e', '16', '--cache=none',
                      f'--aio={self.qemu_aio}', self.image]) as p:
            wait_for(lambda: os.path.exists(socket) or p.poll() is not None, 'qemu-nbd')
            yield self.over_nbd(socket, [p.pid])

    @contextlib.contextmanager
    def raw(self):
        """The file itself, where the disk's data lies in it."""
        yield Target(['--ioengine=io_uring', '--direct=1', f'--filename={self.image}',
                      f'--offset={self.data_offset}', f'--size={self.data_bytes}'])

    def over_device(self, device, pids):
        return Target(['--ioengine=io_uring', '--direct=1', f'--filename={device}', f'--size={self.data_bytes}'], pids)

    @contextlib.contextmanager
    def loop(self, path, offset=0):
        device = subprocess.run(['losetup', '-f', '--show', '--direct-io=on', '-o', str(offset), path],
                                check=True, capture_output=True, text=True).stdout.strip()
        try:
            yield device
        finally:
            subprocess.run(['losetup', '-d', device], check=True)

    def descriptor(self):
        """That of the bundle, which is made beside the image."""
        path = os.path.join(self.scratch, 'DiskDescriptor.xml')
        if not os.path.exists(path):
            self.ploop('restore-descriptor', self.scratch, self.image)
        return path

    @contextlib.contextmanager
    def ours_mounted(self):
        """FUSE + loop as `ploop mount` sets it up."""
        descriptor = self.descriptor()
        self.ploop('mount', descriptor)
        try:
            info = self.ploop('info', '-d', descriptor)
            device = next(line.split()[1] for line in info.splitlines() if line.startswith('device:'))
            yield self.over_device(device, users_of(self.image))
        finally:
            self.ploop('umount', descriptor)

    @contextlib.contextmanager
    def raw_loop(self):
        with self.loop(self.image, self.data_offset) as device:
            yield self.over_device(device, [])

    @contextlib.contextmanager
    def nbdfuse_loop(self):
        mnt = os.path.join(self.scratch, 'nbdfuse')
        os.makedirs(mnt, exist_ok=True)
        with self.qemu() as nbd, process(['nbdfuse', mnt, nbd.uri]) as fuse:
            wait_for(lambda: os.path.exists(os.path.join(mnt, 'nbd')) or fuse.poll() is not None, 'nbdfuse')
            try:
                with self.loop(os.path.join(mnt, 'nbd')) as device:
                    yield self.over_device(device, nbd.pids + [fuse.pid])
            finally:
                subprocess.run([shutil.which('fusermount3') or 'umount', '-u', mnt], check=False)
