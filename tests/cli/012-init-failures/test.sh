#!/bin/bash
# init that fails says why, with the stock tool's code, and leaves nothing.
. "$(dirname "$0")/../../lib.sh"

mkdir d

each "wrong words"
run_mustfail 38 ploop init d/root.hds
run_mustfail 38 ploop init -s 1G
run_mustfail 38 ploop init -s 1G d/a d/b
run_mustfail 38 ploop init -s 0 -t none d/root.hds
for size in 1X 1GG 1.5G '' -1 '1 G' ten; do
	run_mustfail 38 ploop init -s "$size" -t none d/root.hds
	expect_line stderr '^ploop: .*Invalid argument'
	expect_line stderr '^Usage: ploop init'
done
for size in 1024T 99999999999999999999 8589934593G; do
	run_mustfail 38 ploop init -s $size -t none d/root.hds
	expect_line stderr 'Too large value'
done
run_mustfail 38 ploop init -s 1G -t none -v 3 d/root.hds
run_mustfail 38 ploop init -s 1G -t none -f qcow2 d/root.hds
for cluster in 63 100 32 262144 1M 0x; do
	run_mustfail 38 ploop init -s 1G -t none -b $cluster d/root.hds
done
run_mustfail 38 ploop init -s 1G -t ../../bin/sh d/root.hds
run_mustfail 38 ploop init -s 1G -B 1000 d/root.hds
run_mustfail 38 ploop init -s 1G -L 12345678901234567 d/root.hds
expect_line stderr 'limit of ext4 is 16'
run_mustfail 24 ploop init -s 1G -t nosuchfs d/root.hds
expect_line stderr 'mkfs.nosuchfs is not installed'
expect_files d

each "no room"
run_mustfail 38 ploop init -s 2M d/root.hds
expect_line stderr 'more than two clusters'
run_mustfail 38 ploop init -s 51T d/root.hds
if command -v mkfs.xfs >/dev/null; then
	run_mustfail 24 ploop init -s 10M -t xfs d/root.hds
	expect_line stderr 'mkfs.xfs ended with status'
fi
expect_files d
run_mustfail 38 ploop init -s 3T -t none -v 1 d/root.hds
expect_files d

each "what exists stays"
echo precious >d/root.hds
run_mustfail 38 ploop init -s 10M -t none d/root.hds
expect_line stderr 'd/root.hds exists already'
[ "$(cat d/root.hds)" = precious ] || fail "the file was touched"
rm d/root.hds
ln -s nowhere d/root.hds
run_mustfail 38 ploop init -s 10M -t none d/root.hds
rm d/root.hds
echo precious >d/DiskDescriptor.xml
run_mustfail 17 ploop init -s 10M -t none d/root.hds
[ "$(cat d/DiskDescriptor.xml)" = precious ] || fail "the descriptor was touched"
expect_files d DiskDescriptor.xml
rm d/DiskDescriptor.xml

each "a folder that is not there"
run_mustfail 1 ploop init -s 10M -t none nowhere/root.hds
expect_line stderr 'nowhere'

each "a full file system"
mkdir full
if [ "$(id -u)" = 0 ] && mount -t tmpfs -o size=8M none full; then
	at_end 'umount full'
	run_mustfail 1 ploop -v0 init -s 64M -t none -f preallocated full/root.hds
	expect_files full
	for room in 2M 6M 8M 12M; do
		run_check mount -o remount,size=$room full
		run_mustfail 24 timeout -s KILL 20 "$PLOOP" -v0 init -s 1G full/root.hds
		expect_files full
	done
fi

each "interrupted"
"$PLOOP" init -s 64G -n d/root.hds >/dev/null 2>stderr &
pid=$!
await [ -e d/root.hds ]
kill -TERM $pid
wait $pid
code=$?
echo "exit code $code: $(cat stderr)"
if [ $code != 0 ]; then
	expect_files d
	expect_line stderr 'signal'
fi
