#!/bin/bash
# mount(8), umount(8) and fstab work with disks: mount.ploop and umount.ploop do what ploop mount and umount do.
# alone
# In a mount namespace of its own, so that mount(8) finds our helpers beside those of the system.
if [ -z "${IN_NAMESPACE-}" ] && unshare -m true 2>/dev/null; then
	IN_NAMESPACE=1 exec unshare -m "$0"
fi
. "$(dirname "$0")/lib.sh"
need findmnt
[ -n "${IN_NAMESPACE-}" ] || skip "no mount namespace of its own"

helpers=$(readlink -f /sbin)
mkdir sbin a b
ln -s "$PLOOP" sbin/mount.ploop
ln -s "$PLOOP" sbin/umount.ploop
mount -t overlay overlay -o "lowerdir=sbin:$helpers" "$helpers" || skip "no overlay to put helpers into $helpers"
at_end "cd /; umount -l '$helpers'"

run_check ploop init -s 64M a/root.hds
run_check ploop init -s 64M b/root.hds
snapshot='{aaaaaaaa-1111-4111-8111-111111111111}'

each "a disk by its descriptor; nothing is printed; umount(8) ends server and device"
run_check mount -t ploop a/DiskDescriptor.xml mnt
[ ! -s stdout ] || fail "it speaks"
run_check findmnt -n -o FSTYPE,SOURCE mnt
expect_stdout "ext4   $(device_of a partition)"
echo first >mnt/file
server=$(device_of a server_pid)
run_check umount mnt
await is_dead "$server" || fail "the server lives on"
expect_nothing_left
run_check ploop check a
expect_stdout 'Image is clean, check is skipped'

each "with options: of ours, of the file system, and of those that mean nothing to either"
run_check ploop snapshot -u "$snapshot" a
run_check mount -t ploop.ext4 a mnt \
	-o "ro,noatime,nofail,noauto,_netdev,x-systemd.automount,ploop.component=look,ploop.device=ploop777720,ploop.uuid=$snapshot"
[ "$(device_of a component) $(device_of a name) $(device_of a readonly)" = 'look ploop777720 true' ] || fail "not as asked for"
run_check findmnt -n -o OPTIONS mnt
expect_line stdout '^ro,.*noatime'
[ "$(cat mnt/file)" = first ] || fail content
run_check ploop umount -m mnt
! grep -F "$SCRATCH/mnt" /run/mount/utab || fail "libmount's table still has it"
run_mustfail 32 mount -t ploop -o ploop.nonsense a mnt
expect_line stderr 'ploop mount has no option --nonsense'
run_mustfail 32 mount -t ploop -o ploop.component a mnt
run_mustfail 32 mount -t ploop -o nonsense a mnt
run_mustfail 32 mount -t ploop -o remount,ro a mnt
run_mustfail 32 mount -t ploop nowhere.xml mnt
run_mustfail 32 mount.ploop -N 1 a mnt
run_mustfail 32 mount.ploop a
run_check mount -f -t ploop a mnt
expect_nothing_left

each "lines of fstab: all of them, twice; one by its folder"
cat >fstab <<END
$SCRATCH/a/DiskDescriptor.xml $SCRATCH/mnt ploop noatime,ploop.transport=fuse 0 0
$SCRATCH/b $SCRATCH/b/mnt ploop ro,noauto,nofail,x-systemd.requires-mounts-for=/ 0 0
END
mkdir b/mnt
run_check mount -T fstab -a
run_check mount -T fstab -a
[ "$(device_of a readonly) $(device_of b name)" = 'false ' ] || fail "not what the table says"
run_check mount -T fstab b/mnt
[ "$(device_of b readonly)" = true ] || fail "b is not read-only"
run_check mount -o remount,ro mnt
run_check umount mnt b/mnt
expect_nothing_left

each "busy: who holds it is told at once, and the next umount does it"
run_check mount -t ploop a mnt
(cd mnt && exec sleep 1000) &
at_end "kill $! 2>/dev/null"
run_mustfail 32 umount mnt
expect_line stderr "$SCRATCH/mnt is busy, held by .*$! \(sleep\)"
run_check umount -l mnt
expect_line stderr "in use by $! \(sleep\); later: ploop umount -d $(device_of a device)"
mountpoint -q mnt && fail "it is in sight"
kill $!
wait $!
run_check ploop umount a
expect_nothing_left

each "a second mount point: the disk goes with the last of them"
run_check mount -t ploop a mnt
mkdir second
run_check mount --bind mnt second
run_check umount mnt
[ "$(device_of a alive)" = true ] && echo works >second/file || fail "it went with the first"
run_check umount second
run_check ploop umount a

each "unmounted by somebody who knows no helpers: the device is there until ploop umount"
run_check mount -t ploop a mnt
run_check umount -i mnt
[ "$(device_of a alive)" = true ] || fail "it is gone"
run_check ploop umount a
expect_nothing_left

each "its entry in the run directory is gone"
run_check mount -t ploop --verbose -o ploop.transport=fuse a mnt
expect_line stdout '^Transport fuse'
name=$(device_of a name) server=$(device_of a server_pid)
rm "/run/ploop/$name/state"
run_check umount mnt
run_check ploop list
run_check bash -c "$(sed -n "s/^$name runs, but .* then: //p" stderr)"
await is_dead "$server" || fail "the server lives on"
rm -rf "/run/ploop/$name"
expect_clean a
expect_nothing_left
