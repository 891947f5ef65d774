#include "trainer/hf/weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "trainer/hf/config.h"
#include "trainer/hf/safetensors.h"

/* An index of 512 layers has half a megabyte; a file is one descriptor. */
enum { LARGEST_INDEX = 4 << 20, MOST_FILES = 512 };

static const char lm_head[] = "lm_head.weight", embedding[] = "model.embed_tokens.weight";

/* A tensor by the name that Hugging Face has for it, whatever training wrapped around that. */
typedef struct {
  char *name;
  const lap_safetensors_tensor *tensor;
} named_tensor;

typedef struct {
  const char *path; /* as it was named */
  bool is_directory;
  lap_safetensors *file[MOST_FILES];
  char *name[MOST_FILES]; /* of each file in the directory */
  int files;
  named_tensor *tensor; /* [tensors] of all files, by name; buffers are left out */
  size_t tensors, wrapped, buffers;
  bool lone_head; /* the embedding is there as the head alone */
} source;

/* --- opening --- */

static lap_code add_file(source *s, const char *name, lap_status *status) {
  if (s->files == MOST_FILES)
    return lap_fail(status, LAP_DATA, "%s: its index names more than %d files", s->path,
                    MOST_FILES);
  char *path = s->is_directory ? lap_format("%s/%s", s->path, name) : lap_copy_string(s->path);
  const lap_code code = lap_safetensors_open(path, &s->file[s->files], status);
  if (code == LAP_OK) s->name[s->files++] = lap_copy_string(name);
  free(path);
  return code;
}

static int file_named(const source *s, const char *name) {
  for (int i = 0; i < s->files; ++i)
    if (strcmp(s->name[i], name) == 0) return i;
  return -1;
}

/* A file of the directory itself: an index must not lead out of it. */
static bool is_plain_name(const char *name) {
  return name && *name && !strchr(name, '/') && strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

static lap_code open_mapped_files(source *s, const char *index, const json_t *map,
                                  lap_status *status) {
  const char *tensor;
  json_t *value;
  json_object_foreach((json_t *)map, tensor, value) {
    const char *name = json_string_value(value);
    if (!is_plain_name(name))
      return lap_fail(status, LAP_DATA,
                      "%s: tensor '%.200s': expected the name of a file of the same directory, "
                      "found '%.200s'",
                      index, tensor, name ? name : "something that is not a text");
    if (file_named(s, name) < 0) LAP_TRY(add_file(s, name, status));
    if (!lap_safetensors_find(s->file[file_named(s, name)], tensor))
      return lap_fail(status, LAP_DATA, "%s: tensor '%.200s' is not in %.200s, where it should be",
                      index, tensor, name);
  }
  return LAP_OK;
}

/* Refuses a tensor that is in a file, but that the index says is in another: which copy would be
 * read would be chance. */
static lap_code check_mapped(const source *s, const char *index, const json_t *map,
                             lap_status *status) {
  for (int i = 0; i < s->files; ++i) {
    size_t count;
    const lap_safetensors_tensor *tensors = lap_safetensors_tensors(s->file[i], &count);
    for (size_t t = 0; t < count; ++t) {
      const char *name = json_string_value(json_object_get(map, tensors[t].name));
      if (!name || strcmp(name, s->name[i]) != 0)
        return lap_fail(status, LAP_DATA, "%s: has tensor '%.200s', which %s places %s%.200s",
                        lap_safetensors_path(s->file[i]), tensors[t].name, index,
                        name ? "in " : "nowhere", name ? name : "");
    }
  }
  return LAP_OK;
}

static lap_code open_sharded(source *s, const char *index, lap_status *status) {
  json_t *object;
  LAP_TRY(lap_json_read_file(index, LARGEST_INDEX, &object, status));
  const json_t *map = json_object_get(object, "weight_map");
  lap_code code = LAP_OK;
  if (!json_is_object(map))
    code = lap_fail(status, LAP_DATA, "%s: expected an object weight_map", index);
  if (code == LAP_OK) code = open_mapped_files(s, index, map, status);
  if (code == LAP_OK) code = check_mapped(s, index, map, status);
  json_decref(object);
  return code;
}

static lap_code open_directory(source *s, lap_status *status) {
  char *whole = lap_format("%s/model.safetensors", s->path);
  char *index = lap_format("%s/model.safetensors.index.json", s->path);
  lap_code code;
  if (lap_file_exists(whole))
    code = add_file(s, "model.safetensors", status);
  else if (lap_file_exists(index))
    code = open_sharded(s, index, status);
  else
    code = lap_fail(status, LAP_DATA,
                    "%s: has neither model.safetensors nor model.safetensors.index.json; other "
                    "formats are not read: save the model with safe_serialization",
                    s->path);
  free(whole);
  free(index);
  return code;
}

static void close_source(source *s) {
  for (int i = 0; i < s->files; ++i) {
    lap_safetensors_close(s->file[i]);
    free(s->name[i]);
  }
  for (size_t i = 0; i < s->tensors; ++i) free(s->tensor[i].name);
  free(s->tensor);
}

/* --- tensors by their plain names --- */

static int by_name(const void *a, const void *b) {
  return strcmp(((const named_tensor *)a)->name, ((const named_tensor *)b)->name);
}

static named_tensor *find_named(const source *s, const char *name) {
  const named_tensor key = {.name = (char *)name};
  return s->tensors ? bsearch(&key, s->tensor, s->tensors, sizeof key, by_name) : NULL;
}

static const lap_safetensors_tensor *find(const source *s, const char *name) {
  const named_tensor *found = find_named(s, name);
  return found ? found->tensor : NULL;
}

static bool is_wrapper(const char *part, size_t length) {
  static const char *const wrappers[] = {"_orig_mod", "module", "_fsdp_wrapped_module",
                                         "_checkpoint_wrapped_module"};
  for (size_t i = 0; i < sizeof wrappers / sizeof *wrappers; ++i)
    if (strlen(wrappers[i]) == length && memcmp(wrappers[i], part, length) == 0) return true;
  return false;
}

/* The name without the parts that torch.compile, DDP, FSDP and checkpointing put into it. */
static char *plain_name(const char *name) {
  char *plain = lap_copy_string(name), *to = plain;
  for (const char *at = name, *next; *at; at = next) {
    const size_t length = strcspn(at, ".");
    next = at + length + (at[length] == '.');
    if (is_wrapper(at, length)) continue;
    memcpy(to, at, (size_t)(next - at));
    to += next - at;
  }
  *to = '\0';
  return plain;
}

/* What older versions of transformers store though it follows from the config. */
static bool is_buffer(const char *name) {
  static const char *const buffers[] = {".rotary_emb.inv_freq", ".rotary_emb.original_inv_freq",
                                        ".rotary_emb.cos_cached", ".rotary_emb.sin_cached"};
  const size_t length = strlen(name);
  for (size_t i = 0; i < sizeof buffers / sizeof *buffers; ++i) {
    const size_t end = strlen(buffers[i]);
    if (length >= end && strcmp(name + length - end, buffers[i]) == 0) return true;
  }
  return false;
}

static void add_tensor(source *s, const lap_safetensors_tensor *tensor) {
  char *name = plain_name(tensor->name);
  if (is_buffer(name)) {
    ++s->buffers;
    free(name);
    return;
  }
  s->wrapped += strcmp(name, tensor->name) != 0;
  s->tensor[s->tensors++] = (named_tensor){name, tensor};
}

static lap_code name_tensors(source *s, lap_status *status) {
  size_t most = 0, count;
  for (int i = 0; i < s->files; ++i) {
    lap_safetensors_tensors(s->file[i], &count);
    most += count;
  }
  s->tensor = lap_allocate((int64_t)most, sizeof *s->tensor);
  for (int i = 0; i < s->files; ++i) {
    const lap_safetensors_tensor *tensors = lap_safetensors_tensors(s->file[i], &count);
    for (size_t t = 0; t < count; ++t) add_tensor(s, &tensors[t]);
  }
  qsort(s->tensor, s->tensors, sizeof *s->tensor, by_name);
  for (size_t i = 1; i < s->tensors; ++i)
    if (strcmp(s->tensor[i - 1].name, s->tensor[i].name) == 0)
      return lap_fail(status, LAP_DATA,
                      "%s: has '%.200s' and '%.200s', which are the same tensor: leave one out",
                      s->path, s->tensor[i - 1].tensor->name, s->tensor[i].tensor->name);
  named_tensor *head = find_named(s, lm_head);
  if (!head || find(s, embedding)) return LAP_OK;
  s->lone_head = true;
  free(head->name);
  head->name = lap_copy_string(embedding);
  qsort(s->tensor, s->tensors, sizeof *s->tensor, by_name);
  return LAP_OK;
}

/* What was taken for something else than it is called; malloc'ed, NULL: nothing. */
static char *describe_names(const source *s) {
  char text[3][96] = {"", "", ""};
  if (s->wrapped == 0 && s->buffers == 0 && !s->lone_head) return NULL;
  if (s->wrapped)
    snprintf(text[0], sizeof *text,
             " %zu names are read without what training wrapped around them;", s->wrapped);
  if (s->buffers)
    snprintf(text[1], sizeof *text, " %zu rotary buffers are passed over;", s->buffers);
  if (s->lone_head)
    snprintf(text[2], sizeof *text, " the embedding is read from %s, which is tied to it;",
             lm_head);
  char *notice = lap_format("%s:%s%s%s", s->path, text[0], text[1], text[2]);
  notice[strlen(notice) - 1] = '\0'; /* the last semicolon */
  return notice;
}

/* --- names and shapes --- */

/* Names of a list for a message, as many as fit. */
typedef struct {
  char text[LAP_MESSAGE_SIZE / 4];
  size_t length;
  int count;
} name_list;

static void add_name(name_list *list, const char *name) {
  const size_t rest = sizeof list->text - list->length;
  const char *separator = list->count++ ? ", " : "";
  const size_t wanted = strlen(separator) + strlen(name);
  if (wanted >= rest) return;
  list->length += (size_t)snprintf(list->text + list->length, rest, "%s%s", separator, name);
}

static lap_code check_names(const source *s, const lap_parameters *parameters, lap_status *status) {
  name_list missing = {0}, unexpected = {0};
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    const bool is_first_part = lap_parameters_find(parameters, p->name) == p;
    if (is_first_part && !find(s, p->name)) add_name(&missing, p->name);
  }
  for (size_t i = 0; i < s->tensors; ++i)
    if (!lap_parameters_find(parameters, s->tensor[i].name) && strcmp(s->tensor[i].name, lm_head))
      add_name(&unexpected, s->tensor[i].tensor->name);
  if (!missing.count && !unexpected.count) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: expected the weights of the config's model by their Hugging Face names; "
                  "missing %d%s%s; unexpected %d%s%s",
                  s->path, missing.count, missing.count ? ": " : "", missing.text, unexpected.count,
                  unexpected.count ? ": " : "", unexpected.text);
}

static lap_code check_tensor(const source *s, const lap_safetensors_tensor *tensor,
                             const lap_parameter *p, lap_status *status) {
  const int64_t vector[] = {p->whole_columns}, matrix[] = {p->whole_rows, p->whole_columns};
  LAP_TRY(lap_safetensors_check_shape(tensor, p->is_norm ? 1 : 2, p->is_norm ? vector : matrix,
                                      status));
  const lap_dtype d = tensor->dtype;
  if (!s->is_directory || d == LAP_DTYPE_F32 || d == LAP_DTYPE_BF16 || d == LAP_DTYPE_F16)
    return LAP_OK;
  return lap_fail(status, LAP_DATA, "%s: tensor '%s': expected F32, BF16 or F16, found %s",
                  lap_safetensors_path(tensor->file), p->name, lap_dtype_name(d));
}

static lap_code check(const source *s, const lap_parameters *parameters, lap_status *status) {
  LAP_TRY(check_names(s, parameters, status));
  for (int i = 0; i < parameters->count; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    LAP_TRY(check_tensor(s, find(s, p->name), p, status));
  }
  const lap_safetensors_tensor *head = find(s, lm_head);
  return head ? check_tensor(s, head, lap_parameters_find(parameters, embedding), status) : LAP_OK;
}

static lap_code open_source(const char *path, const lap_parameters *parameters, source *s,
                            lap_status *status) {
  *s = (source){.path = path, .is_directory = lap_file_is_directory(path)};
  lap_code code = s->is_directory ? open_directory(s, status) : add_file(s, path, status);
  if (code == LAP_OK) code = name_tensors(s, status);
  if (code == LAP_OK) code = check(s, parameters, status);
  if (code != LAP_OK) close_source(s);
  return code;
}

/* --- values --- */

/* The output head is the embedding: a second copy of it says nothing, another matrix would be lost.
 */
static lap_code check_head(const source *s, lap_status *status) {
  enum { CHUNK = 4096 };
  const lap_safetensors_tensor *head = find(s, lm_head), *other = find(s, embedding);
  double one[CHUNK], two[CHUNK];
  for (int64_t begin = 0; head && begin < head->elements; begin += CHUNK) {
    const int64_t count = head->elements - begin < CHUNK ? head->elements - begin : CHUNK;
    LAP_TRY(lap_safetensors_read_double(head, begin, count, one, status));
    LAP_TRY(lap_safetensors_read_double(other, begin, count, two, status));
    for (int64_t i = 0; i < count; ++i)
      if (one[i] != two[i])
        return lap_fail(status, LAP_DATA,
                        "%s: tensor '%s' differs from '%s' at element %" PRId64
                        "; Gemma 2 has one matrix for both: leave the head out",
                        lap_safetensors_path(head->file), lm_head, embedding, begin + i);
  }
  return LAP_OK;
}

static lap_code check_finite(const lap_safetensors_tensor *tensor, int64_t element, double value,
                             lap_status *status) {
  if (isfinite(value)) return LAP_OK;
  return lap_fail(status, LAP_DATA,
                  "%s: tensor '%s': element %" PRId64 " is %g; expected a finite number",
                  lap_safetensors_path(tensor->file), tensor->name, element, value);
}

/* Elements [whole, whole + count) of a tensor, all of them finite. */
static lap_code read_finite(const lap_safetensors_tensor *tensor, int64_t whole, int64_t count,
                            float *values, lap_status *status) {
  LAP_TRY(lap_safetensors_read_float(tensor, whole, count, values, status));
  for (int64_t i = 0; i < count; ++i)
    LAP_TRY(check_finite(tensor, whole + i, (double)values[i], status));
  return LAP_OK;
}

enum { PIECE = 1 << 15 }; /* floats that wait to become bfloat16: 128 KB */

/* The same for a part that is held in bfloat16: piece by piece. */
static lap_code read_run(const lap_safetensors_tensor *tensor, const lap_run *run,
                         const lap_held_part *held, lap_status *status) {
  float values[PIECE];
  for (int64_t done = 0; done < run->count; done += PIECE) {
    const int64_t count = run->count - done < PIECE ? run->count - done : PIECE;
    LAP_TRY(read_finite(tensor, run->whole + done, count, values, status));
    lap_held_part_store(held, run->part + done, count, values);
  }
  return LAP_OK;
}

/* What the target holds of a part, run by run of the whole tensor. */
static lap_code read_part(const lap_safetensors_tensor *tensor, const lap_parameter *p,
                          const lap_weight_target *target, lap_status *status) {
  const lap_held_part held = lap_weight_target_part(target, p);
  for (lap_run run = {.part = held.begin}; run.part < held.end; run.part += run.count) {
    run = lap_parameter_run(p, run.part, held.end);
    LAP_TRY(held.at ? read_finite(tensor, run.whole, run.count, held.at + (run.part - held.begin),
                                  status)
                    : read_run(tensor, &run, &held, status));
  }
  return LAP_OK;
}

lap_code lap_hf_weights_read(const char *path, const lap_weight_target *target,
                             lap_status *status) {
  const lap_parameters *parameters = target->parameters;
  source s;
  LAP_TRY(open_source(path, parameters, &s, status));
  lap_code code = LAP_OK;
  for (int i = 0; i < parameters->count && code == LAP_OK; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    code = read_part(find(&s, p->name), p, target, status);
  }
  if (code == LAP_OK) code = check_head(&s, status);
  close_source(&s);
  return code;
}

lap_code lap_hf_weights_read_float(const char *path, const lap_parameters *parameters,
                                   float *weights, lap_status *status) {
  lap_weight_target target = lap_weight_target_of_vector(parameters, weights);
  const lap_code code = lap_hf_weights_read(path, &target, status);
  lap_weight_target_release(&target);
  return code;
}

static lap_code read_double(const lap_safetensors_tensor *tensor, const lap_parameter *p,
                            double *part, lap_status *status) {
  for (lap_run run = {0}; run.part < p->elements; run.part += run.count) {
    run = lap_parameter_run(p, run.part, p->elements);
    double *values = part + run.part;
    LAP_TRY(lap_safetensors_read_double(tensor, run.whole, run.count, values, status));
    for (int64_t i = 0; i < run.count; ++i)
      LAP_TRY(check_finite(tensor, run.whole + i, values[i], status));
  }
  return LAP_OK;
}

lap_code lap_hf_weights_read_double(const char *path, const lap_parameters *parameters,
                                    double *weights, lap_status *status) {
  source s;
  LAP_TRY(open_source(path, parameters, &s, status));
  lap_code code = LAP_OK;
  for (int i = 0; i < parameters->count && code == LAP_OK; ++i) {
    const lap_parameter *p = &parameters->parameter[i];
    code = read_double(find(&s, p->name), p, weights + p->offset, status);
  }
  if (code == LAP_OK) code = check_head(&s, status);
  close_source(&s);
  return code;
}

lap_code lap_hf_weights_check(const char *path, const lap_parameters *parameters, char **notice,
                              lap_status *status) {
  source s;
  LAP_TRY(open_source(path, parameters, &s, status));
  if (notice) *notice = describe_names(&s);
  close_source(&s);
  return LAP_OK;
}

bool lap_hf_weights_are_bfloat16(const char *path, const lap_parameters *parameters) {
  source s;
  lap_status ignored;
  if (open_source(path, parameters, &s, &ignored) != LAP_OK) return false;
  bool all = true;
  for (int i = 0; i < parameters->count; ++i)
    all = all && find(&s, parameters->parameter[i].name)->dtype == LAP_DTYPE_BF16;
  close_source(&s);
  return all;
}

/* --- which model it is --- */

static lap_code add_sample(lap_xxh128_stream *stream, const lap_safetensors_tensor *tensor,
                           lap_status *status) {
  enum { SAMPLES = 3, VALUES = 1024 };
  float values[VALUES];
  const int64_t count = tensor->elements < VALUES ? tensor->elements : VALUES;
  for (int i = 0; i < SAMPLES; ++i) {
    const int64_t begin = (tensor->elements - count) / (SAMPLES - 1) * i;
    LAP_TRY(lap_safetensors_read_float(tensor, begin, count, values, status));
    lap_xxh128_add(stream, values, (size_t)count * sizeof *values);
  }
  return LAP_OK;
}

lap_code lap_hf_weights_fingerprint(const char *path, const lap_parameters *parameters,
                                    char xxh128[LAP_XXH128_HEX], lap_status *status) {
  source s;
  LAP_TRY(open_source(path, parameters, &s, status));
  lap_xxh128_stream *stream = lap_xxh128_create();
  lap_code code = LAP_OK;
  for (int i = 0; i < parameters->count && code == LAP_OK; ++i)
    code = add_sample(stream, find(&s, parameters->parameter[i].name), status);
  lap_xxh128_finish(stream, xxh128);
  close_source(&s);
  return code;
}
