#!/bin/bash
# Servers are replaced by other programs under a file system at work: nothing is unmounted, nothing fails, nothing is
# lost; and what does not work, or comes at a bad moment, changes nothing.
# alone
. "$(dirname "$0")/lib.sh"
need fio

mkdir a b bin
cp "$BUILD"/ploop "$BUILD"/ploop-server "$BUILD"/ploop-holder "$BUILD"/ploop-keeper bin
PLOOP=$SCRATCH/bin/ploop
run_check ploop init -s 256M a/root.hds
run_check ploop init -s 64M b/root.hds
run_check ploop mount -m mnt a
run_check ploop mount b

# install: another file with the same program, as a package would put it there.
install_again()
{
	for program in ploop-server ploop-keeper; do
		cp bin/$program bin/new
		mv bin/new bin/$program
	done
}

# is_program_of DISK: server and keeper are what lies there.
is_program_of()
{
	[ "$(stat -Lc %i "/proc/$(device_of "$1" server_pid)/exe")" = "$(stat -c %i bin/ploop-server)" ] &&
		[ "$(stat -Lc %i "/proc/$(keeper_of "$1")/exe")" = "$(stat -c %i bin/ploop-keeper)" ]
}

each "under load, again and again"
timeout 120 fio --name=load --filename=mnt/file --ioengine=libaio --direct=1 --iodepth=16 --rw=randwrite --bs=4k --size=96M \
	--verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --output-format=json --output=fio.json &
job=$!
for i in 1 2 3 4; do
	sleep 0.2
	server=$(device_of a server_pid) keeper=$(keeper_of a)
	install_again
	! is_program_of a || fail "the old server is the new program"
	run_check ploop server upgrade a
	expect_line stdout 'Upgraded /dev/mapper/ploop[0-9]*, server [0-9]*, requests waited [0-9]* ms'
	is_program_of a || fail "the server is not the new program, or the keeper"
	await is_dead "$server" || fail "the old server lives"
	[ "$(keeper_of a)" = "$keeper" ] || fail "it has another keeper"
done
wait $job || fail "fio saw an error"
jq -r '.jobs[0] | "errors \(.error), longest request \([.read, .write, .sync | .lat_ns.max / 1e6 | floor] | max) ms"' fio.json

each "all of them"
install_again
run_mayfail ploop server upgrade --all # those of others may be as they are
is_program_of a || fail "a was left out"
is_program_of b || fail "b was left out"
is_state b kept true || fail "b has lost its keeper"

each "a program that does not work, and no program at all"
server=$(device_of a server_pid)
for program in ploop-server ploop-keeper; do
	mv bin/$program bin/good
	printf '#!/bin/sh\nexit 3\n' >bin/$program
	chmod +x bin/$program
	run_mustfail 1 ploop server upgrade a
	expect_line stderr 'does not work'
	mv bin/good bin/$program
done
is_state a server_pid "$server" || fail "the server was replaced"

each "killed after all that, and its keeper with a number of its own"
server=$(device_of a server_pid)
run_check kill -KILL "$server"
await is_no_state a server_pid "$server" || fail "no other server came"
run_check cmp mnt/file <(cat mnt/file)
is_program_of a || fail "another program"

each "words"
run_mustfail 2 ploop server upgrade
run_mustfail 2 ploop server upgrade --all a
run_mustfail 1 ploop server upgrade /nonexistent
run_check ploop serve --daemonize --pid-file pid --socket s "$(mkdir c && "$PLOOP" -v0 init -s 16M -t none c/root.hds >&2; echo c)"
run_check ploop server upgrade c
run_check kill "$(cat pid)"
await is_gone pid || fail "the server does not end"

run_check ploop umount b
run_check ploop umount a
expect_nothing_left
expect_clean a
