# A host file system that is filled up under a disk: ext4 of 96 MiB in ./host, with a disk of 64 MiB on it in ./host/d.
# Source it after mounted.sh.
#
#	make_small_host         and mount the disk: $device
#	fill_host, free_host    to the last block, and again
#	start_fio OFFSET        random writes to 24 MiB there, to be verified
#	end_fio                 it ends without an error
#	stay_full               fio stands still, for PARK_SECONDS (1; 180 is what is promised), and goes on when space appears
need fio jq mkfs.ext4

make_small_host()
{
	truncate -s 96M host.img
	run_check mkfs.ext4 -q -O ^has_journal -m 0 host.img
	mkdir host
	mount -o loop host.img host || skip "no loop device for a file system of 96 MiB"
	at_end "umount -l '$SCRATCH/host' 2>/dev/null"
	mkdir host/d
	run_check ploop init -s 64M -t none host/d/root.hds
	run_check ploop mount host/d
	device=$(device_of host/d device)
}

fill_host()
{
	dd if=/dev/zero of=host/filler bs=1M oflag=direct status=none 2>/dev/null
	dd if=/dev/zero of=host/filler2 bs=4k status=none 2>/dev/null
	sync -f host
}

free_host()
{
	rm -f host/filler host/filler2
}

waits()
{
	is_no_state host/d waits ""
}

start_fio()
{
	timeout $((200 + ${PARK_SECONDS:-1})) fio --name=v --filename="$device" --direct=1 --ioengine=libaio --rw=randwrite \
		--bs=64k --iodepth=8 --offset="$1" --size=24M --verify=crc32c --do_verify=1 --output=fio.log >/dev/null 2>&1 &
	fio=$!
}

end_fio()
{
	wait "$fio" || { cat fio.log; fail "fio"; }
	grep -q 'err= 0' fio.log || { cat fio.log; fail "fio met an error"; }
}

stay_full()
{
	local begin mark
	mark=/run/ploop/$(stat -c 'ctl-%D-%i' host/d).full # what list and stat look at
	sleep "${PARK_SECONDS:-1}"
	kill -0 "$fio" || { cat fio.log; fail "fio did not wait"; }
	[ -e "$mark" ] || fail "nothing waits"
	free_host
	begin=${EPOCHREALTIME/./}
	await is_gone "$mark" || fail "it waits on"
	echo "full for ${PARK_SECONDS:-1} s, and on $(((${EPOCHREALTIME/./} - begin) / 1000)) ms after space appeared"
	end_fio
}
