# Operations on a bundle that are killed: the server under them, the command, or both. Source it; it brings cli/lib.sh and
# writer.sh.
#
#	make_start                  ./start: snapshots A and B and the top, each with promises of its own
#	kill_rounds STATE NAME...   ROUNDS of each of these operations, on a disk that is running or stopped
#
# In each round something is killed at a random moment of the time that the operation takes when nobody disturbs it (round
# 0). After that: the tree is one of those allowed; the next command goes through and repairs what is to be repaired; the
# disk holds what its writer was promised; each snapshot holds what it held, and one that was made meanwhile what was promised
# then; the folder has the images of the descriptor and nothing else, all sound; and a clone is there as a whole or can be
# made.
. "$(dirname "${BASH_SOURCE[0]}")/../cli/lib.sh"
. "$SRC/tests/kill/writer.sh" # by name: we stand in another folder by now

D='{dddddddd-4444-4444-8444-444444444444}'
SERVER= # pid of the one that serves ./d, empty when there is none
CUT=0   # operations that did not end well
KILLS=0

# What the operations are, and the trees after them: one letter for an id, a dot for any.
START='0a ab b5\*'
declare -A WORDS=(
	[snapshot]="snapshot -u $C d"
	[delete]="snapshot-delete -u $A d"
	[merge-top]="snapshot-merge d"
	[merge-middle]="snapshot-merge -u $B d"
	[merge-all]="snapshot-merge -A d"
	[switch]="snapshot-switch -u $A d"
	[switch-keep]="snapshot-switch -u $A --keep-uuid $C d"
	[clone-linked]="clone --linked d clone"
	[clone-full]="clone --full d clone"
)
declare -A AFTER=(
	[snapshot]='0a ab bc c5\*'
	[delete]='0b b5\*'
	[merge-top]='0a a5\*'
	[merge-middle]='0b b5\*'
	[merge-all]='0[ab] [ab]5\*|05\*'
	[switch]='0a ab a5\*'
	[switch-keep]='0a ab bc a5\*'
	[clone-linked]='0a ab b.( ..)* .5\*'
	[clone-full]="$START"
)
# And only meanwhile: the temporary snapshot that is copied.
declare -A MEANWHILE=([clone-full]='|0a ab b. .5\*')

serve()
{
	start_server "$@"
	SERVER=$(cat pid)
}

unserve()
{
	stop_server
	SERVER=
}

holders()
{
	local image
	for image in d/*.hds*; do
		holder_of "$image"
	done
}

bundle_finish()
{
	# shellcheck disable=SC2046 # pids
	[ -z "$SERVER" ] || kill -KILL "$SERVER" $(holders) 2>/dev/null
}
AT_END=(bundle_finish)

make_start()
{
	local uuid
	local -A writes=(["$A"]=100 ["$B"]=400 ["$TOP"]=30)
	mkdir start
	run_check ploop -v0 init -s 4M -b 64 -t none start/root.hds
	for uuid in "$A" "$B" "$TOP"; do
		serve start
		run_check "$WRITER" write "$URI" promises "${writes["$uuid"]}"
		unserve
		cp promises "start.$uuid"
		[ "$uuid" = "$TOP" ] || run_check ploop snapshot -u "$uuid" start
	done
	expect_tidy start
}

# expect_tree_like REGEX: without the marks of what waits for its removal
expect_tree_like()
{
	tree d
	[[ ${ploop_tree//t/} =~ ^($1)\ $ ]] || fail "the tree is $ploop_tree, expected: $1"
}

# kill_after MICROSECONDS VICTIM
kill_after()
{
	local victims
	sleep "$(printf '%d.%06d' $(($1 / 1000000)) $(($1 % 1000000)))"
	case $2 in
	command) victims=$command ;;
	server) victims=$SERVER ;;
	both) victims="$SERVER $command" ;;
	all)
		kill -STOP "$SERVER" # it must not start another holder
		victims="$(holders | xargs) $SERVER $command"
		;;
	esac
	echo "after $1 us: kill $2"
	KILLS=$((KILLS + 1))
	# shellcheck disable=SC2086 # pids, and the command may have ended
	kill -KILL $victims 2>/dev/null
	[ "$2" = command ] || forget_server
}

# It is not our child: somebody else collects it.
forget_server()
{
	while [ -e "/proc/$SERVER" ] && ! grep -q ') Z' "/proc/$SERVER/stat" 2>/dev/null; do
		sleep 0.01
	done
	rm -f pid
	SERVER=
}

# operate NAME VICTIM: until the command has ended, one way or another. USUAL is how long it takes, learned from round 0 and
# from kills that came in time or too late: how busy the machine is changes.
declare -A USUAL=()
operate()
{
	local begin=${EPOCHREALTIME/./} words code moment
	read -ra words <<<"${WORDS[$1]}"
	echo "\$ ploop ${words[*]}"
	"$PLOOP" "${words[@]}" >op.out 2>&1 </dev/null &
	command=$!
	moment=$(((RANDOM << 15 | RANDOM) % (${USUAL[$1]:-0} + 1)))
	[ "$2" = nobody ] || kill_after $moment "$2"
	for _ in $(seq 2000); do
		kill -0 "$command" 2>/dev/null || break
		sleep 0.02
	done
	kill -KILL "$command" 2>/dev/null && fail "the command does not end"
	wait "$command" 2>/dev/null
	code=$?
	sed 's/^/    /' op.out
	if [ "$2" = nobody ]; then
		[ "$code" = 0 ] || fail "exit code $code"
		USUAL[$1]=$((${EPOCHREALTIME/./} - begin))
	elif [ "$code" = 0 ]; then
		USUAL[$1]=$moment
	else
		CUT=$((CUT + 1))
		USUAL[$1]=$((USUAL[$1] * 5 / 4))
	fi
	[ "$2" != server ] || [ "$code" -lt 128 ] || fail "exit code $code"
}

# The writer's promises hold, by HOW: in the disk that is opened for writing and closed again.
verify_disk()
{
	serve d
	run_check "$WRITER" "$how" "$URI" promises
	unserve
}

# verify_reading HOW FILE... -- DISK [OPTION...]: those of the files, by a server for this alone.
verify_reading()
{
	local words=()
	while [ "$1" != -- ]; do
		words+=("$1")
		shift
	done
	run_check "$WRITER" "${words[0]}" '[' "$PLOOP" serve -r "${@:2}" ']' "${words[@]:1}"
}

# The next command, a snapshot, finds what is to be repaired. It may die of it, too.
take_next()
{
	if [ $((KILLS % 3)) = 2 ]; then
		"$PLOOP" snapshot -u "$D" d >/dev/null 2>&1 </dev/null &
		sleep "0.0$((RANDOM % 7))$((RANDOM % 10))"
		kill -KILL $! 2>/dev/null
		wait $! 2>/dev/null
	fi
	"$PLOOP" snapshot-list -H -o uuid d | grep -qxF "$D" || run_check ploop snapshot -u "$D" d
}

# Given to the disk that goes on, to the stopped one, or to one that was served again before.
repair()
{
	if [ -n "$SERVER" ]; then
		take_next
		unserve
	fi
	[ "$state" = stopped ] || end_writer
	cp promises after
	[[ ! $ploop_tree =~ a5 || $1 != switch* ]] || cp "start.$A" promises
	[ $((KILLS % 4)) = 1 ] || take_next
	verify_disk
	take_next
}

# It appeared as a whole or not at all; what a dead one left does not keep another from being made.
check_clone()
{
	if [ -e clone ]; then
		verify_reading "$how" after before -- clone
		expect_tidy clone start
		rm -r clone
	fi
	run_check ploop "${words[@]}"
	verify_reading "$how" after before -- clone
	expect_tidy clone start
	rm -r clone
	[ -z "$(find . -maxdepth 1 -name '.clone*')" ] || fail "left: $(find . -maxdepth 1 -name '.clone*')"
}

check_snapshots()
{
	local uuid
	for uuid in $("$PLOOP" snapshot-list -H -o uuid d); do
		case $uuid in
		"$A" | "$B") verify_reading verify "start.$uuid" -- -u "$uuid" d ;;
		"$C") verify_reading "$how" after before -- -u "$C" d ;;
		esac
	done
}

# round NAME VICTIM
round()
{
	local how=verify now="$START|${AFTER[$1]}${MEANWHILE[$1]-}" words
	read -ra words <<<"${WORDS[$1]}"
	[ "$2" != all ] || how=flushed
	rm -rf d clone .clone*
	cp -a start d
	cp "start.$TOP" promises
	if [ "$state" = running ]; then
		serve d
		start_writer
		# Merging goes the way that moves less: down from a top with little in it, up into one with more than its parent.
		[ $((RANDOM % 3)) != 0 ] || sleep 0.5
	fi
	cp promises before
	operate "$1" "$2"
	expect_tree_like "$now"
	repair "$1"
	expect_tree_like "${now//5/d d5}"
	[ "${words[0]}" != clone ] || check_clone
	run_check ploop snapshot-delete -u "$D" d
	expect_tree_like "$START|${AFTER[$1]}"
	[[ $ploop_tree != *t* ]] || fail "a temporary snapshot is left"
	expect_tidy d start
	verify_reading "$how" promises -- d
	check_snapshots
}

kill_rounds()
{
	local state=$1 name round victims=(server command both command all command)
	[ "$state" = running ] || victims=(command)
	shift
	for name; do
		for round in $(seq 0 "${ROUNDS:-10}"); do
			each "$state $name, round $round"
			if [ "$round" = 0 ]; then
				round "$name" nobody
			else
				round "$name" "${victims[KILLS % ${#victims[@]}]}"
			fi
		done
	done
	echo "$KILLS kills, $CUT of them in time"
}
