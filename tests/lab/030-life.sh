#!/bin/bash
# The life of a disk over nbd and device-mapper, by documented commands: fill it, snapshot and merge it while it is
# written, and find each byte and each file again, on a file system that is clean.
. "$(dirname "$0")/lib.sh"
need fio dmsetup losetup

write_and_verify() # NAME [OPTION...]
{
	fio --name="$1" --directory=mnt --size=8M --rw=randwrite --bs=4k --iodepth=16 --ioengine=libaio --direct=1 \
		--verify=crc32c --verify_fatal=1 --randseed=1 --output="$1.log" "${@:2}" || { cat "$1.log"; return 1; }
}

mkdir a b
run_check ploop init -s 128M -t ext4 a/root.hds
run_check ploop init -s 64M -t none b/root.hds

each "files, then a snapshot and a merge under writes"
run_check ploop mount -m mnt a
seq 200000 >mnt/before
run_check write_and_verify still
write_and_verify moving --loops=6 &
writer=$!
run_check ploop snapshot a
seq 300000 >mnt/after
run_check ploop snapshot-merge a
wait $writer || fail "the writer failed"

each "the table of its device is exchanged under writes: another way to the same server, and back"
map_below()
{
	dmsetup table ploop1000 | cut -d' ' -f4
}
nbd=$(map_below)
run_check modprobe loop
loop=$(losetup --show --direct-io=on -f "/dev/$(basename "$(readlink -f "/sys/dev/block/$nbd")")") || fail "no loop device"
other=$(cat "/sys/block/${loop#/dev/}/dev")
write_and_verify switched --loops=6 &
writer=$!
for below in "$other" "$nbd" "$other" "$nbd"; do
	run_check "$BUILD/tests/lab/switch_table" ploop1000 "$below"
	[ "$(map_below)" = "$below" ] || fail "it maps $(map_below)"
	sleep 0.3
	kill -0 $writer || fail "the writer has ended"
done
wait $writer || fail "the writer failed"
run_check losetup -d "$loop"

each "a second disk beside it: a file system made inside"
run_check ploop mount b
disk=$(device_of b device)
run_check mkfs.ext4 -qF "$disk"
mkdir mnt2
run_check mount "$disk" mnt2
seq 100000 >mnt2/file
run_check fstrim mnt2
run_check umount mnt2
run_check e2fsck -fn "$disk"

each "everything is there again"
run_check ploop umount b
run_check ploop umount a
expect_no_devices
run_check ploop mount -m mnt a
cmp mnt/before <(seq 200000) && cmp mnt/after <(seq 300000) || fail "a file is not what it was"
run_check write_and_verify still --verify_only
run_check write_and_verify switched --verify_only
run_check ploop umount a
expect_clean a
run_check ploop mount b
run_check e2fsck -fn "$(device_of b device)"
run_check ploop umount b
expect_no_devices
