#!/bin/bash
# Opening a disk for writing finishes what an operation that died has left (D6); looking at one does not.
. "$(dirname "$0")/../lib.sh"

ORPHAN='root.hds.{0d5f0c6e-52c9-4a67-9d5c-2f3d1f0b6a11}'
new_disk d

each "a delta that an interrupted snapshot made and nothing names"
cp d/root.hds "d/$ORPHAN"
echo "$ORPHAN" >d/DiskDescriptor.xml.unlink
run_check ploop info -s d/DiskDescriptor.xml
[ -e "d/$ORPHAN" ] || fail "looking removed it"
start_server d
[ ! -e "d/$ORPHAN" ] || fail "the orphan is still there"
[ ! -e d/DiskDescriptor.xml.unlink ] || fail "the list is still there"
stop_server

each "a second name that an interrupted merge gave the image"
ln d/root.hds "d/$ORPHAN"
echo "$ORPHAN" >d/DiskDescriptor.xml.unlink
start_server d
[ "$(stat -c %h d/root.hds)" = 1 ] || fail "the second name is still there"
stop_server

each "nobody opens it for writing while an operation runs"
exec 9<d
flock 9
run_mustfail 1 ploop serve --socket "$PWD/s" d
expect_line stderr 'another operation is running on '
flock -u 9
