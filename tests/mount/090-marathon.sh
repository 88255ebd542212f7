#!/bin/bash
# A hundred snapshots of a mounted disk in a row, and all of them merged again, under a program that verifies what it wrote.
# SNAPSHOTS=n for another number of them.
# timeout: 300
# alone
. "$(dirname "$0")/lib.sh"
need fio qemu-img

snapshots=${SNAPSHOTS:-100}
mkdir a
run_check ploop init -s 256M -b 128 a/root.hds
run_check ploop mount -m mnt a

# Until it is told to end. What it wrote is read back soon after it was written, across snapshots and merges.
fio --name=marathon --filename=mnt/file --ioengine=libaio --direct=1 --iodepth=8 --rw=randrw --rwmixread=30 --bsrange=4k-64k \
	--size=64M --verify=crc32c --verify_backlog=64 --verify_fatal=1 --verify_state_save=0 --time_based --runtime=280 \
	--fsync=256 --output=fio.log &
fio=$!
at_end 'kill -KILL $fio 2>/dev/null'
# And what was there at the beginning is looked at when all is merged.
head -c 8M /dev/urandom >mnt/first
sum=$(md5sum <mnt/first)

each "$snapshots snapshots"
begin=$SECONDS
for i in $(seq "$snapshots"); do
	"$PLOOP" snapshot a >snapshot.out 2>&1 || { cat snapshot.out; fail "snapshot $i: exit code $?"; }
	grep -o 'requests were held for [0-9.]*' snapshot.out >>held
	kill -0 $fio 2>/dev/null || { cat fio.log; fail "fio ended at snapshot $i"; }
done
echo "$((SECONDS - begin)) s, held for at most $(grep -o '[0-9.]*$' held | sort -g | tail -n1) ms"
[ "$("$PLOOP" snapshot-list -H a | wc -l)" = $((snapshots + 1)) ] || fail "not $((snapshots + 1)) images"

each "all merged"
begin=$SECONDS
run_check ploop snapshot-merge -A a
echo "$((SECONDS - begin)) s"
[ "$("$PLOOP" snapshot-list -H a | wc -l)" = 1 ] || fail "more than one image is left"
kill -0 $fio 2>/dev/null || { cat fio.log; fail "fio ended"; }

each "nothing was lost"
kill -INT $fio
wait $fio
code=$?
cat fio.log
[ "$code" = 0 ] || [ "$code" = 128 ] || fail "fio ended with $code" # 128: it was interrupted
expect_line fio.log '^marathon: .*err= 0'
[ "$(md5sum <mnt/first)" = "$sum" ] || fail "what was written first changed"
run_check ploop umount a
expect_nothing_left
expect_clean a
run_check qemu-img check -f parallels a/root.hds
expect_files a .statfs DiskDescriptor.xml root.hds
run_check ploop mount -r -m mnt a
[ "$(md5sum <mnt/first)" = "$sum" ] || fail "what was written first changed"
run_check ploop umount a
