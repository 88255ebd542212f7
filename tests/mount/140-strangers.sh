#!/bin/bash
# A machine that others use, too: no loop device to be had, programs that probe every device, state that outlived its
# processes and names devices of others. Each: a sentence, nothing of others touched, nothing left, the next command works.
# alone

# In a mount namespace of its own, whose /dev it may change.
if [ -z "${IN_NAMESPACE-}" ] && unshare -m true 2>/dev/null; then
	IN_NAMESPACE=1 exec unshare -m "$0"
fi
. "$(dirname "$0")/lib.sh"
need blkid
[ -n "${IN_NAMESPACE-}" ] || skip "no mount namespace of its own"

mkdir a
run_check ploop init -s 64M a/root.hds

each "no loop device is free: the driver has none, or its node is not there"
mount --bind /dev/null /dev/loop-control
run_mustfail 21 ploop mount --transport fuse -m mnt a
expect_line stderr 'no free loop device: '
umount /dev/loop-control
expect_nothing_left
mkdir dev
mount -t tmpfs tmpfs dev
cp -a /dev/null /dev/fuse /dev/loop-control dev
mount --bind dev /dev
run_mustfail 21 ploop mount --transport fuse -m mnt a
expect_line stderr '/dev/loop[0-9]+: No such file or directory'
umount /dev
umount dev
expect_nothing_left
run_check ploop check a
expect_stdout 'Image is clean, check is skipped'

each "programs that probe what is inside, all the time"
run_check ploop mount a
device=$(device_of a device)
run_check ploop umount a
while [ ! -e enough ]; do
	blkid -p "$device" "${device}p1"
	blkid -c /dev/null
done >/dev/null 2>&1 &
prober=$!
at_end "kill $prober 2>/dev/null"
for _ in 1 2 3; do
	run_check ploop mount -m mnt a
	echo works >mnt/file || fail "it does not work"
	run_check ploop umount --timeout 30 a
	expect_nothing_left
done
touch enough
wait $prober

each "what is inside concerns nobody outside: signatures of volumes are not followed, two at once are told"
run_check ploop mount a
part=$(device_of a partition)
printf 'LABELONE\1\0\0\0\0\0\0\0\0\0\0\0\40\0\0\0LVM2 001' | dd of="$part" bs=512 seek=1 conv=notrunc,fsync status=none
run_check ploop umount a
run_mayfail ploop mount -m mnt a
[ "$RC" = 0 ] || expect_line stderr 'more than one file system|no file system that is known'
[ "$RC" != 0 ] || run_check ploop umount a
run_check ploop mount -t ext4 -m mnt a
[ "$(cat mnt/file)" = works ] || fail content
run_check ploop umount a
expect_nothing_left

each "state that outlived a reboot: its process number and its loop device belong to others now"
run_check ploop mount --transport fuse -m mnt a
name=$(device_of a name)
cp -r "/run/ploop/$name/state" state
run_check ploop umount a
truncate -s 8M other
loop=$(losetup -f --show other) || skip "no loop device for somebody else"
at_end "losetup -d $loop 2>/dev/null"
sleep 1000 &
at_end "kill $! 2>/dev/null"
mkdir "/run/ploop/$name" "/run/ploop/$name/fuse"
sed "s/^server_pid .*/server_pid $!/; s/^backing .*/backing ${loop#/dev/loop}/" state >"/run/ploop/$name/state"
sed -i "s/^\(raw_dev\|dev\) .*/\1 $(($(stat -c '0x%t * 256 + 0x%T' "$loop")))/" "/run/ploop/$name/state"
run_check ploop list --json
is_state a alive false || fail "the process of somebody else passes for its server"
run_check ploop mount -m mnt a
kill -0 $! || fail "somebody else's process is dead"
losetup "$loop" | grep -F "$SCRATCH/other" || fail "somebody else's loop device is gone"
[ "$(cat mnt/file)" = works ] || fail content
run_check ploop umount a
losetup -d "$loop"
expect_nothing_left
