#!/usr/bin/env bats
# Compilers and make.

load real

setup_file() { wants make=make gcc=gcc; }

@test "gcc: one big file" {
	need_command gcc
	progress() { size_of big.s; }
	results() { sha256sum big.o; cat out err; }
	awk -v n=$((260 * LENGTH)) 'BEGIN {
		print "#include <stdint.h>\n#include <stdio.h>"
		for (i = 0; i < n; i++) {
			printf "uint64_t f%d(uint64_t x, const char *s)\n{\n\tuint64_t a[8] = { %d, x };\n", i, i
			printf "\tfor (int k = 0; s[k]; k++) switch (s[k] %% 11) {\n"
			for (k = 0; k < 11; k++) printf "\tcase %d: a[%d] = (a[%d] ^ x) * %du + (a[%d] >> %d); break;\n", k, k % 8, (k + i) % 8, i * 7 + k, (k * 3) % 8, k + 1
			printf "\t}\n\treturn a[0] + a[%d]%s;\n}\n", i % 8, i ? sprintf(" + f%d(x + 1, s + 1)", i - 1) : ""
		}
		printf "int main(void) { printf(\"%%lu\\n\", f%d(1, \"hello\")); }\n", n - 1
	}' >"$BATS_TEST_TMPDIR/big.c"
	survive gcc -O1 -fno-inline -save-temps=obj -c ../big.c -o big.o
}

# This project's own libraries, by its own Makefile.
@test "make -j2 of a C project" {
	need_command make
	need_command gcc
	progress() { find build -name '*.o' 2>/dev/null | wc -l; }
	# The compilers' order is make's business; the objects are not.
	results() { find . -name '*.[oa]' -exec sha256sum {} + | sort -k 2; sort out; cat err; }
	local root=${XOS_SOURCE:-$BATS_TEST_DIRNAME/../../..} dirs="common image"
	[ -z "$XOS_TEST_LONG" ] || dirs="common image job cgroup res"
	prepare() { cp -r "$root/lib" "$root/Makefile" . && mkdir cmd; }
	survive make -j2 libdirs="$dirs" CFLAGS=-O1 WARN= B=build build/libxos.a
}

# A program that Debian's own source package builds with its own rules, where source packages can be had.
@test "make -j2 of a Debian source package (hello)" {
	# Fetching and configuring it takes a minute or two.
	[ -n "$XOS_TEST_INSTALL" ] && [ -n "$XOS_TEST_LONG" ] || skip "needs XOS_TEST_INSTALL=1 XOS_TEST_LONG=1"
	need_command gcc
	local src=$BATS_TEST_TMPDIR/src
	mkdir "$src"
	fetch_source "$src" hello || skip "no source package can be fetched"
	progress() { find . -name '*.o' | wc -l; }
	results() { ./hello; find lib src -name '*.o' -exec sha256sum {} + | sort -k 2; }
	# Configured once: every copy lies at the same place when it is built.
	(cd "$src"/hello-* && ./configure -q --disable-nls CFLAGS=-O1) >/dev/null 2>&1 3>&- || skip "configure fails"
	prepare() { cp -a "$src"/hello-*/. .; }
	survive make -s -j2
}

# apt with sources of its own, so that the machine's are not touched.
fetch_source()
{
	local apt=$BATS_TEST_TMPDIR/apt
	mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
	echo "deb-src http://deb.debian.org/debian bookworm main" >"$apt/sources.list"
	command -v dpkg-source >/dev/null || return 1
	(
		cd "$1" || exit 1
		set -- -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists" \
			-o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root -q "$2"
		pkg=${*: -1}
		timeout 120 apt-get "${@:1:$#-1}" update && timeout 120 apt-get "${@:1:$#-1}" source "$pkg"
	) >"$apt/log" 2>&1 3>&-
}
