#!/bin/bash
# serve: one writer at a time, a disk in use is refused with its exit code, misuse says what is missing.
. "$(dirname "$0")/../../lib.sh"
need nbdinfo nbdcopy

mkdir d
run_check ploop -v0 init -s 64M d/root.hds

each misuse
run_mustfail 2 ploop serve d
expect_line stderr 'where to serve'
run_mustfail 2 ploop serve --tcp localhost:0 d
expect_line stderr 'tls'
run_mustfail 2 ploop serve --socket s --tls-x509 a --tls-psk b d
run_mustfail 2 ploop serve --socket s --allow-uid nobody d
run_mustfail 1 ploop serve --socket s -u 11111111-1111-4111-8111-111111111111 d
run_mustfail 1 ploop serve --socket s nowhere

each "a server in the background"
run_check ploop serve --socket "$PWD/s" --pid-file "$PWD/pid" --daemonize d
[ -s pid ] || fail "no pid file"
at_end '[ ! -e pid ] || kill "$(cat pid)"'
run_check nbdinfo --size "nbd+unix:///?socket=$PWD/s"
expect_stdout $((64 << 20))

each "others are told that it is in use, lookers are not"
run_mustfail 37 ploop check d
run_mustfail 37 ploop check -f d/root.hds
run_mustfail 1 ploop serve --socket "$PWD/s2" d
run_mustfail 1 ploop serve --socket "$PWD/s" d
run_check ploop info -s d
run_check ploop info d
run_check ploop debug map d
run_check ploop debug events d
expect_line stdout 'depth=1 '

each "it ends in order"
kill "$(cat pid)"
await is_gone pid || fail "it did not end"
[ ! -e s ] || fail "the socket is left"
run_check ploop check d
expect_stdout 'Image is clean, check is skipped'

each "a client that starts the server itself"
run_check nbdcopy -- [ "$PLOOP" serve -r d ] copy.raw
[ "$(stat -c %s copy.raw)" = $((64 << 20)) ] || fail "length of the copy"
