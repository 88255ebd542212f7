#!/bin/bash
# Every command explains itself: --help on stdout, usage on stderr with the stock tool's code, manual in step.
. "$(dirname "$0")/../../lib.sh"

run_mustfail 38 ploop
expect_line stderr '^Usage: ploop'
run_mustfail 38 ploop --nonsense
run_mustfail 38 ploop no-such-command
expect_line stderr 'there is no command no-such-command'
run_check ploop --version
expect_line stdout '^ploop [0-9]'
run_check ploop help
run_check ploop --help

mapfile -t commands < <("$PLOOP" --commands)
[ "${#commands[@]}" -ge 5 ] || fail "only ${#commands[@]} commands"
for command in "${commands[@]}"; do
	each "$command"
	run_check ploop "$command" --help
	[ ! -s stderr ] || fail "--help speaks on stderr"
	expect_line stdout "^Usage: ploop $command"
	cp stdout help
	run_check ploop help "$command"
	cmp stdout help || fail "ploop help $command is not ploop $command --help"
	run_mayfail ploop "$command" --no-such-option
	case $command in
	snapshot-list) [ "$RC" = 1 ] ;;
	*) [ "$RC" = 38 ] || [ "$RC" = 2 ] ;;
	esac || fail "exit code $RC of a usage error"
	[ ! -s stdout ] || fail "a usage error speaks on stdout"
	expect_line stderr "^Usage: ploop $command"

	page=$SRC/cli/man/ploop-$command.pod
	[ -f "$page" ] || fail "$command has no manual page"
done

each "an unknown command is a program in PATH"
mkdir bin
printf '#!/bin/sh\necho external "$@"\n' >bin/ploop-hello
chmod +x bin/ploop-hello
PATH=$PWD/bin:$PATH run_check ploop hello a b
expect_stdout 'external a b'
