#!/bin/bash
# A read-only mount changes no byte of the image; a snapshot is mounted beside the top and never written.
# alone
. "$(dirname "$0")/lib.sh"
need sha256sum

mkdir a top
run_check ploop init -s 64M a/root.hds
run_check ploop mount -m mnt a
echo below >mnt/file
run_check ploop umount a

each "read-only"
sum=$(sha256sum <a/root.hds)
run_check ploop mount -r -m mnt a
expect_line stdout '\(ro\)$'
[ "$(cat mnt/file)" = below ] || fail "content"
run_mustfail 1 touch mnt/new
[ "$(blockdev --getro "$(device_of a device)")" = 1 ] || fail "the device takes writes"
run_check ploop stat --json a
[ "$(jq '.disks[0].read_requests > 0' stdout)" = true ] || fail "its server tells no figures"
run_check ploop umount a
[ "$(sha256sum <a/root.hds)" = "$sum" ] || fail "the image changed"

each "a file system that was not unmounted, as in a snapshot of a mounted disk"
run_check ploop mount -m mnt a
echo synced >mnt/synced
sync -f mnt
cp -a a torn
run_check ploop umount a
run_check ploop check -d -f torn/root.hds
sum_torn=$(sha256sum <torn/root.hds)
run_check ploop mount -r -m mnt torn
expect_line stdout "data='lazytime,noload' ro$"
[ "$(cat mnt/file)" = below ] || fail "content"
run_check ploop umount torn
[ "$(sha256sum <torn/root.hds)" = "$sum_torn" ] || fail "the image changed"
run_check ploop mount -m mnt torn
[ "$(cat mnt/synced)" = synced ] || fail "content"
run_check ploop umount torn
sum=$(sha256sum <a/root.hds)

each "a delta above it"
snapshot='{aaaaaaaa-1111-4111-8111-111111111111}'
top='{5fbaabe3-6958-40ff-92a7-860e329aab41}'
none='{00000000-0000-0000-0000-000000000000}'
run_check ploop init -s 64M -t none top/root.hds
mv top/root.hds a/root.hds.top
python3 - a/DiskDescriptor.xml "$snapshot" "$top" "$none" <<'END' || fail "cannot write the descriptor"
import re, sys
path, snapshot, top, none = sys.argv[1:]
xml = open(path).read()
image = re.search(r'<Image>.*?</Image>', xml, re.S).group(0)
shots = '<Shot><GUID>%s</GUID><ParentGUID>%s</ParentGUID></Shot>'
xml = xml.replace(image, image.replace(top, snapshot) + image.replace('root.hds', 'root.hds.top'))
xml = re.sub(r'<Shot>.*</Shot>', shots % (snapshot, none) + shots % (top, snapshot), xml, flags=re.S)
open(path, 'w').write(xml)
END
sum=$(sha256sum <a/root.hds)
run_check ploop mount -m mnt a
expect_line stdout "img=$SCRATCH/a/root.hds \(ro\)$"
expect_line stdout "img=$SCRATCH/a/root.hds.top \(rw\)$"
echo above >mnt/file
run_check ploop list -f
expect_line stdout "^		$SCRATCH/a/root.hds.top$"
run_check ploop umount a

each "the snapshot and the top at the same time"
mkdir old
run_check ploop mount -m mnt a
run_check ploop mount -c old -u "$snapshot" -m old a
[ "$(cat mnt/file) $(cat old/file)" = 'above below' ] || fail "content"
run_mustfail 1 touch old/new
run_check ploop umount -m old
run_check ploop umount -m mnt
[ "$(sha256sum <a/root.hds)" = "$sum" ] || fail "the snapshot changed"

each "as a list of images"
run_check ploop mount -m mnt a/root.hds a/root.hds.top
[ "$(cat mnt/file)" = above ] || fail "content"
run_check ploop stat
expect_line stdout "$(device_of a name)"
expect_line stdout "$SCRATCH/a/root.hds.top"
server=$(device_of a server_pid)
run_check kill -KILL "$server"
await is_served_by_another a "$server" || fail "no other server came"
run_check ploop stat "$(device_of a device)"
run_mustfail 17 ploop snapshot-merge a
[ ! -e "/run/ploop/$(device_of a name)/control.full" ] || fail "it waits for space"
run_check ploop umount a/root.hds.top
expect_nothing_left
