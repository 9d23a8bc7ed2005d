# xos: see README.md for the two commands, HACKING.md for the rest. GNU make. Tools, library files, victims, unit tests
# and fuzz targets are found by their place: nothing is listed here.
#   make                 everything into build/ (executables in build/bin)
#   make deps            installs what building and testing need (Debian)
#   make install         DESTDIR= PREFIX=/usr/local;  make uninstall
#   make check           unit tests, fuzz corpora, bats;  make check-long: the soak
#   make lint asan fuzz musl bench demo clean
# XOS_TEST_INSTALL=1 lets `deps` and the tests install the Debian packages they try.
# V=1 shows commands, B=DIR builds elsewhere, WERROR=1 makes warnings errors, FUZZ_SECONDS=N is the time of each fuzz target.

VERSION := 0.1.0
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DOCDIR ?= $(PREFIX)/share/doc/xos
B ?= build
CC ?= cc
CFLAGS ?= -O2 -g
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Wno-unused-parameter
ifdef WERROR
WARN += -Werror
endif
XCFLAGS := -std=gnu11 -D_GNU_SOURCE -DXOS_VERSION='"$(VERSION)"' -Ilib -I. $(WARN) -fno-strict-aliasing -pthread

tools := $(notdir $(patsubst %/main.c,%,$(wildcard cmd/*/main.c)))
libdirs := common cgroup job tracee tracee/arch/x86_64 image res cr
libsrc := $(foreach d,$(libdirs),$(wildcard lib/$(d)/*.c) $(wildcard lib/$(d)/*.S))
libobj := $(patsubst %,$(B)/%.o,$(basename $(libsrc)))
libxos := $(B)/libxos.a
victims := $(patsubst test/victim/%.c,$(B)/victim/%,$(wildcard test/victim/*.c))
units := $(patsubst test/unit/%.c,$(B)/unit/%,$(wildcard test/unit/*.c))
fuzzers := $(patsubst test/fuzz/fuzz_%.c,$(B)/fuzz/fuzz_%,$(wildcard test/fuzz/fuzz_*.c))
mans := $(wildcard man/*.[1-8])
examples := $(wildcard examples/*)
# libarchive as a shared library brings ICU, libxml2 and libstdc++ with it, several milliseconds at each start of a tool. The
# static one needs only the compressors; where it cannot be linked, the shared one is taken.
ARCHIVE_STATIC := -Wl,--gc-sections -l:libarchive.a -l:libzstd.so.1 -l:liblz4.so.1 -l:liblzma.so.5 -l:libz.so.1
try_link = $(shell t=$$(mktemp) && $(CC) -o $$t test/link_probe.c $(1) >/dev/null 2>&1 && echo yes; rm -f $$t)
LIBS = $(eval LIBS := $(if $(call try_link,$(ARCHIVE_STATIC)),$(ARCHIVE_STATIC),-larchive) -Wl,--as-needed -lcap)$(LIBS)
JOBS := $(shell nproc 2>/dev/null || echo 1)
again = +$(MAKE) --no-print-directory -j$(JOBS)
FUZZ_SECONDS ?= 60
say = $(if $(V)$(findstring s,$(firstword -$(MAKEFLAGS))),,@echo '  $(1)';)

.PHONY: all install uninstall check check-long lint asan fuzz bench demo deps clean tools victims units fuzzers musl
all: tools victims

tools: $(addprefix $(B)/bin/,$(tools))
victims: $(victims)
units: $(units)
fuzzers: $(fuzzers)

$(B)/lib/%.o: lib/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<
$(B)/lib/%.o: lib/%.S Makefile
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<
$(libxos): $(libobj)
	@rm -f $@
	$(call say,AR $@)ar rcs $@ $^

define tool_rule
$(B)/bin/$(1): $$(patsubst cmd/$(1)/%.c,$(B)/cmd/$(1)/%.o,$$(wildcard cmd/$(1)/*.c)) $(libxos)
	@mkdir -p $$(@D)
	$$(call say,LD $$@)$$(CC) $$(CFLAGS) -pthread -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach t,$(tools),$(eval $(call tool_rule,$(t))))
$(B)/cmd/%.o: cmd/%.c Makefile
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<

# A victim is a self-contained program (libc only); threads are allowed. Its flags are its own: what it is
# checkpointed with must not be a sanitizer's memory.
VICTIM_CFLAGS ?= -O2 -g
$(B)/victim/%: test/victim/%.c $(wildcard test/victim/*.h) Makefile
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(VICTIM_CFLAGS) -std=gnu11 -D_GNU_SOURCE $(WARN) -pthread -o $@ $<

$(B)/unit/%: test/unit/%.c $(libxos) $(wildcard test/unit/*.h)
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS) $(XCFLAGS) -o $@ $< $(libxos) $(LDFLAGS) $(LIBS)

# Without FUZZ_MAIN (libFuzzer brings a main of its own): each file given is one input.
FUZZ_MAIN ?= test/fuzz/standalone.c
$(B)/fuzz/%: test/fuzz/%.c $(FUZZ_MAIN) $(libxos)
	@mkdir -p $(@D)
	$(call say,CC $<)$(CC) $(CFLAGS) $(XCFLAGS) $(FUZZ_CFLAGS) -o $@ $< $(FUZZ_MAIN) $(libxos) $(LDFLAGS) $(LIBS)

# ---- installing ----

deps:
	@sh test/deps

install: tools
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man1 $(DESTDIR)$(DOCDIR)/examples
	install -m 755 $(addprefix $(B)/bin/,$(tools)) $(DESTDIR)$(BINDIR)
	$(if $(mans),install -m 644 $(mans) $(DESTDIR)$(MANDIR)/man1)
	install -m 644 README.md LICENSE $(wildcard lib/image/FORMAT.md) $(DESTDIR)$(DOCDIR)
	$(if $(examples),install -m 644 $(examples) $(DESTDIR)$(DOCDIR)/examples)
	$(if $(wildcard examples/demo),chmod 755 $(DESTDIR)$(DOCDIR)/examples/demo)

uninstall:
	rm -f $(addprefix $(DESTDIR)$(BINDIR)/,$(tools)) $(addprefix $(DESTDIR)$(MANDIR)/man1/,$(notdir $(mans)))
	rm -rf $(DESTDIR)$(DOCDIR)

# ---- testing: the built things are wanted after `deps` only, hence make again ----

check: deps
	$(again) WERROR=1 tools victims units fuzzers
	@XOS_BUILD=$(abspath $(B)) test/run

check-long: export XOS_TEST_INSTALL := 1
check-long: export XOS_TEST_LONG := 1
check-long: deps
	$(again) WERROR=1 tools victims units fuzzers
	@XOS_BUILD=$(abspath $(B)) test/run

SAN := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
asan: deps
	$(again) B=$(B)/asan CFLAGS="-O1 -g $(SAN)" tools victims units fuzzers
	@XOS_BUILD=$(abspath $(B)/asan) XOS_TEST_SANITIZED=1 test/run unit fuzz

# libFuzzer where clang has it; new inputs are kept in build/fuzzer/corpus, crashes in build/fuzzer
fuzz:
	@if echo 'int LLVMFuzzerTestOneInput(const char *d, long n) { return !d && n; }' | \
		clang -fsanitize=fuzzer -x c -o /dev/null - 2>/dev/null; then \
		$(MAKE) --no-print-directory -j$(JOBS) B=$(B)/fuzzer CC=clang FUZZ_MAIN= FUZZ_CFLAGS=-fsanitize=fuzzer \
			CFLAGS="-O1 -g $(SAN) -fsanitize=fuzzer-no-link" fuzzers && \
		XOS_BUILD=$(abspath $(B)/fuzzer) FUZZ_SECONDS=$(FUZZ_SECONDS) test/run libfuzzer; \
	else \
		echo "clang has no libFuzzer here (Debian: clang libclang-rt-dev): mutations under gcc's sanitizers instead"; \
		$(MAKE) --no-print-directory -j$(JOBS) B=$(B)/asan CFLAGS="-O1 -g $(SAN)" fuzzers && \
		XOS_BUILD=$(abspath $(B)/asan) FUZZ_SECONDS=$(FUZZ_SECONDS) test/run fuzz; \
	fi

lint:
	@MAKE="$(MAKE)" B=$(abspath $(B)) JOBS=$(JOBS) test/lint

# What does not use libarchive also compiles with musl; the tools among it are linked and started.
musl: export XCFLAGS := $(XCFLAGS) -Werror
musl:
	@B=$(abspath $(B))/musl test/musl

bench: all
	@if [ -x bench/run ]; then XOS_BUILD=$(abspath $(B)) bench/run; else echo "no bench/run"; exit 1; fi

demo: deps
	$(again) tools victims
	@XOS_BUILD=$(abspath $(B)) examples/demo

clean:
	rm -rf $(B)

-include $(shell find $(B)/lib $(B)/cmd -name '*.d' 2>/dev/null)
