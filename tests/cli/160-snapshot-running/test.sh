#!/bin/bash
# The same operations while a server has the disk and a client writes it: nothing is lost, the console tells of the pause.
. "$(dirname "$0")/../lib.sh"
need fio

new_disk d
start_server d
io 'write -P 1 0 1M'

each "a snapshot: the last line is the stock tool's, the one before tells of the pause"
run_check ploop snapshot -u "$A" d
expect_line stdout '^requests were held for [0-9]+\.[0-9]+ ms$'
[ "$(tail -n1 stdout)" = "ploop snapshot $A has been successfully created" ] || fail "it is not the last line"
io 'read -P 1 0 1M' 'write -P 2 512k 1M'
run_check ploop snapshot -u "$B" --json d
[ "$(jq -r '.guid, .running' stdout | tr '\n' ' ')" = "$B true " ] || fail "JSON"
[ "$(jq .pause_ns stdout)" -gt 0 ] || fail "no pause"
io 'write -P 3 1M 1M'
expect_tree d 0a ab 'b5*'

each "what cannot be asked of a running disk"
run_mustfail 38 ploop snapshot-delete -u "$TOP" d
run_mustfail 38 ploop snapshot-switch -u "$A" d
run_mustfail 37 ploop snapshot -o d
run_mustfail 40 ploop snapshot --freeze d
expect_line stderr 'not mounted'

each "a snapshot is served beside it"
at_end '[ ! -e pid2 ] || kill "$(cat pid2)"'
run_check ploop serve -u "$A" --socket "$PWD/sock2" --pid-file "$PWD/pid2" --daemonize d
run_check qemu-io -r -f raw -c 'read -P 1 0 1M' -c 'read -P 0 1M 1M' "nbd+unix:///?socket=$PWD/sock2"
expect_no stdout 'Pattern verification failed'
run_mustfail 17 ploop snapshot-delete -u "$A" d
kill "$(cat pid2)"
await is_gone pid2 || fail "the server does not end"

each "merges under a client that writes and verifies"
fio --name=v --ioengine=nbd --uri="$URI" --rw=randwrite --bs=4k --offset=4M --size=8M --iodepth=8 --verify=crc32c \
	--time_based --runtime=4 --verify_backlog=256 --output=fio.log &
fio=$!
sleep 0.5
run_check ploop snapshot-delete -u "$A" d
expect_line stdout '^ploop snapshot merged$'
expect_tree d 0b 'b5*'
run_check ploop snapshot-merge d
expect_tree d '05*'
wait $fio || { tail -n 20 fio.log; fail "fio"; }
io 'read -P 1 0 512k' 'read -P 2 512k 512k' 'read -P 3 1M 1M'
stop_server
expect_tidy d
read_disk d "$TOP" 'read -P 1 0 512k' 'read -P 2 512k 512k' 'read -P 3 1M 1M'
start_server d -r
run_check qemu-img compare -f parallels -F raw d/root.hds "$URI"
stop_server
