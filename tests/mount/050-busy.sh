#!/bin/bash
# A busy disk is not torn down: who holds it is named, the disk goes on working, and a later umount succeeds.
# alone
. "$(dirname "$0")/lib.sh"

mkdir a
run_check ploop init -s 64M a/root.hds
run_check ploop mount -m mnt a

each "a process in the mounted folder"
(cd mnt && exec sleep 1000) &
holder=$!
at_end "kill $holder"
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "$SCRATCH/mnt is busy, held by .*$holder \(sleep\)"
echo works >mnt/file || fail "the file system is gone"
run_check sync -f mnt

each "the server refuses to leave a mounted disk alone"
kill -TERM "$(device_of a server_pid)"
sleep 0.3
[ "$(device_of a alive)" = true ] || fail "it went"
echo works >mnt/file2 && run_check sync -f mnt

each "it lets go while we try"
(sleep 1; kill $holder) &
run_check ploop umount --timeout 30 a
expect_nothing_left

each "a process that has the device open"
run_check ploop mount a
device=$(device_of a device)
exec 9<"$device"
run_mustfail 46 ploop umount --timeout 1 a
expect_line stderr "$device is in use by .*$$ \("
run_check dd if="$device" of=/dev/null bs=1M count=1 iflag=direct
exec 9<&-
run_check ploop umount a
expect_nothing_left

each "open partition"
run_check ploop mount a
exec 9<"$(device_of a partition)"
run_mustfail 46 ploop umount --timeout 1 a
exec 9<&-
run_check ploop umount a
expect_nothing_left
run_check ploop check a
