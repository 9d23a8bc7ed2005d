# xos: see README.md for the two commands, HACKING.md for the rest. GNU make.
#   make            everything into build/ (executables in build/bin)
#   make install    DESTDIR= PREFIX=/usr/local
#   make check      unit tests, fuzz corpora, bats;  make check-long: the soak
#   make lint asan fuzz bench demo deps
# XOS_TEST_INSTALL=1 lets tests install the Debian packages they try.

VERSION := 0.1.0
PREFIX ?= /usr/local
SBINDIR ?= $(PREFIX)/sbin
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
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
mans := $(wildcard man/*.[1-8])
LIBS := -larchive -lcap

.PHONY: all install check check-long lint asan fuzz bench demo deps clean tools victims units musl
all: tools victims

tools: $(addprefix $(B)/bin/,$(tools))
victims: $(victims)
units: $(units)

$(B)/lib/%.o: lib/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<
$(B)/lib/%.o: lib/%.S Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<
$(libxos): $(libobj)
	@rm -f $@
	ar rcs $@ $^

define tool_rule
$(B)/bin/$(1): $$(patsubst cmd/$(1)/%.c,$(B)/cmd/$(1)/%.o,$$(wildcard cmd/$(1)/*.c)) $(libxos)
	@mkdir -p $$(@D)
	$$(CC) $$(CFLAGS) -pthread -o $$@ $$^ $$(LDFLAGS) $$(LIBS)
endef
$(foreach t,$(tools),$(eval $(call tool_rule,$(t))))
$(B)/cmd/%.o: cmd/%.c Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) -MMD -MP -c -o $@ $<

# A victim is a self-contained program (libc only); threads and -lrt are allowed.
$(B)/victim/%: test/victim/%.c $(wildcard test/victim/*.h) Makefile
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -std=gnu11 -D_GNU_SOURCE $(WARN) -pthread -o $@ $<

$(B)/unit/%: test/unit/%.c $(libxos) $(wildcard test/unit/*.h)
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(XCFLAGS) -o $@ $< $(libxos) $(LDFLAGS) $(LIBS)

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
