# Checkpoints: in one process, on several ranks, between jobs of different size, killed.
foreach(variable mpi_launch mpi_test_environment)
  get_directory_property(${variable} DIRECTORY ../mpi DEFINITION ${variable})
endforeach()

add_library(checkpoint_fixture STATIC checkpoint_fixture.c)
target_link_libraries(checkpoint_fixture PUBLIC lapidary_checkpoint)

lapidary_test(checkpoint_manifest
  SOURCES test_checkpoint_manifest.c LIBRARIES checkpoint_fixture)
lapidary_mpi_test(checkpoint RANKS 1 2 3 5
  SOURCES test_checkpoint.c LIBRARIES checkpoint_fixture)

add_executable(checkpoint_tool checkpoint_tool.c)
target_link_libraries(checkpoint_tool PRIVATE checkpoint_fixture Threads::Threads)
set_target_properties(checkpoint_tool PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
foreach(scenario any_rank_count killed)
  add_test(NAME checkpoint_${scenario}
    COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/checkpoint_${scenario} $<TARGET_FILE:checkpoint_tool>)
  set_tests_properties(checkpoint_${scenario} PROPERTIES
    ENVIRONMENT "${mpi_test_environment}" TIMEOUT 600 PROCESSORS 2)
endforeach()
