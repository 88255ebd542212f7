#!/bin/bash
# A root file system on a mounted disk runs a program in a chroot; umount leaves an image that is clean and that QEMU
# reads: the file written inside is found in QEMU's copy.
set -euo pipefail
# alone
. "$SRC/demo/rootfs.sh"
[ "$(id -u)" = 0 ] || { echo 'SKIP: not root' && exit 77; }
[ -c /dev/fuse ] && [ -e /dev/loop-control ] || { echo 'SKIP: no /dev/fuse or no loop devices' && exit 77; }
for tool in busybox qemu-img debugfs; do
	command -v $tool >/dev/null || { echo "SKIP: no $tool" && exit 77; }
done

disk=$TMPDIR/ct/DiskDescriptor.xml
mnt=$TMPDIR/mnt
mkdir "$TMPDIR/ct" "$mnt"
ploop init -s 256M -t ext4 "$TMPDIR/ct/root.hds"

trap 'ploop umount "$disk" || true' EXIT
ploop mount -m "$mnt" "$disk"
root_from_busybox "$mnt"
said=$(run_inside "$mnt" 'seq 4000000 >/inside && sha256sum /inside')
trap - EXIT
ploop umount "$disk"

if mountpoint -q "$mnt"; then
	echo "$mnt is still mounted"
	exit 1
fi
ploop check -f -r "$disk"
qemu-img check -f parallels "$TMPDIR/ct/root.hds"
qemu-img convert -f parallels -O raw "$TMPDIR/ct/root.hds" "$TMPDIR/copy.raw"

# The first partition, by its GPT entry in sector 2.
start=$(od -An -tu8 -j $((1024 + 32)) -N 8 "$TMPDIR/copy.raw" | tr -d ' ')
dd if="$TMPDIR/copy.raw" of="$TMPDIR/part.raw" bs=512 skip="$start" conv=sparse status=none
e2fsck -fn "$TMPDIR/part.raw"
debugfs -R "dump /inside $TMPDIR/inside" "$TMPDIR/part.raw"
[ "$(sha256sum <"$TMPDIR/inside" | cut -d' ' -f1)" = "$(sed -n 's/ .*inside//p' <<<"$said")" ]
