# What script tests share. A test is a bash script that begins with
#
#	#!/bin/bash
#	# One line: what it promises.
#	. "$(dirname "$0")/../../lib.sh"
#
# It then stands in an empty folder of its own, which goes when the test passes and stays when it fails. Commands are run
# through one of these, which log them with what they print and say what is expected:
#
#	run_check CMD...           must end with 0
#	run_mustfail CODE CMD...   must end with exactly this code, and say why on stderr
#	run_mayfail CMD...         $RC tells
#
# Afterwards ./stdout and ./stderr hold what it printed:
#
#	expect_stdout TEXT         is exactly this
#	expect_line FILE REGEX     a line of it matches (grep -E)
#	expect_no FILE REGEX       none does
#
# What takes its time is waited for, much longer than it takes on a machine that does nothing else:
#
#	await CMD...               until it succeeds; false after a minute
#	is_gone FILE, is_dead PID  for await
#
# ploop is the built one: $PLOOP, else that of $BUILD, else build/release.
# Other words: fail, skip REASON, need PROGRAM..., each SECTION, at_end COMMAND.

set -u
SRC=${SRC:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}
BUILD=${BUILD:-$SRC/build/release}
PLOOP=${PLOOP:-$BUILD/ploop}
PLOOP_LIBEXEC=${PLOOP_LIBEXEC:-$BUILD}
PATH=$BUILD:$PATH:/usr/sbin:/sbin
export SRC BUILD PLOOP PLOOP_LIBEXEC PATH

[ -x "$PLOOP" ] || { echo "there is no $PLOOP: run make"; exit 1; }

SCRATCH=$(mktemp -d "${TMPDIR:-/tmp}/ploop-test.XXXXXX") || exit 1
cd "$SCRATCH" || exit 1

lib_finish()
{
	local code=$? command
	trap - EXIT
	for command in ${AT_END[@]+"${AT_END[@]}"}; do
		eval "$command"
	done
	cd /
	if [ "$code" = 0 ] || [ "$code" = 77 ]; then
		rm -rf "$SCRATCH"
	else
		echo "kept: $SCRATCH; again: $0"
	fi
	exit "$code"
}
trap lib_finish EXIT

# at_end COMMAND: run it before the test ends, however it ends.
AT_END=()
at_end()
{
	AT_END+=("$1")
}

fail()
{
	echo "FAILED at line ${BASH_LINENO[${#BASH_LINENO[@]} - 2]}: $*"
	exit 1
}

skip()
{
	echo "skipped: $*"
	exit 77
}

# map_all_sparsely IMAGE: each cluster, of 1 MiB, of this new image is mapped to one that takes no space and reads zeros.
map_all_sparsely()
{
	python3 - "$1" <<'PY' || fail "$1 cannot be mapped"
import struct, sys
with open(sys.argv[1], "r+b") as f:
    entries, size, in_use, first_block = struct.unpack_from("<IQII", f.read(64), 32)
    f.write(b"".join(struct.pack("<I", first_block // 2048 + i) for i in range(entries)))
    f.truncate((first_block // 2048 + entries) << 20)
PY
}

need()
{
	local program
	for program; do
		command -v "$program" >/dev/null || skip "$program is not installed"
	done
}

each()
{
	echo "=== $*"
}

# The word ploop stands for the built program. Everything is echoed, so that the log tells the story.
lib_run()
{
	local shown
	printf -v shown ' %q' "$@"
	echo "\$$shown"
	if [ "$1" = ploop ]; then
		shift
		set -- "$PLOOP" "$@"
	fi
	"$@" >"$SCRATCH/stdout" 2>"$SCRATCH/stderr" </dev/null
	RC=$?
	[ ! -s "$SCRATCH/stdout" ] || head -c 4096 "$SCRATCH/stdout" | sed 's/^/    /'
	[ ! -s "$SCRATCH/stderr" ] || head -c 4096 "$SCRATCH/stderr" | sed 's/^/  ! /'
}

run_check()
{
	lib_run "$@"
	[ "$RC" = 0 ] || fail "exit code $RC"
}

run_mayfail()
{
	lib_run "$@"
	# Above 128: a signal; that is never fine.
	[ "$RC" -lt 128 ] || fail "exit code $RC"
}

run_mustfail()
{
	local code=$1
	shift
	lib_run "$@"
	[ "$RC" = "$code" ] || fail "exit code $RC, expected $code"
	[ -s "$SCRATCH/stderr" ] || fail "it does not say why"
}

expect_stdout()
{
	[ "$(cat "$SCRATCH/stdout")" = "$1" ] || fail "stdout is not: $1"
}

expect_line()
{
	grep -Eq -- "$2" "$1" || fail "no line of $1 matches $2"
}

expect_no()
{
	! grep -Eq -- "$2" "$1" || fail "a line of $1 matches $2"
}

await()
{
	local end=$((SECONDS + 60))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

is_gone()
{
	[ ! -e "$1" ]
}

is_dead()
{
	! kill -0 "$1" 2>/dev/null
}

# expect_files DIR NAME...: these are there, and nothing else.
expect_files()
{
	local dir=$1 have want
	shift
	have=$(cd "$dir" && find . -mindepth 1 -maxdepth 1 -printf '%f\n' | grep -vx 'stdout\|stderr' | sort)
	want=$(printf '%s\n' "$@" | grep . | sort)
	[ "$have" = "$want" ] || fail "$dir holds: $(echo $have), expected: $(echo $want)"
}

# poke FILE OFFSET HEX: overwrite bytes.
poke()
{
	printf '%s' "$3" | sed 's/../\\x&/g' | xargs -0 printf '%b' | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}

# holder_of IMAGE: the pid of the process that holds it while its server is up, found by the name of its socket.
holder_of()
{
	local file socket
	# shellcheck disable=SC2046 # two numbers
	printf -v socket 'hold-%x-%d' $(stat -c '%d %i' "$1")
	for file in $(grep -lz "/$socket\$" /proc/[0-9]*/cmdline); do
		grep -qz '^@ploop-holder$' "$file" && cut -d/ -f3 <<<"$file"
	done 2>/dev/null
}

# as_user CMD...: without root, when there is somebody else to be.
as_user()
{
	if [ "$(id -u)" = 0 ]; then
		setpriv --reuid=65534 --regid=65534 --clear-groups -- "$@"
	else
		"$@"
	fi
}
