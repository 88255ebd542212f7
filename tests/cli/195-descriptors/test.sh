#!/bin/bash
# The descriptor after each operation, element by element in stock tools' order: who is there, on whom it stands, in which
# file, and under which mark.
. "$(dirname "$0")/../lib.sh"

# expect_xml DISK "GUID PARENT FILE [MARK]"...: in this order, and the disk as it was made. A new delta's file is root.hds.*
expect_xml()
{
	local disk=$1 node guid parent file mark
	shift
	{
		sed -n '0,/<Blocksize>/p' fresh.xml
		for node; do
			read -r guid parent file mark <<<"$node"
			printf '      <Image>\n        <GUID>%s</GUID>\n        <Type>Compressed</Type>\n' "$guid"
			printf '        <File>%s</File>\n      </Image>\n' "$file"
		done
		printf '    </Storage>\n  </StorageData>\n  <Snapshots>\n    <TopGUID>%s</TopGUID>\n' "$TOP"
		for node; do
			read -r guid parent file mark <<<"$node"
			printf '    <Shot>\n      <GUID>%s</GUID>\n      <ParentGUID>%s</ParentGUID>\n' "$guid" "$parent"
			[ -z "$mark" ] || printf '      <%s/>\n' "$mark"
			printf '    </Shot>\n'
		done
		printf '  </Snapshots>\n</Virtuozzo_disk_image>\n'
	} >want.xml
	sed 's/root\.hds\.{[0-9a-f-]*}/root.hds.*/' "$disk/DiskDescriptor.xml" >got.xml
	diff want.xml got.xml || fail "the descriptor of $disk is another one"
}

# again: the disk of three images
again()
{
	rm -rf d
	cp -a was d
}

BASE='root.hds' DELTA='root.hds.*'
new_disk d
cp d/DiskDescriptor.xml fresh.xml
expect_xml d "$TOP $NONE $BASE"

each "snapshot"
run_check ploop snapshot -u "$A" d
expect_xml d "$A $NONE $BASE" "$TOP $A $DELTA"
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$B" d
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$TOP $B $DELTA"
write_disk d 'write -P 2 1M 1M'
cp -a d was

each "merge: of the top, of another, of all, into a new file"
run_check ploop snapshot-merge d
expect_xml d "$A $NONE $BASE" "$TOP $A $DELTA"
again
run_check ploop snapshot-merge -u "$B" d
expect_xml d "$B $NONE $BASE" "$TOP $B $DELTA"
again
run_check ploop snapshot-merge -A d
expect_xml d "$TOP $NONE $BASE"
again
run_check ploop snapshot-merge -u "$B" -n "$PWD/d/new.hds" d
expect_xml d "$B $NONE new.hds" "$TOP $B $DELTA"

each "delete: with one child, the top, a leaf, with several children"
again
run_check ploop snapshot-delete -u "$A" d
expect_xml d "$B $NONE $BASE" "$TOP $B $DELTA"
again
run_check ploop snapshot-delete -u "$TOP" d
expect_xml d "$A $NONE $BASE" "$TOP $A $DELTA"
again
run_check ploop snapshot-switch -u "$A" d
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$TOP $A $DELTA"
run_check ploop snapshot-delete -u "$A" d
expect_xml d "$A $NONE $BASE Temporary" "$B $A $DELTA" "$TOP $A $DELTA"
run_check ploop snapshot-delete -u "$B" d
expect_xml d "$TOP $NONE $BASE"
again
run_check ploop snapshot-switch -u "$A" d
run_check ploop snapshot-delete -u "$B" d
expect_xml d "$A $NONE $BASE" "$TOP $A $DELTA"

each "switch that keeps the former state"
again
run_check ploop snapshot-switch --keep-uuid "$C" -u "$A" d
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$C $B $DELTA" "$TOP $A $DELTA"
again
run_check ploop snapshot-switch -D -u "$B" d
kept=$(sed -n 's/^The former state is snapshot //p' stdout)
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$kept $B $DELTA" "$TOP $B $DELTA"

each "replace, under another name and under the same"
again
cp d/root.hds d/copy.hds
run_check ploop replace -u "$A" -i d/copy.hds d
expect_xml d "$A $NONE copy.hds" "$B $A $DELTA" "$TOP $B $DELTA"
cp d/copy.hds new.hds
run_check ploop replace -k -u "$A" -i new.hds d
expect_xml d "$A $NONE copy.hds" "$B $A $DELTA" "$TOP $B $DELTA"

each "clones have the chain that they stand on"
again
run_check ploop clone --full d copied
expect_xml copied "$A $NONE $BASE" "$B $A $DELTA" "$TOP $B $DELTA"
run_check ploop clone --full -u "$A" d older
expect_xml older "$TOP $NONE $BASE"
run_check ploop clone --linked -u "$B" d linked
expect_xml linked "$A $NONE $BASE" "$B $A $DELTA" "$TOP $B $DELTA"
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$TOP $B $DELTA"

each "the same on a disk that runs"
rm -rf linked
again
start_server d
io 'write -P 3 2M 1M'
run_check ploop snapshot -u "$C" d
expect_xml d "$A $NONE $BASE" "$B $A $DELTA" "$C $B $DELTA" "$TOP $C $DELTA"
run_check ploop snapshot-delete -u "$B" d
expect_xml d "$A $NONE $BASE" "$C $A $DELTA" "$TOP $C $DELTA"
run_check ploop snapshot-merge d
expect_xml d "$A $NONE $BASE" "$TOP $A $DELTA"
run_check ploop snapshot-merge d
expect_xml d "$TOP $NONE $BASE"
stop_server

each "a branch and a temporary snapshot, written by hand"
again
run_check ploop snapshot-switch -u "$A" d
sed -i "/<Shot>/{n;/<GUID>$B</{n;s,\$,\n      <Temporary></Temporary>,}}" d/DiskDescriptor.xml
[ "$(grep -c Temporary d/DiskDescriptor.xml)" = 1 ] || fail "it was not written"
run_check ploop snapshot-list d
run_check ploop info -s d
run_check ploop snapshot -u "$C" d
expect_xml d "$A $NONE $BASE" "$C $A $DELTA" "$TOP $C $DELTA"
expect_tidy d
