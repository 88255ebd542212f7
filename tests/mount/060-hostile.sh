#!/bin/bash
# Two mounts of one disk, servers that died, state that crashed mounts left, names that others have: no harm comes of it.
# alone
. "$(dirname "$0")/lib.sh"

mkdir a
run_check ploop init -s 64M a/root.hds

each "a second mount, also by another name of the disk"
run_check ploop mount -m mnt a
run_mustfail 21 ploop mount a
run_mustfail 21 ploop mount a/root.hds
run_mustfail 21 ploop mount -c other a
run_mustfail 37 ploop check a
run_check ploop umount a

each "many mounts at the same time: one wins"
for i in 1 2 3 4 5 6; do
	"$PLOOP" mount a >"out$i" 2>&1
	echo $? >"code$i"
done &
for i in 7 8 9 10 11 12; do
	"$PLOOP" mount a >"out$i" 2>&1
	echo $? >"code$i"
done
wait $!
[ "$(cat code* | sort | uniq -c | tr -s ' \n' ' ')" = ' 1 0 11 21 ' ] || fail "codes: $(cat code*)"
each "many umounts at the same time: one wins"
for i in 1 2 3; do
	"$PLOOP" umount a >"out$i" 2>&1 &
done
wait
expect_nothing_left
run_check ploop check a
expect_stdout 'Image is clean, check is skipped'

each "the server died: told, unmounted, repaired"
run_check ploop mount -m mnt a
echo durable >mnt/file
run_check sync mnt/file
lose_server a
[ "$(device_of a alive)" = false ] || fail "it is said to be alive"
run_mustfail 21 ploop mount a
expect_line stderr 'server died'
run_check ploop umount a
expect_nothing_left
run_check ploop check a
expect_stdout 'Image is clean, check is skipped'
run_check ploop mount -m mnt a
[ "$(cat mnt/file)" = durable ] || fail "lost what was synced"
run_check ploop umount a

each "the server died and nothing was mounted: the next mount cleans up"
run_check ploop mount a
device=$(device_of a device)
lose_server a
run_check ploop mount a
[ "$(device_of a device)" = "$device" ] || fail "the old name is not free again"
run_check ploop umount a

each "what a mount that died early leaves"
mkdir -p /run/ploop/ploop777702/fuse /run/ploop/ploop777703
printf 'name ploop777703\nnode ploop777703\ngarbage\n' >/run/ploop/ploop777703/state
rmdir /run/ploop/ploop777702/fuse
run_check ploop list
run_check ploop mount a
run_check ploop umount a
[ ! -e /run/ploop/ploop777702 ] || fail "the half made entry is left"
[ ! -e /run/ploop/ploop777703 ] || fail "the entry nobody can read is left"

each "a name that another has"
mkdir -p /dev/mapper
echo precious >/dev/mapper/ploop777704
at_end 'rm -f /dev/mapper/ploop777704'
run_mustfail 21 ploop mount -d ploop777704 a
[ "$(cat /dev/mapper/ploop777704)" = precious ] || fail "somebody's file is gone"
rm /dev/mapper/ploop777704
run_check ploop mount -d ploop777704 a
mkdir b
run_check ploop init -s 64M b/root.hds
run_mustfail 21 ploop mount -d ploop777704 b
run_check ploop umount a

each "a node that a crash left is replaced"
mknod /dev/mapper/ploop777704 b 7 250
run_check ploop mount -d ploop777704 a
[ "$(blockdev --getsize64 /dev/mapper/ploop777704)" = $((64 << 20)) ] || fail "not our disk"
run_check ploop umount a
[ ! -e /dev/mapper/ploop777704 ] || fail "the node is left"

each "an image that cannot be opened"
cp -r b c
poke c/root.hds 28 ffffffff
run_mustfail 11 ploop mount c
truncate -s 100 c/root.hds
run_mustfail 11 ploop mount c
rm c/root.hds
run_mayfail ploop mount c
[ "$RC" != 0 ] || fail "mounted nothing"
expect_nothing_left

each "somebody detached the mount below the loop device"
run_check ploop mount a
name=$(device_of a name)
umount -l "/run/ploop/$name/fuse"
run_check ploop umount a
losetup -l | grep -q ' /disk  *1' && fail "a loop device is left"
expect_nothing_left
