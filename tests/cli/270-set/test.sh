#!/bin/bash
# Limits of a disk: kept beside the descriptor, hold at once and after the next start, and no request is lost.
. "$(dirname "$0")/../lib.sh"
need fio

new_disk d
each "shown, stored, checked"
run_check ploop set d
expect_stdout "$(printf 'iolimit:\t0\niopslimit:\t0\nburst_ms:\t0\non_full:\twait')"
[ ! -e d/DiskDescriptor.xml.settings ] || fail "looking made a file"
run_check ploop set --iolimit 20M --iopslimit 300 --on-full fail d
run_check ploop set --burst 50 d/root.hds
expect_stdout ''
[ "$(cat d/DiskDescriptor.xml.settings)" = "$(printf 'ploop-settings 1\niolimit 20971520\niopslimit 300\nburst_ms 50\non_full fail')" ] ||
	fail "the file"
run_check ploop set --json d/DiskDescriptor.xml
[ "$(jq -c . stdout)" = '{"iolimit":20971520,"iopslimit":300,"burst_ms":50,"on_full":"fail"}' ] || fail "JSON"
for wrong in '--iolimit -1' '--iolimit 1X' '--iolimit 4096T' '--iopslimit many' '--burst 60001' '--on-full perhaps'; do
	# shellcheck disable=SC2086
	run_mustfail 2 ploop set $wrong d
done
run_mustfail 1 ploop set --iolimit 1M nowhere
run_mustfail 1 ploop set --retry d
expect_line stderr 'no server has it open'

each "settings that are not understood are refused by whoever needs them, and the disk is untouched"
cp d/DiskDescriptor.xml.settings good
echo 'iolimit lots' >>d/DiskDescriptor.xml.settings
run_mustfail 1 ploop set --iopslimit 1 d
expect_line stderr 'said twice'
run_mustfail 1 ploop serve --socket "$PWD/sock" --daemonize d
expect_line stderr 'DiskDescriptor.xml.settings: "iolimit lots": it is said twice'
run_check ploop check d
cp good d/DiskDescriptor.xml.settings

# rate RW BS: bytes and requests a second that fio gets in 2 s, in whole numbers
rate()
{
	timeout 60 fio --name=r --ioengine=nbd --uri="$URI" --rw="$1" --bs="$2" --size=16M --iodepth=16 --time_based \
		--runtime=2 --output-format=json --output=fio.json >/dev/null 2>&1 || { cat fio.json; fail "fio"; }
	BYTES=$(jq '[.jobs[0].read, .jobs[0].write | select(.runtime > 0) | .io_bytes / .runtime * 1000] | add | floor' fio.json)
	REQUESTS=$(jq '[.jobs[0].read, .jobs[0].write | select(.runtime > 0) | .total_ios / .runtime * 1000] | add | floor' fio.json)
	echo "$1 $2: $BYTES bytes/s, $REQUESTS requests/s"
}

# No more than the limit and its burst, and a loaded machine still gives a third of it.
expect_rate()
{
	[ "$1" -le $(($2 * 108 / 100)) ] || fail "$1 a second, the limit is $2"
	[ "$1" -ge $(($2 / 3)) ] || fail "only $1 a second, the limit is $2"
}

each "limits hold after the start"
start_server d
for rw in randread randwrite randrw; do
	rate $rw 4k
	expect_rate "$REQUESTS" 300
done
each "and change while it runs"
run_check ploop set --iopslimit 0 --iolimit 4M d
rate randrw 64k
expect_rate "$BYTES" $((4 << 20))
run_check ploop stat d
expect_line stdout '^    limits: 4194304 bytes/s, 0 requests/s \(0: none\), burst 50 ms; [1-9][0-9]* requests waited, 0 wait$'
expect_line stdout 'a full host: writes fail'

each "what waits is done before a server ends"
run_check ploop set --iolimit 64K --burst 1 --on-full wait d
qemu-io -f raw -c 'aio_write -P 9 0 512k' -c 'aio_write -P 9 512k 512k' -c 'aio_write -P 9 1M 512k' -c aio_flush "$URI" >io.log 2>&1 &
client=$!
for _ in $(seq 100); do
	[ "$("$PLOOP" stat --json d | jq '.disks[0].limited_now')" = 0 ] || break
	sleep 0.05
done
run_check ploop set --iolimit 0 d
wait $client || { cat io.log; fail "a request failed"; }
io 'read -P 9 0 1536k'
stop_server

each "a clone begins without, what is moved keeps them"
run_check ploop set --iopslimit 100 d
run_check ploop clone --full d c
[ ! -e c/DiskDescriptor.xml.settings ] || fail "the clone has them"
run_check ploop move d m
run_check ploop set m
expect_line stdout '^iopslimit:	100$'
