#!/bin/bash
# A served disk goes on as another program: the same process, the same clients, who see nothing but a pause; and what
# cannot be handed over is refused, and goes on as it was.
. "$(dirname "$0")/server.sh"
need fio nbdinfo psktool python3
python3 -c 'import nbd' 2>/dev/null || skip "this python3 has no nbd"
fio --enghelp 2>/dev/null | grep -qw nbd || skip "this fio has no nbd engine"

mkdir bin ct
cp "$BUILD"/ploop "$BUILD"/ploop-server "$BUILD"/ploop-holder "$BUILD"/ploop-keeper bin
PLOOP=$PWD/bin/ploop
psktool -u alice -p keys.psk >/dev/null 2>&1 || fail "psktool"
run_check ploop init -t none -s 64M ct/root.hds
run_check ploop snapshot ct

# serve WORDS...: in the foreground, with what is on the command line as relative paths.
serve()
{
	rm -f pid
	"$PLOOP" serve --socket socket --pid-file pid "$@" 2>server.log </dev/null &
	SERVER_PID=$!
	await is_ready_or_gone
	[ -e pid ] || fail "the server did not start: $(cat server.log)"
}

install_again()
{
	cp bin/ploop-server bin/new
	mv bin/new bin/ploop-server
}

is_installed()
{
	[ "$(stat -Lc %i "/proc/$1/exe")" = "$(stat -c %i bin/ploop-server)" ]
}

# upgrade DISK PID
upgrade()
{
	install_again
	! is_installed "$2" || fail "it is the new program already"
	run_check ploop server upgrade "$1"
	expect_line stdout 'Upgraded /.*, requests waited [0-9]* ms'
	is_installed "$2" || fail "it is not the new program"
}

each "under load, again and again, with a client that agreed on all there is"
serve ct
cat >client.py <<'PYTHON'
import nbd, os
h = nbd.NBD()
h.add_meta_context('base:allocation')
h.connect_unix('socket')
assert h.get_structured_replies_negotiated()
h.pwrite(b'x' * 4096, 60 << 20)
turns = 0
while not os.path.exists('stop'):
    seen = []
    assert h.pread(4096, 60 << 20) == b'x' * 4096
    h.block_status(1 << 20, 60 << 20, lambda name, at, entries, error: seen.append(name) and 0)
    assert seen == ['base:allocation'], seen
    turns += 1
h.shutdown()
print(turns, 'turns')
PYTHON
python3 client.py >client.log 2>&1 &
client=$!
timeout 120 fio --name=load --ioengine=nbd --uri="$URI" --rw=randwrite --bsrange=512-64k --blockalign=512 --iodepth=16 --size=48M \
	--verify=crc32c --verify_fatal=1 --output-format=terse >fio.log 2>&1 &
load=$!
for i in 1 2 3 4 5; do
	sleep 0.2
	upgrade ct "$SERVER_PID"
done
wait $load || fail "fio: $(cat fio.log)"
touch stop
wait $client || fail "the other client: $(cat client.log)"
cat client.log
run_check nbdinfo "$URI"

each "while a snapshot is taken, again and again"
for i in 1 2 3; do
	run_check ploop snapshot ct
	upgrade ct "$SERVER_PID"
done
run_check nbdinfo "$URI"
stop_server
run_check ploop check ct

each "two that read, in the background, and all of them at once"
for i in 1 2; do
	run_check ploop serve -r --daemonize --socket read$i --pid-file pid$i ct
done
install_again
run_check ploop server upgrade ct
for i in 1 2; do
	is_installed "$(cat pid$i)" || fail "$i is not the new program"
	run_check nbdinfo "nbd+unix:///?socket=$PWD/read$i"
done
install_again
run_mayfail ploop server upgrade --all # those of others may be as they are
for i in 1 2; do
	is_installed "$(cat pid$i)" || fail "$i was left out"
	run_check kill "$(cat pid$i)"
	await is_gone pid$i || fail "it does not end"
	[ ! -e read$i ] || fail "its socket is left"
done

each "a list of images, over TCP"
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
make_image 64M
rm -f pid
"$PLOOP" serve --tcp "localhost:$port" --insecure-tcp --pid-file pid disk.hds 2>server.log </dev/null &
SERVER_PID=$!
await is_ready_or_gone
upgrade disk.hds "$SERVER_PID"
run_check nbdinfo "nbd://localhost:$port"
stop_server

each "a client with TLS: refused, and served on"
serve --tls-psk keys.psk ct
rm stop
cat >tls.py <<'PYTHON'
import nbd, os, time
h = nbd.NBD()
h.set_tls(nbd.TLS_REQUIRE)
h.set_tls_psk_file('keys.psk')
h.set_tls_username('alice')
h.connect_unix('socket')
open('connected', 'w')
while not os.path.exists('stop'):
    h.pread(512, 0)
    time.sleep(0.01)
PYTHON
python3 tls.py >client.log 2>&1 &
client=$!
await test -e connected || fail "$(cat client.log)"
install_again
run_mustfail 1 ploop server upgrade ct
expect_line stderr 'connected with TLS'
! is_installed "$SERVER_PID" || fail "it was upgraded"
touch stop
wait $client || fail "the client: $(cat client.log)"
upgrade ct "$SERVER_PID"

each "a program that does not work"
mv bin/ploop-server bin/good
printf '#!/bin/sh\nexit 3\n' >bin/ploop-server
chmod +x bin/ploop-server
run_mustfail 1 ploop server upgrade ct
expect_line stderr 'does not work'
mv bin/good bin/ploop-server
run_check ploop stat ct
stop_server
run_mustfail 1 ploop server upgrade ct
expect_line stderr 'no server has it open'
