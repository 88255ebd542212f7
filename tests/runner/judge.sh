# One test: run it, judge it, report it. Writes "passed failed skipped" to $results/NUMBER.

# Sanitizers write to files of their own: a program that swallows its stderr or its exit code is found all the same.
# abort_on_error: Criterion does not look at the exit code of a test's process, but does see the signal.
sanitizer_environment()
{
	export ASAN_OPTIONS=abort_on_error=1:detect_leaks=1:detect_stack_use_after_return=1:log_path=$1/sanitizer
	export UBSAN_OPTIONS=print_stacktrace=1:abort_on_error=1:log_path=$1/sanitizer
	export TSAN_OPTIONS=abort_on_error=1:second_deadlock_stack=1:suppressions=$SRC/tests/runner/tsan.supp:log_path=$1/sanitizer
	export LSAN_OPTIONS=suppressions=$SRC/tests/runner/lsan.supp:print_suppressions=0
}

# counts RC LOG: passed failed skipped. A Criterion program counts its own tests; a script counts as one.
counts()
{
	local rc=$1 log=$2 line
	line=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -a 'Synthesis: Tested:' | tail -1)
	if [ -n "$line" ]; then
		# shellcheck disable=SC2046
		set -- $(tr -cd '0-9 ' <<<"$line") # tested, passing, failing (crashed ones among them), crashing
		local passed=$2 failed=$3 skipped
		skipped=$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -ac '^\[SKIP\]')
		if [ "$failed" = 0 ] && { [ "$rc" != 0 ] || [ "$1" = 0 ]; }; then
			failed=1
		fi
		echo "$passed $failed $skipped"
		return
	fi
	case $rc in
	0) echo "1 0 0" ;;
	77) echo "0 0 1" ;;
	*) echo "0 1 0" ;;
	esac
}

# A canary carries a defect of its own: it passes when the machinery calls it failed for the defect it names.
judge_canary()
{
	local rc=$1 log=$2 defect=$3
	[ "$rc" != 0 ] && grep -qa "$defect" "$log"
}

# run_test NUMBER NAME FLAVOR LIMIT COMMAND
run_test()
{
	local name=$2 flavor=$3 limit=$4 command=$5 dir=$scratch/$1 start=$SECONDS log rc reports tally verdict failed skipped
	log=$logs/${name//\//-}.log
	mkdir "$dir"
	{ (
		sanitizer_environment "$dir"
		export PLOOP_TEST=$PLOOP_TEST_RUN/$name BUILD=$BUILD_ROOT/$flavor TMPDIR=$dir FLAVOR=$flavor
		export PATH=$BUILD:/usr/sbin:/usr/bin:/sbin:/bin:$PATH LD_LIBRARY_PATH=$BUILD
		# shellcheck disable=SC2086 # a command line
		exec setsid -w timeout -k 10 "$limit" $command
	) >"$log" 2>&1; } 2>/dev/null # not the shell's own words about a signal
	rc=$?
	[ $rc != 124 ] && [ $rc != 137 ] || echo "no end after $limit s" >>"$log"
	if left_by "$name" "$dir" >>"$log"; then
		rc=1
	fi
	reports=$(find "$dir" -maxdepth 1 -name 'sanitizer.*' -size +0)
	if [ -n "$reports" ]; then
		# shellcheck disable=SC2086
		cat $reports >>"$log"
		rc=1
	fi
	if [[ $name == */canary/* ]]; then
		judge_canary $rc "$log" "$(sed -n 's/^\/\* expect: \(.*\) \*\/$/\1/p' "tests/${name#*/}.c")"
		rc=$?
		tally="$((1 - rc)) $rc 0"
	else
		tally=$(counts $rc "$log")
	fi
	echo "$tally" >"$results/$1"
	verdict=ok
	read -r _ failed skipped <<<"$tally"
	[ "$skipped" = 0 ] || verdict=skip
	[ "$failed" = 0 ] || verdict=FAIL
	report "$verdict" "$name" "$log" "$((SECONDS - start))" "$tally" "$1"
	if [ "$verdict" = FAIL ] || [ -n "$KEEP" ]; then
		return
	fi
	rm -rf "$dir"
}

# A sanitizer's report from its first line, else the end of the log.
what_went_wrong()
{
	local at
	at=$(grep -naE 'ERROR: [A-Za-z]+Sanitizer|WARNING: ThreadSanitizer|runtime error:|ERROR: libFuzzer' "$1" | head -1)
	if [ -n "$at" ]; then
		sed -n "${at%%:*},+20p" "$1"
	else
		tail -n 30 "$1"
	fi
}

# Everything about one test in a single write, so that tests that run at once do not mix their lines.
report()
{
	local verdict=$1 name=$2 log=$3 seconds=$4 count=${5%% *}
	case $verdict in
	ok) printf 'ok    %s (%s in %s s)\n' "$name" "$count" "$seconds" ;;
	skip) printf 'skip  %s: %s\n' "$name" "$(sed 's/\x1b\[[0-9;]*m//g' "$log" | grep -a '^\[SKIP\]' ||
		tail -n 1 "$log")" ;;
	FAIL)
		printf 'FAIL  %s (%s s)\n%s\n      again: make check T=%q   log: %s   scratch: %s\n' "$name" "$seconds" \
			"$(what_went_wrong "$log" | sed 's/^/      | /')" "$name" "$log" "$scratch/$6"
		;;
	esac
}
