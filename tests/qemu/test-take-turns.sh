#!/bin/bash
# QEMU and we write the same image in turns; each reads what the other left, also with a size that is no cluster multiple.
. "$(dirname "$0")/lib.sh"

take_turns() # IMAGE
{
	for turn in 1 2 3; do
		run_check qemu-io -f parallels -c "write -P $((turn * 16)) $((turn * 300))k 100k" "$1"
		with_server "$1" eval '
			run_check qemu-io -f raw -c "read -P $((turn * 16)) $((turn * 300))k 100k" "$URI"
			run_check qemu-io -f raw -c "write -P $((turn * 16 + 1)) $((turn * 300 + 3))k 50k" \
				-c "write -P $((turn * 16 + 2)) $((5000 + turn))k 512" -c "flush" "$URI"'
		run_check qemu-io -f parallels -c "read -P $((turn * 16 + 1)) $((turn * 300 + 3))k 50k" \
			-c "read -P $((turn * 16 + 2)) $((5000 + turn))k 512" \
			-c "read -P $((turn * 16)) $((turn * 300))k 3k" "$1"
		qemu_is_content "$1"
	done
}

each "an image of ours"
run_check ploop init -t none -b 128 -s 32M root.hds
take_turns root.hds

each "an image of QEMU's that ends inside a cluster"
run_check qemu-img create -f parallels odd.hds 10485761
take_turns odd.hds
with_server odd.hds eval 'run_check qemu-io -f raw -c "write -P 7 10485760 512" -c "read -P 7 10485760 512" "$URI"'
run_check qemu-io -f parallels -c "read -P 7 10485760 512" odd.hds

each "an empty image with a header of several clusters, opened and closed by us"
mkdir many
run_check ploop init -t none -b 64 -s 2G many/root.hds
with_server many/root.hds eval 'run_check qemu-io -f raw -c "flush" "$URI"'
qemu_is_content many/root.hds

each "QEMU opens our freed clusters as holes"
with_server root.hds eval 'run_check qemu-io -f raw -c "write -P 9 0 4M" -c "discard 1M 2M" -c "write -z 3M 64k" "$URI"'
run_check qemu-io -f parallels -c "read -P 9 0 1M" -c "read -P 0 1M 2M" -c "read -P 0 3M 64k" -c "read -P 9 3136k 960k" root.hds
qemu_is_content root.hds
