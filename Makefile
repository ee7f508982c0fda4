# pgcache's build. The module is made by PGXS, so the usual variables work: PG_CONFIG, DESTDIR, CXX, COPT.
# What needs no PostgreSQL (unit tests, fuzzers, benchmarks) is made by CMake under build/; those targets work on a
# machine without it. `make help` lists what there is.

EXTENSION = pgcache
MODULE_big = pgcache
PGCACHE_VERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" pgcache.control)

# The extension's SQL, in the order in which it must run: a line for each room.
SQL_PARTS = \
	src/pg/extension.sql \
	src/cache/cache.sql \
	src/fetch/fetch.sql \
	src/watches/watches.sql \
	src/matviews/matviews.sql \
	src/limits/limits.sql \
	src/flags/flags.sql \
	src/pg/privileges.sql

SOURCES := $(sort $(wildcard src/*.cpp src/*/*.cpp))
OBJS = $(SOURCES:.cpp=.o)
ENGINE_OBJS = $(filter src/engine/%,$(OBJS))

REGRESS_TESTS := $(basename $(notdir $(sort $(wildcard sql/*.sql))))
ISOLATION_TESTS := $(basename $(notdir $(sort $(wildcard test/isolation/specs/*.spec))))
PROVE_TESTS := $(sort $(wildcard test/t/*.pl))
CLIENT_TESTS := $(sort $(wildcard test/clients/*/run))

JOBS ?= $(shell nproc 2>/dev/null || echo 2)
FUZZ_SECONDS ?= 60
CONSISTENCY_SECONDS ?= 60

PG_CONFIG ?= pg_config
PGXS := $(wildcard $(shell $(PG_CONFIG) --pgxs 2>/dev/null))

.DEFAULT_GOAL := all

# ---------------------------------------------------------------------------------------------------------------------
# The module

ifneq ($(PGXS),)

DATA_built = $(EXTENSION)--$(PGCACHE_VERSION).sql
SHLIB_EXPORTS = src/exports.txt
# Flags' regular expressions.
SHLIB_LINK = -lre2
EXTRA_CLEAN = $(OBJS:.o=.d) build $(MODULE_big).so
PG_CXXFLAGS = -std=c++20 -fvisibility=hidden -fvisibility-inlines-hidden -Wno-register $(WARNINGS) $(COPT)

WARNINGS = -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wvla $(if $(filter 1,$(WERROR)),-Werror)

# JIT could inline only C functions that are cheaper than the call; ours look things up in shared memory. Without
# bitcode the build needs no clang.
override with_llvm = no

# The test targets below run each kind of test on its own.
NO_INSTALLCHECK = 1
TAP_TESTS = 1

include $(PGXS)

# Modules are linked with $(CC) unless told otherwise.
override COMPILER = $(CXX) $(CXXFLAGS)

# clang does not know every warning option that PostgreSQL chose for g++.
ifneq ($(findstring clang,$(shell $(CXX) --version)),)
override CXXFLAGS += -Wno-unknown-warning-option
endif

# -isystem keeps PostgreSQL's headers out of our warnings.
MODULE_FLAGS = $(CXXFLAGS) -Isrc -isystem $(includedir_server) $(CPPFLAGS) -DPGCACHE_VERSION=\"$(PGCACHE_VERSION)\"
# The engine sees no PostgreSQL header and can neither throw nor ask for a type at run time.
ENGINE_FLAGS = $(CXXFLAGS) -Isrc -fno-exceptions -fno-rtti

# V=1 shows the whole command.
COMPILE = $(if $(V),,@echo '  $(CXX) $<'; )$(CXX)

$(ENGINE_OBJS): src/engine/%.o: src/engine/%.cpp build/flags
	$(COMPILE) $(ENGINE_FLAGS) -MMD -MP -c -o $@ $<

$(filter-out $(ENGINE_OBJS),$(OBJS)): %.o: %.cpp build/flags
	$(COMPILE) $(MODULE_FLAGS) -MMD -MP -c -o $@ $<

# Headers that a source includes, as the compiler saw them: distributions' PGXS comes without --enable-depend.
-include $(OBJS:.o=.d)

# Another PostgreSQL, compiler, flag or version makes all objects anew.
BUILT_FOR := $(shell $(PG_CONFIG) --version), $(shell $(CXX) --version | head -n 1), $(CXXFLAGS), $(PGCACHE_VERSION)

build/flags: force
	@mkdir -p $(@D)
	@echo '$(BUILT_FOR)' | cmp -s - $@ || echo '$(BUILT_FOR)' >$@

$(DATA_built): $(SQL_PARTS) pgcache.control Makefile
	cat $(SQL_PARTS) >$@.tmp
	mv $@.tmp $@

check-symbols: all
	scripts/check_sources symbols

else

all install uninstall clean check-symbols installcheck-regress installcheck-isolation installcheck-tap \
	installcheck-existing: no-postgresql
no-postgresql:
	@echo "$(PG_CONFIG) finds no PostgreSQL with its headers. On Debian they are in postgresql-server-dev-NN;" >&2
	@echo "scripts/demo installs what is missing. PG_CONFIG=/path/to/pg_config chooses another one." >&2
	@exit 1

endif

# ---------------------------------------------------------------------------------------------------------------------
# Tests in a server. Install first: a server of their own is started for them, but on the files of PG_CONFIG.

installcheck: installcheck-regress installcheck-isolation installcheck-tap

ifneq ($(PGXS),)

# One encoding and sort order, whatever the machine's locale.
TEMP_SERVER = --temp-config=test/pgcache.conf --encoding=UTF8 --no-locale

installcheck-regress: not-as-root
	$(if $(REGRESS_TESTS),$(pg_regress_installcheck) --temp-instance=build/tmp_regress $(TEMP_SERVER) \
	  --dbname=$(CONTRIB_TESTDB) $(REGRESS_OPTS) $(REGRESS_TESTS),@echo "no files in sql/")

# The last --inputdir wins.
installcheck-isolation: not-as-root
	$(if $(ISOLATION_TESTS),$(pg_isolation_regress_installcheck) --inputdir=test/isolation \
	  --temp-instance=build/tmp_isolation $(TEMP_SERVER) --dbname=$(ISOLATION_TESTDB) $(ISOLATION_OPTS) \
	  $(ISOLATION_TESTS),@echo "no files in test/isolation/specs/")

installcheck-tap: not-as-root
	$(if $(PROVE_TESTS),$(prove_installcheck),@echo "no files in test/t/")

# Against the server that the PG* variables name, where pgcache must be preloaded.
installcheck-existing:
	$(pg_regress_installcheck) --dbname=$(CONTRIB_TESTDB) $(REGRESS_OPTS) $(REGRESS_TESTS)

clean: clean-tests
clean-tests:
	rm -rf results regression.diffs regression.out log output_iso tmp_check

endif

not-as-root:
	@test "$$(id -u)" -ne 0 || { \
	  echo "PostgreSQL does not run as root. scripts/test runs these tests as another user." >&2; exit 1; }

# Each client's test starts from PG_CONFIG, like the targets above.
clients: not-as-root
	@failed=0; for run in $(CLIENT_TESTS); do \
	  PG_CONFIG='$(PG_CONFIG)' $$run && echo "ok - $$run" || { echo "not ok - $$run"; failed=1; }; \
	done; exit $$failed

consistency: not-as-root
	@PG_CONFIG='$(PG_CONFIG)' test/consistency/run --seconds $(CONSISTENCY_SECONDS)

check-docs: not-as-root
	@PG_CONFIG='$(PG_CONFIG)' test/clients/with_server scripts/check_docs

# ---------------------------------------------------------------------------------------------------------------------
# Without PostgreSQL

# $(call cmake,folder under build,options)
cmake = cmake --log-level=NOTICE -S . -B build/$(1) $(2) && cmake --build build/$(1) --parallel $(JOBS)
CTEST = ctest --output-on-failure --no-tests=ignore --parallel $(JOBS) --test-dir

# The thread sanitizer of older compilers can't live with randomised addresses.
FIXED_ADDRESSES = $(shell setarch --addr-no-randomize true 2>/dev/null && echo setarch --addr-no-randomize)

unit:
	$(call cmake,unit)
	$(CTEST) build/unit

unit-asan:
	$(call cmake,unit-asan,-DPGCACHE_SANITIZE=address$(comma)undefined)
	$(CTEST) build/unit-asan

unit-tsan:
	$(call cmake,unit-tsan,-DPGCACHE_SANITIZE=thread)
	$(FIXED_ADDRESSES) $(CTEST) build/unit-tsan

comma := ,

# What a fuzzer finds new stays in build/; corpus files worth keeping are copied into test/fuzz/corpus by hand.
fuzz:
	$(call cmake,fuzz,-DPGCACHE_FUZZ=ON -DCMAKE_CXX_COMPILER=clang++)
	@failed=0; for source in $(wildcard test/fuzz/*_fuzzer.cpp); do \
	  fuzzer=$$(basename $$source .cpp); name=$${fuzzer%_fuzzer}; \
	  mkdir -p build/fuzz/found/$$name test/fuzz/corpus/$$name; \
	  build/fuzz/$$fuzzer -max_total_time=$(FUZZ_SECONDS) -print_final_stats=1 -verbosity=0 \
	    -artifact_prefix=build/fuzz/$$name- build/fuzz/found/$$name test/fuzz/corpus/$$name && \
	  echo "ok - fuzzer $$name, $(FUZZ_SECONDS) s" || { echo "not ok - fuzzer $$name"; failed=1; }; \
	done; exit $$failed

model:
	@test/model/run

bench:
	$(call cmake,bench,-DCMAKE_BUILD_TYPE=Release -DPGCACHE_TESTS=OFF -DPGCACHE_BENCH=ON)
	set -e; for source in $(wildcard bench/*.cpp); do build/bench/$$(basename $$source .cpp); done

CXX_FILES = $(shell find src test bench -name '*.cpp' -o -name '*.hpp')

lint:
	clang-format --dry-run -Werror $(CXX_FILES)
	scripts/check_sources

format:
	clang-format -i $(CXX_FILES)

tidy:
	cmake -S . -B build/unit
	clang-tidy -p build/unit --quiet $(wildcard src/engine/*.cpp test/unit/*.cpp)

help:
	@echo 'The module (PG_CONFIG=/path/to/pg_config chooses the PostgreSQL, 15 or later):'
	@echo '  all                    build it; WERROR=1 turns warnings into errors, V=1 shows the commands'
	@echo '  install, uninstall     DESTDIR is honoured'
	@echo '  check-symbols          no throwing or allocating symbol in the engine, no stray export'
	@echo '  clean'
	@echo 'Tests in a server of their own, after install, not as root:'
	@echo '  installcheck           the three below'
	@echo '  installcheck-regress   sql/*.sql against expected/'
	@echo '  installcheck-isolation test/isolation/specs/*.spec'
	@echo '  installcheck-tap       test/t/*.pl'
	@echo '  installcheck-existing  sql/*.sql in the running server that PGHOST, PGPORT name'
	@echo '  consistency            the search for stale reads, for CONSISTENCY_SECONDS (60)'
	@echo '  clients                test/clients/*/run'
	@echo '  check-docs             every example of the docs'
	@echo 'Without PostgreSQL:'
	@echo '  unit                   unit tests'
	@echo '  unit-asan, unit-tsan   the same under the address and undefined, or the thread sanitizer'
	@echo '  model                  the model of the commit-exact protocol, whole and with each rule left out'
	@echo '  fuzz                   every fuzzer for FUZZ_SECONDS (60), with clang'
	@echo '  bench                  the benchmarks in bench/*.cpp'
	@echo '  lint, tidy             clang-format and scripts/check_sources; clang-tidy'
	@echo '  format                 clang-format in place'
	@echo 'Everything from a bare machine: scripts/demo, scripts/test'

force:
.PHONY: all install uninstall clean check-symbols no-postgresql installcheck installcheck-regress \
	installcheck-isolation installcheck-tap installcheck-existing clean-tests not-as-root clients consistency check-docs \
	unit unit-asan unit-tsan fuzz model bench lint format tidy help force
