#!/bin/bash
# TLS with the clients' own library (GnuTLS): certificates and keys, on unix sockets and TCP; and what is refused.
. "$(dirname "$0")/server.sh"
need certtool psktool nbdinfo nbdcopy qemu-img python3

make_image 64M
head -c 9M /dev/urandom >in.raw
truncate -s 64M in.raw

# certificate NAME TEMPLATE-LINE...: signed by our CA
certificate()
{
	local name=$1
	shift
	printf '%s\n' "$@" >template
	certtool --generate-privkey --bits 2048 --outfile "pki/$name-key.pem" 2>/dev/null
	certtool --generate-certificate --load-ca-certificate pki/ca-cert.pem --load-ca-privkey pki/ca-key.pem \
		--load-privkey "pki/$name-key.pem" --template template --outfile "pki/$name-cert.pem" 2>/dev/null ||
		fail "certtool"
}
mkdir pki other
printf 'cn = test authority\nca\ncert_signing_key\n' >template
certtool --generate-privkey --bits 2048 --outfile pki/ca-key.pem 2>/dev/null
certtool --generate-self-signed --load-privkey pki/ca-key.pem --template template --outfile pki/ca-cert.pem 2>/dev/null
certificate server 'cn = localhost' 'dns_name = localhost' 'ip_address = 127.0.0.1' tls_www_server signing_key \
	encryption_key
certificate client 'cn = client' tls_www_client signing_key encryption_key
certtool --generate-privkey --bits 2048 --outfile other/ca-key.pem 2>/dev/null
certtool --generate-self-signed --load-privkey other/ca-key.pem --template <(printf 'cn = stranger\nca\n') \
	--outfile other/ca-cert.pem 2>/dev/null
psktool -u alice -p keys.psk >/dev/null 2>&1 || fail "psktool"
printf 'alice:00112233445566778899aabbccddeeff\n' >wrong.psk

free_port()
{
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

X509="nbds+unix://localhost/?socket=$PWD/socket&tls-certificates=$PWD/pki"
PSK="nbds+unix://alice@localhost/?socket=$PWD/socket&tls-psk-file=$PWD/keys.psk"

each "certificates"
start_server --tls-x509 "$PWD/pki"
run_check nbdinfo "$X509"
expect_line stdout 'with TLS'
run_check nbdcopy --flush in.raw "$X509"
run_check nbdcopy "$X509" out.raw
run_check cmp in.raw out.raw
run_check nbdinfo "$URI" # on a unix socket TLS is offered, not required
stop_server
check_image

each "certificates of both sides"
start_server --tls-x509 "$PWD/pki" --tls-verify-peer
run_check nbdinfo "$X509"
mkdir bare
cp pki/ca-cert.pem bare
run_mustfail 1 nbdinfo "nbds+unix://localhost/?socket=$PWD/socket&tls-certificates=$PWD/bare"
stop_server

each "keys, TLS 1.3 and 1.2"
start_server --tls-psk "$PWD/keys.psk" --debug nbd
run_check nbdcopy "$PSK" out.raw
run_check cmp in.raw out.raw
run_check nbdinfo "$PSK"
run_mustfail 1 nbdinfo "nbds+unix://alice@localhost/?socket=$PWD/socket&tls-psk-file=$PWD/wrong.psk"
run_mustfail 1 nbdinfo "nbds+unix://mallory@localhost/?socket=$PWD/socket&tls-psk-file=$PWD/keys.psk"
run_check env "GNUTLS_SYSTEM_PRIORITY_FILE=$PWD/tls12" sh -c \
	'printf "[overrides]\ndisabled-version = tls1.3\n" >tls12; nbdcopy "$1" null:' sh "$PSK"
expect_line server.log 'version=TLSv1.3'
expect_line server.log 'version=TLSv1.2'
stop_server

each "a server in the background finds the keys that were named by a relative path"
run_check "$SERVER" "${IMAGE[@]}" --socket socket --pid-file pid --tls-psk keys.psk --daemonize
SERVER_PID=$(cat pid)
run_check nbdinfo "$PSK"
kill -TERM "$SERVER_PID"
await is_gone pid || fail "it lives on"
SERVER_PID=

each "TCP wants TLS"
port=$(free_port)
start_server --tcp "127.0.0.1:$port" --tls-x509 "$PWD/pki"
run_check nbdcopy "nbds://127.0.0.1:$port/?tls-certificates=$PWD/pki" out.raw
run_check cmp in.raw out.raw
run_mustfail 1 nbdinfo "nbd://127.0.0.1:$port/"
run_mustfail 1 nbdinfo "nbds://127.0.0.1:$port/?tls-certificates=$PWD/other"
run_check qemu-img info --object "tls-creds-x509,id=t,dir=$PWD/pki,endpoint=client" \
	--image-opts "driver=nbd,host=127.0.0.1,port=$port,tls-creds=t"
cat >clear.py <<'PY'
# Without TLS every option but STARTTLS and ABORT gets TLS_REQD; bytes in the clear behind STARTTLS end the connection.
import socket, struct, sys
def option(n, data=b""):
    return b"IHAVEOPT" + struct.pack(">II", n, len(data)) + data
def read(s, n):
    data = b""
    while len(data) < n:
        part = s.recv(n - len(data))
        if not part:
            return data
        data += part
    return data
def reply(s):
    magic, opt, code, n = struct.unpack(">QIII", read(s, 20))
    read(s, n)
    return opt, code
def connect():
    s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
    s.settimeout(10)
    assert read(s, 18)[:8] == b"NBDMAGIC"
    s.sendall(struct.pack(">I", 3))
    return s
s = connect()
for n in (3, 6, 7, 8, 9, 10, 99):
    s.sendall(option(n))
    assert reply(s) == (n, 0x80000005), n
s.sendall(option(2))
assert reply(s) == (2, 1)
s = connect()
s.sendall(option(5) + option(8))
assert read(s, 20) == b"", "the clear text behind STARTTLS was taken"
s = connect()
s.sendall(option(1))
assert read(s, 10) == b"", "an export without TLS"
s = connect()
s.sendall(option(5))
assert reply(s) == (5, 1)
s.sendall(option(8) + b"garbage, not a handshake" * 10)
while s.recv(4096):
    pass
PY
run_check python3 clear.py "$port"
stop_server

each "TCP without TLS, when told to"
host=localhost # two addresses on most machines; a bare one may have no /etc/hosts to tell them
getent hosts $host >/dev/null || host=127.0.0.1
port=$(free_port)
start_server --tcp "$host:$port" --insecure-tcp
run_check nbdcopy "nbd://$host:$port/" out.raw
run_check cmp in.raw out.raw
stop_server

each "what is missing is named"
rm pki/server-key.pem
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --socket "$PWD/socket" --tls-x509 "$PWD/pki"
expect_line stderr 'server-key.pem: No such file'
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --socket "$PWD/socket" --tls-x509 "$PWD/pki" --tls-psk "$PWD/keys.psk"
run_mustfail 1 "$SERVER" "${IMAGE[@]}" --socket "$PWD/socket" --tls-psk "$PWD/none.psk"
check_image
