#!/bin/bash
# D8 through the block device: a host file system filled up under fio stalls it without an error and is told of; what is freed
# lets it finish, by itself and when told; and the same while snapshots are removed and merged on the full file system.
# alone
# timeout: 300
. "$(dirname "$0")/lib.sh"
need fio jq mkfs.ext4

truncate -s 96M host.img
run_check mkfs.ext4 -q -O ^has_journal -m 0 host.img
mkdir host
mount -o loop host.img host || skip "no loop device for a file system of 96 MiB"
at_end "umount -l '$SCRATCH/host' 2>/dev/null"
mkdir host/d
run_check ploop init -s 64M -t none host/d/root.hds
run_check ploop mount host/d
device=$(device_of host/d device)

# To the last block.
fill()
{
	dd if=/dev/zero of=host/filler bs=1M oflag=direct status=none 2>/dev/null
	dd if=/dev/zero of=host/filler2 bs=4k status=none 2>/dev/null
	sync -f host
}
waits() { [ "$(device_of host/d waits)" != "" ]; }

# wait_for COMMAND...: a minute
wait_for()
{
	for _ in $(seq 600); do
		! "$@" || return 0
		sleep 0.1
	done
	fail "in vain: $*"
}

# start_fio OFFSET: random writes to 24 MiB there, to be verified
start_fio()
{
	timeout 200 fio --name=v --filename="$device" --direct=1 --ioengine=libaio --rw=randwrite --bs=64k --iodepth=8 \
		--offset="$1" --size=24M --verify=crc32c --do_verify=1 --output=fio.log >/dev/null 2>&1 &
	fio=$!
}

end_fio()
{
	wait "$fio" || { cat fio.log; fail "fio"; }
	grep -q 'err= 0' fio.log || { cat fio.log; fail "fio met an error"; }
}

each "a full host: fio stands still, and that is told"
dd if=/dev/urandom of=before bs=1M count=1 status=none
run_check dd if=before of="$device" bs=1M seek=60 oflag=direct status=none
fill
start_fio 0
wait_for waits
run_check ploop list
expect_line stderr "$(device_of host/d name): no space on the host for $SCRATCH/host/d/root.hds \(No space left on device\): writes wait, for [0-9]+ s$"
[ "$(wc -l <stdout)" -ge 1 ] || fail "it is not listed"
run_check ploop stat "$device"
expect_line stdout 'no space on the host for .*/host/d/root.hds'
is_whole() { [ $(($(stat -c %s host/d/root.hds) % (1 << 20))) = 0 ]; }
wait_for is_whole # ext4 keeps what it found of a cluster before it failed: not for long
each "reads and overwrites go on"
run_check dd if=before of="$device" bs=1M seek=60 oflag=direct status=none
dd if="$device" of=after bs=1M skip=60 count=1 iflag=direct status=none
cmp before after || fail "content"
each "told to try again, with nothing free: it waits on"
run_check ploop set --retry host/d
sleep 1
kill -0 "$fio" || { cat fio.log; fail "fio did not wait"; }
wait_for waits
each "space appears: it goes on by itself, and what it reads is what it wrote"
rm host/filler host/filler2
end_fio
! waits || fail "it still waits"

each "and at once when told"
fill
start_fio 24M
wait_for waits
rm host/filler host/filler2
run_check ploop set --retry host/d
end_fio

each "a snapshot is removed, and one is merged, with nothing free"
run_check ploop snapshot -u 11111111-2222-4333-8444-555555555555 host/d
run_check dd if=before of="$device" bs=64k count=4 oflag=direct conv=notrunc status=none
run_check ploop snapshot -u 22222222-2222-4333-8444-555555555555 host/d
run_check dd if=before of="$device" bs=64k count=4 seek=32 oflag=direct conv=notrunc status=none
fill
run_check ploop snapshot-delete -u 11111111-2222-4333-8444-555555555555 host/d
run_check ploop snapshot-merge host/d
[ "$("$PLOOP" snapshot-list -H host/d | wc -l)" = 1 ] || fail "a snapshot is left"
cmp -n 262144 before <(dd if="$device" bs=64k count=4 iflag=direct status=none) || fail "content"
cmp -n 262144 before <(dd if="$device" bs=64k count=4 skip=32 iflag=direct status=none) || fail "content"
rm -f host/filler host/filler2

each "--on-full fail: an error, and the disk lives on"
run_check ploop umount host/d
run_check ploop mount --on-full fail host/d
device=$(device_of host/d device)
run_check blkdiscard "$device"
run_check ploop set --on-full fail host/d
fill
run_mayfail dd if=before of="$device" bs=1M seek=8 oflag=direct status=none
fill
for i in $(seq 9 60); do
	dd if=before of="$device" bs=1M seek="$i" oflag=direct status=none 2>/dev/null || break
done
[ "$i" -lt 60 ] || fail "nothing failed on a full host"
! waits || fail "it waits"
rm -f host/filler host/filler2
run_check dd if=before of="$device" bs=1M seek=50 oflag=direct status=none
run_check ploop umount host/d
run_check ploop check -f host/d
run_check umount host
expect_nothing_left
