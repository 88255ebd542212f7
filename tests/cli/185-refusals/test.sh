#!/bin/bash
# What is asked of a chain and cannot be done: a sentence, the code of the stock tool, and a disk that is as it was.
. "$(dirname "$0")/../lib.sh"

# refused CODE REGEX COMMAND...: it says why in one line, and nothing in ./d has changed since `keep`.
keep()
{
	rm -rf was
	cp -a d was
}
refused()
{
	local code=$1 why=$2
	shift 2
	run_mustfail "$code" ploop "$@"
	expect_line stderr "$why"
	[ "$(wc -l <stderr)" = 1 ] || fail "it says more than a sentence"
	run_check diff -r was d
}

# d: A <- B <- top, and C on A
new_disk d
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 1M 1M'
run_check ploop snapshot -u "$B" d
run_check ploop snapshot-switch --keep-uuid "$C" -u "$A" d
run_check ploop snapshot-switch -u "$B" d
write_disk d 'write -P 3 2M 1M'
expect_tree d 0a ab bc 'b5*'
file_of_b=$("$PLOOP" snapshot-list -H -o fname -u "$B" d | xargs basename)
keep

each "an id that nobody has"
refused 43 "there is no snapshot {$UNKNOWN}" snapshot-delete -u "$UNKNOWN" d
refused 38 "there is no snapshot {$UNKNOWN}" snapshot-merge -u "$UNKNOWN" d
refused 38 "there is no snapshot {$UNKNOWN}" snapshot-switch -u "$UNKNOWN" d
refused 43 "there is no snapshot {$UNKNOWN}" clone --linked -u "$UNKNOWN" d clone
refused 43 "there is no snapshot {$UNKNOWN}" replace -u "$UNKNOWN" -i was/root.hds d
refused 1 "there is no snapshot {$UNKNOWN}" serve -u "$UNKNOWN" --socket sock d

each "the id of the top, of the base, of one that is there"
refused 38 "$TOP is the top already" snapshot-switch -u "$TOP" d
refused 38 "$A is the base" snapshot-merge -u "$A" d
refused 38 "snapshot $B exists" snapshot -u "$B" d

each "a parent that another branch needs"
refused 38 "2 images stand on snapshot $B" snapshot-merge d
refused 38 "2 images stand on snapshot $B" snapshot-merge -u "$C" d

each "another operation is running"
exec 9<d
flock 9
refused 37 'another operation is running on ' snapshot d
refused 17 'another operation is running on ' snapshot-delete -u "$A" d
refused 17 'another operation is running on ' snapshot-merge d
refused 37 'another operation is running on ' snapshot-switch -u "$A" d
refused 37 'another operation is running on ' clone --full d clone
refused 37 'another operation is running on ' replace -u "$A" -i was/root.hds d
exec 9<&-

# All that needs B's image; a missing one has a code of its own, and of clone it is 1.
refused_all()
{
	keep
	refused "$1" "$3" snapshot d
	refused "$1" "$3" snapshot-delete -u "$A" d
	refused "$2" "$3" clone --full d clone
	refused 1 "$3" serve --socket sock d
}

each "an image of another cluster size, of another version, none"
mv "d/$file_of_b" b.hds
mkdir other
run_check ploop -v0 init -s 16M -b 64 -t none other/root.hds
cp other/root.hds "d/$file_of_b"
refused_all 38 38 'has clusters of (64|128) sectors, '
rm -r other/*
run_check ploop -v0 init -s 16M -b 128 -v 1 -t none other/root.hds
cp other/root.hds "d/$file_of_b"
refused_all 38 38 'has format version [12], '
rm "d/$file_of_b"
refused_all 4 1 "open .*/$file_of_b: No such file or directory"
mv b.hds "d/$file_of_b"

each "a parent that a clone needs"
run_check ploop clone --linked -u "$B" d clone
mv d source
mv clone d
keep
refused 38 'is shared with 1 other bundle' snapshot-delete -u "$A" d
rm -r d
mv source d

each "no room in the middle of a merge: the disk reads as before, and with room the merge goes on"
run_check ploop snapshot-delete -u "$C" d
write_disk d 'write -P 4 8M 4M'
run_mustfail 7 bash -c "ulimit -f 4096; trap '' XFSZ; exec '$PLOOP' snapshot-merge d"
expect_line stderr 'File too large$'
present=('read -P 1 0 1M' 'read -P 2 1M 1M' 'read -P 3 2M 1M' 'read -P 4 8M 4M')
read_disk d "$TOP" "${present[@]}"
run_check ploop snapshot-merge d
expect_tree d 0a 'a5*'
expect_tidy d
read_disk d "$TOP" "${present[@]}"

each "of a disk that runs it is the same, and the disk goes on"
run_check ploop snapshot -u "$B" d
start_server d
keep
refused 43 "there is no snapshot {$UNKNOWN}" snapshot-delete -u "$UNKNOWN" d
refused 38 "$A is the base" snapshot-merge -u "$A" d
refused 38 "snapshot $B exists" snapshot -u "$B" d
refused 38 'running' snapshot-switch -u "$A" d
refused 38 'running' snapshot-delete -u "$TOP" d
exec 9<d
flock 9
refused 37 'another operation is running on ' snapshot d
refused 17 'another operation is running on ' snapshot-merge d
exec 9<&-
io 'write -P 5 3M 1M' 'read -P 5 3M 1M'
stop_server
read_disk d "$TOP" "${present[@]}" 'read -P 5 3M 1M'
