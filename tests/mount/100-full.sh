#!/bin/bash
# D8 through the block device: a host file system filled up under fio stalls it without an error and is told of; what is freed
# lets it finish, by itself and when told; and the same while snapshots are removed and merged on the full file system.
# alone
# timeout: 900
. "$(dirname "$0")/lib.sh"
. "$SRC/tests/full.sh"
make_small_host

each "a full host: fio stands still, and that is told"
dd if=/dev/urandom of=before bs=1M count=1 status=none
run_check dd if=before of="$device" bs=1M seek=60 oflag=direct status=none
fill_host
start_fio 0
await waits || fail "nothing waits"
run_check ploop list
expect_line stderr "$(device_of host/d name): no space on the host for $SCRATCH/host/d/root.hds \(No space left on device\): writes wait, for [0-9]+ s$"
[ "$(wc -l <stdout)" -ge 1 ] || fail "it is not listed"
run_check ploop stat "$device"
expect_line stdout 'no space on the host for .*/host/d/root.hds'
# ext4 keeps what it found of a cluster before it failed: that is given back
is_whole() { [ $(($(stat -c %s host/d/root.hds) % (1 << 20))) = 0 ]; }
await is_whole || fail "the image ends within a cluster"
each "reads and overwrites go on"
run_check dd if=before of="$device" bs=1M seek=60 oflag=direct status=none
dd if="$device" of=after bs=1M skip=60 count=1 iflag=direct status=none
cmp before after || fail "content"
each "told to try again, with nothing free: it waits on"
run_check ploop set --retry host/d
each "space appears: it goes on by itself, and what it reads is what it wrote"
stay_full

each "and at once when told"
fill_host
start_fio 24M
await waits || fail "nothing waits"
free_host
run_check ploop set --retry host/d
end_fio

each "a snapshot is removed, and one is merged, with nothing free"
run_check ploop snapshot -u 11111111-2222-4333-8444-555555555555 host/d
run_check dd if=before of="$device" bs=64k count=4 oflag=direct conv=notrunc status=none
run_check ploop snapshot -u 22222222-2222-4333-8444-555555555555 host/d
run_check dd if=before of="$device" bs=64k count=4 seek=32 oflag=direct conv=notrunc status=none
fill_host
run_check ploop snapshot-delete -u 11111111-2222-4333-8444-555555555555 host/d
run_check ploop snapshot-merge host/d
[ "$("$PLOOP" snapshot-list -H host/d | wc -l)" = 1 ] || fail "a snapshot is left"
cmp -n 262144 before <(dd if="$device" bs=64k count=4 iflag=direct status=none) || fail "content"
cmp -n 262144 before <(dd if="$device" bs=64k count=4 skip=32 iflag=direct status=none) || fail "content"
free_host

each "--on-full fail: an error, and the disk lives on"
run_check ploop umount host/d
run_check ploop mount --on-full fail host/d
device=$(device_of host/d device)
run_check blkdiscard "$device"
run_check ploop set --on-full fail host/d
fill_host
run_mayfail dd if=before of="$device" bs=1M seek=8 oflag=direct status=none
fill_host
for i in $(seq 9 60); do
	dd if=before of="$device" bs=1M seek="$i" oflag=direct status=none 2>/dev/null || break
done
[ "$i" -lt 60 ] || fail "nothing failed on a full host"
! waits || fail "it waits"
free_host
run_check dd if=before of="$device" bs=1M seek=50 oflag=direct status=none
run_check ploop umount host/d
run_check ploop check -f host/d
run_check umount host
expect_nothing_left
