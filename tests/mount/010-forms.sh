#!/bin/bash
# Every way to name a disk mounts it and unmounts it, and the answers have their exit codes.
# alone
. "$(dirname "$0")/lib.sh"

mkdir a b
run_check ploop init -s 64M a/root.hds
run_check ploop init -s 64M -t none b/root.hds

each "by folder; the device has its partition and its names"
run_check ploop mount a
expect_line stdout "^Adding delta dev=/dev/mapper/ploop[0-9]+ img=$SCRATCH/a/root.hds \(rw\)$"
device=$(device_of a device)
part=$(device_of a partition)
[ "$part" = "${device}p1" ] || fail "partition is $part"
[ -b "$device" ] && [ -b "$part" ] || fail "no nodes"
[ "$(blockdev --getsize64 "$device")" = $((64 << 20)) ] || fail "wrong size"
run_check ploop info -d a
expect_stdout "device:		$device
partition:	$part"
run_check ploop list
expect_line stdout "^${device#/dev/mapper/}	$SCRATCH/a/root.hds$"
run_check ploop umount a
[ ! -e "$device" ] && [ ! -e "$part" ] || fail "nodes are left"
run_check ploop info -d a
expect_line stdout '^device:		$'
expect_nothing_left

each "by descriptor, with a mount point; by mount point"
run_check ploop mount -m mnt a/DiskDescriptor.xml
expect_line stdout "^Mounted $part at mnt fstype=ext4 data='lazytime'$"
run_check ploop list -a
expect_line stdout "	$SCRATCH/mnt$"
run_check ploop umount -m mnt
expect_nothing_left

each "by image; with a device of one's own; by device and partition"
for node in /dev/mapper/ploop777701 /dev/mapper/ploop777701p1 ploop777701; do
	run_check ploop mount -d /dev/ploop777701 -m mnt a/root.hds
	[ "$(device_of a device)" = /dev/mapper/ploop777701 ] || fail "not the device that was asked for"
	run_check ploop umount -d "$node"
	expect_nothing_left
done
run_check ploop mount a/root.hds
run_check ploop umount "$(pwd)/a/root.hds"

each "by whatever else leads to it"
ln -s a link
ln -s mnt mnt-link
for name in a/ ./a/../link link/DiskDescriptor.xml link/root.hds mnt-link raw; do
	run_check ploop mount -m mnt a
	[ "$name" != raw ] || name=$(losetup -n -O NAME,BACK-FILE | awk -v file="/run/ploop/$(device_of a name)/fuse/disk" '$2 == file { print $1 }')
	[ -n "$name" ] || name=$(device_of a device) # another transport
	run_check ploop stat "$name"
	expect_line stdout "$SCRATCH/a/root.hds"
	run_check ploop umount "$name"
	expect_nothing_left
done

each "under a name"
run_check ploop mount -c backup -r a
run_mustfail 40 ploop umount a
run_check ploop list
expect_line stdout "	backup$"
run_check ploop mount -m mnt a --component second -r
run_mustfail 40 ploop umount -c third a
run_check ploop umount -m mnt
run_check ploop info -d a
expect_line stdout '^device:		$'
run_check ploop umount -c backup a

each "a disk without a partition"
run_check ploop mount b
[ -z "$(device_of b partition)" ] || fail "there is a partition"
run_mustfail 21 ploop mount -m mnt b
run_check ploop umount b
run_mustfail 21 ploop mount -m mnt b
expect_nothing_left

each "what is refused"
run_mustfail 40 ploop umount a
run_mustfail 40 ploop umount -d /dev/mapper/ploop777701
run_mustfail 38 ploop umount -m mnt
run_mustfail 38 ploop umount
run_mustfail 38 ploop umount -m mnt a
run_mustfail 38 ploop umount --timeout soon a
run_mustfail 38 ploop mount
run_mustfail 38 ploop mount -d /dev/sda a
run_mustfail 38 ploop mount --transport carrier-pigeon a
run_mustfail 38 ploop mount -f raw a/root.hds
run_mustfail 38 ploop mount a b
run_mustfail 43 ploop mount -u 11111111-1111-4111-8111-111111111111 a
run_mustfail 21 ploop mount -m nowhere a
run_mustfail 21 ploop mount -m mnt -t nofs a
run_mustfail 21 ploop mount -m mnt -o nooption a
run_mustfail 23 ploop mount nowhere.xml
run_mustfail 21 as_user "$PLOOP" mount a
run_check ploop check a
expect_stdout 'Image is clean, check is skipped'
expect_nothing_left
