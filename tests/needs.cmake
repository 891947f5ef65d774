# What the tests need beyond what the program is built from. With LAPIDARY_TESTS=AUTO they are left out where any of it
# is missing, which this says; with ON that is an error.

set(missing "")

pkg_check_modules(CMOCKA QUIET IMPORTED_TARGET cmocka)
if(NOT CMOCKA_FOUND)
  list(APPEND missing cmocka)
endif()

# Debian's own Python is the one that python3-h5py belongs to.
find_program(SYSTEM_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
find_program(SYSTEM_PYTHON python3)
if(SYSTEM_PYTHON)
  foreach(module h5py numpy scipy)
    execute_process(COMMAND ${SYSTEM_PYTHON} -c "import ${module}" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
    if(failed)
      list(APPEND missing "${module} for ${SYSTEM_PYTHON}")
    endif()
  endforeach()
else()
  list(APPEND missing python3)
endif()

# The second compiler, of same_bits_across_builds and the fuzzers; the text of scripts/mesh-proof, and its table.
foreach(program clang bible jq)
  find_program(TEST_PROGRAM_${program} ${program})
  if(NOT TEST_PROGRAM_${program})
    list(APPEND missing ${program})
  endif()
endforeach()

if(missing)
  list(JOIN missing ", " missing)
  if(LAPIDARY_TESTS STREQUAL "AUTO")
    message(STATUS "Tests are left out; not installed: ${missing}. "
      "`scripts/install-deps --tests` installs what they need; then run cmake again")
    set(LAPIDARY_TESTS OFF)
  else()
    message(FATAL_ERROR "LAPIDARY_TESTS is ${LAPIDARY_TESTS}, but the tests need what is not installed: ${missing}. "
      "`scripts/install-deps --tests` installs it; -DLAPIDARY_TESTS=OFF goes without tests")
  endif()
endif()
