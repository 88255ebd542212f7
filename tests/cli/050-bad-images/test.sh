#!/bin/bash
# Truncated and hostile images: one sentence, a proper exit code, nothing changed, no hang, no memory by wish of a header.
# timeout: 200
. "$(dirname "$0")/../../lib.sh"

# A header's wish for memory fails here; AddressSanitizer itself wants terabytes of address space.
grep -qa __asan_init "$PLOOP" || ulimit -v 4000000

# refused CODE: everything that reads a disk says no to ./img, check with this code.
refused()
{
	local check=$1 sum
	sum=$(sha256sum <img)
	run_mustfail "$check" timeout 20 "$PLOOP" check -f img
	run_mayfail timeout 20 "$PLOOP" info -s .
	run_mayfail timeout 20 "$PLOOP" info .
	[ "$RC" != 0 ] || fail "info finds usage in it"
	run_mayfail timeout 20 "$PLOOP" debug header img
	run_mayfail timeout 20 "$PLOOP" debug bat img
	run_mayfail timeout 20 "$PLOOP" debug holes img
	run_mustfail 1 timeout 20 "$PLOOP" debug map img
	run_mustfail 1 timeout 20 "$PLOOP" serve --socket sock img
	[ "$(sha256sum <img)" = "$sum" ] || fail "the image was changed"
}

fresh()
{
	rm -rf img DiskDescriptor.xml
	run_check ploop -v0 init -s 10M -t none -v "${1-2}" img
	truncate -s 4M img
	poke img 64 010000000200000003000000
}

each "too short"
for length in 0 1 63 64 4095; do
	fresh
	truncate -s $length img
	refused 6
done

each "not an image"
fresh
head -c 65536 /dev/urandom >img
refused 11

each "the file ends inside the BAT"
fresh
truncate -s 4096 img
poke img 32 00000040
poke img 36 0000000000080000
poke img 48 00000008
refused 11

each "cluster sizes"
for value in 00000000 01000000 3f000000 41000000 00000400 ffffffff 00000080; do
	fresh
	poke img 28 $value
	refused 11
done

each "first block"
for value in 00000000 01000000 ffffffff 00f8ffff; do
	fresh
	poke img 48 $value
	refused 11
done

each "sizes that overflow, or are longer than the BAT"
for value in ffffffffffffffff 00f8ffffffffffff 0000000000000080 0000000000000001; do
	fresh
	poke img 36 $value
	refused 11
done

each "entries outside the file, in the header, used twice"
for value in ffffffff 00000080 04000000; do
	fresh
	poke img 68 $value
	refused 11
done
fresh
poke img 68 01000000
sum=$(sha256sum <img)
run_mustfail 11 ploop check -f -c img
run_mustfail 1 timeout 20 "$PLOOP" serve --socket sock img
[ "$(sha256sum <img)" = "$sum" ] || fail "the image was changed"

each "wrong kinds of file"
mkfifo fifo
run_mayfail timeout 5 "$PLOOP" check fifo
[ "$RC" != 0 ] && [ "$RC" != 124 ] || fail "exit code $RC"
run_mayfail timeout 5 "$PLOOP" check /dev/zero
[ "$RC" != 0 ] && [ "$RC" != 124 ] || fail "exit code $RC"
mkdir folder
run_mayfail timeout 5 "$PLOOP" check folder
[ "$RC" = 23 ] || fail "exit code $RC"
