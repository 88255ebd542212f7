# ploop: disks of containers and VMs in user space
#
#   make help            the targets
#   FLAVOR=release|debug|asan|tsan|fuzz|cov   what to build (default release), in $(BUILD)
#   BUILD=build/$(FLAVOR)                     where; BUILD_ROOT=build holds all flavors side by side
#   V=1                  show the commands
#   PREFIX=/usr/local DESTDIR=                where `make install` puts things
#   T=glob               which tests `make check` runs
#   STRICT=1             a skipped test fails the run
#   FUZZ_SECONDS=60      how long each fuzzer runs; F=name for one of them

MAKEFLAGS += --no-builtin-rules
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

VERSION := 0.1.0
FLAVOR ?= release
BUILD_ROOT ?= build
BUILD ?= $(BUILD_ROOT)/$(FLAVOR)
PREFIX ?= /usr/local
LIBEXECDIR ?= $(PREFIX)/libexec/ploop
MULTIARCH := $(shell gcc -print-multiarch 2>/dev/null)
LIBDIR ?= $(PREFIX)/lib$(if $(MULTIARCH),/$(MULTIARCH))
Q := $(if $(V),,@)
COMMA := ,

CC := $(if $(filter fuzz,$(FLAVOR)),clang,gcc)
WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wvla -Werror=implicit-function-declaration \
	-Wno-unused-parameter -Wformat=2
CFLAGS_release := -O2 -g
CFLAGS_debug := -O0 -g -DPLOOP_PARANOID
CFLAGS_asan := -O1 -g -DPLOOP_PARANOID -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS_tsan := -O1 -g -DPLOOP_PARANOID -fsanitize=thread
CFLAGS_fuzz := -O1 -g -DPLOOP_PARANOID -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS_cov := -O0 -g --coverage -DPLOOP_PARANOID
LDFLAGS_asan := -fsanitize=address,undefined
LDFLAGS_tsan := -fsanitize=thread
LDFLAGS_fuzz := -fsanitize=address,undefined
LDFLAGS_cov := --coverage

XML_CFLAGS = $(shell pkg-config --cflags libxml-2.0)
FUSE_CFLAGS = $(shell pkg-config --cflags fuse3)
NETLINK_CFLAGS = $(shell pkg-config --cflags libnl-genl-3.0)
CPPFLAGS := -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DPLOOP_VERSION='"$(VERSION)"' -DPLOOP_LIBEXECDIR='"$(LIBEXECDIR)"' \
	-Iinclude -I. -MMD -MP
CFLAGS := -std=gnu11 $(CFLAGS_$(FLAVOR)) $(WARN) -fPIC -fvisibility=hidden -pthread $(CFLAGS_EXTRA)
LDFLAGS := $(LDFLAGS_$(FLAVOR)) -pthread $(LDFLAGS_EXTRA)

# ---- archives: one per folder; the arrow of knowledge is checked by `make tidy`
srcs = $(wildcard $(1)/*.c)
objs = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

LAYOUT_OBJS := $(call objs,$(call srcs,layout))
ENGINE_OBJS := $(call objs,$(filter-out ploop/%_main.c,$(call srcs,ploop)))
SNAPSHOT_OBJS := $(call objs,$(call srcs,snapshot))
SERVE_OBJS := $(call objs,$(filter-out kmod-free/%_main.c,$(call srcs,kmod-free)))
CLI_OBJS := $(call objs,$(call srcs,cli))

ARCHIVES := $(BUILD)/liblayout.a $(BUILD)/libengine.a $(BUILD)/libsnapshot.a $(BUILD)/libserve.a
HELPERS := $(BUILD)/mount.ploop $(BUILD)/umount.ploop
PROGRAMS := $(BUILD)/ploop $(HELPERS) $(BUILD)/ploop-server $(BUILD)/ploop-holder $(BUILD)/ploop-keeper
SHLIB := $(BUILD)/libploop-core.so.0

ENGINE_LIBS := -luring -lcrypto -lxml2 -luuid
SERVE_LIBS := -lfuse3 -lssl -ljson-c -lnl-genl-3 -lnl-3 -ldevmapper
CLI_LIBS := -lblkid -lmount

all: $(PROGRAMS) $(SHLIB) ## build everything

$(BUILD)/liblayout.a: $(LAYOUT_OBJS)
$(BUILD)/libengine.a: $(ENGINE_OBJS)
$(BUILD)/libsnapshot.a: $(SNAPSHOT_OBJS)
$(BUILD)/libserve.a: $(SERVE_OBJS)
$(ARCHIVES):
	@echo "  AR    $@"
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/ploop: $(CLI_OBJS) $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(CLI_OBJS) $(BUILD)/libserve.a $(BUILD)/libsnapshot.a $(BUILD)/libengine.a $(BUILD)/liblayout.a -Wl,--as-needed $(CLI_LIBS) $(SERVE_LIBS) $(ENGINE_LIBS)

# The same program, which looks at its name.
$(HELPERS): $(BUILD)/ploop
	@echo "  LN    $@"
	$(Q)ln -sf ploop $@

$(BUILD)/ploop-server: $(BUILD)/obj/kmod-free/server_main.o $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/libserve.a $(BUILD)/libsnapshot.a $(BUILD)/libengine.a $(BUILD)/liblayout.a -Wl,--as-needed $(SERVE_LIBS) $(ENGINE_LIBS)

$(BUILD)/ploop-keeper: $(addprefix $(BUILD)/obj/kmod-free/,keeper_main.o keeper_kept.o keeper_program.o keeper_rejoin.o)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/ploop-holder: $(BUILD)/obj/ploop/holder_main.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $<

$(SHLIB): $(SNAPSHOT_OBJS) $(ENGINE_OBJS) $(LAYOUT_OBJS) ploop/libploop-core.map
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -shared -Wl,-soname,libploop-core.so.0 -Wl,--version-script=ploop/libploop-core.map -o $@ $(SNAPSHOT_OBJS) $(ENGINE_OBJS) $(LAYOUT_OBJS) -Wl,--as-needed $(ENGINE_LIBS)

$(BUILD)/obj/layout/descriptor.o: CPPFLAGS += $(XML_CFLAGS)
$(BUILD)/obj/kmod-free/fuse%.o: CPPFLAGS += $(FUSE_CFLAGS)
$(BUILD)/obj/kmod-free/nbdk_netlink.o: CPPFLAGS += $(NETLINK_CFLAGS)

# Who knows where programs are installed is compiled again when that changes.
$(BUILD)/libexecdir: FORCE
	@mkdir -p $(@D); echo '$(LIBEXECDIR)' | cmp -s - $@ || echo '$(LIBEXECDIR)' >$@
$(BUILD)/obj/kmod-free/server_args.o: $(BUILD)/libexecdir

# In a folder of their own: one of the sources' folders has the name of a program.
$(BUILD)/obj/%.o: %.c
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c
	@echo "  CC    $<"
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -c -o $@ $<

# ---- tests: a unit test links only the archives below the folder it tests
UNIT_TESTS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/*.c tests/crash/*.c tests/nbd/*.c tests/threads/*.c tests/kill/*.c tests/lab/*.c))
UNIT_TESTS += $(BUILD)/tests/model/bundles
SUPPORT_OBJS := $(call objs,$(call srcs,tests/support) $(call srcs,tests/images))
MODEL_OBJS := $(call objs,$(filter-out tests/model/bundles.c,$(call srcs,tests/model)))
unit-tests: $(UNIT_TESTS) ## build the unit tests

$(BUILD)/tests/unit/layout_%: $(BUILD)/tests/unit/layout_%.o $(BUILD)/liblayout.a
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/liblayout.a -lcriterion -lxml2 -lcrypto

$(BUILD)/libcli.a: $(filter-out $(BUILD)/obj/cli/main.o,$(CLI_OBJS))
	@echo "  AR    $@"
	$(Q)rm -f $@; ar rcs $@ $^

$(BUILD)/tests/unit/cli_%: $(BUILD)/tests/unit/cli_%.o $(BUILD)/libcli.a $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(BUILD)/libcli.a $(BUILD)/libserve.a $(BUILD)/libsnapshot.a $(BUILD)/libengine.a $(BUILD)/liblayout.a -lcriterion -Wl,--as-needed $(CLI_LIBS) $(SERVE_LIBS) $(ENGINE_LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(SUPPORT_OBJS) $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< $(SUPPORT_OBJS) $(BUILD)/libserve.a $(BUILD)/libsnapshot.a $(BUILD)/libengine.a $(BUILD)/liblayout.a -lcriterion -Wl,--as-needed -lnbd $(SERVE_LIBS) $(ENGINE_LIBS)

$(BUILD)/tests/model/bundles: $(MODEL_OBJS)
$(BUILD)/tests/model/bundles: SUPPORT_OBJS += $(MODEL_OBJS)

# Its calls for memory come to itself first.
$(BUILD)/tests/unit/ploop_no_memory: LDFLAGS += $(addprefix -Wl$(COMMA)--wrap=,malloc calloc realloc aligned_alloc strdup)

# Programs that carry a defect on purpose: the suite proves that it would see one.
CANARIES := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/canary/$(FLAVOR)_*.c))
canaries: $(CANARIES)

$(BUILD)/tests/canary/%: $(BUILD)/tests/canary/%.o
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $< -lcriterion

FUZZERS := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/fuzz/*.c))
fuzzers: $(FUZZERS)

$(BUILD)/tests/fuzz/%: $(BUILD)/tests/fuzz/%.o $(SUPPORT_OBJS) $(ARCHIVES)
	@echo "  LINK  $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(SUPPORT_OBJS) $(BUILD)/libserve.a $(BUILD)/libsnapshot.a $(BUILD)/libengine.a $(BUILD)/liblayout.a -Wl,--as-needed $(SERVE_LIBS) $(ENGINE_LIBS)

.SECONDARY:

export BUILD_ROOT T STRICT FUZZ_SECONDS JOBS KEEP

check: ## every test: unit, command line, NBD, mount, crash, sanitizers, fuzzers, tidy
	@tests/run-tests

asan: ## the tests under AddressSanitizer, LeakSanitizer and UBSan
	@T='asan/*' tests/run-tests

tsan: ## the tests of what uses threads, under ThreadSanitizer
	@T='tsan/*' tests/run-tests

fuzz: ## the fuzzers: FUZZ_SECONDS=3600 F=layout
	@T='fuzz/*$(F)' tests/run-tests

tidy: ## taste and architecture: who includes whom, exports, lengths, banned calls
	@T='tidy/*' tests/run-tests

crash: ## power failures at random: N=100000 of them, from a random seed or SEED=n
	@SEED=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} CRASHES=$(or $(N),100000) T='crash/*' tests/run-tests

model: ## operations on bundles at random, against a model: SECONDS=3600 of each kind, from a random seed or SEED=n
	@SEED=$${SEED:-$$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')} MODEL_SECONDS=$(or $(SECONDS),3600) T='model/*' tests/run-tests

kill: ## servers killed under their clients: N=50 rounds of each
	@ROUNDS=$(or $(N),50) T='kill/* mount/070-kill mount/075-survive lab/050-survive' tests/run-tests

power: ## power failures of the whole host, below its file system: N=500 of them, from a random seed or SEED=n
	@CUTS=$(or $(N),500) T='lab/070-power' tests/run-tests

full: ## a host without space for N=180 seconds, over each transport
	@PARK_SECONDS=$(or $(N),180) T='mount/100-full lab/080-full' tests/run-tests

owed: ## the debts, as the sources state them
	@grep -rn --include='*.[ch]' --include='*.sh' 'OWED:' $(SOURCE_DIRS) || echo 'No debts.'

bench: $(PROGRAMS) ## the figures of the README, against their peers: BENCH='--quick --job randread-qd32'
	@BUILD=$(BUILD) bench/run.py $(BENCH)

demo: $(PROGRAMS) ## a container disk at work
	@BUILD=$(abspath $(BUILD)) demo/demo.sh

# ---- the manual: prose from cli/man, synopsis, options and examples from the commands' tables
MAN_PAGES := $(patsubst cli/man/%.pod,$(BUILD)/man/%.8,$(wildcard cli/man/*.pod))
man: $(MAN_PAGES) ## the manual pages

$(BUILD)/man/%.8: cli/man/%.pod cli/man/expand $(BUILD)/ploop
	@echo "  MAN   $@"
	@mkdir -p $(@D)
	$(Q)cli/man/expand $(BUILD)/ploop $< >$(@D)/$*.pod
	$(Q)pod2man --errors=die --section=8 --center="ploop" --release="ploop $(VERSION)" $(@D)/$*.pod $@

# ---- packages, by their Debian names
BUILD_PACKAGES := gcc libc6-dev make pkg-config perl liburing-dev libssl-dev libxml2-dev uuid-dev libfuse3-dev libjson-c-dev \
	libblkid-dev libmount-dev libnl-genl-3-dev libdevmapper-dev e2fsprogs
PEER_PACKAGES := libcriterion-dev libnbd-dev libnbd-bin python3-libnbd qemu-utils nbdkit fio fuse3 xfsprogs busybox-static mmdebstrap \
	debootstrap gdisk parted gnutls-bin libxml2-utils jq file strace python3 g++ clang libclang-rt-dev llvm user-mode-linux kmod udev
deps: ## install the packages that are missing: to build, and to test with
	@packaging/apt-install $(BUILD_PACKAGES) --optional $(PEER_PACKAGES)

# ---- install
INSTALLED_DIRS = sbin=$(PREFIX)/sbin libexec=$(LIBEXECDIR) lib=$(LIBDIR) include=$(PREFIX)/include share=$(PREFIX)/share \
	units=$(PREFIX)/lib/systemd/system
install: all man ## put everything in place: PREFIX=/usr DESTDIR=/some/where
	@BUILD=$(BUILD) VERSION=$(VERSION) DESTDIR=$(DESTDIR) packaging/install $(INSTALLED_DIRS)

SOURCE_DIRS := include layout crypt ploop snapshot kmod-free cli tests bench

compile_commands: ## compile_commands.json for editors
	@$(MAKE) --no-print-directory -Bn V=1 all | packaging/compile-commands >compile_commands.json

clean: ## remove build/
	rm -rf build

help: ## this text
	@sed -n 's/^\([a-z][a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 16

-include $(shell find $(BUILD) -name '*.d' 2>/dev/null)
FORCE:
.PHONY: FORCE all man unit-tests canaries fuzzers check asan tsan fuzz tidy crash model kill power full owed bench demo deps install compile_commands clean help
