#!/bin/bash
# The public headers compile alone and without a warning, as C11 and as C++11.
set -euo pipefail
cd "$SRC"
for header in include/*.h; do
	gcc -x c -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$header"
	# shellcheck disable=SC2043
	if command -v g++ >/dev/null; then
		g++ -x c++ -std=c++11 -pedantic -Wall -Wextra -Werror -Iinclude -fsyntax-only "$header"
	fi
done 2>&1 | grep -v '#pragma once in main file' && exit 1
command -v g++ >/dev/null || { echo 'SKIP: no g++ for the C++ half' && exit 77; }
