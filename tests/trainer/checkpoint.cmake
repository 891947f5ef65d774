# Checkpoints: in one process, on several ranks, between jobs of different size, killed.
add_library(checkpoint_fixture STATIC checkpoint_fixture.c)
target_link_libraries(checkpoint_fixture PUBLIC lapidary_checkpoint)
add_library(checkpoint_world STATIC checkpoint_world.c)
target_link_libraries(checkpoint_world
  PUBLIC checkpoint_fixture PRIVATE lapidary_scratch PkgConfig::CMOCKA)

lapidary_test(checkpoint_manifest
  SOURCES test_checkpoint_manifest.c LIBRARIES checkpoint_fixture)
foreach(test state_hash checkpoint checkpoint_damage checkpoint_directory)
  lapidary_mpi_test(${test} RANKS 1 2 3 5
    SOURCES test_${test}.c LIBRARIES checkpoint_world)
endforeach()

add_executable(checkpoint_tool checkpoint_tool.c)
target_link_libraries(checkpoint_tool PRIVATE checkpoint_fixture Threads::Threads)
set_target_properties(checkpoint_tool PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
add_executable(kill_at_change kill_at_change.c)
target_link_libraries(kill_at_change PRIVATE lapidary_settings)
set_target_properties(kill_at_change PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
set(tests)
foreach(scenario any_rank_count killed two_runs)
  add_test(NAME checkpoint_${scenario}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/checkpoint_${scenario} $<TARGET_FILE:checkpoint_tool>)
  list(APPEND tests checkpoint_${scenario})
endforeach()
foreach(kind exchange plain)
  add_test(NAME checkpoint_every_crash_${kind}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/checkpoint_every_crash
      $<TARGET_FILE:checkpoint_tool> $<TARGET_FILE:kill_at_change> ${kind})
  list(APPEND tests checkpoint_every_crash_${kind})
endforeach()
set_tests_properties(${tests} PROPERTIES
  ENVIRONMENT "${mpi_test_environment}" TIMEOUT 600 PROCESSORS 2 SKIP_RETURN_CODE 77)
