# Which tests there are: lines of name, flavor, time limit, mode ("alone", "apart" or "-"), command; tab between them.
# The folders are the list: a new file is a new test.

# list_scripts PREFIX FLAVOR LIMIT FILE...
list_scripts()
{
	local prefix=$1 flavor=$2 default=$3 file name limit mode
	shift 3
	for file; do
		[ -x "$file" ] || continue
		name=${file#tests/}
		name=${name%/test.sh}
		name=${name%.sh}
		limit=$(sed -n 's/^# timeout: \([0-9]*\)$/\1/p' "$file")
		mode=-
		[[ $file != tests/lab/* ]] || ! grep -qxF '. "$(dirname "$0")/lib.sh"' "$file" || mode=apart
		! grep -q '^# alone$' "$file" || mode=alone
		[ "$flavor" = release ] || ! grep -q '^# release only$' "$file" || continue
		[ "$flavor" = release ] || limit=$((3 * ${limit:-$default}))
		printf '%s\t%s\t%s\t%s\t%s\n' "$prefix$name" "$flavor" "${limit:-$default}" "$mode" "$file"
	done
}

# list_programs PREFIX FLAVOR LIMIT SOURCE...
list_programs()
{
	local prefix=$1 flavor=$2 limit=$3 file name mode
	shift 3
	for file; do
		[ -e "$file" ] || continue
		name=${file#tests/}
		name=${name%.c}
		mode=-
		[[ $name != crash/* ]] || mode=apart
		printf '%s\t%s\t%s\t%s\t%s\n' "$prefix$name" "$flavor" "$limit" "$mode" \
			"$BUILD_ROOT/$flavor/tests/$name"
	done
}

list_fuzzers()
{
	local file name
	for file in tests/fuzz/*.c; do
		[ -e "$file" ] || continue
		name=${file#tests/}
		name=${name%.c}
		printf '%s\tfuzz\t%s\tapart\ttests/runner/fuzz %s\n' "$name" $((FUZZ_SECONDS + 120)) "$name"
	done
}

list_tests()
{
	local file scripts=()
	for file in tests/*/*.sh; do
		[[ $file == tests/tidy/* || $file == tests/runner/* || $file == */lib.sh ]] || scripts+=("$file")
	done
	list_scripts "" release 60 tests/tidy/*.sh tests/runner/*.sh
	list_programs "" release 120 tests/unit/*.c
	list_programs "" release 600 tests/nbd/*.c tests/threads/*.c
	list_programs "" release $((600 + ${CRASHES:-0})) tests/crash/*.c
	list_programs "" release $((8 * ${MODEL_SECONDS:-3} + 300)) tests/model/bundles.c
	list_scripts "" release 120 tests/cli/*/test.sh
	list_scripts "" release 300 "${scripts[@]}"
	list_programs asan/ asan 600 tests/canary/asan_*.c tests/unit/*.c tests/crash/*.c tests/nbd/*.c tests/threads/*.c
	list_programs asan/ asan 600 tests/model/bundles.c
	list_scripts asan/ asan 120 tests/cli/*/test.sh tests/nbd/*.sh tests/mount/*.sh
	list_programs tsan/ tsan 600 tests/canary/tsan_*.c tests/threads/*.c
	list_fuzzers
}

# Lines whose name one of the globs in T matches.
select_tests()
{
	local line name glob globs
	read -ra globs <<<"$T"
	while IFS= read -r line; do
		name=${line%%$'\t'*}
		for glob in "${globs[@]}"; do
			# shellcheck disable=SC2053 # a glob on purpose
			if [[ $name == $glob ]]; then
				printf '%s\n' "$line"
				break
			fi
		done
	done
}
