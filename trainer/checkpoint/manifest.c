#include "trainer/checkpoint/manifest.h"

#include <assert.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "core/memory.h"

/* The members of a manifest, in the order of the file. */
static json_t *files_to_json(const lap_checkpoint_pieces *pieces) {
  json_t *array = json_array();
  for (int i = 0; i < pieces->files; ++i) {
    const lap_checkpoint_file *file = &pieces->file[i];
    json_t *entry = json_pack("{s:s, s:I}", "name", file->name, "bytes", (json_int_t)file->bytes);
    if (file->xxh128[0] != '\0') json_object_set_new(entry, "xxh128", json_string(file->xxh128));
    json_array_append_new(array, entry);
  }
  return array;
}

static json_t *tensors_to_json(const lap_checkpoint_pieces *pieces) {
  json_t *array = json_array();
  for (int i = 0; i < pieces->tensors; ++i) {
    const lap_checkpoint_tensor *tensor = &pieces->tensor[i];
    json_t *shape = json_array();
    if (!tensor->is_vector) json_array_append_new(shape, json_integer(tensor->rows));
    json_array_append_new(shape, json_integer(tensor->columns));
    json_array_append_new(array, json_pack("{s:s, s:o}", "name", tensor->name, "shape", shape));
  }
  return array;
}

static json_t *pieces_to_json(const lap_checkpoint_pieces *pieces) {
  json_t *array = json_array();
  for (int i = 0; i < pieces->pieces; ++i) {
    const lap_checkpoint_piece *piece = &pieces->piece[i];
    json_array_append_new(
        array,
        json_pack("{s:s, s:i, s:s, s:I, s:I, s:s, s:I, s:s}", "tensor",
                  pieces->tensor[piece->tensor].name, "model_shard", piece->model_shard, "kind",
                  lap_state_kind_name(piece->kind), "begin", (json_int_t)piece->begin, "end",
                  (json_int_t)piece->end, "file", pieces->file[piece->file].name, "offset",
                  (json_int_t)piece->offset, "xxh128", piece->xxh128));
  }
  return array;
}

static json_t *to_json(const lap_checkpoint *checkpoint, const lap_numbers *numbers) {
  json_t *root = json_pack(
      "{s:s, s:i, s:s, s:I, s:I, s:I, s:i, s:i}", "format", "lapidary-checkpoint", "format_version",
      1, "kind", checkpoint->full ? "full" : "weights", "step", (json_int_t)checkpoint->step,
      "applied_updates", (json_int_t)checkpoint->applied_updates, "bad_steps",
      (json_int_t)checkpoint->bad_steps, "writing_ranks", checkpoint->writing_ranks, "model_shards",
      checkpoint->model_shards);
  if (checkpoint->full) {
    json_object_set_new(root, "state_sha256", json_string(checkpoint->state_sha256));
    json_object_set_new(root, "numbers_sha256", json_string(checkpoint->numbers_sha256));
    json_object_set_new(root, "numbers", lap_numbers_to_json(numbers));
  }
  json_object_set_new(root, "files", files_to_json(checkpoint->pieces));
  json_object_set_new(root, "tensors", tensors_to_json(checkpoint->pieces));
  json_object_set_new(root, "pieces", pieces_to_json(checkpoint->pieces));
  return root;
}

static void print_key(FILE *out, const char *indent, const char *key) {
  json_t *text = json_string(key);
  fputs(indent, out);
  json_dumpf(text, out, JSON_ENCODE_ANY);
  fputs(": ", out);
  json_decref(text);
}

/* Lists and lists of numbers one entry a line, everything else on the line of its key. */
static void print_member(FILE *out, const char *key, json_t *value) {
  print_key(out, "  ", key);
  const char *comma = "\n", *name;
  size_t index;
  json_t *entry;
  if (json_is_array(value)) {
    fputc('[', out);
    json_array_foreach(value, index, entry) {
      fprintf(out, "%s    ", comma);
      json_dumpf(entry, out, JSON_ENCODE_ANY);
      comma = ",\n";
    }
    fputs("\n  ],\n", out);
  } else if (json_is_object(value)) {
    fputc('{', out);
    json_object_foreach(value, name, entry) {
      fputs(comma, out);
      print_key(out, "    ", name);
      json_dumpf(entry, out, JSON_ENCODE_ANY);
      comma = ",\n";
    }
    fputs("\n  },\n", out);
  } else {
    json_dumpf(value, out, JSON_ENCODE_ANY);
    fputs(",\n", out);
  }
}

/* --- the checksum: the last two lines, over all that stands before them --- */

#define SEAL_KEY "  \"manifest_sha256\": \""
#define SEAL_END "\"\n}\n"
enum { SEAL_BYTES = sizeof SEAL_KEY - 1 + LAP_SHA256_HEX - 1 + sizeof SEAL_END - 1 };

static char *seal_of(const char *text, size_t bytes) {
  uint8_t digest[LAP_SHA256_SIZE];
  char hex[LAP_SHA256_HEX];
  lap_sha256(text, bytes, digest);
  lap_sha256_hex(digest, hex);
  return lap_format(SEAL_KEY "%s" SEAL_END, hex);
}

/* The reader of a file asks first; the writer, whose text is in memory, asks here. */
static lap_code check_size(const char *path, size_t bytes, lap_status *status) {
  if (bytes <= LAP_MANIFEST_MAX_BYTES) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: is %zu bytes long; at most %d are accepted; it has a line for each piece, "
                  "and fewer ranks write fewer of them",
                  path, bytes, LAP_MANIFEST_MAX_BYTES);
}

static lap_code check_seal(const char *path, const char *text, size_t bytes, lap_status *status) {
  if (bytes < SEAL_BYTES)
    return lap_fail(status, LAP_DATA, "%s: is %zu bytes long: not a whole manifest", path, bytes);
  char *seal = seal_of(text, bytes - SEAL_BYTES);
  const bool equal = memcmp(seal, text + bytes - SEAL_BYTES, SEAL_BYTES) == 0;
  free(seal);
  if (equal) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: does not end with the checksum of its text: damaged, cut short or edited",
                  path);
}

/* Of a text that has one. */
static void take_seal(const char *text, size_t bytes, char hex[LAP_SHA256_HEX]) {
  memcpy(hex, text + bytes - SEAL_BYTES + sizeof SEAL_KEY - 1, LAP_SHA256_HEX - 1);
  hex[LAP_SHA256_HEX - 1] = '\0';
}

char *lap_manifest_print(const lap_checkpoint *checkpoint, const lap_numbers *numbers) {
  assert(checkpoint->full == (numbers != NULL));
  json_t *root = to_json(checkpoint, numbers);
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = lap_open_text(&text, &bytes);
  const char *key;
  json_t *value;
  fputs("{\n", out);
  json_object_foreach(root, key, value) print_member(out, key, value);
  fflush(out);
  char *seal = seal_of(text, bytes);
  fputs(seal, out);
  lap_close_text(out, &text);
  free(seal);
  json_decref(root);
  return text;
}

/* --- reading: one member at a time, with its location for the message --- */

typedef struct {
  const char *path;
  char name[32]; /* "" or "pieces[3]: " */
  lap_status *status;
} location;

static location inside(const location *at, const char *list, size_t index) {
  location entry = {.path = at->path, .status = at->status};
  snprintf(entry.name, sizeof entry.name, "%s[%zu]: ", list, index);
  return entry;
}

static lap_code wrong(const location *at, const char *key, const char *expected) {
  return lap_fail(at->status, LAP_DATA, "%s: %s%s: expected %s", at->path, at->name, key, expected);
}

static lap_code take_text(const location *at, const json_t *object, const char *key,
                          const char **text) {
  *text = json_string_value(json_object_get(object, key));
  return *text ? LAP_OK : wrong(at, key, "a text");
}

static lap_code take_name(const location *at, const json_t *object, const char *key,
                          char name[LAP_CHECKPOINT_NAME]) {
  static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  const char *text;
  LAP_TRY(take_text(at, object, key, &text));
  const size_t length = strlen(text);
  if (length == 0 || length >= LAP_CHECKPOINT_NAME || text[0] == '.' ||
      strspn(text, plain) != length)
    return wrong(at, key, "a plain name of at most 63 letters, digits, '.', '_' and '-'");
  memcpy(name, text, length + 1);
  return LAP_OK;
}

static lap_code take_hex(const location *at, const json_t *object, const char *key, size_t size,
                         char *hex) {
  const char *text;
  LAP_TRY(take_text(at, object, key, &text));
  if (strlen(text) != size - 1 || strspn(text, "0123456789abcdef") != size - 1)
    return wrong(at, key, size == LAP_SHA256_HEX ? "64 hex digits" : "32 hex digits");
  memcpy(hex, text, size);
  return LAP_OK;
}

static lap_code take_integer(const location *at, const json_t *object, const char *key,
                             int64_t smallest, int64_t largest, int64_t *value) {
  const json_t *number = json_object_get(object, key);
  *value = json_integer_value(number);
  if (json_is_integer(number) && *value >= smallest && *value <= largest) return LAP_OK;
  char *range = lap_format("an integer from %" PRId64 " to %" PRId64, smallest, largest);
  wrong(at, key, range);
  free(range);
  return at->status->code;
}

/* All members have been found; a larger object has one that this version does not know. */
static lap_code take_no_more(const location *at, const json_t *object, size_t members) {
  if (json_object_size(object) == members) return LAP_OK;
  return lap_fail(at->status, LAP_DATA, "%s: %shas %zu members, expected %zu", at->path, at->name,
                  json_object_size(object), members);
}

/* Allocates room for as many entries of `size` bytes as the list `key` has. */
static lap_code take_list(const location *at, const json_t *root, const char *key, size_t size,
                          const json_t **list, void **entries, int *count) {
  *list = json_object_get(root, key);
  if (!json_is_array(*list) || json_array_size(*list) == 0)
    return wrong(at, key, "a list that is not empty");
  *count = (int)json_array_size(*list); /* bounded by LAP_MANIFEST_MAX_BYTES */
  *entries = lap_allocate(*count, size);
  return LAP_OK;
}

/* Files, tensors and the keys for finding them all begin with the name. */
static int by_name(const void *a, const void *b) { return strcmp(a, b); }

static lap_code read_files(const location *at, const json_t *root, lap_checkpoint_pieces *pieces) {
  const json_t *list;
  LAP_TRY(take_list(at, root, "files", sizeof *pieces->file, &list, (void **)&pieces->file,
                    &pieces->files));
  for (int i = 0; i < pieces->files; ++i) {
    const location here = inside(at, "files", (size_t)i);
    const json_t *entry = json_array_get(list, (size_t)i);
    lap_checkpoint_file *file = &pieces->file[i];
    LAP_TRY(take_name(&here, entry, "name", file->name));
    LAP_TRY(take_integer(&here, entry, "bytes", 0, INT64_MAX, &file->bytes));
    const bool checked = json_object_get(entry, "xxh128") != NULL;
    if (checked) LAP_TRY(take_hex(&here, entry, "xxh128", LAP_XXH128_HEX, file->xxh128));
    LAP_TRY(take_no_more(&here, entry, checked ? 3 : 2));
  }
  qsort(pieces->file, (size_t)pieces->files, sizeof *pieces->file, by_name);
  for (int i = 1; i < pieces->files; ++i)
    if (strcmp(pieces->file[i - 1].name, pieces->file[i].name) == 0)
      return lap_fail(at->status, LAP_DATA, "%s: files: %s is there twice", at->path,
                      pieces->file[i].name);
  return LAP_OK;
}

static lap_code read_tensors(const location *at, const json_t *root,
                             lap_checkpoint_pieces *pieces) {
  const json_t *list;
  LAP_TRY(take_list(at, root, "tensors", sizeof *pieces->tensor, &list, (void **)&pieces->tensor,
                    &pieces->tensors));
  for (int i = 0; i < pieces->tensors; ++i) {
    const location here = inside(at, "tensors", (size_t)i);
    const json_t *entry = json_array_get(list, (size_t)i), *shape = json_object_get(entry, "shape");
    lap_checkpoint_tensor *tensor = &pieces->tensor[i];
    LAP_TRY(take_name(&here, entry, "name", tensor->name));
    LAP_TRY(take_no_more(&here, entry, 2));
    if (i > 0 && strcmp(tensor[-1].name, tensor->name) >= 0)
      return wrong(&here, "name", "names in byte order, each once");
    const json_t *first = json_array_get(shape, 0), *second = json_array_get(shape, 1);
    const size_t dimensions = json_array_size(shape);
    tensor->is_vector = dimensions == 1;
    tensor->rows = tensor->is_vector ? 1 : json_integer_value(first);
    tensor->columns = json_integer_value(tensor->is_vector ? first : second);
    const int64_t largest = INT32_MAX; /* so that rows * columns is an int64_t */
    if (dimensions < 1 || dimensions > 2 || tensor->rows < 1 || tensor->rows > largest ||
        tensor->columns < 1 || tensor->columns > largest)
      return wrong(&here, "shape", "[ROWS, COLUMNS] or [COLUMNS], positive and below 2^31");
  }
  return LAP_OK;
}

/* Index of the entry of that name in a list sorted by name, or -1. */
static int find(const void *entries, int count, size_t size, const char *name) {
  const char *found = bsearch(name, entries, (size_t)count, size, by_name);
  return found ? (int)((size_t)(found - (const char *)entries) / size) : -1;
}

static lap_code read_kind(const location *at, const json_t *entry, bool full,
                          lap_state_kind *kind) {
  const char *text;
  LAP_TRY(take_text(at, entry, "kind", &text));
  for (int k = 0; k < (full ? LAP_STATE_KINDS : 1); ++k) {
    *kind = (lap_state_kind)k;
    if (strcmp(text, lap_state_kind_name(*kind)) == 0) return LAP_OK;
  }
  return wrong(at, "kind", full ? "weight, exp_avg or exp_avg_sq" : "weight");
}

/* Elements that a shard has of a tensor; of a vector all are shard 0's. */
static int64_t part_elements(const lap_checkpoint_tensor *tensor, int shards, int shard) {
  if (tensor->is_vector) return shard == 0 ? tensor->columns : 0;
  return tensor->rows * tensor->columns / shards;
}

static lap_code read_piece(const location *at, const json_t *entry,
                           const lap_checkpoint *checkpoint, lap_checkpoint_piece *piece) {
  const lap_checkpoint_pieces *pieces = checkpoint->pieces;
  const char *tensor, *file;
  LAP_TRY(take_text(at, entry, "tensor", &tensor));
  LAP_TRY(take_text(at, entry, "file", &file));
  piece->tensor = find(pieces->tensor, pieces->tensors, sizeof *pieces->tensor, tensor);
  piece->file = find(pieces->file, pieces->files, sizeof *pieces->file, file);
  if (piece->tensor < 0) return wrong(at, "tensor", "the name of an entry of tensors");
  if (piece->file < 0 || pieces->file[piece->file].xxh128[0] != '\0')
    return wrong(at, "file", "the name of an entry of files without xxh128");
  int64_t shard;
  const lap_checkpoint_tensor *t = &pieces->tensor[piece->tensor];
  const int last = t->is_vector ? 0 : checkpoint->model_shards - 1;
  LAP_TRY(take_integer(at, entry, "model_shard", 0, last, &shard));
  piece->model_shard = (int)shard;
  LAP_TRY(read_kind(at, entry, checkpoint->full, &piece->kind));
  const int64_t elements = part_elements(t, checkpoint->model_shards, piece->model_shard);
  LAP_TRY(take_integer(at, entry, "begin", 0, elements - 1, &piece->begin));
  int64_t end = piece->begin + LAP_PIECE_ELEMENTS;
  if (end > elements) end = elements;
  LAP_TRY(take_integer(at, entry, "end", piece->begin + 1, end, &piece->end));
  const int64_t bytes = (piece->end - piece->begin) * (int64_t)sizeof(float);
  const int64_t room = pieces->file[piece->file].bytes - bytes;
  if (room < 0) return wrong(at, "file", "a file that is large enough for the piece");
  LAP_TRY(take_integer(at, entry, "offset", 0, room, &piece->offset));
  LAP_TRY(take_hex(at, entry, "xxh128", LAP_XXH128_HEX, piece->xxh128));
  return take_no_more(at, entry, 8);
}

static int by_position(const void *a, const void *b) {
  const lap_checkpoint_piece *p = a, *q = b;
  if (p->tensor != q->tensor) return p->tensor < q->tensor ? -1 : 1;
  if (p->kind != q->kind) return p->kind < q->kind ? -1 : 1;
  if (p->model_shard != q->model_shard) return p->model_shard < q->model_shard ? -1 : 1;
  return (p->begin > q->begin) - (p->begin < q->begin);
}

/* The pieces of one part, from *next on: each begins where the one before ended. Whether they cover
 * it, and how far. */
static bool covers(const lap_checkpoint *checkpoint, const lap_checkpoint_piece *part, int *next,
                   int64_t *covered) {
  const lap_checkpoint_pieces *pieces = checkpoint->pieces;
  bool in_order = true;
  for (*covered = 0; *next < pieces->pieces; ++*next) {
    const lap_checkpoint_piece *piece = &pieces->piece[*next];
    if (piece->tensor != part->tensor || piece->kind != part->kind ||
        piece->model_shard != part->model_shard)
      break;
    in_order = in_order && piece->begin == *covered;
    if (in_order) *covered = piece->end;
  }
  return in_order && *covered == part_elements(&pieces->tensor[part->tensor],
                                               checkpoint->model_shards, part->model_shard);
}

/* Every element of every part in exactly one piece of each kind. */
static lap_code check_coverage(const location *at, const lap_checkpoint *checkpoint) {
  const lap_checkpoint_pieces *pieces = checkpoint->pieces;
  int next = 0;
  for (int t = 0; t < pieces->tensors; ++t)
    for (int kind = 0; kind < (checkpoint->full ? LAP_STATE_KINDS : 1); ++kind)
      for (int shard = 0; shard < checkpoint->model_shards; ++shard) {
        const lap_checkpoint_piece part = {
            .tensor = t, .kind = (lap_state_kind)kind, .model_shard = shard};
        int64_t covered;
        if (!covers(checkpoint, &part, &next, &covered))
          return lap_fail(at->status, LAP_DATA,
                          "%s: pieces: tensor %s, shard %d, %s: from element %" PRId64
                          " on, not every element of %" PRId64 " is in exactly one piece",
                          at->path, pieces->tensor[t].name, shard, lap_state_kind_name(part.kind),
                          covered,
                          part_elements(&pieces->tensor[t], checkpoint->model_shards, shard));
      }
  return LAP_OK;
}

static lap_code check_parts(const location *at, const lap_checkpoint *checkpoint) {
  for (int t = 0; t < checkpoint->pieces->tensors; ++t) {
    const lap_checkpoint_tensor *tensor = &checkpoint->pieces->tensor[t];
    if (!tensor->is_vector && tensor->rows * tensor->columns % checkpoint->model_shards)
      return lap_fail(at->status, LAP_DATA, "%s: model_shards is %d, which cannot cut tensor %s",
                      at->path, checkpoint->model_shards, tensor->name);
  }
  return LAP_OK;
}

static lap_code read_pieces(const location *at, const json_t *root,
                            const lap_checkpoint *checkpoint) {
  lap_checkpoint_pieces *pieces = checkpoint->pieces;
  LAP_TRY(read_files(at, root, pieces));
  LAP_TRY(read_tensors(at, root, pieces));
  LAP_TRY(check_parts(at, checkpoint));
  const json_t *list;
  LAP_TRY(take_list(at, root, "pieces", sizeof *pieces->piece, &list, (void **)&pieces->piece,
                    &pieces->pieces));
  for (int i = 0; i < pieces->pieces; ++i) {
    const location here = inside(at, "pieces", (size_t)i);
    LAP_TRY(read_piece(&here, json_array_get(list, (size_t)i), checkpoint, &pieces->piece[i]));
  }
  qsort(pieces->piece, (size_t)pieces->pieces, sizeof *pieces->piece, by_position);
  return check_coverage(at, checkpoint);
}

static lap_code read_identity(const location *at, const json_t *root, lap_checkpoint *checkpoint) {
  LAP_TRY(take_hex(at, root, "state_sha256", LAP_SHA256_HEX, checkpoint->state_sha256));
  LAP_TRY(take_hex(at, root, "numbers_sha256", LAP_SHA256_HEX, checkpoint->numbers_sha256));
  LAP_TRY(lap_numbers_from_json(json_object_get(root, "numbers"), at->path, &checkpoint->numbers,
                                at->status));
  char hex[LAP_SHA256_HEX];
  lap_numbers_sha256(checkpoint->numbers, hex);
  if (strcmp(hex, checkpoint->numbers_sha256) != 0)
    return wrong(at, "numbers_sha256", "the hash of numbers");
  return LAP_OK;
}

static lap_code read_root(const location *at, const json_t *root, lap_checkpoint *checkpoint) {
  const char *format, *kind;
  int64_t version, step, applied, bad, ranks, shards;
  LAP_TRY(take_text(at, root, "format", &format));
  if (strcmp(format, "lapidary-checkpoint") != 0) return wrong(at, "format", "lapidary-checkpoint");
  LAP_TRY(take_integer(at, root, "format_version", 1, 1, &version));
  LAP_TRY(take_text(at, root, "kind", &kind));
  checkpoint->full = strcmp(kind, "full") == 0;
  if (!checkpoint->full && strcmp(kind, "weights") != 0)
    return wrong(at, "kind", "full or weights");
  LAP_TRY(take_integer(at, root, "step", 0, INT64_MAX, &step));
  LAP_TRY(take_integer(at, root, "applied_updates", 0, step, &applied));
  LAP_TRY(take_integer(at, root, "bad_steps", 0, step, &bad));
  LAP_TRY(take_integer(at, root, "writing_ranks", 1, INT32_MAX, &ranks));
  LAP_TRY(take_integer(at, root, "model_shards", 1, LAP_MANIFEST_MAX_SHARDS, &shards));
  checkpoint->step = (uint64_t)step;
  checkpoint->applied_updates = (uint64_t)applied;
  checkpoint->bad_steps = (uint64_t)bad;
  checkpoint->writing_ranks = (int)ranks;
  checkpoint->model_shards = (int)shards;
  if (checkpoint->full) LAP_TRY(read_identity(at, root, checkpoint));
  LAP_TRY(read_pieces(at, root, checkpoint));
  return take_no_more(at, root, checkpoint->full ? 15 : 12);
}

/* More than other files where there are many pieces: one for each bucket, rank and kind, of some
 * 200 bytes and 9 values. So the memory is bounded by the bytes that there are. */
static size_t most_values(size_t bytes) {
  enum { LEAST_BYTES_OF_VALUE = 16 };
  const size_t most = bytes / LEAST_BYTES_OF_VALUE;
  return most > LAP_JSON_MOST_VALUES ? most : LAP_JSON_MOST_VALUES;
}

lap_code lap_manifest_parse(const char *directory, const char *text, size_t bytes,
                            lap_checkpoint **checkpoint, lap_status *status) {
  *checkpoint = NULL;
  char *path = lap_format("%s/" LAP_MANIFEST_NAME, directory);
  lap_checkpoint *read = lap_allocate(1, sizeof *read);
  read->path = lap_copy_string(directory);
  read->pieces = lap_allocate(1, sizeof *read->pieces);
  json_t *root = NULL;
  lap_code code = check_size(path, bytes, status);
  if (code == LAP_OK) code = check_seal(path, text, bytes, status);
  if (code == LAP_OK) take_seal(text, bytes, read->manifest_sha256);
  const size_t values = lap_json_values(text, bytes);
  if (code == LAP_OK && values > most_values(bytes))
    code = lap_fail(status, LAP_DATA, "%s: has %zu values; expected at most %zu", path, values,
                    most_values(bytes));
  if (code == LAP_OK) {
    json_error_t error;
    root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &error);
    const location at = {.path = path, .status = status};
    code = root ? read_root(&at, root, read)
                : lap_fail(status, LAP_DATA, "%s:%d: %s", path, error.line, error.text);
  }
  json_decref(root);
  free(path);
  if (code != LAP_OK)
    lap_checkpoint_close(read);
  else
    *checkpoint = read;
  return code;
}

void lap_checkpoint_close(lap_checkpoint *checkpoint) {
  if (!checkpoint) return;
  lap_numbers_destroy(checkpoint->numbers);
  free(checkpoint->pieces->file);
  free(checkpoint->pieces->tensor);
  free(checkpoint->pieces->piece);
  free(checkpoint->pieces);
  free(checkpoint->path);
  free(checkpoint);
}
