#include "tests/trainer/export/gguf_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/scratch.h"
#include "trainer/config/load.h"
#include "trainer/config/value.h"

static void must(lap_code code, const lap_status *status) {
  if (code != LAP_OK) fail_msg("%s", status->message);
}

/* --- hand-made tokenizer models: the protobuf of SentencePiece, byte by byte --- */

typedef struct {
  uint8_t bytes[1 << 16];
  size_t count;
} message;

static void put_varint(message *m, uint64_t value) {
  for (; value >= 0x80; value >>= 7) m->bytes[m->count++] = (uint8_t)(value | 0x80);
  m->bytes[m->count++] = (uint8_t)value;
}

static void put_number(message *m, unsigned field, uint64_t value) {
  put_varint(m, field << 3);
  put_varint(m, value);
}

static void put_bytes(message *m, unsigned field, const void *bytes, size_t count) {
  put_varint(m, field << 3 | 2);
  put_varint(m, count);
  memcpy(m->bytes + m->count, bytes, count);
  m->count += count;
}

static void put_piece(message *m, const char *name, float score, int type) {
  message piece = {.count = 0};
  put_bytes(&piece, 1, name, strlen(name));
  put_varint(&piece, 2 << 3 | 5);
  memcpy(piece.bytes + piece.count, &score, 4);
  piece.count += 4;
  put_number(&piece, 3, (uint64_t)type);
  put_bytes(m, 1, piece.bytes, piece.count);
}

const char *gguf_write_model(const gguf_fixture *f, int model_type, bool bytes,
                             const extra_piece *extra, int count) {
  static message m;
  m.count = 0;
  put_piece(&m, "<pad>", 0, CONTROL);
  put_piece(&m, "</s>", 0, CONTROL);
  put_piece(&m, "<s>", 0, CONTROL);
  put_piece(&m, "<unk>", 0, UNKNOWN);
  for (int i = 0; i < 256 && bytes; ++i) {
    char name[8];
    snprintf(name, sizeof name, "<0x%02X>", i);
    put_piece(&m, name, 0, BYTE);
  }
  for (int i = 0; i < count; ++i) put_piece(&m, extra[i].name, extra[i].score, extra[i].type);
  message spec = {.count = 0};
  put_number(&spec, 3, (uint64_t)model_type);
  put_number(&spec, 40, 3);
  put_number(&spec, 41, 2);
  put_number(&spec, 42, 1);
  put_number(&spec, 43, 0);
  put_bytes(&m, 2, spec.bytes, spec.count);
  spec.count = 0;
  put_number(&spec, 3, 0);
  put_number(&spec, 4, 0);
  put_number(&spec, 5, 1);
  put_bytes(&m, 3, spec.bytes, spec.count);
  return scratch_write(f->directory, "hand-made.model", m.bytes, m.count);
}

const extra_piece gguf_extras[EXTRAS] = {{"\xE2\x96\x81the", -1.5f, NORMAL},
                                         {"\xE2\x96\x81\xE2\x96\x81", 0, USER_DEFINED},
                                         {"\n\n", 0, USER_DEFINED},
                                         {"e", -2.5f, NORMAL},
                                         {"<mask>", 0, CONTROL},
                                         {"   ", 0, USER_DEFINED}};

const char *gguf_good_model(const gguf_fixture *f) {
  return gguf_write_model(f, BPE, true, gguf_extras, EXTRAS);
}

/* --- checkpoints --- */

void gguf_fill(const lap_parameters *parameters, float *weights) {
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    for (int64_t j = 0; j < p->elements; ++j)
      weights[p->offset + j] = (float)(i + 1) * 0.125f + (float)j * 0x1p-12f;
  }
}

void gguf_write_checkpoint(const gguf_fixture *f, const char *text, const char *change,
                           const char *tokenizer) {
  lap_status status = {0};
  lap_config *config;
  must(lap_config_parse("config", text, strlen(text), &change, change != NULL, &config, &status),
       &status);
  char *path = lap_format("%s/model", f->directory), *printed = lap_config_print(config);
  must(lap_file_remove_tree(path, &status), &status);
  lap_state *state = lap_state_create_alone(&config->model, f->comm);
  gguf_fill(state->parameters, state->values[LAP_WEIGHT]);
  const lap_checkpoint_extras files = {.config_text = printed, .tokenizer_path = tokenizer};
  must(lap_checkpoint_write_weights(path, state, &files, &status), &status);
  lap_state_destroy(state);
  lap_config_destroy(config);
  free(printed);
  free(path);
}

int gguf_export(const gguf_fixture *f, const char *before, const char *out, char *said,
                size_t size) {
  char *line = lap_format("cd %s && exec >said 2>&1 && %s %s export model --format gguf --out %s",
                          f->directory, before, LAPIDARY_PROGRAM, out);
  size_t bytes;
  const int ended = system(line);
  free(line);
  assert_true(WIFEXITED(ended));
  char *text = scratch_read(scratch_path(f->directory, "said"), &bytes);
  snprintf(said, size, "%s", text);
  free(text);
  return WEXITSTATUS(ended);
}

void gguf_export_well(const gguf_fixture *f) {
  char said[4096];
  lap_status status = {0};
  must(lap_file_remove_tree(scratch_path(f->directory, "x.gguf"), &status), &status);
  if (gguf_export(f, "", "x.gguf", said, sizeof said) != 0) fail_msg("%s", said);
}

int gguf_set_up(void **state) {
  static gguf_fixture f;
  lap_status status = {0};
  f.directory = scratch_create();
  scratch_write(f.directory, "said", "", 0); /* so that counting names finds it every time */
  must(lap_comm_start(&f.comm, LAP_WATCHDOG_SECONDS, &status), &status);
  *state = &f;
  return 0;
}

int gguf_tear_down(void **state) {
  gguf_fixture *f = *state;
  lap_comm_finish(f->comm);
  scratch_remove(f->directory);
  return 0;
}
