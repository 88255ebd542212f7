#!/bin/bash
# snapshot: the present state gets a name and stays, new writes go elsewhere; what is refused changes nothing.
. "$(dirname "$0")/../lib.sh"

new_disk d
write_disk d 'write -P 1 0 1M'

each "a snapshot of a stopped disk"
run_check ploop snapshot -u "$A" d
expect_line stdout "^ploop snapshot $A has been successfully created$"
[ "$(tail -n1 stdout)" = "ploop snapshot $A has been successfully created" ] || fail "it is not the last line"
expect_no stdout 'requests were held'
expect_tree d 0a 'a5*'
expect_tidy d
sum=$(sha256sum <d/root.hds)
write_disk d 'read -P 1 0 1M' 'write -P 2 512k 1M'
[ "$(sha256sum <d/root.hds)" = "$sum" ] || fail "the snapshot was written"
read_disk d "$A" 'read -P 1 0 1M' 'read -P 0 1M 512k'
read_disk d "$TOP" 'read -P 1 0 512k' 'read -P 2 512k 1M'

each "its form: braces, letters of either case, a folder or its descriptor"
run_check ploop snapshot -u BBBBBBBB-2222-4222-8222-222222222222 d/DiskDescriptor.xml
expect_tree d 0a ab 'b5*'

each "a random id, as text and as JSON"
run_check ploop snapshot d
expect_line stdout '^ploop snapshot \{[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\} has been'
run_check ploop snapshot --json d
guid=$(jq -r .guid stdout)
[ "$(jq -r '.running, .frozen, .pause_ns' stdout | tr '\n' ' ')" = 'false false 0 ' ] || fail "JSON"
run_check ploop snapshot-list -H -o uuid d
expect_line stdout "^$guid\$"
expect_tidy d
read_disk d "$TOP" 'read -P 1 0 512k' 'read -P 2 512k 1M'

each "options that are accepted and ignored, and quiet"
run_check ploop -v0 snapshot -F -d /dev/ploop0 d
expect_stdout ''

each "change tracking begins with -b"
new_disk tracked
run_check ploop snapshot -b 12345678-1234-4234-8234-123456789abc tracked
run_check ploop debug header "$("$PLOOP" snapshot-list -H -o fname tracked | tail -n1)"
expect_line stdout 'with extension$'
run_check ploop check -f tracked

each "what is refused"
cp -a d was
run_mustfail 38 ploop snapshot -u "$A" d
run_mustfail 38 ploop snapshot -u "$TOP" d
run_mustfail 38 ploop snapshot -u "$NONE" d
run_mustfail 38 ploop snapshot -u xyz d
expect_line stderr 'Incorrect uuid'
run_mustfail 38 ploop snapshot -b "$B" d
run_mustfail 38 ploop snapshot -b 1234 d
run_mustfail 38 ploop snapshot
run_mustfail 38 ploop snapshot d d
run_mustfail 38 ploop snapshot --no-such-option d
run_mustfail 23 ploop snapshot nowhere
run_mustfail 23 ploop snapshot nowhere/DiskDescriptor.xml
run_mustfail 23 ploop snapshot d/root.hds
mkdir empty
run_mustfail 23 ploop snapshot empty
run_check diff -r was d

each "a disk that somebody writes, with -o"
start_server d
run_mustfail 37 ploop snapshot -o d
expect_line stderr 'in use'
stop_server
run_check diff was/DiskDescriptor.xml d/DiskDescriptor.xml

each "an image that is missing is not a snapshot that is missing"
mv d/root.hds gone
run_mustfail 4 ploop snapshot d
run_check diff was/DiskDescriptor.xml d/DiskDescriptor.xml
