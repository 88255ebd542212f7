#!/bin/bash
# check says, repairs and returns what the stock tool does, for each situation of one image.
. "$(dirname "$0")/../../lib.sh"

IN_USE=596e6f74

# fresh [VERSION]: img, 10 clusters of 1 MiB, clusters 0, 1, 2 mapped to 1, 2, 3, cleanly closed
fresh()
{
	rm -rf img DiskDescriptor.xml
	run_check ploop -v0 init -s 10M -t none -v "${1-2}" img
	truncate -s 4M img
	local unit=1 i
	[ "${1-2}" = 2 ] || unit=2048
	for i in 0 1 2; do
		poke img $((64 + 4 * i)) "$(printf '%08x' $(((i + 1) * unit)) | sed 's/\(..\)\(..\)\(..\)\(..\)/\4\3\2\1/')"
	done
}
dirty() { poke img 44 $IN_USE; }
marker() { od -An -tx1 -j44 -N4 img | tr -d ' '; }
unchanged() { sha256sum -c --status sum || fail "the image was changed"; }

each "clean"
fresh
sha256sum img >sum
run_check ploop check img
expect_stdout 'Image is clean, check is skipped'
run_check ploop check -f img
expect_line stdout '^Reopen rw img$'
run_check ploop check -f -c -r img
run_check ploop fsck img
expect_line stderr 'deprecated'
unchanged

each "in use"
fresh && dirty
sha256sum img >sum
run_mustfail 37 ploop check img
expect_line stderr '^Dirty flag is set$'
unchanged
run_check ploop check -d img
[ "$(marker)" = 00000000 ] || fail "the marker is $(marker)"
fresh && dirty
run_check ploop check .
[ "$(marker)" = 00000000 ] || fail "with a descriptor the marker is dropped"

each "in use below another, as a power failure leaves it: -d is what a descriptor implies"
fresh
run_check ploop snapshot .
for option in -d -f -s; do
	dirty
	run_mustfail 37 ploop check -r $option .
	expect_line stderr '^Dirty flag is set$'
	[ "$(marker)" = $IN_USE ] || fail "the marker is $(marker)"
	run_check ploop check $option .
	[ "$(marker)" = 00000000 ] || fail "the marker is $(marker)"
done
rm img.*

each "a cluster used twice"
fresh && poke img 68 01000000
sha256sum img >sum
run_check ploop check img
run_check ploop check -f img
unchanged
run_mustfail 11 ploop check -f -c img
expect_line stderr 'Block 1 is used more than once, vsec=1'
expect_line stderr '^FATAL$'
expect_line stderr 'Fatal errors were found, image img is not repaired'
unchanged
run_check ploop check -F -c img
expect_line stdout '^Ignored$'

each "beyond the end of the file"
fresh && poke img 76 09000000
sha256sum img >sum
run_mustfail 11 ploop check -f img
expect_line stderr 'Data cluster 9 is beyond EOF, image size=4194304 vsec=3'
expect_line stderr '^FATAL$'
unchanged
run_check ploop check -F img
[ "$(od -An -tu4 -j76 -N4 img | tr -d ' ')" = 0 ] || fail "the entry is still there"
run_check ploop check -f -c img

each "a slot behind the disk"
fresh && poke img 664 02000000
sha256sum img >sum
run_mustfail 11 ploop check -f -r img
expect_line stdout '^Skipped$'
unchanged
run_check ploop check -f img
expect_line stdout '^Fixed$'
[ "$(od -An -tu4 -j664 -N4 img | tr -d ' ')" = 0 ] || fail "the slot is still there"

each "version 1, not at a cluster"
fresh 1 && poke img 64 07080000
run_mustfail 11 ploop check -f img
expect_line stderr 'L2 slot \(.*\) corrupted'
run_check ploop check -F img

each "length that is no multiple of the cluster"
fresh && truncate -s $((4 * 1048576 + 100)) img
sha256sum img >sum
run_check ploop check img
expect_line stderr 'Image size 4194404 is not aligned to cluster 1048576'
unchanged
run_check ploop check -f img
expect_line stdout 'Truncate image img up to 5242880'
[ "$(stat -c %s img)" = 5242880 ] || fail "length"

each "a conversion that was interrupted"
fresh && dirty && poke img 52 02000000
run_mustfail 17 ploop check img
expect_line stderr 'changing version state'

each "bad headers"
fresh && poke img 0 58
run_mustfail 11 ploop check img
expect_line stderr 'Wrong signature'
fresh && poke img 16 03
run_mustfail 11 ploop check img
expect_line stderr 'Wrong type'
fresh && poke img 28 00000000
run_mustfail 11 ploop check img
expect_line stderr 'Wrong cluster size'
fresh && poke img 48 01000000
run_mustfail 11 ploop check img
expect_line stderr 'Wrong first block offset'

each "silent, raw, misuse"
fresh
run_check ploop check -s img
expect_stdout ''
truncate -s 10M raw
run_check ploop check -R -b 2048 raw
run_mustfail 38 ploop check -R raw
run_mustfail 38 ploop check -u 5fbaabe3-6958-40ff-92a7-860e329aab41 img
run_mustfail 38 ploop check
run_mustfail 4 ploop check nowhere
run_check ploop check -b 64 .
expect_line stderr '-b is ignored'

each "a descriptor of another cluster size"
fresh
sed -i 's/<Blocksize>2048</<Blocksize>1024</' DiskDescriptor.xml
run_mustfail 38 ploop check .
