#!/bin/bash
# init makes a partition and a clean file system, as an ordinary user, and the disk reads the same in QEMU.
# timeout: 300
. "$(dirname "$0")/../../lib.sh"
need sgdisk qemu-img mke2fs

balloon=.balloon-c3a5ae3d-ce7f-43c4-a1ea-c61e2b4504e8

# unpack DIR CLUSTER [whole]: ./disk and ./part, by QEMU where it knows the format
unpack()
{
	rm -f disk part
	if grep -q '<Type>Plain' "$1/DiskDescriptor.xml"; then
		cp --sparse=always "$1/root.hds" disk
	else
		run_check qemu-img check -f parallels "$1/root.hds"
		run_check qemu-img convert -f parallels -O raw "$1/root.hds" disk
	fi
	if [ "${3-}" = whole ]; then
		mv disk part
		return
	fi
	run_check sgdisk -v disk
	expect_line stdout 'No problems found'
	run_check sgdisk -i 1 disk
	local first last size
	first=$(sed -n 's/^First sector: \([0-9]*\).*/\1/p' stdout)
	last=$(sed -n 's/^Last sector: \([0-9]*\).*/\1/p' stdout)
	size=$(($(stat -c %s disk) / 512))
	[ "$first" = "$2" ] || fail "the partition starts at $first"
	[ "$last" = $(((size - $2) / $2 * $2 / 8 * 8 - 1)) ] || fail "the partition ends at $last"
	dd if=disk of=part bs=32k iflag=skip_bytes,count_bytes skip=$((first * 512)) count=$(((last - first + 1) * 512)) \
		conv=sparse status=none
	truncate -s $(((last - first + 1) * 512)) part
}

check_ext()
{
	run_check e2fsck -fn part
	run_check debugfs -R "stat $balloon" part
	expect_line stdout 'Mode: +0600'
	expect_line stdout 'User: +0 +Group: +0'
	expect_line stdout 'Size: 0$'
	run_check dumpe2fs -h part
	expect_line stdout 'Default mount options: +user_xattr acl'
	expect_line stdout 'Errors behavior: +Remount read-only'
	expect_line stdout 'Maximum mount count: +-1'
	expect_line stdout 'Check interval: +0 '
}

disk()
{
	each "$*"
	rm -rf d
	mkdir d
	run_check ploop init "$@" d/root.hds
	expect_files d DiskDescriptor.xml root.hds
	run_check ploop check -f d
}

disk -s 1G
unpack d 2048
check_ext
expect_line stdout 'Total journal size: +128M'
expect_line stdout 'Block size: +4096'
[ "$(du -k d/root.hds | cut -f1)" -lt 65536 ] || fail "zeros were written into the image"

for mb in 20 64 100 200; do
	disk -s ${mb}M -b 128
	unpack d 128
	check_ext
done
expect_line stdout 'Total journal size: +25M'

disk -s 4M -b 64 -v 1
unpack d 64
check_ext

disk -s 300M -t ext3 -b 512 -v 1 -L data
unpack d 512
check_ext
expect_line stdout 'volume name: +data'
expect_no stdout 'extent'

disk -s 200M -B 1024 -n
unpack d 2048
check_ext
expect_line stdout 'Block size: +1024'

disk -s 100M -P
unpack d 2048 whole
check_ext

disk -s 100M -f raw
unpack d 2048
check_ext

disk -s 100M -f preallocated
unpack d 2048
check_ext

if command -v mkfs.xfs >/dev/null; then
	disk -s 400M -t xfs -b 1024
	unpack d 1024
	run_check xfs_repair -n part
fi

each "as an ordinary user"
if [ "$(id -u)" = 0 ]; then
	rm -rf u
	mkdir u
	chown 65534:65534 u
	chmod 755 "$SCRATCH"
	if as_user "$PLOOP" --version >/dev/null 2>&1 && as_user test -w u; then
		run_check as_user "$PLOOP" init -s 100M u/root.hds
		unpack u 2048
		check_ext
		run_check as_user "$PLOOP" info u
		run_check as_user "$PLOOP" check u
	else
		echo "this folder cannot be reached without root"
	fi
fi
