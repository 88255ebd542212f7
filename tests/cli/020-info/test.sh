#!/bin/bash
# info prints the stock tool's lines, from .statfs or from the superblock, and leaves the disk alone.
. "$(dirname "$0")/../../lib.sh"
need mke2fs

each "an empty disk"
mkdir empty
run_check ploop -v0 init -s 1G -t none empty/root.hds
run_check ploop info -s empty/DiskDescriptor.xml
expect_stdout "size:		2097152
blocksize:	2048
fmt_version:	2"
run_check ploop info -d empty
expect_stdout "device:		
partition:	"
run_check ploop info -s -d empty
expect_line stdout '^size:'
expect_line stdout '^device:'
run_mustfail 11 ploop info empty
expect_line stderr 'neither ext2, ext3, ext4 nor xfs'

each "a file system"
mkdir d
run_check ploop -v0 init -s 300M d/root.hds
sha256sum d/root.hds d/DiskDescriptor.xml >before
run_check ploop info d
expect_line stdout '^   resource           Size           Used$'
expect_line stdout '^  1k-blocks +[0-9]+ +[0-9]+$'
expect_line stdout '^     inodes +[0-9]+ +12$'
[ "$(awk 'NR == 2 { print length($0) }' stdout)" = 41 ] || fail "width of a row"
run_check sha256sum -c before

each "the superblock says what statfs() says"
if [ "$(id -u)" = 0 ] && command -v qemu-img >/dev/null; then
	run_check qemu-img convert -f parallels -O raw d/root.hds disk
	mkdir mnt
	cp stdout info
	run_check ploop info d
	cp stdout info
	if mount -o ro,noload,loop,offset=1048576 disk mnt; then
		at_end 'umount mnt'
		read -r blocks free inodes inodes_free size < <(stat -f -c '%b %f %c %d %S' mnt)
		expect_line info "^  1k-blocks +$((blocks * size / 1024)) +$(((blocks - free) * size / 1024))\$"
		expect_line info "^     inodes +$inodes +$((inodes - inodes_free))\$"
	fi
fi

each ".statfs wins"
python3 -c 'import struct; open("d/.statfs", "wb").write(struct.pack("=5Q", 4096, 1000, 400, 77, 66))'
run_check ploop info d
expect_line stdout '^  1k-blocks           4000           2400$'
expect_line stdout '^     inodes             77             11$'
run_check ploop info --json d
cp stdout out.json
run_check python3 -c 'import json; j = json.load(open("out.json")); assert j["blocks_kib"] == 4000, j'
rm d/.statfs

each "raw and version 1"
mkdir raw v1
run_check ploop -v0 init -s 64M -f raw -b 256 raw/root.hds
run_check ploop info -s raw
expect_stdout "size:		131072
blocksize:	256
fmt_version:	2"
run_check ploop info raw
run_check ploop check -f raw
run_check ploop -v0 init -s 64M -t none -v 1 v1/root.hds
run_check ploop info -s v1
expect_line stdout '^fmt_version:	1$'

each "misuse"
run_mustfail 38 ploop info
run_mustfail 38 ploop info d/root.hds
run_mustfail 23 ploop info nowhere.xml
