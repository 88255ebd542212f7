#!/bin/bash
# A host short of memory: what is written to a mounted disk, most of it through the page cache, gets to it while others eat
# all memory there is again and again, until the kernel kills them; the disk's processes live on.
LAB_MIB=96
. "$(dirname "$0")/lib.sh"
need choom

mkdir a
run_check ploop init -s 256M a/root.hds
run_check ploop mount -m mnt a
expect_line stdout '^ *Transport nbd '
server=$(device_of a server_pid)
grep -q '^VmLck:.* [1-9][0-9]* kB' "/proc/$server/status" || fail "no memory is locked"

# More than there is, kept until the kernel ends it.
while [ ! -e enough ]; do
	choom -n 1000 -- tail </dev/zero >/dev/null 2>&1
	echo >>eaten
done &
eaters=$!
choom -n -900 -p $$ >/dev/null

for n in 1 2 3; do
	each "twice the memory is written, pass $n"
	seq 10000000 10010000 >mnt/small
	seq 3000000 | timeout 60 dd of=mnt/file$n bs=64k conv=fsync iflag=fullblock status=none || fail "it is not written"
done
touch enough
wait $eaters
passes=$(wc -l <eaten)
echo "memory was used up $passes times"
[ "$passes" -ge 2 ] || fail "memory was not used up"
[ "$(device_of a server_pid)" = "$server" ] || fail "it is another server"
echo 3 >/proc/sys/vm/drop_caches
for n in 1 2 3; do
	cmp mnt/file$n <(seq 3000000) || fail "file $n is not what was written"
done
run_check ploop umount a
run_check ploop check -f a
expect_no_devices
