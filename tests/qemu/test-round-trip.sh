#!/bin/bash
# What QEMU writes we read, and what we write QEMU reads: v1 and v2, every cluster size QEMU and we both know.
. "$(dirname "$0")/lib.sh"

SEED=${SEED:-$RANDOM}
echo "SEED=$SEED"

ours_to_qemu() # VERSION CLUSTER_SECTORS BYTES
{
	rm -rf bundle && mkdir bundle
	run_check ploop init -t none -v "$1" -b "$2" -s "$(($3 / 512))" bundle/root.hds
	qemu_is_content bundle/root.hds
	with_server bundle/root.hds eval 'run_check qemu-img convert -n -f raw -O raw content.raw "$URI"'
	run_check qemu-img compare -f raw -F parallels content.raw bundle/root.hds
	qemu_is_content bundle/root.hds
	run_check ploop check -f bundle
}

# QEMU makes version 2 only; one of version 1 is made by us and written by it.
qemu_to_ours() # VERSION CLUSTER_SECTORS BYTES
{
	rm -rf bundle && mkdir bundle
	if [ "$1" = 1 ]; then
		run_check ploop init -t none -v 1 -b "$2" -s "$(($3 / 512))" bundle/root.hds
	else
		run_check qemu-img create -f parallels -o "cluster_size=$(($2 * 512))" bundle/root.hds "$3"
	fi
	run_check qemu-img convert -n -f raw -O parallels content.raw bundle/root.hds
	with_server bundle/root.hds eval 'run_check qemu-img compare -f raw -F raw content.raw "$URI"'
	run_check ploop check -f bundle/root.hds
}

for cluster in 64 128 256 512 1024 2048 4096 8192 16384 32768 65536 131072; do
	bytes=$((cluster * 512 * 5))
	[ "$bytes" -lt $((24 << 20)) ] && bytes=$(((24 << 20) / (cluster * 512) * cluster * 512))
	random_raw content.raw "$bytes" $((SEED + cluster))
	for version in 1 2; do
		each "version $version, clusters of $cluster sectors"
		ours_to_qemu $version $cluster $bytes
		qemu_to_ours $version $cluster $bytes
	done
done
