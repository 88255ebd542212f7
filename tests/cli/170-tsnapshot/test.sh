#!/bin/bash
# tsnapshot: its words; what it does needs root and is tested in tests/mount.
. "$(dirname "$0")/../lib.sh"

new_disk d
cp -a d was
run_mustfail 38 ploop tsnapshot d
run_mustfail 38 ploop tsnapshot -u "$A" d
run_mustfail 38 ploop tsnapshot -c backup d
run_mustfail 38 ploop tsnapshot -u "$A" -c a/b d
run_mustfail 38 ploop tsnapshot -u 12 -c backup d
run_mustfail 38 ploop tsnapshot -u "$A" -c backup
run_mustfail 21 ploop tsnapshot -u "$A" -c backup -m nowhere d
run_mustfail 21 as_user "$PLOOP" tsnapshot -u "$A" -c backup d
[ "$(id -u)" != 0 ] || run_mustfail 23 ploop tsnapshot -u "$A" -c backup nowhere
run_check diff -r was d
