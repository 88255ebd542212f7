#!/bin/bash
# snapshot-list: columns and widths that others parse, chosen fields, the way to the base, JSON; every failure is 1.
. "$(dirname "$0")/../lib.sh"

new_disk d
run_check ploop snapshot -u "$A" d
run_check ploop snapshot -u "$B" d
base=$PWD/d/root.hds
middle=$(sed -n 's,.*<File>\(root.hds\.{.*}\)</File>.*,\1,p' d/DiskDescriptor.xml | head -n1)
top=$(sed -n 's,.*<File>\(root.hds\.{.*}\)</File>.*,\1,p' d/DiskDescriptor.xml | tail -n1)
heading=$(printf '%-38s %1s %-38s %-32s ' PARENT_UUID C UUID FNAME)

each "all of it"
run_check ploop snapshot-list d
expect_stdout "$heading
$NONE   $A $base
$A   $B $PWD/d/$middle
$B * $TOP $PWD/d/$top"

each "without the header, some columns, in any case"
run_check ploop snapshot-list -H -o UUID,current d
expect_stdout "$A 
$B 
$TOP *"
run_check ploop snapshot-list --no-header --output fname d
expect_stdout "$base
$PWD/d/$middle
$PWD/d/$top"
run_check ploop snapshot-list -o uuid d
expect_line stdout '^UUID {35}$'

each "without the present state"
run_check ploop snapshot-list -s -H d
expect_stdout "$NONE   $A $base
$A * $B $PWD/d/$middle"
run_check ploop snapshot-list --snapshot -H d
expect_line stdout '\*'

each "from one snapshot to the base"
for option in -u --uuid --id; do
	run_check ploop snapshot-list -H -o uuid "$option" "$B" d
	expect_stdout "$B
$A"
done

each JSON
run_check ploop snapshot-list --json d/DiskDescriptor.xml
[ "$(jq -r '.snapshots[] | "\(.uuid) \(.parent_uuid) \(.current) \(.temporary) \(.fname)"' stdout)" = \
	"$A $NONE false false $base
$B $A false false $PWD/d/$middle
$TOP $B true false $PWD/d/$top" ] || fail "JSON"

each "a disk that runs"
start_server d
run_check ploop snapshot-list -H -o uuid d
stop_server

each "every failure is 1"
run_mustfail 1 ploop snapshot-list
run_mustfail 1 ploop snapshot-list nowhere
run_mustfail 1 ploop snapshot-list -o uuid,colour d
run_mustfail 1 ploop snapshot-list -o uuid,,fname d
run_mustfail 1 ploop snapshot-list -o '' d
run_mustfail 1 ploop snapshot-list -o "$(printf 'uuid,%.0s' $(seq 40))uuid" d
run_mustfail 1 ploop snapshot-list -u "$UNKNOWN" d
run_mustfail 1 ploop snapshot-list -u 123 d
run_mustfail 1 ploop snapshot-list --no-such-option d
echo '<x>' >d/DiskDescriptor.xml
run_mustfail 1 ploop snapshot-list d
