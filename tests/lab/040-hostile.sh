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
run_check env MODPROBE_OPTIONS="$modules" modprobe nbd nbds_max=1
run_check ploop mount -m mnt a
expect_line stdout '^Transport nbd with nodes,'
expect_line /proc/self/mountinfo " $SCRATCH/mnt .* /dev/mapper/ploop1000p1 "
each "all its devices are in use: the kernel makes another"
run_check ploop mount b
[ "$(device_of b device)" = /dev/mapper/ploop1001 ] && [ -e /sys/block/nbd1/pid ] || fail "it is not on nbd1"
run_check ploop umount -d /dev/nbd1
run_check ploop umount -d /dev/mapper/ploop1000
export MODPROBE_OPTIONS=$modules
echo "$helper" >/proc/sys/kernel/modprobe
expect_no_devices

wipe()
{
	rm -rf /run/ploop/* 2>/dev/null
}

each "the other way, where it is asked for; with the run directory wiped there is a way to end it, word for word"
run_check ploop mount --transport fuse -m mnt a
expect_line stdout '^Transport fuse with device-mapper,'
run_check ploop umount a
run_check ploop mount --transport fuse a
wipe
run_check ploop list
expect_line stderr '^ploop1000 runs, but its entry in the run directory is gone'
run_check bash -ec "$(sed -n 's/^ploop1000 runs, but .* then: //p' stderr)"
rm -r /run/ploop/ploop1000
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
run_check ploop mount -d /dev/mapper/ploop1000 a
[ "$(blockdev --getsize64 /dev/mapper/ploop1000)" = $((64 << 20)) ] || fail "the old node is there"

each "busy: who it is"
run_mustfail 21 ploop mount a
expect_line stderr 'is already mounted, its device is /dev/mapper/ploop1000'
exec 5</dev/mapper/ploop1000p1
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "/dev/mapper/ploop1000 is in use by .*$$ \(040-hostile"
exec 5<&-
run_check ploop umount a
run_check ploop mount -m mnt a
(cd mnt && exec sleep 1000) &
sleeper=$!
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "$SCRATCH/mnt is busy, held by .*$sleeper \(sleep\)"
kill $sleeper
exec 5</dev/nbd0
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "/dev/mapper/ploop1000 is in use by .*$$ \(040-hostile"
run_mustfail 21 ploop mount a
exec 5<&-
run_check ploop umount a
expect_no_devices

each "many mounts at once: one wins, the others are told who has it"
for i in 1 2 3; do
	(ploop mount a >out$i 2>&1; echo $? >code$i) &
	mounts[i]=$!
done
wait "${mounts[@]}"
[ "$(cat code? | sort | tr '\n' ' ')" = '0 21 21 ' ] || fail "codes: $(cat code?)"
[ "$(grep -c 'is already mounted, its device is /dev/mapper/ploop1000$' out? | grep -c :1)" = 2 ] || fail "$(cat out?)"
run_check ploop umount a
expect_no_devices

each "the run directory is wiped: found again by all its names, and everything works"
run_check ploop mount -m mnt a
echo before >mnt/file && sync -f mnt
for way in "list" "umount a" "umount -m mnt" "umount -d /dev/mapper/ploop1000p1" "umount -d /dev/nbd0"; do
	wipe
	run_check ploop $way
	expect_line stderr '^device: ploop1000 runs, but its entry in the run directory was gone: it is there again'
	[ "$way" = list ] || run_check ploop mount -m mnt a
	[ "$(device_of a device)" = /dev/mapper/ploop1000 ] || fail "it has another name"
done
wipe
run_mustfail 21 ploop mount a
expect_line stderr 'is already mounted, its device is /dev/mapper/ploop1000'
await is_state a kept true || fail "its keeper cannot be reached"
server=$(device_of a server_pid)
run_check kill -KILL "$server"
await is_served_by_another a "$server" || fail "no other server came"
run_check ploop server upgrade a
run_check ploop snapshot a
run_check ploop snapshot-merge a
[ "$(cat mnt/file)" = before ] || fail "lost what was written"
run_check ploop umount a
[ -z "$(pgrep -x 'ploop-(server|holder|keeper)')" ] || fail "a process is left"
expect_no_devices

each "the same with everything killed"
run_check ploop mount -m mnt a
kill -KILL $(pgrep -x 'ploop-(server|holder|keeper)')
wipe
run_check ploop list
expect_line stderr '^device: ploop1000 runs, .* but its server is dead: unmount it'
run_mustfail 21 ploop mount a
expect_line stderr 'whose server died: unmount it first'
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
