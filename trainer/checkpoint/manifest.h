/* manifest: manifest.json, what a checkpoint says of itself; private to this folder.
 *
 * It is JSON for people too: one line a file, tensor and piece. Its last member, manifest_sha256,
 * is the SHA-256 of all lines before the last two, so `head -n -2 manifest.json | sha256sum` checks
 * it: whatever byte changes, the manifest is refused. What passes is validated all the same,
 * because a checksum says nothing about who wrote it: every member's type and range, no member
 * unknown or missing, every element of every tensor in exactly one piece of each kind, files that
 * are plain names in the directory, pieces that lie within them.
 */
#ifndef LAP_TRAINER_CHECKPOINT_MANIFEST_H
#define LAP_TRAINER_CHECKPOINT_MANIFEST_H

#include "trainer/checkpoint/checkpoint.h"

#define LAP_MANIFEST_NAME "manifest.json"
#define LAP_INPUTS_NAME "inputs.json"

enum {
  LAP_MANIFEST_MAX_BYTES = 256 << 20,
  LAP_PIECE_ELEMENTS =
      4 << 20, /* the most in one piece: a reader needs this much memory to check */
  LAP_MANIFEST_MAX_SHARDS = 1 << 16,
  LAP_CHECKPOINT_NAME = 64, /* room for the name of a tensor or file */
};

/* A file of the checkpoint beside the manifest. Payload is checked piece by piece, the others
 * (config, inputs and tokenizer) by `xxh128`. */
typedef struct {
  char name[LAP_CHECKPOINT_NAME];
  int64_t bytes;
  char xxh128[LAP_XXH128_HEX]; /* "" for payload */
} lap_checkpoint_file;

typedef struct {
  char name[LAP_CHECKPOINT_NAME];
  int64_t rows, columns;
  bool is_vector; /* its shape is [columns] and rows is 1 */
} lap_checkpoint_tensor;

typedef struct {
  int tensor, file; /* indices */
  int model_shard;
  lap_state_kind kind;
  int64_t begin, end; /* elements of the shard's part of the tensor */
  int64_t offset;     /* bytes into the file */
  char xxh128[LAP_XXH128_HEX];
} lap_checkpoint_piece;

typedef struct lap_checkpoint_pieces {
  lap_checkpoint_file *file;
  lap_checkpoint_tensor *tensor; /* by name */
  lap_checkpoint_piece *piece;   /* once read: by tensor, kind, shard and begin */
  int files, tensors, pieces;
} lap_checkpoint_pieces;

/* The text of a manifest, malloc'ed. `numbers` is NULL for kind weights; checkpoint->numbers and
 * ->path are not looked at. */
char *lap_manifest_print(const lap_checkpoint *checkpoint, const lap_numbers *numbers);

/* The manifest of the checkpoint in `directory`. LAP_DATA naming the file and the member of it.
 * Files are not looked at. *checkpoint is the caller's; NULL on failure. */
lap_code lap_manifest_parse(const char *directory, const char *text, size_t bytes,
                            lap_checkpoint **checkpoint, lap_status *status);

#endif
