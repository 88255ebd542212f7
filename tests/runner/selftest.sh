#!/bin/bash
# The runner tells what is good from what is not: a failure, a hang, a leftover and a skip each get their verdict and count.
# timeout: 300
# alone
set -euo pipefail
tests=$TMPDIR/tests
mkdir "$tests"
unset T STRICT KEEP

new_test()
{
	printf '#!/bin/bash\n%s\n' "$2" >"$tests/$1.sh"
	chmod +x "$tests/$1.sh"
}
# verdict EXIT-CODE SUMMARY NAME...: run these tests and look at both.
verdict()
{
	local rc=0 want_rc=$1 want=$2 out
	shift 2
	out=$(BUILD_ROOT=$TMPDIR/build "$SRC/tests/run-tests" "${@/#/$tests/}" 2>&1) || rc=$?
	if [ "$rc" != "$want_rc" ] || [ "$(tail -n 1 <<<"$out")" != "$want" ]; then
		printf 'want exit %s and: %s\ngot exit %s and:\n%s\n' "$want_rc" "$want" "$rc" "$out"
		exit 1
	fi
}

new_test good 'exit 0'
new_test bad 'echo the reason; exit 1'
new_test skip 'echo "SKIP: no such thing"; exit 77'
new_test hang $'# timeout: 1\nsleep 30'
new_test daemon 'sleep 30 & exit 0'
new_test sanitized "echo 'ERROR: whatever' >\"\${ASAN_OPTIONS##*log_path=}.1\"; exit 0"

verdict 0 '2 passed, 0 failed, 0 skipped' good.sh
verdict 1 '2 passed, 1 failed, 0 skipped' good.sh bad.sh
verdict 0 '1 passed, 0 failed, 1 skipped' skip.sh
STRICT=1 verdict 1 '1 passed, 0 failed, 1 skipped' skip.sh
verdict 1 '1 passed, 1 failed, 0 skipped' hang.sh
verdict 1 '1 passed, 1 failed, 0 skipped' daemon.sh
verdict 1 '1 passed, 1 failed, 0 skipped' sanitized.sh
