#!/bin/bash
# A disk over nbd and device-mapper, without udev and with it: its names, its limits, and nothing is left of either when it
# is unmounted.
. "$(dirname "$0")/lib.sh"
need dmsetup blockdev

mkdir a b
run_check ploop init -s 64M a/root.hds
run_check ploop init -s 64M b/root.hds

each "modules are loaded, the best way is taken and told"
run_check ploop mount -m mnt a
expect_line stdout '^Transport nbd with device-mapper, server [0-9]+$'
[ "$(device_of a device)" = /dev/mapper/ploop1000 ] || fail "not the first name"
[ "$(blockdev --getsize64 /dev/mapper/ploop1000)" = $((64 << 20)) ] || fail "wrong size"
run_check dmsetup table
expect_line stdout '^ploop1000: 0 131072 linear 43:[0-9]+ 0$'
expect_line stdout '^ploop1000p1: 0 [0-9]+ linear [0-9]+:[0-9]+ 2048$'
run_check grep " $SCRATCH/mnt " /proc/self/mountinfo
expect_line stdout ' /dev/mapper/ploop1000p1 '
nbd=$(basename "$(readlink -f /sys/dev/block/43:0)")
[ -z "$(ls -d /sys/block/$nbd/$nbd* 2>/dev/null)" ] || fail "the kernel looked for partitions"
limits=/sys/dev/block/$(printf '%d:%d' $(stat -L -c '0x%t 0x%T' /dev/mapper/ploop1000))/queue
for limit in 'logical_block_size 512' 'discard_granularity 512' 'write_cache write back' 'fua 1'; do
	[ "$(cat "$limits/${limit%% *}")" = "${limit#* }" ] || fail "${limit%% *} is $(cat "$limits/${limit%% *}")"
done
[ "$(cat "$limits/discard_max_bytes")" -gt 0 ] || fail "it takes no discards"

each "a second one, found by any of its names"
run_check ploop mount -d /dev/ploop77 b
for name in /dev/mapper/ploop77p1 /dev/nbd1; do
	run_check ploop umount -d "$name"
	run_check ploop mount b
	[ "$(device_of b device)" = /dev/mapper/ploop77 ] || fail "not the name it had last"
done
run_check ploop umount -m mnt
run_check ploop umount b
expect_no_devices

each "with udev: it makes the names and looks at nothing, mounts and unmounts wait for it and for nobody else"
udevd=/usr/lib/systemd/systemd-udevd
[ -x $udevd ] || skip "no udev here: names were made without it only"
run_check $udevd --daemon
at_end "udevadm control --exit"
for way in nbd fuse nbd; do
	run_check ploop mount --transport $way -m mnt a
	[ "$(readlink /dev/mapper/ploop1000p1)" = ../dm-1 ] || fail "udev has not made the name"
	run_check udevadm info /dev/mapper/ploop1000p1
	expect_line stdout '^E: DM_UDEV_DISABLE_DISK_RULES_FLAG=1$'
	expect_no stdout '^E: ID_FS_TYPE='
	run_check ploop umount --timeout 20 a
	[ ! -L /dev/mapper/ploop1000 ] && [ ! -L /dev/mapper/ploop1000p1 ] || fail "a name is left"
done
expect_no_devices
