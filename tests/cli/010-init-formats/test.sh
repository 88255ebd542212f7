#!/bin/bash
# init -t none: every version, cluster size and mode gives the image the format asks for, and QEMU agrees.
# timeout: 200
. "$(dirname "$0")/../../lib.sh"

each "console lines and descriptor of the stock tool"
mkdir a
run_check ploop init -s 1G -t none a/root.hds
expect_stdout "Creating delta a/root.hds bs=2048 size=2097152 sectors v2
Adding snapshot {5fbaabe3-6958-40ff-92a7-860e329aab41}
Storing $PWD/a/DiskDescriptor.xml"
expect_files a DiskDescriptor.xml root.hds
[ "$(stat -c %a a/root.hds)" = 600 ] || fail "mode of the image"
expect_line a/DiskDescriptor.xml '<Disk_size>2097152</Disk_size>'
expect_line a/DiskDescriptor.xml '<Blocksize>2048</Blocksize>'
expect_line a/DiskDescriptor.xml '<File>root.hds</File>'

each "versions, modes, cluster sizes"
for version in 1 2; do
	for mode in expanded ploop1 preallocated; do
		for cluster in 64 128 256 512 1024 2048 4096 8192 16384 32768 65536 131072; do
			dir=v$version-$mode-$cluster
			mkdir "$dir"
			run_check ploop -v0 init -s 65M -t none -v $version -f $mode -b $cluster "$dir/root.hds"
			expect_stdout ''
			run_check ploop info -s "$dir"
			size=$(((65 * 2048 + cluster - 1) / cluster * cluster))
			expect_line stdout "^size:		$size\$"
			expect_line stdout "^blocksize:	$cluster\$"
			expect_line stdout "^fmt_version:	$version\$"
			run_check ploop check -f -c -r "$dir/root.hds"
			if [ $mode = preallocated ]; then
				[ "$(stat -c %s "$dir/root.hds")" = $((size * 512 + cluster * 512)) ] || fail "length"
			else
				[ "$(stat -c %s "$dir/root.hds")" = $((cluster * 512)) ] || fail "length"
			fi
			if command -v qemu-img >/dev/null; then
				run_check qemu-img info -f parallels "$dir/root.hds"
				expect_line stdout "virtual size: .*\\($((size * 512)) bytes\\)"
			fi
			rm -r "$dir"
		done
	done
done

each raw
mkdir raw sparse
run_check ploop init -s 10M -t none -f raw raw/root.hds
cmp -n $((10 << 20)) raw/root.hds /dev/zero || fail "a new raw image is not zero"
[ "$(stat -c %s raw/root.hds)" = $((10 << 20)) ] || fail "length"
expect_line raw/DiskDescriptor.xml '<Type>Plain</Type>'
run_check ploop init -s 100M -t none -f raw -S sparse/root.hds
[ "$(stat -c %b sparse/root.hds)" -lt 100 ] || fail "a sparse image takes space"

each "the size is rounded up to a cluster"
mkdir round
run_check ploop init -s 2049 -t none round/root.hds
run_check ploop info -s round
expect_line stdout '^size:		4096$'
