#!/bin/bash
# As long as clusters are partly written nobody else reads or changes the image: QEMU refuses it whatever it is asked for, live
# and after the death of server and holder; what stock ploop looks at first says the same. Recovered and closed it is plain.
. "$(dirname "$0")/../cli/lib.sh"
need python3

WRITES=80

# 4 KiB into each of many clusters, by QEMU's words
for i in $(seq 0 $((WRITES - 1))); do
	echo "write -q -P $((i % 200 + 20)) $((i * 192 + i % 16 * 4))k 4k"
done >first_writes
echo flush >>first_writes

make_live()
{
	rm -rf d want.raw
	mkdir d
	run_check ploop -v0 init -s 16M -b 128 -t none d/root.hds
	head -c 16M /dev/urandom >want.raw
	start_server d
	run_check qemu-img convert -n -f raw -O raw want.raw "$URI"
	stop_server
	run_check ploop snapshot d
	start_server d
	server=$(cat pid)
	qemu-io -f raw "$URI" <first_writes >stdout || fail "qemu-io"
	kill -STOP "$server" # nothing is filled behind our back, and no second holder started
	qemu-io -f raw want.raw <first_writes >stdout || fail "qemu-io"
	top=$("$PLOOP" snapshot-list --json d | jq -r '.snapshots[] | select(.current) | .fname')
}
at_end '[ ! -e pid ] || kill -CONT "$(cat pid)"'

# refuses WORDS...: QEMU fails, and the file is as before
refuses()
{
	local before
	before=$(sha256sum <"$top")
	run_mayfail "$@"
	[ "$RC" != 0 ] || fail "QEMU takes it"
	[ "$(sha256sum <"$top")" = "$before" ] || fail "the file was changed"
}

refuses_all()
{
	local share
	for share in '' --force-share; do
		refuses qemu-img info $share -f parallels "$top"
		refuses qemu-img map $share -f parallels "$top"
		refuses qemu-img check $share -f parallels "$top"
		refuses qemu-img convert $share -f parallels -O raw "$top" out.raw
		refuses qemu-img compare $share -f parallels -F raw "$top" want.raw
	done
	for all in all leaks; do
		refuses qemu-img check -r $all -f parallels "$top"
	done
	refuses qemu-img convert -n -f raw -O parallels want.raw "$top"
	refuses qemu-img resize -f parallels "$top" 32M
	refuses qemu-io -r -f parallels -c 'read 0 4k' "$top"
	refuses qemu-io -r -U -f parallels -c 'read 0 4k' "$top"
	refuses qemu-io -f parallels -c 'read 0 4k' "$top"
	refuses qemu-io -f parallels -c 'write 0 4k' "$top"
}

# In the order of stock ploop's check: cluster size, marker, flags; each alone keeps it away.
expect_fence()
{
	python3 - "$top" <<'PY' || fail "the header lets stock tools in"
import struct, sys
head = open(sys.argv[1], "rb").read(64)
signature, kind, heads, cylinders, cluster, entries, size, in_use, first_block, flags, extension = \
	struct.unpack("<16sIIIIIQIIIQ", head[:64])
assert signature == b"WithouFreSpacExt" and kind == 2, head
assert cluster == 0, cluster
assert in_use == 0x746F6E59, hex(in_use)
assert flags & 2, hex(flags)
assert extension != 0 and (extension * 512) % 4096 == 0, extension
PY
}

expect_plain()
{
	run_check ploop finish d
	run_check qemu-img check -f parallels "$top"
	run_check ploop check -f d
	run_check ploop snapshot-merge d
	run_check qemu-img compare -f parallels -F raw d/root.hds* want.raw
}

each "live"
make_live
expect_fence
refuses_all
kill -CONT "$server"
stop_server
expect_plain

each "server and holder killed"
make_live
mapfile -t holders < <(holder_of "$top")
[ "${#holders[@]}" = 1 ] || fail "${#holders[@]} holders"
kill -KILL "$server" "${holders[@]}"
rm pid
expect_fence
refuses_all

each "a copy beside its base is whole"
cp -r d copy
run_check ploop finish copy
run_check ploop snapshot-merge copy
run_check qemu-img compare -f parallels -F raw copy/root.hds* want.raw
refuses qemu-img info -f parallels "$top"

each "recovered by the next server, and closed"
start_server d
stop_server
expect_plain
