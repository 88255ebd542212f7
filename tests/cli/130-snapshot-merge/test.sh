#!/bin/bash
# snapshot-merge: the top into its parent, a named child, all of them; the merged image reads the same with QEMU.
. "$(dirname "$0")/../lib.sh"

new_disk d
write_disk d 'write -P 1 0 1M'
run_check ploop snapshot -u "$A" d
write_disk d 'write -P 2 512k 1M'
run_check ploop snapshot -u "$B" d
write_disk d 'write -P 3 1M 1M' 'write -z 64k 64k'
present=('read -P 1 0 64k' 'read -P 0 64k 64k' 'read -P 1 128k 384k' 'read -P 2 512k 512k' 'read -P 3 1M 1M' 'read -P 0 2M 14M')
cp -a d was

each "the top into its parent"
run_check ploop snapshot-merge d
expect_line stdout '^ploop snapshot merged$'
expect_tree d 0a 'a5*'
expect_tidy d
read_disk d "$TOP" "${present[@]}"
read_disk d "$A" 'read -P 1 0 1M'

each "a child by its name"
rm -rf d
cp -a was d
run_check ploop snapshot-merge -u "$B" d
expect_tree d 0b 'b5*'
expect_tidy d
read_disk d "$B" 'read -P 1 0 512k' 'read -P 2 512k 1M' 'read -P 0 1536k 1M'
read_disk d "$TOP" "${present[@]}"

each "all: one image, which QEMU reads alike"
rm -rf d
cp -a was d
run_check ploop snapshot-merge -A d
expect_tree d '05*'
expect_tidy d
read_disk d "$TOP" "${present[@]}"
words=()
for command in "${present[@]}"; do
	words+=(-c "$command")
done
run_check qemu-io -r -f parallels "${words[@]}" d/root.hds
expect_no stdout 'Pattern verification failed'

start_server d -r
run_check qemu-img compare -f parallels -F raw d/root.hds "$URI"
stop_server

each "nothing is left to merge"
run_mustfail 38 ploop snapshot-merge d
run_mustfail 38 ploop snapshot-merge -A d

each "into a new file"
rm -rf d
cp -a was d
run_check ploop snapshot-merge -n "$PWD/d/new.hds" d
expect_tree d 0a 'a5*'
[ -e d/new.hds ] || fail "there is no new.hds"
expect_tidy d
read_disk d "$TOP" "${present[@]}"

each "interrupted: nothing is lost, and given again it goes on"
mkdir big
run_check ploop -v0 init -s 1G -t none big/root.hds
write_disk big 'write -P 1 0 256M' 'flush'
run_check ploop snapshot -u "$A" big
write_disk big 'write -P 2 64M 256M' 'flush'
interrupted=0
for delay in 0.02 0.05 0.1 0.15; do
	"$PLOOP" snapshot-merge big >merge.out 2>&1 &
	sleep $delay
	kill -INT $! 2>/dev/null
	wait $!
	code=$?
	cat merge.out
	[ $code != 0 ] || break
	[ $code = 12 ] || fail "exit code $code"
	interrupted=$((interrupted + 1))
	read_disk big "$TOP" 'read -P 1 0 64M' 'read -P 2 64M 256M' 'read -P 0 320M 64M'
done
echo "interrupted $interrupted times"
[ $code = 0 ] || run_check ploop snapshot-merge big
expect_tree big '05*'
expect_tidy big
read_disk big "$TOP" 'read -P 1 0 64M' 'read -P 2 64M 256M' 'read -P 0 320M 64M'

each "what is refused"
rm -rf d
cp -a was d
run_mustfail 38 ploop snapshot-merge -A -u "$B" d
run_mustfail 38 ploop snapshot-merge -u "$UNKNOWN" d
run_mustfail 38 ploop snapshot-merge -u "$A" d
run_mustfail 38 ploop snapshot-merge -u x d
run_mustfail 38 ploop snapshot-merge
run_mustfail 38 ploop snapshot-merge d was
run_mustfail 38 ploop snapshot-merge -A d/root.hds other.hds
run_mustfail 38 ploop snapshot-merge -n "$PWD/d/root.hds" d
run_mustfail 23 ploop snapshot-merge nowhere
run_check diff -r was d
