#include "dataset/tokenizer_model.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/lfs_pointer.h"
#include "core/memory.h"
#include "core/text.h"
#include "dataset/special_ids.h"

static const char SPACE_MARK[] = "\xE2\x96\x81"; /* U+2581, a space inside a piece */
enum { SPACE_MARK_BYTES = sizeof SPACE_MARK - 1 };

/* The protobuf wire format: what is left of a message, and one field of it. */
typedef struct {
  const uint8_t *at, *end;
} message;

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

typedef struct {
  uint32_t number;
  int wire;
  uint64_t value; /* varint or fixed32 */
  message bytes;  /* WIRE_BYTES */
} field;

static bool read_varint(message *from, uint64_t *value) {
  *value = 0;
  for (unsigned shift = 0; shift < 70 && from->at < from->end; shift += 7) {
    const uint8_t byte = *from->at++;
    if (shift == 63 && byte > 1) return false;
    *value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

static bool take(message *from, uint64_t count, message *taken) {
  if (count > (uint64_t)(from->end - from->at)) return false;
  *taken = (message){from->at, from->at + count};
  from->at += count;
  return true;
}

/* False where the bytes are not a field: cut off, a group, field number 0. */
static bool read_field(message *from, field *read) {
  uint64_t key, count;
  if (!read_varint(from, &key) || key > UINT32_MAX || key >> 3 == 0) return false;
  *read = (field){.number = (uint32_t)(key >> 3), .wire = (int)(key & 7)};
  switch (read->wire) {
    case WIRE_VARINT:
      return read_varint(from, &read->value);
    case WIRE_FIXED64:
      return take(from, 8, &read->bytes);
    case WIRE_BYTES:
      return read_varint(from, &count) && take(from, count, &read->bytes);
    case WIRE_FIXED32:
      if (!take(from, 4, &read->bytes)) return false;
      for (int i = 0; i < 4; ++i) read->value |= (uint64_t)read->bytes.at[i] << 8 * i;
      return true;
    default:
      return false;
  }
}

static lap_code malformed(lap_status *status, const char *where) {
  return lap_fail(status, LAP_DATA,
                  "is not a whole SentencePiece model: the %s is malformed or cut off", where);
}

/* A field whose wire type is not the one its declaration has would be skipped by the library. */
static bool is(const field *read, uint32_t number, int wire) {
  return read->number == number && read->wire == wire;
}

/* What the specs say beyond the pieces. Defaults are those of sentencepiece_model.proto. */
typedef struct {
  int32_t pad, eos, bos, unk;
  uint64_t model_type;
  bool add_dummy_prefix, remove_extra_whitespaces, escape_whitespaces, has_charsmap;
} model_specs;

static lap_code parse_trainer_spec(message spec, model_specs *specs, lap_status *status) {
  field read;
  while (spec.at < spec.end) {
    if (!read_field(&spec, &read)) return malformed(status, "trainer_spec");
    if (is(&read, 3, WIRE_VARINT)) specs->model_type = read.value;
    if (is(&read, 40, WIRE_VARINT)) specs->unk = (int32_t)read.value;
    if (is(&read, 41, WIRE_VARINT)) specs->bos = (int32_t)read.value;
    if (is(&read, 42, WIRE_VARINT)) specs->eos = (int32_t)read.value;
    if (is(&read, 43, WIRE_VARINT)) specs->pad = (int32_t)read.value;
  }
  return LAP_OK;
}

static lap_code parse_normalizer_spec(message spec, bool denormalizer, model_specs *specs,
                                      lap_status *status) {
  field read;
  while (spec.at < spec.end) {
    if (!read_field(&spec, &read)) return malformed(status, "normalizer_spec");
    if (is(&read, 2, WIRE_BYTES) && read.bytes.at < read.bytes.end) specs->has_charsmap = true;
    if (denormalizer) continue;
    if (is(&read, 3, WIRE_VARINT)) specs->add_dummy_prefix = read.value != 0;
    if (is(&read, 4, WIRE_VARINT)) specs->remove_extra_whitespaces = read.value != 0;
    if (is(&read, 5, WIRE_VARINT)) specs->escape_whitespaces = read.value != 0;
  }
  return LAP_OK;
}

static lap_code check_self_test(message samples, lap_status *status) {
  field read, inner;
  while (samples.at < samples.end) {
    if (!read_field(&samples, &read)) return malformed(status, "self_test_data");
    if (!is(&read, 1, WIRE_BYTES)) continue;
    while (read.bytes.at < read.bytes.end)
      if (!read_field(&read.bytes, &inner)) return malformed(status, "self_test_data");
  }
  return LAP_OK;
}

static lap_code check_name(uint32_t id, const char *name, size_t bytes, lap_status *status) {
  if (bytes == 0 || bytes > LAP_PIECE_MAX_BYTES)
    return lap_fail(status, LAP_DATA, "piece %u has %zu bytes; expected 1 to %d", id, bytes,
                    LAP_PIECE_MAX_BYTES);
  for (size_t at = 0; at < bytes;) {
    const size_t length = lap_utf8_character(name + at, bytes - at);
    if (length == 0 || name[at] == '\0')
      return lap_fail(status, LAP_DATA, "piece %u is not UTF-8 text", id);
    at += length;
  }
  return LAP_OK;
}

static void append(lap_piece *piece, const char *bytes, size_t count) {
  memcpy(piece->text + piece->text_bytes, bytes, count);
  piece->text_bytes += count;
}

/* What the id stands for in a text, from its name and kind. */
static lap_code resolve_text(uint32_t id, lap_piece *piece, lap_status *status) {
  const size_t bytes = strlen(piece->name);
  piece->text = lap_allocate(bytes + 1, 1);
  if (piece->kind == LAP_PIECE_CONTROL || piece->kind == LAP_PIECE_UNKNOWN) return LAP_OK;
  if (piece->kind == LAP_PIECE_BYTE) {
    unsigned byte;
    char expected[8];
    if (sscanf(piece->name, "<0x%2X>", &byte) != 1 ||
        (snprintf(expected, sizeof expected, "<0x%02X>", byte & 0xFF),
         strcmp(expected, piece->name) != 0))
      return lap_fail(status, LAP_DATA, "byte piece %u is not named <0x00> to <0xFF>", id);
    append(piece, &(char){(char)byte}, 1);
    return LAP_OK;
  }
  for (const char *at = piece->name; *at;) {
    const bool space = strncmp(at, SPACE_MARK, SPACE_MARK_BYTES) == 0;
    append(piece, space ? " " : at, 1);
    at += space ? SPACE_MARK_BYTES : 1;
  }
  return LAP_OK;
}

static lap_code parse_piece(message from, uint32_t id, lap_piece *piece, lap_status *status) {
  field read;
  message name = {0};
  piece->kind = LAP_PIECE_NORMAL;
  while (from.at < from.end) {
    if (!read_field(&from, &read)) return malformed(status, "list of pieces");
    if (is(&read, 1, WIRE_BYTES)) name = read.bytes;
    if (is(&read, 2, WIRE_FIXED32)) {
      const uint32_t bits = (uint32_t)read.value;
      memcpy(&piece->score, &bits, sizeof piece->score);
      if (!isfinite(piece->score))
        return lap_fail(status, LAP_DATA, "piece %u has a score that is not finite", id);
    }
    if (is(&read, 3, WIRE_VARINT)) {
      if (read.value < LAP_PIECE_NORMAL || read.value > LAP_PIECE_BYTE)
        return lap_fail(status, LAP_DATA, "piece %u has type %" PRIu64 "; expected 1 to %d", id,
                        read.value, LAP_PIECE_BYTE);
      piece->kind = (lap_piece_kind)read.value;
    }
  }
  const size_t bytes = (size_t)(name.end - name.at);
  LAP_TRY(check_name(id, (const char *)name.at, bytes, status));
  assert(name.at); /* of a byte at least */
  piece->name = memcpy(lap_allocate(bytes + 1, 1), name.at, bytes);
  return resolve_text(id, piece, status);
}

static lap_code add_piece(message from, lap_tokenizer_model *model, uint32_t *capacity,
                          lap_status *status) {
  if (model->piece_count == LAP_MODEL_MAX_PIECES)
    return lap_fail(status, LAP_DATA, "has more than %d pieces", LAP_MODEL_MAX_PIECES);
  if (model->piece_count == *capacity) {
    *capacity = *capacity ? 2 * *capacity : 1024;
    model->pieces = lap_reallocate(model->pieces, *capacity, sizeof *model->pieces);
  }
  lap_piece *piece = &model->pieces[model->piece_count];
  *piece = (lap_piece){0};
  const uint32_t id = model->piece_count++;
  return parse_piece(from, id, piece, status);
}

static lap_code parse_model(message from, lap_tokenizer_model *model, model_specs *specs,
                            lap_status *status) {
  field read;
  uint32_t capacity = 0;
  while (from.at < from.end) {
    if (!read_field(&from, &read)) return malformed(status, "file");
    if (is(&read, 1, WIRE_BYTES)) LAP_TRY(add_piece(read.bytes, model, &capacity, status));
    if (is(&read, 2, WIRE_BYTES)) LAP_TRY(parse_trainer_spec(read.bytes, specs, status));
    if (is(&read, 3, WIRE_BYTES)) LAP_TRY(parse_normalizer_spec(read.bytes, false, specs, status));
    if (is(&read, 4, WIRE_BYTES)) LAP_TRY(check_self_test(read.bytes, status));
    if (is(&read, 5, WIRE_BYTES)) LAP_TRY(parse_normalizer_spec(read.bytes, true, specs, status));
  }
  if (model->piece_count == 0) return malformed(status, "list of pieces");
  return LAP_OK;
}

static lap_code check_specs(const lap_tokenizer_model *model, const model_specs *specs,
                            lap_status *status) {
  if (specs->model_type < 1 || specs->model_type > 4)
    return lap_fail(status, LAP_DATA, "has model_type %" PRIu64 "; expected 1 to 4",
                    specs->model_type);
  if (specs->pad != LAP_PAD || specs->eos != LAP_EOS || specs->bos != LAP_BOS ||
      specs->unk != LAP_UNK)
    return lap_fail(
        status, LAP_DATA,
        "has the special ids pad %d eos %d bos %d unk %d; lapidary needs Gemma's, pad 0 "
        "eos 1 bos 2 unk 3 (train one with `lapidary tokenizer`)",
        specs->pad, specs->eos, specs->bos, specs->unk);
  for (uint32_t id = LAP_PAD; id <= LAP_UNK; ++id) {
    const lap_piece_kind expected = id == LAP_UNK ? LAP_PIECE_UNKNOWN : LAP_PIECE_CONTROL;
    if (id >= model->piece_count || model->pieces[id].kind != expected)
      return lap_fail(status, LAP_DATA,
                      "has no %s piece at id %u; lapidary needs pad 0 eos 1 bos 2 unk 3",
                      expected == LAP_PIECE_UNKNOWN ? "unknown" : "control", id);
  }
  if (specs->has_charsmap || specs->add_dummy_prefix || specs->remove_extra_whitespaces ||
      !specs->escape_whitespaces)
    return lap_fail(status, LAP_DATA,
                    "changes text before it is tokenized; lapidary needs normalisation identity, "
                    "add_dummy_prefix=false, remove_extra_whitespaces=false and "
                    "escape_whitespaces=true");
  return LAP_OK;
}

/* Byte pieces come all or none, and the library asserts as much. */
static lap_code find_bytes(lap_tokenizer_model *model, lap_status *status) {
  uint32_t unknown = 0, bytes = 0;
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const lap_piece *piece = &model->pieces[id];
    unknown += piece->kind == LAP_PIECE_UNKNOWN;
    if (piece->kind != LAP_PIECE_BYTE) continue;
    uint32_t *slot = &model->byte_id[(uint8_t)piece->text[0]];
    if (*slot != 0) return lap_fail(status, LAP_DATA, "has the byte piece %s twice", piece->name);
    *slot = id;
    ++bytes;
  }
  if (unknown != 1)
    return lap_fail(status, LAP_DATA, "has %u unknown pieces; expected one", unknown);
  if (bytes != 0 && bytes != 256)
    return lap_fail(status, LAP_DATA, "has %u byte pieces; expected 256 or none", bytes);
  model->has_bytes = bytes == 256;
  return LAP_OK;
}

static void find_breaks(lap_tokenizer_model *model) {
  model->breaks_before_space = model->breaks_after_newline = true;
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    const lap_piece *piece = &model->pieces[id];
    for (size_t i = 1; i < piece->text_bytes; ++i) {
      if (piece->text[i] == ' ' && piece->text[i - 1] != ' ') model->breaks_before_space = false;
      if (piece->text[i] != '\n' && piece->text[i - 1] == '\n') model->breaks_after_newline = false;
    }
  }
}

lap_code lap_tokenizer_model_parse(const void *bytes, size_t count, lap_tokenizer_model *model,
                                   lap_status *status) {
  *model = (lap_tokenizer_model){0};
  if (count > LAP_MODEL_MAX_BYTES)
    return lap_fail(status, LAP_DATA, "has %zu bytes; a tokenizer model has at most %d", count,
                    LAP_MODEL_MAX_BYTES);
  LAP_TRY(lap_refuse_lfs_pointer(bytes, count, status));
  model_specs specs = {.pad = -1,
                       .eos = 2,
                       .bos = 1,
                       .unk = 0,
                       .model_type = 1,
                       .add_dummy_prefix = true,
                       .remove_extra_whitespaces = true,
                       .escape_whitespaces = true};
  const message whole = {bytes, (const uint8_t *)bytes + count};
  lap_code code = parse_model(whole, model, &specs, status);
  if (code == LAP_OK) code = check_specs(model, &specs, status);
  if (code == LAP_OK) code = find_bytes(model, status);
  model->model_type = (int)specs.model_type;
  if (code == LAP_OK)
    find_breaks(model);
  else
    lap_tokenizer_model_release(model);
  return code;
}

bool lap_piece_is_found(const lap_piece *piece) { return !strchr(piece->name, ' '); }

void lap_tokenizer_model_release(lap_tokenizer_model *model) {
  for (uint32_t id = 0; id < model->piece_count; ++id) {
    free(model->pieces[id].name);
    free(model->pieces[id].text);
  }
  free(model->pieces);
  *model = (lap_tokenizer_model){0};
}
