#!/bin/bash
# What is missing, taken, busy or left over gets a sentence, leaves nothing, and the next command works.
. "$(dirname "$0")/lib.sh"
need dmsetup

mkdir a b
run_check ploop init -s 64M a/root.hds
run_check ploop init -s 64M -t none b/root.hds

each "a kernel without modules"
modules=$MODPROBE_OPTIONS helper=$(cat /proc/sys/kernel/modprobe)
export MODPROBE_OPTIONS='-d /nowhere'
echo /bin/false >/proc/sys/kernel/modprobe
run_mustfail 21 ploop mount --transport nbd a
expect_line stderr 'the kernel has no nbd: modprobe: FATAL: Module nbd not found'
run_mustfail 21 ploop mount a
expect_line stderr 'no way to make a block device here: nbd: the kernel has no nbd: .*; fuse: the kernel has no fuse: '
expect_no_devices

each "a kernel with nbd alone: the names are plain nodes"
run_check env MODPROBE_OPTIONS="$modules" modprobe nbd
run_check ploop mount -m mnt a
expect_line stdout '^Transport nbd with nodes,'
expect_line /proc/self/mountinfo " $SCRATCH/mnt .* /dev/mapper/ploop1000p1 "
run_check ploop umount -d /dev/mapper/ploop1000
export MODPROBE_OPTIONS=$modules
echo "$helper" >/proc/sys/kernel/modprobe
expect_no_devices

each "the other way, where it is asked for"
run_check ploop mount --transport fuse -m mnt a
expect_line stdout '^Transport fuse with device-mapper,'
run_check ploop umount a
expect_no_devices

each "names that others have"
run_check dmsetup create ploop1000 --table '0 8 zero'
run_check dmsetup create ploop1001p1 --table '0 8 zero'
run_mustfail 21 ploop mount -d ploop1000 a
expect_line stderr '/dev/mapper/ploop1000 belongs to somebody else'
run_mustfail 37 ploop mount -d ploop1001 a
expect_line stderr '/dev/mapper/ploop1001p1 belongs to somebody else'
run_check ploop mount b
[ "$(device_of b device)" = /dev/mapper/ploop1001 ] || fail "not the first name that is free"
run_check ploop umount b
run_check dmsetup remove ploop1000
run_check dmsetup remove ploop1001p1
mknod /dev/mapper/ploop1000 b 7 77
run_check ploop mount -d ploop1000 a

each "busy: who it is"
run_mustfail 21 ploop mount a
expect_line stderr 'is already mounted, its device is /dev/mapper/ploop1000'
exec 5</dev/mapper/ploop1000p1
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "/dev/mapper/ploop1000 is in use by .*$$ \(040-hostile"
exec 5<&-
run_check ploop umount a
expect_no_devices

each "everything was killed"
run_check ploop mount -m mnt a
run_check ploop mount b
kill -KILL $(pgrep -x 'ploop-(server|holder|keeper)')
run_check ploop umount a
run_check ploop mount b
[ "$(device_of b device)" = /dev/mapper/ploop1001 ] || fail "not the name it had last"
run_check ploop umount b
run_check ploop check a
expect_no_devices
