#!/bin/bash
# What is written to the mounted file system is there after a remount; the file system is clean, the usage is noted.
# alone
. "$(dirname "$0")/lib.sh"
need sha256sum fstrim

mkdir a
run_check ploop init -s 256M a/root.hds

each "content survives"
run_check ploop mount -m mnt a
[ ! -e a/.statfs ] || fail ".statfs while mounted"
dd if=/dev/urandom of=mnt/big bs=1M count=40 status=none
for i in $(seq 200); do
	mkdir -p "mnt/dir$((i % 7))" && echo "file $i" >"mnt/dir$((i % 7))/$i"
done
sum=$(cd mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum)
used=$(df --output=used mnt | tail -1 | tr -d ' ')
run_check ploop info a
expect_line stdout "1k-blocks +[0-9]+ +$used$"
run_check ploop umount a
[ "$(stat -c %s a/.statfs)" = 40 ] || fail "no .statfs"
run_check ploop info a
expect_line stdout "1k-blocks +[0-9]+ +$used$"
expect_clean a
run_check ploop mount -F -m mnt -o noatime,balloon_ino=12 a
grep -F "$SCRATCH/mnt" /proc/self/mountinfo | grep -q noatime || fail "noatime is lost"
[ "$(cd mnt && find . -type f -print0 | sort -z | xargs -0 sha256sum)" = "$sum" ] || fail "content changed"

each "deleted files give their space back"
before=$(du -k a/root.hds | cut -f1)
rm mnt/big
sync -f mnt
run_check fstrim mnt
run_check ploop umount -m mnt
after=$(du -k a/root.hds | cut -f1)
[ "$after" -lt $((before - 30000)) ] || fail "the image had $before KiB and has $after KiB"
expect_clean a

each "a damaged file system is found by -F, and nothing is left mounted"
run_check ploop mount a
device=$(device_of a partition)
dd if=/dev/zero of="$device" bs=4k count=64 seek=1 conv=notrunc,fsync status=none
run_check ploop umount a
run_mustfail 41 ploop mount -F -m mnt a
expect_nothing_left
