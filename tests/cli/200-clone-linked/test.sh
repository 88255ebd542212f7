#!/bin/bash
# clone --linked: shares the images below its top, costs four syncs and two MiB, and each bundle lives without the other.
# timeout: 300
. "$(dirname "$0")/../../lib.sh"
need qemu-io qemu-img nbdcopy cmp

# write DISK OFFSET PATTERN: 64 KiB of one byte, through a server
write()
{
	run_check qemu-io -f raw -c "write -P $3 $2 64k" "nbd+unix:///?socket=$SOCKET"
}
serving()
{
	local dd=$1
	shift
	SOCKET=$PWD/serve.sock
	"$PLOOP" serve --daemonize --pid-file "$PWD/pid" --socket "$SOCKET" "$dd" || fail "serve $dd"
	"$@"
	kill "$(cat pid)"
	await is_gone pid || fail "the server does not end"
}
content()
{
	rm -f "$2"
	nbdcopy -- [ "$PLOOP" serve -r "$1" ] "$2" || fail "read $1"
}
top()
{
	sed -n 's:.*<File>\(.*\)</File>.*:\1:p' "$1/DiskDescriptor.xml" | tail -1
}
check_bundle()
{
	run_check ploop check -f -r "$1"
	local image
	for image in "$1"/*.hds*; do
		run_check qemu-img check -f parallels "$image"
	done
}

each "of a template, three times, each written differently"
mkdir tpl
run_check ploop init -s 64M tpl/root.hds
serving tpl write tpl 40M 0x11
content tpl tpl.raw
run_check ploop clone --seal tpl
for i in 1 2 3; do
	run_check ploop clone --linked --keep-identity tpl c$i
	expect_no stdout 'has the new snapshot|Identity'
	expect_line stdout "^ploop clone c$i has been successfully created\$"
	[ tpl/root.hds -ef c$i/root.hds ] || fail "the image is not shared"
	[ "$(stat -c %h tpl/root.hds)" = $((i + 1)) ] || fail "link count"
	content c$i c$i.raw
	cmp tpl.raw c$i.raw || fail "the clone reads differently"
done
for i in 1 2 3; do
	serving c$i write c$i $((40 + i))M 0x2$i
	serving c$i write c$i 40M 0x3$i
done
for i in 1 2 3; do
	check_bundle c$i
	cp tpl.raw want.raw
	run_check qemu-io -f raw -c "write -P 0x2$i $((40 + i))M 64k" -c "write -P 0x3$i 40M 64k" want.raw
	content c$i got.raw
	cmp want.raw got.raw || fail "clone $i has what another one wrote, or lost what it wrote itself"
done
content tpl again.raw
cmp tpl.raw again.raw || fail "a clone changed its template"

each "the source is not written while a clone shares its top"
run_mustfail 1 timeout 20 "$PLOOP" serve --socket x.sock tpl

each "any of them can be deleted or moved"
rm -r tpl c2
[ "$(stat -c %h c1/root.hds)" = 2 ] || fail "link count after deleting two"
run_check ploop move c1 elsewhere
check_bundle elsewhere
run_check qemu-io -f raw -c "write -P 0x21 41M 64k" -c "write -P 0x31 40M 64k" tpl.raw
content elsewhere got.raw
cmp tpl.raw got.raw || fail "the moved clone reads differently"

each "of a disk: on a new snapshot, which stays"
mkdir disk
run_check ploop init -s 64M -t none disk/root.hds
serving disk write disk 1M 0x41
content disk before.raw
run_check ploop clone --linked disk now
expect_line stdout '^The disk has the new snapshot \{[0-9a-f-]{36}\}, on which the clone stands$'
guid=$(grep -o '{[0-9a-f-]*}' stdout)
grep -q "<GUID>$guid</GUID>" disk/DiskDescriptor.xml || fail "the disk has no snapshot $guid"
grep -q "<GUID>$guid</GUID>" now/DiskDescriptor.xml || fail "the clone does not stand on $guid"
serving disk write disk 1M 0x42
serving disk write disk 2M 0x43
content now got.raw
cmp before.raw got.raw || fail "the clone follows its source"

each "of an older snapshot"
run_check ploop clone --linked -u "$guid" disk old
expect_no stdout 'has the new snapshot'
content old got.raw
cmp before.raw got.raw || fail "the clone is not the snapshot"
[ "$(stat -c %h disk/root.hds)" = 3 ] || fail "link count"

each "a clone of a clone"
serving now write now 3M 0x44
content now before.raw
run_check ploop clone --linked now deeper
content deeper got.raw
cmp before.raw got.raw || fail "the clone of a clone reads differently"
check_bundle deeper

each "of a disk that runs, linked and full, while it is written"
mkdir run
run_check ploop init -s 64M -t none run/root.hds
clone_running()
{
	write run 1M 0x51
	run_check ploop clone --linked run running
	expect_line stdout 'has the new snapshot'
	write run 1M 0x52
	run_check ploop clone --full run running-full
	expect_no stdout 'has the new snapshot'
	write run 1M 0x53
	run_mustfail 37 ploop move run elsewhere-running
	run_mustfail 37 ploop clone --seal run
}
serving run clone_running
run_check qemu-io -f raw -r -c 'read -P 0x53 1M 64k' -- "$(content run got.raw && echo got.raw)"
run_check qemu-io -f raw -r -c 'read -P 0x51 1M 64k' -- "$(content running got.raw && echo got.raw)"
run_check qemu-io -f raw -r -c 'read -P 0x52 1M 64k' -- "$(content running-full got.raw && echo got.raw)"
[ "$(grep -c '<Shot>' run/DiskDescriptor.xml)" = 2 ] || fail "the temporary snapshot stays"
check_bundle run
check_bundle running
check_bundle running-full

each "an image of two names is not merged into"
run_mayfail ploop snapshot-delete -u "$guid" disk
content old got.raw
content now got2.raw
cmp before.raw got2.raw || fail "a merge in the source changed a clone"

each "what it costs"
mkdir big
run_check ploop init -s 10G big/root.hds
run_check ploop clone --seal big
if command -v strace >/dev/null && strace -o /dev/null true 2>/dev/null; then
	# LeakSanitizer cannot work beside strace.
	run_check env ASAN_OPTIONS="${ASAN_OPTIONS:-}:detect_leaks=0" \
		strace -f -o trace -e trace=fsync,fdatasync,sync,syncfs "$PLOOP" clone --linked big c
	[ "$(grep -cE '(sync|syncfs)\(' trace)" -le 4 ] || fail "more than four syncs: $(cat trace)"
	expect_no trace ' (sync|syncfs)\('
else
	run_check ploop clone --linked big c
fi
[ "$(stat -c '%b' c c/DiskDescriptor.xml "c/$(top c)" | awk "{ n += \$1 } END { print n }")" -le 4096 ] || fail "more than 2 MiB"

each "no folder of work is left"
[ -z "$(ls -A | grep '^\.')" ] || fail "left: $(ls -A)"
