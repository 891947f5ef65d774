#include "trainer/checkpoint/publish.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "trainer/checkpoint/directory.h"
#include "trainer/checkpoint/payload.h"

enum { TOKENIZER_MAX_BYTES = 1 << 30 };

static void list_tensors(lap_checkpoint_draft *d) {
  const lap_parameters *all = d->all;
  while (d->list.tensors < all->count && all->parameter[d->list.tensors].model_shard == 0)
    ++d->list.tensors;
  d->list.tensor = lap_allocate(d->list.tensors, sizeof *d->list.tensor);
  for (int t = 0; t < d->list.tensors; ++t) {
    const lap_parameter *p = &all->parameter[t];
    lap_checkpoint_tensor *tensor = &d->list.tensor[t];
    *tensor = (lap_checkpoint_tensor){
        .rows = p->whole_rows, .columns = p->whole_columns, .is_vector = p->is_norm};
    snprintf(tensor->name, sizeof tensor->name, "%s", p->name);
  }
}

static lap_checkpoint_file *add_file(lap_checkpoint_draft *d, const char *name) {
  d->list.file = lap_reallocate(d->list.file, d->list.files + 1, sizeof *d->list.file);
  lap_checkpoint_file *file = &d->list.file[d->list.files++];
  *file = (lap_checkpoint_file){.bytes = 0};
  snprintf(file->name, sizeof file->name, "%s", name);
  return file;
}

/* Files of all ranks come first, so that the index of a piece's file is its rank; those of ranks
 * that own nothing are taken out again. */
static void list_payload_files(lap_checkpoint_draft *d) {
  lap_checkpoint_pieces *list = &d->list;
  for (int rank = 0; rank < d->ranks; ++rank) {
    char *name = lap_payload_name(rank);
    add_file(d, name);
    free(name);
  }
  for (int i = 0; i < list->pieces; ++i) {
    const lap_checkpoint_piece *piece = &list->piece[i];
    list->file[piece->file].bytes += (piece->end - piece->begin) * (int64_t)sizeof(float);
  }
  int *index = lap_allocate(list->files, sizeof *index), kept = 0;
  for (int i = 0; i < list->files; ++i) {
    index[i] = kept;
    if (list->file[i].bytes > 0) list->file[kept++] = list->file[i];
  }
  for (int i = 0; i < list->pieces; ++i) list->piece[i].file = index[list->piece[i].file];
  list->files = kept;
  free(index);
}

static lap_code write_attachment(lap_checkpoint_draft *d, const char *name, const void *bytes,
                                 size_t count, lap_status *status) {
  lap_checkpoint_file *file = add_file(d, name);
  file->bytes = (int64_t)count;
  lap_xxh128_hex(bytes, count, file->xxh128);
  char *path = lap_format("%s/%s", d->temporary, name);
  const lap_code code = lap_file_write(path, bytes, count, status);
  free(path);
  return code;
}

/* The file that the run has read at its start must still be that file. */
static lap_code check_tokenizer(const lap_checkpoint_draft *d, const char *bytes, size_t count,
                                lap_status *status) {
  const lap_numbers *numbers = d->extras.numbers;
  const char *known = numbers ? lap_numbers_value(numbers, "tokenizer_sha256") : NULL;
  if (!known) return LAP_OK;
  uint8_t digest[LAP_SHA256_SIZE];
  char now[LAP_SHA256_HEX];
  lap_sha256(bytes, count, digest);
  lap_sha256_hex(digest, now);
  if (strcmp(now, known) == 0) return LAP_OK;
  return lap_fail(
      status, LAP_DATA,
      "%s: has changed since the run began: its SHA-256 was %s and is %s; bring it back "
      "and go on with --resume auto",
      d->extras.tokenizer_path, known, now);
}

static lap_code write_attachments(lap_checkpoint_draft *d, lap_status *status) {
  const char *text = d->extras.config_text, *inputs = d->extras.inputs_text;
  const char *generation = d->extras.generation_text;
  LAP_TRY(write_attachment(d, "config.resolved.yaml", text, strlen(text), status));
  if (inputs) LAP_TRY(write_attachment(d, LAP_INPUTS_NAME, inputs, strlen(inputs), status));
  if (generation)
    LAP_TRY(write_attachment(d, "generation_config.json", generation, strlen(generation), status));
  if (!d->extras.tokenizer_path) return LAP_OK;
  char *bytes;
  size_t count;
  LAP_TRY(lap_file_read(d->extras.tokenizer_path, TOKENIZER_MAX_BYTES, &bytes, &count, status));
  lap_code code = check_tokenizer(d, bytes, count, status);
  if (code == LAP_OK) code = write_attachment(d, "tokenizer.model", bytes, count, status);
  free(bytes);
  return code;
}

/* The manifest is the last file; with it, the directory is brought to disk. */
static lap_code write_manifest(lap_checkpoint_draft *d, lap_status *status) {
  list_tensors(d);
  list_payload_files(d);
  LAP_TRY(write_attachments(d, status));
  d->header.pieces = &d->list;
  d->header.writing_ranks = d->ranks;
  char *text = lap_manifest_print(&d->header, d->header.full ? d->extras.numbers : NULL);
  char *path = lap_format("%s/" LAP_MANIFEST_NAME, d->temporary);
  /* What the reader would refuse is refused here, while the older ones are still safe. */
  lap_checkpoint *readable;
  lap_code code = lap_manifest_parse(d->temporary, text, strlen(text), &readable, status);
  lap_checkpoint_close(readable);
  if (code == LAP_OK) code = lap_file_write(path, text, strlen(text), status);
  free(path);
  free(text);
  return code;
}

lap_code lap_checkpoint_publish_draft(lap_checkpoint_draft *d, lap_status *status) {
  LAP_TRY(write_manifest(d, status));
  LAP_TRY(lap_directory_lock_check(d->extras.lock, status));
  return lap_checkpoint_publish(d->temporary, d->path, status);
}

void lap_checkpoint_update_hint(const char *directory, uint64_t step) {
  char *path = lap_format("%s/latest", directory);
  char *line = lap_format("step-%08" PRIu64 "\n", step);
  lap_status ignored;
  lap_file_write(path, line, strlen(line), &ignored);
  free(path);
  free(line);
}
