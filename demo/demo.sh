#!/bin/bash
# A container disk at work, start to end: made, mounted by this kernel, a program run from it, served over NBD, read by
# QEMU. `make demo` builds first and calls this. Everything lives in one scratch folder and goes with it.
set -euo pipefail
cd "$(dirname "$0")"
: "${BUILD:=$PWD/../build/release}"
export PATH=$BUILD:$PATH:/usr/sbin:/sbin
. ./rootfs.sh

scratch=$(mktemp -d /var/tmp/ploop-demo.XXXXXX)
bundle=$scratch/ct1
mnt=$scratch/mnt
socket=$scratch/nbd.sock
uri="nbd+unix:///?socket=$socket"
server=
mounted=

cleanup()
{
	local rc=$?
	set +e
	[ -z "$server" ] || { kill "$server" && wait "$server"; } 2>/dev/null
	[ $rc = 0 ] || echo "The demo failed, exit code $rc." >&2
	if [ -n "$mounted" ] && ! ploop umount "$bundle/DiskDescriptor.xml"; then
		echo "$scratch stays: its disk could not be unmounted." >&2
		exit 1
	fi
	rm -rf --one-file-system "$scratch"
	exit $rc
}
trap cleanup EXIT
trap 'exit 130' INT TERM

chapter()
{
	printf '\n== %s\n' "$*"
}
# Show a command as one would type it, then run it.
run()
{
	printf '\n$ %s\n' "${*//$scratch\//}"
	"$@"
}
# Serve a disk in the background until stop.
serve()
{
	printf '\n$ ploop serve %s --socket nbd.sock &\n' "$1"
	ploop serve "$scratch/$1" --socket "$socket" &
	server=$!
	for _ in $(seq 100); do
		[ ! -S "$socket" ] || return 0
		kill -0 "$server"
		sleep 0.1
	done
	return 1
}
stop()
{
	kill "$server"
	wait "$server"
	server=
}
# Why the disk cannot be mounted here; nothing when it can.
no_mount_because()
{
	if [ "$(id -u)" != 0 ]; then
		echo 'mounting needs root'
	elif ! [ -c /dev/fuse ] && ! modprobe -q fuse; then
		echo 'this kernel gives us no /dev/fuse'
	elif ! [ -e /dev/loop-control ] && ! modprobe -q loop; then
		echo 'this kernel gives us no /dev/loop-control'
	fi
}

chapter 'A disk for a container: a folder with a description and one image'
mkdir "$bundle" "$mnt" "$scratch/speed"
run ploop init -s 4G -t ext4 "$bundle/root.hds"
run ls -lsh "$bundle"
run ploop info -s "$bundle/DiskDescriptor.xml"

chapter "This machine's own kernel mounts it: Linux $(uname -r), no module of ours"
why_not=$(no_mount_because)
if [ -n "$why_not" ]; then
	echo "Left out here: $why_not. What follows needs no rights at all."
else
	mounted=yes
	run ploop mount -m "$mnt" "$bundle/DiskDescriptor.xml"
	run findmnt "$mnt"

	chapter 'A Debian root file system goes on it'
	if printf '\n$ mmdebstrap --variant=minbase bookworm mnt\n' && root_from_debian "$mnt"; then
		program='. /etc/os-release; echo "Hello from $PRETTY_NAME, process $$ of its own: $(dpkg-query -W | wc -l) packages, $(du -shx / | cut -f1)"'
	else
		echo 'No mirror in reach: busybox instead.'
		find "$mnt" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf --one-file-system {} +
		root_from_busybox "$mnt"
		program='. /etc/os-release; echo "Hello from $PRETTY_NAME, process $$ of its own"'
	fi
	chapter 'A program runs from it, in namespaces of its own'
	printf '\n$ unshare --mount --uts --ipc --pid --fork chroot mnt sh -c ...\n'
	run_inside "$mnt" "$program"
	run_inside "$mnt" 'echo "written inside" >/etc/demo && sync && ls -l /etc/demo'
	run df -h "$mnt"
	run ploop info "$bundle/DiskDescriptor.xml"
	run ploop umount "$bundle/DiskDescriptor.xml"
	mounted=
fi

chapter 'Closed, it is a plain image again'
run ploop check -f "$bundle/DiskDescriptor.xml"
run qemu-img check -f parallels "$bundle/root.hds"

chapter 'Served over NBD to whoever speaks it, without root'
serve ct1/DiskDescriptor.xml
run nbdinfo --no-content "$uri"
run qemu-img info "$uri"
run qemu-img convert -O qcow2 "$uri" "$scratch/copy.qcow2"
run qemu-img compare "$uri" "$scratch/copy.qcow2"
stop

chapter 'At the speed of the disk: 4k random reads, 32 in flight, over NBD and then on the bare image file'
run ploop init -s 1G -t none "$scratch/speed/root.hds"
serve speed/root.hds
timeout 60 fio --name=fill --ioengine=nbd --uri="$uri" --rw=write --bs=1M --iodepth=8 --size=512M >/dev/null
reads=(timeout 60 fio --name=randread --rw=randread --bs=4k --iodepth=32 --size=512M --time_based --runtime=5)
run "${reads[@]}" --ioengine=nbd --uri="$uri" | grep -E '^\$|IOPS'
stop
run "${reads[@]}" --ioengine=io_uring --direct=1 --filename="$scratch/speed/root.hds" | grep -E '^\$|IOPS' ||
	echo 'No io_uring or no O_DIRECT here to compare with.'

chapter 'And the image opens in QEMU, with the same bytes'
run qemu-img compare -f parallels -F qcow2 "$bundle/root.hds" "$scratch/copy.qcow2"
run qemu-img info -f parallels "$bundle/root.hds"

printf '\nThat was a container disk in user space. Now: ./setup check\n'
