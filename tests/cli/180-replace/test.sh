#!/bin/bash
# replace: a copy takes an image's place, chosen by id, level or file; what is no copy is refused, and nothing changes.
. "$(dirname "$0")/../lib.sh"

new_disk d
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 512k 1M'
cp -a d was
present=('read -P 1 0 512k' 'read -P 2 512k 1M')
upper=$("$PLOOP" snapshot-list -H -o fname d | tail -n1)

each "the base, by its level"
cp d/root.hds d/copy.hds
run_check ploop replace -l 0 -i d/copy.hds d
[ "$("$PLOOP" snapshot-list -H -o fname -u "$A" d)" = "$PWD/d/copy.hds" ] || fail "the descriptor does not name it"
rm d/root.hds
expect_tidy d
read_disk d "$TOP" "${present[@]}"

each "the base again, by its id, keeping the name"
cp d/copy.hds new.hds
run_check ploop replace -k -u "$A" -i new.hds d
[ ! -e new.hds ] || fail "it is still there"
expect_tidy d
read_disk d "$TOP" "${present[@]}"

each "the top, by its file, without naming the disk"
cp "$upper" d/top.hds
run_check ploop replace -o "$upper" -i d/top.hds
rm "$upper"
expect_tidy d
read_disk d "$TOP" "${present[@]}"

each "what is refused"
rm -rf d
cp -a was d
cp d/root.hds copy.hds
cp d/root.hds d/copy.hds
mkdir other marked
run_check ploop -v0 init -s 17M -b 128 -t none other/size.hds
rm other/DiskDescriptor.xml
run_check ploop -v0 init -s 16M -b 256 -t none other/cluster.hds
rm other/DiskDescriptor.xml
run_check ploop -v0 init -s 16M -b 128 -v 1 -t none other/version.hds
cp d/root.hds marked/root.hds
poke marked/root.hds 44 596e6f74
mv d/copy.hds other/copy.hds
for file in size cluster version; do
	run_mustfail 38 ploop replace -k -l 0 -i other/$file.hds d
	expect_line stderr "no copy of .*: its $file"
done
run_mustfail 37 ploop replace -k -l 0 -i marked/root.hds d
run_mustfail 38 ploop replace -l 0 -i d/root.hds d
run_mustfail 38 ploop replace -l 0 -i "$upper" d
run_mustfail 38 ploop replace -l 2 -i copy.hds d
run_mustfail 38 ploop replace -l x -i copy.hds d
run_mustfail 43 ploop replace -u "$UNKNOWN" -i copy.hds d
run_mustfail 38 ploop replace -o copy.hds -i copy.hds d
run_mustfail 38 ploop replace -o nowhere -i copy.hds d
run_mustfail 4 ploop replace -l 0 -i nowhere d
run_mustfail 38 ploop replace -l 0 d
run_mustfail 38 ploop replace -i copy.hds d
run_mustfail 38 ploop replace -l 0 -u "$A" -i copy.hds d
run_mustfail 38 ploop replace -l 0 -i copy.hds
echo junk >junk
run_mustfail 11 ploop replace -l 0 -i junk d
run_mayfail ploop replace -l 0 -i copy.hds d
[ "$RC" != 0 ] || fail "a file outside of the folder is taken"
expect_line stderr 'outside'
run_check diff -r was d

each "outside, when it is allowed"
run_check ploop replace -l 0 --outside "$PWD/copy.hds" -i copy.hds d
run_mayfail ploop snapshot-list d
[ "$RC" != 0 ] || fail "it is allowed for ever"
run_check ploop snapshot-list --outside "$PWD/copy.hds" d

each "a disk that runs reads from the new file at once, under either name"
rm -rf d
cp -a was d
start_server d
cp d/root.hds d/copy.hds
run_check ploop replace -l 0 -i d/copy.hds d
rm d/root.hds
io "${present[@]}" 'write -P 3 0 4k' # a first write, filled from it
cp d/copy.hds d/root.hds
run_check ploop replace -k -u "$A" -i d/root.hds d
expect_line <(ls -l /proc/"$(cat pid)"/fd) "$PWD/d/copy.hds$"
[ ! -e d/root.hds ] || fail "it is still there"
io 'read -P 3 0 4k' 'read -P 1 4k 508k' 'read -P 2 512k 1M'
run_check ploop snapshot -u "$B" d # the chain is the descriptor's

each "what of it is refused"
run_mustfail 38 ploop replace -l 2 -i copy.hds d
expect_line stderr 'its top, .*, is written'
run_mayfail ploop replace -l 0 -i copy.hds d
[ "$RC" != 0 ] || fail "a file outside of the folder is taken"
expect_line stderr 'must lie in its folder'
rm other/DiskDescriptor.xml
run_check ploop -v0 init -s 16M -b 128 -t none other/empty.hds
mv other/empty.hds d/empty.hds
run_mustfail 38 ploop replace -l 0 -i d/empty.hds d
expect_line stderr 'no copy of .*: guest cluster [0-9]+ is missing'
rm d/empty.hds
io 'read -P 3 0 4k' 'read -P 1 4k 508k' 'read -P 2 512k 1M'
stop_server
expect_tidy d
