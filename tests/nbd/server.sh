# What the scripts here share: one ploop-server on a disk of its own. Source it after lib.sh's words are wanted; it
# sources lib.sh itself.
#
#	make_image SIZE            creates ./disk.hds
#	start_server [OPTION...]   serves it at ./socket (or as the options say) and waits until it is ready
#	stop_server                asks it to end; it must close the disk and exit with 0
#	$URI                       of the socket
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

SERVER=$BUILD/ploop-server
[ -x "$SERVER" ] || { echo "there is no $SERVER: run make"; exit 1; }
IMAGE=(--image "ploop:-1::0::$PWD/disk.hds")
URI="nbd+unix:///?socket=$PWD/socket"
SERVER_PID=

server_finish()
{
	local code=$?
	[ -z "$SERVER_PID" ] || kill -KILL "$SERVER_PID" 2>/dev/null
	(exit "$code")
	lib_finish
}
trap server_finish EXIT

make_image()
{
	need qemu-img
	run_check qemu-img create -q -f parallels disk.hds "$1"
}

# Ready means that the pid file is there.
is_ready_or_gone()
{
	[ -e pid ] || ! kill -0 "$SERVER_PID" 2>/dev/null
}

start_server()
{
	rm -f pid
	case " $* " in
	*' --tcp '*) ;;
	*) set -- --socket "$PWD/socket" "$@" ;;
	esac
	echo "\$ ploop-server $*"
	"$SERVER" "${IMAGE[@]}" --pid-file "$PWD/pid" "$@" 2>server.log </dev/null &
	SERVER_PID=$!
	await is_ready_or_gone
	[ ! -e pid ] || return 0
	sed 's/^/  ! /' server.log
	fail "the server did not start"
}

stop_server()
{
	local code
	kill -TERM "$SERVER_PID"
	wait "$SERVER_PID"
	code=$?
	SERVER_PID=
	sed 's/^/  server: /' server.log
	[ "$code" = 0 ] || fail "the server exited with $code"
	[ ! -e pid ] || fail "the pid file is left"
	[ ! -e socket ] || fail "the socket is left"
}

check_image()
{
	run_check qemu-img check -q -f parallels disk.hds
}
