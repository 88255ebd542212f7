#!/bin/bash
# Calls with a better form: unbounded strings, shells, process-wide state.
set -euo pipefail
cd "$SRC"
# pattern: what to use instead
bad=0
while read -r call instead; do
	if grep -nE "(^|[^a-zA-Z0-9_>.])$call\(" -r include layout crypt ploop snapshot kmod-free cli --include='*.[ch]' |
		grep -vE ':\s*(/\*|\*|//)'; then
		echo "  ^ $call(): use $instead"
		bad=1
	fi
done <<'LIST'
gets            fgets
strcpy          snprintf
strcat          snprintf
strncpy         snprintf
sprintf         snprintf
vsprintf        vsnprintf
strtok          strcspn
atoi            strtoul
atol            strtoul
atoll           strtoull
system          posix_spawn
popen           posix_spawn
tmpnam          mkstemp
mktemp          mkstemp
tempnam         mkstemp
alloca          a bounded array
rand            getrandom
srand           getrandom
signal          sigaction
gethostbyname   getaddrinfo
asctime         strftime
ctime           strftime
select          poll
LIST
# The library neither prints nor exits; a program that lies beside it may.
if grep -nE '(^|[^a-zA-Z0-9_])(printf|puts|putchar|perror|exit|_exit)\(' -r layout crypt ploop snapshot --include='*.[ch]' \
	--exclude='*_main.c' | grep -vE ':\s*(/\*|\*)'; then
	echo '  ^ the library never prints or exits: return pl_fail(), or log'
	bad=1
fi
exit $bad
