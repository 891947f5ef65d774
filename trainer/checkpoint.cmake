# The state of a run, its hash, and its checkpoints.
add_library(lapidary_checkpoint STATIC
  memory_table.c state.c state_hash.c checkpoint_directory.c checkpoint_manifest.c
  checkpoint_pieces.c checkpoint_prune.c
  checkpoint_read.c checkpoint_write.c)
target_link_libraries(lapidary_checkpoint PUBLIC
  lapidary_settings lapidary_config lapidary_weight_target PkgConfig::JANSSON
  PRIVATE lapidary_text)
