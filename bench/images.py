"""Image files to measure on, written without the engine, so that every peer sees the same bytes in the same places."""
import array
import os
import struct

MIB = 1 << 20
CLUSTER_BYTES = MIB
SECTOR_BYTES = 512


def header(size_bytes, bat_entries, first_block_bytes):
    """A version 2 header, cleanly closed."""
    sectors = size_bytes // SECTOR_BYTES
    return struct.pack('<16sIIIIIQIIIQ', b'WithouFreSpacExt', 2, 16, min(sectors // 512, 0xffffffff),
                       CLUSTER_BYTES // SECTOR_BYTES, bat_entries, sectors, 0, first_block_bytes // SECTOR_BYTES, 0, 0)


def layout(size_bytes):
    """(BAT entries, bytes before the first data cluster)"""
    entries = size_bytes // CLUSTER_BYTES
    return entries, -(-(64 + 4 * entries) // CLUSTER_BYTES) * CLUSTER_BYTES


def write_head(f, size_bytes, mapped_clusters):
    """Header and a BAT whose first clusters lie one after another. Returns where the data begins."""
    entries, data = layout(size_bytes)
    f.write(header(size_bytes, entries, data))
    first = data // CLUSTER_BYTES
    step = 1 << 20
    for at in range(0, mapped_clusters, step):
        n = min(step, mapped_clusters - at)
        f.write(struct.pack(f'<{n}I', *range(first + at, first + at + n)))
    return data


def mapped(path, size_bytes, mapped_bytes=None):
    """A disk of which the first mapped_bytes (default: all) have random data. Returns where the data begins."""
    mapped_bytes = size_bytes if mapped_bytes is None else mapped_bytes
    with open(path, 'wb') as f:
        data = write_head(f, size_bytes, mapped_bytes // CLUSTER_BYTES)
        fill(f, data, mapped_bytes)
    evict(path)
    return data


def striped(path, size_bytes, depth, level):
    """An image of a chain of this depth in which every cluster is mapped once: the clusters take the images in turn."""
    entries, data = layout(size_bytes)
    clusters = range(level, entries, depth)
    bat = array.array('I', bytes(4 * entries))
    for place, cluster in enumerate(clusters, data // CLUSTER_BYTES):
        bat[cluster] = place
    with open(path, 'wb') as f:
        f.write(header(size_bytes, entries, data) + bat.tobytes())
        fill(f, data, len(clusters) * CLUSTER_BYTES)
    evict(path)


def fill(f, begin, size_bytes):
    """Random bytes, up to the end of the file."""
    noise = os.urandom(8 * MIB)
    f.truncate(begin + size_bytes)
    f.seek(begin)
    for at in range(0, size_bytes, len(noise)):
        f.write(noise[:min(len(noise), size_bytes - at)])


def evict(path):
    """All of the file is on the disk, and nothing of it in memory."""
    with open(path, 'rb') as f:
        os.fsync(f.fileno())
        os.posix_fadvise(f.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def full_bat(path, size_bytes):
    """A disk whose every BAT entry is taken, in a sparse file: what counts is how long opening takes."""
    with open(path, 'wb') as f:
        data = write_head(f, size_bytes, size_bytes // CLUSTER_BYTES)
        f.truncate(data + size_bytes)
