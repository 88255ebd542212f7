#!/bin/bash
# Figures of a disk that runs: what a client did is counted, by every name of the disk and in every form.
. "$(dirname "$0")/../lib.sh"

new_disk d
new_disk e
each "a disk that does not run"
run_mustfail 1 ploop stat d
expect_line stderr 'no server has it open'
run_mustfail 1 ploop stat nowhere
run_mustfail 2 ploop stat --json --openmetrics d
run_mustfail 2 ploop stat --watch=0 d
run_mustfail 2 ploop stat --watch=often d

start_server d
each "what a client did is counted"
io 'write -P 1 0 1M' 'write -P 2 0 64k' 'read -P 2 0 64k' flush 'discard 0 64k'
run_check ploop stat --json d
cp stdout figures
[ "$(jq -c '.disks | length' figures)" = 1 ] || fail "not one disk"
figure() { jq ".disks[0].$1" figures; }
[ "$(figure write_bytes)" = $(((1 << 20) + (64 << 10))) ] || fail "bytes written"
[ "$(figure read_bytes)" -ge $((64 << 10)) ] || fail "bytes read"
[ "$(figure flush_requests)" -ge 1 ] || fail "flushes"
[ "$(figure discard_requests)" -ge 1 ] || fail "discards"
[ "$(figure first_writes)" = 16 ] || fail "first writes"
[ "$(figure commit_rounds)" -ge 1 ] || fail "rounds"
[ "$(figure 'write_latency | add')" = "$(figure write_requests)" ] || fail "latencies are not those of the requests"
[ "$(figure write_errors),$(figure in_flight),$(figure full),$(figure waits)" = '0,0,0,""' ] || fail "state"

each "by each of its names, and without one"
for name in d d/DiskDescriptor.xml d/root.hds "$PWD/d"; do
	run_check ploop stat "$name"
	expect_line stdout "$PWD/d/root.hds$"
	expect_line stdout '^ +write +[0-9]+ +1\.1 +0 '
done
run_check ploop stat
expect_line stdout "$PWD/d/root.hds$"
expect_no stdout "$PWD/e/root.hds"
run_mustfail 1 ploop stat d e

each "for scrapers"
run_check ploop stat --openmetrics d
[ "$(tail -n1 stdout)" = '# EOF' ] || fail "the end"
expect_line stdout "^ploop_bytes_total\\{device=\"\",image=\"$PWD/d/root.hds\",op=\"write\"\\} 1114112$"
expect_line stdout '^ploop_latency_seconds_bucket\{.*,op="read",le="\+Inf"\} [0-9]+$'
[ "$(grep -c '^# TYPE ploop_requests ' stdout)" = 1 ] || fail "a family twice"
[ -z "$(grep -v '^#' stdout | grep -vE '^ploop_[a-z_]+\{[^}]*\} [0-9.]+$')" ] || fail "a line that is no sample"

each "rates, until the server ends"
"$PLOOP" stat --watch d >rates 2>&1 &
watcher=$!
for _ in $(seq 300); do
	[ "$(wc -l <rates)" -lt 2 ] || break
	sleep 0.1
done
stop_server
wait "$watcher" || { cat rates; fail "it ended with $?"; }
expect_line rates "^$PWD/d/root.hds +[0-9]+ "

each "of those that read: a disk, a snapshot of it, a list of images; in every form"
run_check ploop snapshot d
uuid=$("$PLOOP" snapshot-list -H -o uuid d | head -n1)
count=0
for words in "-r d" "-u $uuid d" "$PWD/e/root.hds"; do
	# shellcheck disable=SC2086
	run_check ploop serve --daemonize --socket "$PWD/s$((++count))" --pid-file "$PWD/pid$count" $words
	run_check qemu-io -r -f raw -c 'read 0 4k' "nbd+unix:///?socket=$PWD/s$count"
done
run_check ploop stat d
[ "$(grep -cF "$PWD/d/root.hds" stdout)" = 2 ] || fail "not both of d"
run_check ploop stat e/root.hds
expect_line stdout "$PWD/e/root.hds$"
run_check ploop stat --json d e
[ "$(jq -c '[.disks[] | select(.read_bytes >= 4096)] | length' stdout)" = 3 ] || fail "what was read is not counted"
run_check ploop stat --openmetrics d e
[ "$(grep '^ploop_requests_total' stdout | grep -c 'op="read"')" = 3 ] || fail "not a sample each"
[ -z "$(grep -v '^#' stdout | sed 's/ [^ ]*$//' | sort | uniq -d)" ] || fail "samples of one name"
"$PLOOP" stat --watch d e >rates 2>&1 &
watcher=$!
for _ in $(seq 300); do
	[ "$(wc -l <rates)" -lt 4 ] || break
	sleep 0.1
done
kill -INT "$watcher"
wait "$watcher"
[ "$(grep -c "^$PWD/[de]/root.hds" rates)" -ge 3 ] || fail "not a line each"
for i in 1 2 3; do
	run_check kill "$(cat pid$i)"
	await is_gone pid$i || fail "it does not end"
done
run_mustfail 1 ploop stat d
